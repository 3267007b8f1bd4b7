"""Records made for tests of the things that read them."""

from seedvideo.records import (
    Event,
    MediaRecord,
    ModelRecord,
    PlanRecord,
    Record,
    UsageRecord,
)


def done_record(
    *,
    source: str = "bikes.mp4",
    text: str = "A man rides a bike down a street.",
    events: tuple[Event, ...] = (),
    duration_s: float = 10.0,
) -> Record:
    """A whole record of a clip; one event over all of it unless others are given."""
    return Record(
        source=source,
        status="done",
        text=text,
        confident=True,
        events=events or (Event(start_s=0.0, end_s=duration_s, text=text),),
        media=MediaRecord(
            duration_s=duration_s,
            start_s=0.0,
            width_px=640,
            height_px=360,
            fps_avg=25.0,
            is_vfr=False,
            rotation_deg=0,
            codec="h264",
            pix_fmt="yuv420p",
        ),
        plan=PlanRecord(
            policy="uniform",
            geometry="nano",
            budget_tokens=512,
            charged_tokens=448,
            frames=8,
            visual_tokens=384,
            text_tokens=64,
            tokens=448,
        ),
        model=ModelRecord(name="nano", sha256="0" * 64),
        usage=UsageRecord(visual_tokens=384, prompt_tokens=456, output_tokens=11),
        timing_s={"open": 0.1, "total": 1.0},
    )
