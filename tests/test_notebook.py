"""What notebooks and consoles show of plans, videos and records: short, whole and harmless."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import seedvideo
from seedvideo import notebook
from seedvideo.records import Record
from tests.fixtures import Clips
from tests.sample_records import answer_record, done_record, grounding_record

OUTSIDE = re.compile(r"(?:src|href)=\"(?!data:)|url\(|@import|<script|<link|<iframe", re.IGNORECASE)


class Balanced(HTMLParser):
    """Checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> str:
    parser = Balanced()
    parser.feed(html)
    assert not parser.open and not OUTSIDE.search(html)
    return html


def pictures(html: str) -> list[Image.Image]:
    data = re.findall(r"src=\"data:image/webp;base64,([^\"]+)\"", html)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in data]


def test_a_plan(clips: Clips) -> None:
    plan = seedvideo.plan(clips["plain"], budget_tokens=3_000)
    assert len(repr(plan)) < 200 + len(plan.source) and "tokens" in repr(plan)
    html = checked(plan._repr_html_())
    (drawn,) = pictures(html)
    assert drawn.width > 1000
    first = plan.frames[0]
    assert f"{float(first.pts):.3f} s" in html and f"{first.tokens} + " in html


def test_a_video_open_and_closed(clips: Clips) -> None:
    with seedvideo.open(clips["plain"]) as video:
        assert len(repr(video)) < 200 + len(video.source)
        html = checked(video._repr_html_())
        assert len(pictures(html)) == 1 and f"{len(video.times)} frames" in html
    closed = checked(video._repr_html_())
    assert not pictures(closed) and "closed" in closed


@pytest.mark.parametrize("name", ["<b>x</b>.mp4", "a\u202egpj.mp4", 'q".mp4'])
def test_names_stay_text(clips: Clips, tmp_path: Path, name: str) -> None:
    path = tmp_path / name.replace("/", "_")
    path.symlink_to(clips["plain"])
    with seedvideo.open(path) as video:
        shown = checked(video._repr_html_())
        shown += checked(seedvideo.plan(video, policy="uniform", budget_tokens=900)._repr_html_())
    assert "<b>" not in shown and "\u202e" not in shown


def test_a_failed_record() -> None:
    error = seedvideo.SeedVideoError("media.no_frames", "x.mp4: <none>")
    record = Record.failed("x.mp4", error, timing_s={})
    assert repr(record) == str(record) == "Record('x.mp4', caption, failed, 'media.no_frames')"
    assert "&lt;none&gt;" in checked(record._repr_html_())


def test_long_tables_count_the_omitted_rows() -> None:
    html = checked(notebook.table(("n",), [(number,) for number in range(50)]))
    assert "and 10 more" in html and ">39<" in html and ">40<" not in html


def test_records_of_each_task() -> None:
    caption, answer, moment = (
        checked(record._repr_html_())
        for record in (done_record(), answer_record(), grounding_record())
    )
    assert "<th" in caption and f"{done_record().events[0].end_s:.3f} s" in caption
    made = answer_record().answer
    assert made is not None and notebook.text(made.question) in answer
    found = grounding_record().grounding
    assert found is not None and f"{found.spans[0].start_s:.3f} s" in moment
