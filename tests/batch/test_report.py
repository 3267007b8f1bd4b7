"""The report: one inert page, readable without scripts, that holds what the journal holds."""

import base64
import errno
import hashlib
import re
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import BinaryIO

import pytest

from seedvideo.batch import report
from seedvideo.batch.export import export
from seedvideo.batch.inputs import Item
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import State
from seedvideo.batch.report_html import timeline
from seedvideo.errors import OutputError
from seedvideo.utils import files
from tests.batch.sample_journal import CONTENT, HOSTILE, journal_of
from tests.sample_records import done_record

ALLOWED_LINKS = re.compile(r"#[\w-]+|(?:index|page-\d{4})\.html")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.assets: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            self.assets[self._open[-1]] = data
        else:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(folder: Path, path: Path) -> Page:
    with Journal.open(folder, write=False) as journal:
        export(journal, "html", path)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    return page_of(journal_of(folder / "job"), folder / "a.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("hostile")
    return page_of(journal_of(folder / "job", hostile=True), folder / "a.html")


def test_every_clip_has_its_card_and_its_verdict(report_page: Page) -> None:
    cards = report_page.all("article")
    assert [card["data-state"] for card in cards] == [
        "done",
        "done",
        "done",
        "filtered",
        "failed",
        "quarantined",
        "pending",
        "failed",
    ]
    assert [card["id"] for card in cards] == [f"clip-{n}" for n in range(1, 9)]
    for words in (
        "A dog runs in one.mp4.",
        "in/bad.mp4: damaged",
        "Next step: copy it again",
        "media.corrupt",
        "tried once",
        "min_duration",
        "0.4 s is short",
        "start is 'soon'",
        "4.0 \u2013 10.0 s",
        "uniform \u00b7 8 frames \u00b7 448 of 512 tokens (88 %)",
        "motion_mean 6.5 \u00b7 motion_max 21.2 \u00b7 detail_mean 9.5",
        "384 visual \u00b7 456 prompt \u00b7 11 output",
        "media.vfr",
        "24 frames, 1,152 visual tokens",
    ):
        assert words in report_page.text, words


def test_pictures_are_in_the_page(report_page: Page) -> None:
    shown = [image for image in report_page.all("img") if "width" in image]
    assert len(shown) == 3
    for image in shown:
        assert (image["width"], image["height"]) == ("40", "20")
        assert str(image["src"]).startswith("data:image/jpeg;base64,")
        assert base64.b64decode(str(image["src"]).partition(",")[2])[:2] == b"\xff\xd8"


def test_data_that_is_not_a_picture_is_left_out(tmp_path: Path) -> None:
    folder = journal_of(tmp_path / "job")
    with Journal.open(folder, write=True) as journal:
        done: tuple[State, ...] = ("done",)
        journal.retry(states=done)
        for taken in journal.claim(3):
            record = done_record(source=taken.item.source).json_line()
            journal.mark_done(
                taken.item.id, f"new {taken.item.id}", CONTENT, record, b"<svg onload=x>"
            )
    page = page_of(folder, tmp_path / "a.html")
    assert [image for image in page.all("img") if "width" in image] == []


def test_the_policy_allows_its_own_style_and_script_only(hostile: Page) -> None:
    (policy,) = [
        str(meta["content"])
        for meta in hostile.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in hostile.assets.items()
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}';"
        f" script-src 'sha256-{hashes['script']}'; img-src data:; base-uri 'none';"
        " form-action 'none'"
    )


@pytest.mark.parametrize("name", ["report_page", "hostile"])
def test_a_page_loads_nothing_and_runs_nothing_else(
    name: str, request: pytest.FixtureRequest
) -> None:
    page: Page = request.getfixturevalue(name)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert page.all("script") == [{}]
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "video", "audio"), tag
        for key, value in attributes.items():
            assert not key.startswith("on") and key != "style", (tag, key)
            if key in ("href", "src", "action", "data", "srcset", "poster"):
                assert str(value).startswith("data:") or ALLOWED_LINKS.fullmatch(str(value)), value
    assert "http" not in page.assets["script"] and "url(" not in page.assets["style"]
    assert "innerHTML" not in page.assets["script"] and "eval" not in page.assets["script"]


def test_hostile_words_are_text_and_can_be_read(hostile: Page) -> None:
    assert len(hostile.all("article")) == len(HOSTILE) + 8
    text = hostile.text
    assert "</title></style></script><script>alert(1)</script>" in text
    assert '" onmouseover="alert(1)' in text
    assert "\\x1b[2J" in text and "nul\\x00nul" in text and "\\u202egpj.mp4" in text
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f\u2028\u202e\ud800-\udfff]", "".join(hostile.texts)
    )


def test_without_scripts_nothing_is_hidden_but_the_tools(report_page: Page) -> None:
    hidden = [attributes for _, attributes in report_page.tags if "hidden" in attributes]
    assert [each.get("class") for each in hidden] == ["tools", "nothing"]


def test_the_two_other_tasks(tmp_path: Path) -> None:
    asked = page_of(journal_of(tmp_path / "ask", task="ask"), tmp_path / "ask.html")
    assert "Which colour is the bike?" in asked.text and "0.97" in asked.text
    ground = page_of(journal_of(tmp_path / "ground", task="ground"), tmp_path / "ground.html")
    assert "the dog jumps" in ground.text and "score 0.83" in ground.text


def test_a_long_job_has_pages_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_PAGE_CLIPS", 3)
    folder = journal_of(tmp_path / "job")
    with Journal.open(folder, write=False) as journal:
        with pytest.raises(OutputError) as caught:
            export(journal, "html", tmp_path / "a.html")
        assert caught.value.code == "output.too_large"
        assert "-o report/" in caught.value.hint
        assert not (tmp_path / "a.html").exists()
        made = export(journal, "html", tmp_path / "report", pages=True)
    assert (made.files, made.clips) == (3, 8)
    names = ["index.html", "page-0002.html", "page-0003.html"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    pages = [Page((tmp_path / "report" / name).read_text(encoding="utf-8")) for name in names]
    ids = [card["id"] for page in pages for card in page.all("article")]
    assert ids == [f"clip-{n}" for n in range(1, 9)]
    for page in pages:
        assert {link["href"] for link in page.all("a") if str(link["href"])[0] != "#"} <= {*names}
        assert "of 8" in page.text


def test_a_report_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    monkeypatch.setattr(report, "MAX_PAGE_CLIPS", 2)
    with Journal.open(journal_of(tmp_path / "job"), write=False) as journal:
        export(journal, "html", folder, pages=True)
        (folder / "mine.txt").write_text("mine")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert len(before) == 5
        with pytest.raises(OutputError) as caught:
            export(journal, "html", folder, pages=True)
        assert caught.value.code == "output.exists"
        monkeypatch.setattr(report, "MAX_PAGE_CLIPS", 3)
        opened = []

        def full_at_the_third(path: Path) -> BinaryIO:
            opened.append(path)
            if len(opened) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return path.open("xb")

        with monkeypatch.context() as patch:
            patch.setattr(files, "_create", full_at_the_third)
            with pytest.raises(OutputError) as caught:
                export(journal, "html", folder, pages=True, overwrite=True)
        assert caught.value.code == "output.disk_full"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        export(journal, "html", folder, pages=True, overwrite=True)
    # The new one is shorter: the old fourth page is removed, and other files stay.
    names = ["index.html", "mine.txt", "page-0002.html", "page-0003.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all("of 8" in (folder / name).read_text() for name in names if name != "mine.txt")


def test_an_index_exists_only_with_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    monkeypatch.setattr(report, "MAX_PAGE_CLIPS", 3)
    with Journal.open(journal_of(tmp_path / "job"), write=False) as journal:
        export(journal, "html", folder, pages=True)
        replace, seen = Path.replace, []

        def noted(path: Path, target: Path) -> Path:
            if target.parent == folder:
                seen.append((target.name, (folder / "index.html").exists()))
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", noted)
        export(journal, "html", folder, pages=True, overwrite=True)
    assert seen == [("page-0003.html", False), ("page-0002.html", False), ("index.html", False)]


def test_events_are_drawn_at_their_times() -> None:
    picture = timeline(
        [(0.0, 2.5), (5.0, 10.0), (2.0, 6.0)], faded=[False, False, True], duration_s=10.0
    )
    assert picture is not None
    assert [(bar.style, bar.left, bar.top_px, bar.width) for bar in picture.bars] == [
        ("one", 0, 3, 25),
        ("other", 50, 3, 50),
        # It overlaps both others, so it has a row of its own.
        ("one faded", 20, 29, 40),
    ]
    assert picture.label == "3 spans over 10.0 seconds"
    assert timeline([], faded=[], duration_s=0.0) is None


def test_numbers_of_the_time_line_have_room() -> None:
    picture = timeline([(0, 1)], faded=[False], duration_s=139.4)
    assert picture is not None
    assert not picture.bars[0].is_numbered
    assert [(tick.text, tick.anchor) for tick in picture.ticks] == [
        ("0", "start"),
        ("30", "middle"),
        ("60", "middle"),
        ("90", "middle"),
        ("139.4 s", "end"),
    ]


def test_the_time_line_is_drawn(report_page: Page) -> None:
    assert {rect.get("class") for rect in report_page.all("rect")} >= {"band", "one", "other faded"}
    assert "1: 0.0 to 4.0 s" in report_page.text


def test_no_template_switches_escaping_off() -> None:
    templates = sorted(Path(report.__file__).with_name("templates").iterdir())
    assert [path.name for path in templates] == ["clip.html.j2", "page.html.j2"]
    for path in templates:
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\bsafe\b|autoescape|Markup|style=", text), path.name
        # An attribute without quotes could be ended by a space.
        assert not re.search(r"=\{\{|=\{%", text), path.name


def test_the_totals_count_what_a_row_asks_about() -> None:
    whole = Item(id="a", source="a.mp4")
    windowed = replace(whole, start_s=Fraction(2), end_s=Fraction(7))
    open_ended = replace(whole, start_s=Fraction(9))
    found = [report._window_s(item, 10.0) for item in (whole, windowed, open_ended)]
    assert found == [10.0, 5.0, 1.0]
    beyond = replace(whole, start_s=Fraction(11), end_s=Fraction(12))
    assert report._window_s(beyond, 10.0) == 0.0
