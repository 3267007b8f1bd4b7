"""Labels of a frame: the thing that it shows, how many of it, and where."""

from fractions import Fraction

from seedvideo.evaluate.synthetic.world import ColouredShape, Event
from seedvideo.training.auxiliary_tasks import EMPTY_LABELS, label_frame
from seedvideo.utils.timecode import Span


def test_a_frame_of_an_event_is_told_by_its_thing_its_number_and_its_place() -> None:
    event = Event(
        thing=ColouredShape("blue", "star"),
        motion="right",
        position=None,
        count=1,
        size=0.3,
        shift=(0, 0),
        span=Span(Fraction(0), Fraction(1)),
    )
    early, late = label_frame(event, 0.05), label_frame(event, 0.95)
    assert early.labels is not None and late.labels is not None
    assert early.labels[:3] == late.labels[:3]
    assert (early.labels[3], late.labels[3]) == (0, 2)
    assert EMPTY_LABELS.labels is not None and EMPTY_LABELS.labels[:3] != early.labels[:3]
