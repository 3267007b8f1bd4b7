"""``seedvideo inspect``: the same signals in every format, in a table that is a list again."""

import csv
import hashlib
import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

import seedvideo
from seedvideo import api
from seedvideo.batch import signal_table
from seedvideo.batch.inputs import Item, read_inputs
from seedvideo.batch.signal_table import SIGNAL_COLUMNS, columns_of
from seedvideo.batch.similarity import Signature, compute_signature
from seedvideo.sampler.quality import QUALITY_FIELDS
from seedvideo.utils.timecode import Span
from tests.cli.conftest import Run
from tests.doc_examples import DOCS, documented_clip


@pytest.fixture
def listed(clips: Path, tmp_path: Path) -> Path:
    """A list with windows, other columns, and rows that fail, in a folder beside the clips."""
    folder = tmp_path / "lists"
    folder.mkdir()
    place = f"../{clips.name}"
    (tmp_path / clips.name).symlink_to(clips)
    rows: list[dict[str, Any]] = [
        {"path": f"{place}/two.mp4", "id": "first", "start": 0.5, "end": "2.25", "score": 0.5},
        {"path": f"{place}/two.mp4", "id": "second", "start": 2.25, "score": 1, "tags": ["a", "b"]},
        {"path": f"{place}/red.mp4", "duration_s": 99.0, "caption": "=1+1"},
        {"path": f"{place}/text.mp4", "id": "bad", "score": 2},
        {"id": "without a path"},
    ]
    path = folder / "clips.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def table_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of any format, with text cells as numbers where they are."""
    if path.suffix == ".parquet":
        return list(parquet.read_table(path).to_pylist())
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: _value(cell) for name, cell in row.items()} for row in rows]
    return [json.loads(line) for line in path.read_text().splitlines()]


def _value(cell: str) -> Any:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_exact_times_of_a_list_stay_exact(
    run: Run, clips: Path, tmp_path: Path, suffix: str
) -> None:
    (listed := tmp_path / "list.csv").write_text(f"path,start,end\n{clips / 'two.mp4'},1/3,2.5\n")
    out = tmp_path / f"signals.{suffix}"
    assert run("inspect", listed, "-o", out, "--analysis", "packets", "-q").code == 0
    (item,) = read_inputs([str(out)])
    assert isinstance(item, Item)
    assert (item.start_s, item.end_s) == (Fraction(1, 3), Fraction(5, 2))


def test_windows_without_ids_are_known_by_their_times(
    run: Run, clips: Path, tmp_path: Path
) -> None:
    """In any order, and in several tables: curate drops none of them."""
    tables = []
    for number, windows in enumerate([("0,1", "1,2"), ("3,", "2,3")]):
        rows = "".join(f"two.mp4,{window}\n" for window in windows)
        (clips / f"list{number}.csv").write_text(f"path,start,end\n{rows}")
        tables.append(clips / f"signals{number}.jsonl")
        words = ("--analysis", "packets", "--no-signature", "-q")
        assert run("inspect", clips / f"list{number}.csv", "-o", tables[-1], *words).code == 0
    assert run("curate", *tables, "-o", clips / "o.jsonl", "-q").code == 0
    ids = [Path(row["id"]).name for row in table_of(clips / "o.jsonl")]
    assert ids == [f"two.mp4@{times}" for times in ("0.0-1.0", "1.0-2.0", "3.0-", "2.0-3.0")]
    result = run("inspect", clips / "list1.csv")
    shown = [line for line in result.err.splitlines() if line.startswith("[")]
    assert shown == [f"[1/2] {clips}/two.mp4@3-", f"[2/2] {clips}/two.mp4@2-3"]
    assert [line for line in result.out.splitlines() if "mp4" in line] == [
        f"{clips}/two.mp4@3.0-",
        f"{clips}/two.mp4@2.0-3.0",
    ]


def test_text_has_every_signal_with_its_unit(run: Run, clips: Path) -> None:
    result = run("inspect", clips / "two.mp4", clips / "red.mp4", "--analysis", "full", "-q")
    assert (result.code, result.err) == (0, "")
    first, second = result.out.split("\n\n")
    assert first.splitlines()[0].endswith("two.mp4") and second.splitlines()[0].endswith("red.mp4")
    words = [line.split() for line in first.splitlines()[1:]]
    assert [each[0] for each in words] == list(QUALITY_FIELDS)
    assert ["duration_s", "4.0", "s"] in words and ["shots", "2"] in words


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_a_table_has_the_list_the_signals_and_the_hashes(
    run: Run, clips: Path, listed: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "lists" / f"signals.{suffix}"
    result = run("inspect", listed, "-o", out, "--analysis", "full", "-q")
    assert result.code == 1
    rows = table_of(out)
    own = ["path", "start", "end", "id", "score", "tags", "caption"]
    assert list(rows[0]) == [*own, *SIGNAL_COLUMNS]
    first, second, red, bad, none = rows
    assert (first["id"], first["start"], first["end"], first["score"]) == ("first", 0.5, 2.25, 0.5)
    assert (second["start"], second["end"], second["duration_s"]) == (2.25, None, 1.75)
    assert red["duration_s"] == 1.0
    assert red["caption"] == ("'=1+1" if suffix == "csv" else "=1+1")
    assert second["tags"] == ('["a", "b"]' if suffix == "csv" else ["a", "b"])
    with seedvideo.open(clips / "two.mp4") as clip:
        expected = asdict(seedvideo.quality(clip, start_s=0.5, end_s=2.25, analysis="full"))
        signature = compute_signature(clip, Span(Fraction(1, 2), Fraction(9, 4)))
        packets = clip.reader.packets_sha256(5, 23)
    assert {name: first[name] for name in QUALITY_FIELDS} == expected
    assert first["sha256"] == hashlib.sha256((clips / "two.mp4").read_bytes()).hexdigest()
    assert first["sha256"] == second["sha256"] != red["sha256"]
    assert first["packets_sha256"] == packets != second["packets_sha256"]
    read = Signature.from_bytes(first["duration_s"], bytes.fromhex(first["signature"]))
    assert (read.values == signature.values).all() and read.duration_s == signature.duration_s
    assert first["error"] is None and bad["error"].startswith("media.not_video: ")
    assert bad["score"] == 2 and all(bad[name] is None for name in QUALITY_FIELDS)
    assert none["error"].startswith("batch.row_invalid: ") and none["path"] is None


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_table_is_a_list_again(run: Run, listed: Path, tmp_path: Path, suffix: str) -> None:
    once, again = tmp_path / f"once.{suffix}", tmp_path / "lists" / f"again.{suffix}"
    run("inspect", listed, "-o", once, "-q", "--no-signature")
    items = [row for row in read_inputs([str(once)]) if isinstance(row, Item)]
    assert [(item.id, item.start_s, item.end_s) for item in items][:2] == [
        ("first", Fraction(1, 2), Fraction(9, 4)),
        ("second", Fraction(9, 4), None),
    ]
    assert all(Path(item.source).exists() for item in items)
    run("inspect", once, "-o", again, "-q", "--no-signature")
    before, after = table_of(once), table_of(again)
    assert list(after[0]) == list(before[0])
    for name in ("id", "score", *QUALITY_FIELDS, "sha256", "packets_sha256", "signature"):
        # The last row has no path, so its id is its position.
        assert [row[name] for row in after[:4]] == [row[name] for row in before[:4]], name


def test_windows_of_one_video_open_it_once(
    run: Run, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_video = api.open

    def counted(video: Any, **options: Any) -> seedvideo.Video:
        opened.append(Path(video).name)
        return open_video(video, **options)

    monkeypatch.setattr(api, "open", counted)
    assert run("inspect", listed, "--json", "--no-signature", "-q").code == 1
    assert opened == ["two.mp4", "red.mp4", "text.mp4"]


def test_packets_alone_and_no_signature_leave_cells_empty(run: Run, clips: Path) -> None:
    result = run("inspect", clips / "red.mp4", "-f", "csv", "--analysis", "packets")
    (row,) = csv.DictReader(result.out.splitlines())
    assert row["fps"] == "10.0" and row["motion_mean"] == "" and row["signature"]
    result = run("inspect", clips / "red.mp4", "-f", "jsonl", "--no-signature")
    values = json.loads(result.out)
    assert values["signature"] is None and values["motion_mean"] == 0.0


def test_a_quiet_failure_has_a_row_and_a_line(run: Run, clips: Path) -> None:
    result = run("inspect", clips / "text.mp4", clips / "none.mp4", "--json", "-q")
    assert result.code == 1
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["error"].partition(":")[0] for row in rows] == [
        "media.not_video",
        "input.not_found",
    ]
    assert result.err.count("error: ") == 2
    assert run("inspect", clips / "text.mp4").out == ""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("-o OUT/", 2, "names a folder"),
        ("-o LIST", 3, "already exists"),
        ("-o CLIP --overwrite", 3, "is one of the videos"),
        ("-o NOPE/x.csv", 3, "does not exist"),
        ("-f yaml", 2, "is not one of"),
        ("--json -f csv", 2, "different formats"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    run: Run, clips: Path, listed: Path, tmp_path: Path, words: str, code: int, text: str
) -> None:
    names = {"OUT": tmp_path, "LIST": listed, "CLIP": clips / "red.mp4", "NOPE": tmp_path / "nope"}
    for name, path in names.items():
        words = words.replace(name, str(path))
    result = run("inspect", clips / "red.mp4", *words.split())
    assert (result.code, result.out) == (code, "")
    assert text in result.err


def test_an_interrupted_table_has_the_finished_rows(
    run: Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = signal_table.SignalReader.measure
    measured: list[int] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if measured:
            raise KeyboardInterrupt
        measured.append(1)
        return measure(*arguments, **options)

    monkeypatch.setattr(signal_table.SignalReader, "measure", interrupted)
    out = tmp_path / "out.parquet"
    assert run("inspect", clips / "red.mp4", clips / "two.mp4", "-o", out).code == 130
    assert [Path(row["path"]).name for row in table_of(out)] == ["red.mp4"]


def test_columns_keep_their_types_in_parquet() -> None:
    places = [
        {"path": "a", "score": 1, "seen": True, "mixed": 1, "huge": 1 << 70},
        {"path": "b", "score": 0.5, "seen": None, "mixed": "x", "huge": 2},
    ]
    kinds = columns_of(places, types=True)
    assert kinds["score"] == "number" and kinds["seen"] == "flag" and kinds["mixed"] == "text"
    assert kinds["huge"] == "text" and kinds["start"] == "number" and kinds["shots"] == "integer"
    assert kinds["events"] == "integer" and kinds["error"] == "text"


def test_an_error_of_an_earlier_table_does_not_stay(run: Run, clips: Path, tmp_path: Path) -> None:
    """The clip is repaired, then its table is inspected again."""
    clip, once, again = (tmp_path / name for name in ("c.mp4", "once.jsonl", "again.parquet"))
    clip.write_bytes(b"")
    assert run("inspect", clip, "-o", once, "-q").code == 1
    clip.write_bytes((clips / "red.mp4").read_bytes())
    assert run("inspect", once, "-o", again, "-q").code == 0
    (row,) = table_of(again)
    assert row["error"] is None and row["shots"] == 1
    clip.write_bytes(b"")
    last = tmp_path / "last.csv"
    assert run("inspect", again, "-o", last, "-q").code == 1
    (row,) = table_of(last)
    assert row["error"].startswith("input.empty: ") and row["shots"] is row["sha256"] is None


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_any_name_survives(run: Run, clips: Path, tmp_path: Path, suffix: str) -> None:
    names = ["=1+1.mp4", 'a,\n\x1b[2J".mp4', "\udcff.mp4"]
    for name in names:
        (tmp_path / name).write_bytes((clips / "red.mp4").read_bytes())
    out = tmp_path / f"signals.{suffix}"
    words = (*(tmp_path / name for name in names), "--no-signature", "--analysis", "packets", "-q")
    assert run("inspect", *words, "-o", out).code == 0
    items = [row for row in read_inputs([str(out)]) if isinstance(row, Item)]
    assert sorted(Path(item.source).name for item in items) == sorted(names)
    assert all(Path(item.source).exists() for item in items)


def test_the_example_of_the_guide(run: Run, tmp_path: Path) -> None:
    documented_clip(tmp_path / "clip.mp4")
    shown = (DOCS / "guides" / "curate.md").read_text(encoding="utf-8")
    lines = shown.partition("$ seedvideo inspect clip.mp4\n")[2].partition("```")[0].splitlines()
    made = run("inspect", tmp_path / "clip.mp4", "-q").out.splitlines()
    for expected, found in zip(lines[1:], made[1:], strict=True):
        name, value, *unit = expected.split()
        made_name, made_value, *made_unit = found.split()
        assert (made_name, made_unit) == (name, unit)
        # Packets depend on the version of the encoder.
        assert float(made_value) == pytest.approx(float(value), rel=0.05), name
