"""Compare docs/ with the code: links, codes, tables and examples."""

import ast
import json
import re
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, cast

import pytest

import seedvideo
from seedvideo import api, config
from seedvideo.config import DEFAULT_LIMITS
from seedvideo.evaluate.types import Item
from seedvideo.records import AnswerRecord, GroundingRecord, Record
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import POLICIES
from seedvideo.tasks.grounding import parse_spans
from seedvideo.utils.timecode import Span
from seedvideo.writers import WRITERS
from tests.doc_examples import DOCS, README, ROOT, blocks, documented_clip, table_after
from tests.plugins import EXAMPLE
from tests.sample_records import answer_record, grounding_record
from tests.sampler.plans import make_plan
from tests.sampler.videos import video
from tests.synthetic_clips import ColourChooser
from tests.tiers import quick_first

PAGES = sorted([README, *DOCS.rglob("*.md"), *ROOT.glob("C*.md"), ROOT / "SECURITY.md"])
SAMPLING = DOCS / "concepts" / "sampling.md"
FORMATS = DOCS / "reference" / "formats.md"
ASKING = DOCS / "guides" / "ask.md"
EXTENDING = DOCS / "guides" / "extend.md"
ERRORS = DOCS / "reference" / "errors.md"

CODE = re.compile(
    r"(?:input|media|decode|plan|ask|ground|model|batch|output|config|internal|system|store)\.[a-z_]+"
)
# Strings that match the pattern of a code but are not codes: files, and modules imported by name.
NOT_CODES = {
    "model.safetensors",
    "config.json",
    "plan.json",
    "plan.png",
    "batch.run_job",
    "model.backends",
    "model.families",
    "model.time_format",
    "media.types",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_code_of_the_source_is_in_the_page_and_no_other() -> None:
    texts = {
        node.value
        for path in Path(seedvideo.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    raised = {text for text in texts if CODE.fullmatch(text)} - NOT_CODES
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", ERRORS.read_text(encoding="utf-8"), re.M))
    assert documented - {"usage"} == raised


def test_every_code_has_a_meaning_and_a_remedy() -> None:
    rows = re.findall(r"^\| `[a-z_.]+` \|(.*)\|$", ERRORS.read_text(encoding="utf-8"), re.M)
    assert all(len([cell for cell in row.split("|") if cell.strip()]) == 2 for row in rows)


def test_the_command_line_page_is_up_to_date() -> None:
    spec = spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec is not None and spec.loader is not None
    make_cli = module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    written = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == make_cli.render(), "run: python docs/make_cli.py"


@pytest.mark.parametrize("row", table_after(SAMPLING, "sizes"), ids=lambda row: row[0])
def test_the_table_of_sizes(row: list[str]) -> None:
    width_px, height_px = map(int, row[0].split("x"))
    for level_tokens, cell in zip(SEED.levels_tokens, row[1:], strict=True):
        size = SEED.size(width_px=width_px, height_px=height_px, level_tokens=level_tokens)
        tokens = SEED.tokens(width_px=size[0], height_px=size[1])
        assert cell == f"{size[0]}x{size[1]} = {tokens}"


@pytest.mark.parametrize(
    "row",
    quick_first(table_after(SAMPLING, "seconds")[::-1]),
    ids=lambda row: f"{row[0]} fps",
)
def test_the_table_of_seconds(row: list[str]) -> None:
    rate = float(row[0])
    for place, cell in enumerate(row[1:]):
        # The table has one decimal; a frame is 1/30 s.
        last_frames = [
            count
            for count in range(int(float(cell) * 30) - 3, int(float(cell) * 30) + 4)
            if level_of(count, rate) == SEED.levels_tokens[place] and not is_thinned(count, rate)
        ]
        assert float(cell) == pytest.approx(last_frames[-1] / 30, abs=0.05)
        after = last_frames[-1] + 1
        assert level_of(after, rate) != SEED.levels_tokens[place] or is_thinned(after, rate)


def planned(count: int, rate: float) -> Plan:
    facts, times = video(count)
    return make_plan(facts, times, source="x.mp4", policy="seed1.5", fps=rate)


def level_of(count: int, rate: float) -> int:
    return planned(count, rate).segments[0].level_tokens


def is_thinned(count: int, rate: float) -> bool:
    return "thinned" in planned(count, rate).frames[1].reason


def test_records_in_the_page_are_records() -> None:
    done, failed, _ = map(json.loads, blocks(FORMATS, "json"))
    for example in (done, failed):
        assert Record.from_json(example).to_json() == example
    described = set(re.findall(r"^\| `(\w+)` \|", FORMATS.read_text(encoding="utf-8"), re.M))
    assert described >= set(Record.model_fields) | set(WRITERS)


def test_text_and_subtitles_in_the_page_are_those_of_its_record() -> None:
    record = Record.from_json(json.loads(blocks(FORMATS, "json")[0]))
    text, answer, spans, srt, vtt, table, _, chapters = blocks(FORMATS, "text")
    assert WRITERS["text"].render(record) == text
    assert WRITERS["srt"].render(record) == srt
    assert WRITERS["vtt"].render(record) == vtt
    assert WRITERS["csv"].render(record) == table
    assert WRITERS["chapters"].render(record) == chapters
    assert WRITERS["text"].render(answer_record()) == answer
    assert WRITERS["text"].render(grounding_record()) == spans


def test_the_forms_of_times_in_the_guide_are_read() -> None:
    text = ASKING.read_text(encoding="utf-8")
    window = Span(Fraction(0), Fraction(100))
    rows = table_after(ASKING, "forms")
    for form, examples in rows:
        for example in re.findall(r"[`\"]([^`]+?)[`\"](?=,|$)", examples):
            read = parse_spans(example, window=window)
            assert len(read) == (0 if form == "nothing" else len(re.findall("; |], ", example)) + 1)
    refused = text.partition("Rejected,")[2].partition("\n\n")[0]
    for example in re.findall(r"`([^`]+)`", refused):
        with pytest.raises(seedvideo.ModelError):
            parse_spans(example, window=window)


@pytest.mark.parametrize("code", quick_first(blocks(ASKING, "python")))
def test_python_of_the_guide_runs(
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documented_clip(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "load", lambda name="nano", options=None: ColourChooser())
    exec(compile(code, "ask.md", "exec"), {"__name__": "guide"})  # noqa: S102  # our own page
    assert capsys.readouterr().out


def test_python_of_write_your_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = documented_clip(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile("\n".join(blocks(EXTENDING, "python")), "extend.md", "exec"), names)  # noqa: S102  # our own page
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["my-grid 16 480", "my-tiles 16 768", "<12.5 seconds> 0.05"]
    assert lines[3].startswith("Brightness is ")
    monkeypatch.setitem(cast(dict[str, object], POLICIES), "every-fifth", names["every_fifth"])
    monkeypatch.setattr(config, "SHIPPED_POLICIES", (*config.SHIPPED_POLICIES, "every-fifth"))
    plan = seedvideo.plan(clip, policy="every-fifth")
    assert [frame.pts for frame in plan.frames[:3]] == [0, Fraction(1, 5), Fraction(2, 5)]
    item = Item(id="a", task="ask", video="x.mp4", question="?", answer="red")
    assert names["length"](item, seedvideo.Prediction(answer="dark red")) == 2


def test_the_package_in_write_your_own_is_the_one_that_is_tested() -> None:
    assert blocks(EXTENDING, "toml") == [(EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")]
    code = (EXAMPLE / "seedvideo_example.py").read_text(encoding="utf-8")
    assert blocks(EXTENDING, "plugin") == [code]


def test_every_key_of_an_answer_and_of_spans_is_documented() -> None:
    for section, fields in (
        ("The answer", AnswerRecord.model_fields),
        ("The spans", GroundingRecord.model_fields),
    ):
        text = FORMATS.read_text(encoding="utf-8").partition(f"### {section}")[2].split("###")[0]
        first_cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) >= set(fields)


def test_the_plan_in_the_page_is_the_one_that_is_made(tmp_path: Path) -> None:
    shown = json.loads(blocks(FORMATS, "json")[2])
    clip = documented_clip(tmp_path / "clip.mp4")
    plan = seedvideo.plan(clip, policy="uniform", budget_tokens=300)
    made = plan.to_json() | {"source": "clip.mp4"}
    # These depend on where the clip lies and on the encoder's version.
    made["media"] |= {"path": "clip.mp4", "size_bytes": shown["media"]["size_bytes"]}
    assert made == shown
    assert Plan.from_json(shown).frames == plan.frames
    assert plan.frames[1].pts == Fraction(299, 25)


def test_the_limits_in_the_page_are_the_defaults() -> None:
    text = (DOCS / "guides" / "safety.md").read_text(encoding="utf-8")
    limits = DEFAULT_LIMITS
    memory_gib = limits.worker_memory_bytes // 2**30
    for row in (
        f"| file size | {limits.max_input_bytes // 2**30} GiB |",
        f"| duration | {limits.max_duration_s / 3600:g} hours |",
        f"| streams in the container | {limits.max_streams} |",
        f"| packets | {limits.max_packets // 10**6} million |",
        f"| frames in a plan | {limits.max_sampled_frames:,} |",
        f"| time to open | {limits.open_timeout_s:g} s |",
        f"| time between two messages of a decode process | {limits.stall_timeout_s:g} s |",
        f"| time for all decoding of one video | {limits.item_timeout_s:g} s |",
        f"| memory of each decode process, eight at most | {memory_gib} GiB |",
        f"{limits.max_frame_pixels // 10**6} million px, a side up to {limits.max_side_px:,} px,"
        f" sides up to {limits.max_aspect:g}:1",
    ):
        assert row in text
