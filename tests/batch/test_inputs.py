"""From inputs to items: kinds of input, invalid rows, hostile names."""

import io
import json
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from seedvideo import BatchError, ConfigError, InputError
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import BadRow, Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.manifest import MAX_ROW_BYTES, HashSet
from tests.batch.journal_rows import MODEL, finish, planned
from tests.tiers import by_tier


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("d/b.mp4", "d/a.MKV", "d/notes.txt", "d/sub/c.webm", "d/sub/.hidden.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def items_of(*inputs: str, stdin: bytes = b"") -> list[Item]:
    rows = list(read_inputs(inputs, stdin=io.BytesIO(stdin)))
    assert all(isinstance(row, Item) for row in rows), rows
    return [row for row in rows if isinstance(row, Item)]


def bad_rows(path: str) -> list[BadRow]:
    return [row for row in read_inputs([path]) if isinstance(row, BadRow)]


def test_files_folders_and_globs(folder: Path) -> None:
    assert [i.source for i in items_of("x.bin", "d")] == [
        *("x.bin", "d/a.MKV", "d/b.mp4", "d/sub/.hidden.mp4", "d/sub/c.webm")
    ]
    assert [i.id for i in items_of("d/*.mp4", "d/**/*.webm")] == ["d/b.mp4", "d/sub/c.webm"]


def test_a_glob_of_lists_is_read_as_lists(folder: Path) -> None:
    for name in ("d/2.csv", "d/1.csv"):
        Path(name).write_text(f"path\n{Path(name).stem}.mp4\n")
    assert [i.source for i in items_of("d/?.csv", "x.mp4")] == ["d/1.mp4", "d/2.mp4", "x.mp4"]
    Path("d/2.csv").write_text("no,name\n1,2\n")
    with pytest.raises(BatchError) as caught:
        list(read_inputs(["d/?.csv"]))
    assert caught.value.code == "batch.manifest_invalid"
    # In a folder of clips, texts are not lists.
    assert "d/notes.txt" in [i.source for i in items_of("d/*") if not i.source.endswith(".csv")]


def test_a_file_may_be_named_like_a_glob(folder: Path) -> None:
    Path("[a].mp4").write_bytes(b"")
    assert [i.source for i in items_of("[a].mp4")] == ["[a].mp4"]


def test_lists_on_stdin_keep_any_name() -> None:
    assert [i.source for i in items_of("-", stdin=b"a.mp4\r\n\n caf\xff\n")] == [
        "a.mp4",
        " caf\udcff",
    ]
    hostile = [b"new\nline", b"\xe2\x80\xaertl", b"x" * 4096, b"\xff\xfe"]
    names = [os.fsencode(i.source) for i in items_of("-", stdin=b"\0".join(hostile) + b"\0")]
    assert names == hostile


def test_manifests_of_all_kinds_are_equivalent(folder: Path) -> None:
    rows = [
        {"path": "a.mp4", "id": "one", "question": "Is it, red?", "options": '["yes", "no"]'},
        {"path": "b.mp4", "id": "two", "query": "a dog", "start": "1:30", "end": "100.5"},
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "m.csv").write_text(
        "\ufeffpath,id,question,options,query,start,end\n"
        'a.mp4,one,"Is it, red?",yes|no,,,\nb.mp4,two,,,a dog,1:30,100.5\n'
    )
    columns = sorted({name for row in rows for name in row})
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in columns})
    pyarrow.parquet.write_table(table, folder / "m.parquet")
    for name in ("m.jsonl", "m.csv", "m.parquet"):
        assert items_of(name) == [
            Item(id="one", source="a.mp4", question="Is it, red?", options=("yes", "no")),
            Item(
                id="two",
                source="b.mp4",
                query="a dog",
                start_s=Fraction(90),
                end_s=Fraction(201, 2),
            ),
        ]


def test_times_of_lists_may_be_any_finite_numbers(folder: Path) -> None:
    times = [0.1 * 3, 1001 / 30, 1e-05, 12.5]
    (folder / "m.jsonl").write_text(
        "".join(json.dumps({"path": "a", "start": t, "end": 99}) + "\n" for t in times)
    )
    (folder / "m.csv").write_text("path,start,end\n" + "".join(f"a, {t},99\n" for t in times))
    rows = {"path": ["a"] * 4, "start": times, "end": [Decimal("99.0")] * 4}
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "m.parquet")
    expected = [Fraction(3, 10), Fraction(1001, 30), Fraction(1, 10**5), Fraction(25, 2)]
    for name in ("m.jsonl", "m.csv", "m.parquet"):
        assert [(i.start_s, i.end_s) for i in items_of(name)] == [
            (t, Fraction(99)) for t in expected
        ]
    (folder / "bad.jsonl").write_text('{"path": "a", "start": NaN}\n{"path": "b", "end": 1e400}\n')
    assert [row.code for row in bad_rows("bad.jsonl")] == ["batch.row_invalid"] * 2


def test_paths_of_a_manifest_are_relative_to_its_folder(folder: Path) -> None:
    Path("d/list.txt").write_text("x.mp4\n/abs/y.mp4\n")
    assert [i.source for i in items_of("d/list.txt")] == ["d/x.mp4", "/abs/y.mp4"]


def test_a_job_resumed_in_another_folder_finds_the_same_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("d/list.txt").write_text("x.mp4\n")
    Path("m.jsonl").write_text('{"path": "d/b.mp4", "id": "one"}\n{"path": 3}\n')
    job = Job(inputs=("d", "d/*.mp4*", "d/list.txt", "m.jsonl", str(folder / "d/sub"), "y.mp4"))
    here = list(read_inputs(job.inputs))
    os.utime("d/b.mp4", ns=(1, 1))
    content = Content(size=0, mtime_ns=1, sha256="0" * 64)
    with planned(folder / "out", here, job) as journal:
        for taken in journal.claim(99):
            finish(journal, taken.item, content=content)
    (folder / "else").mkdir()
    monkeypatch.chdir(folder / "else")
    with Journal.open(folder / "out", write=True) as journal:
        kept = journal.job()
        assert kept is not None and kept == job
        assert kept.resolve_path("d/b.mp4") == str(folder / "d/b.mp4")
        there = list(read_inputs(kept.inputs, folder=kept.folder))
        assert there == here and len(there) == 11
        os.utime(folder / "d/b.mp4", ns=(5, 5))
        journal.plan(there, kept, MODEL)
        again = [taken.item.id for taken in journal.claim(99)]
        assert "d/b.mp4" in again and "one" in again
    with pytest.raises(ConfigError, match="absolute path"):
        Job(folder="d")


def test_invalid_rows_fail_alone(folder: Path) -> None:
    lines = [
        b'{"path": "good.mp4"}',
        b'{"path": 3}',
        b"[1]",
        b"not json",
        b'{"path": "a", "video": "b"}',
        b'{"path": "a", "start": "soon"}',
        b'{"path": "a", "start": 5, "end": 4}',
        b'{"question": "no path"}',
        b'{"path": "' + b"x" * MAX_ROW_BYTES + b'"}',
        b"[" * 100_000,
        b'{"path": "a", "options": [1]}',
        b'{"path": "last.mp4"}',
    ]
    Path("m.jsonl").write_bytes(b"\n".join(lines))
    found = list(read_inputs(["m.jsonl"]))
    assert [row.id for row in found if isinstance(row, Item)] == ["good.mp4", "last.mp4"]
    bad = [row for row in found if isinstance(row, BadRow)]
    assert [row.where for row in bad] == [f"m.jsonl line {n}" for n in range(2, 12)]
    assert {row.code for row in bad} == {"batch.row_invalid"}
    assert [row.id for row in bad] == [row.where for row in bad]
    assert "path is not a text" in bad[0].message and "2 of the columns" in bad[3].message


def test_invalid_csv_rows_fail_alone(folder: Path) -> None:
    Path("m.csv").write_text('path,id\na.mp4\n"b".mp4,x\n"c\nd.mp4",y\n' + "z" * 200_000 + ",w\n")
    found = list(read_inputs(["m.csv"]))
    assert [row.source for row in found if isinstance(row, Item)] == ["c\nd.mp4"]
    assert len([row for row in found if isinstance(row, BadRow)]) == 3


@pytest.mark.parametrize("count", [3, by_tier(100_000, quick=20_000)])
def test_an_open_quote_only_fails_its_own_row(folder: Path, count: int) -> None:
    after = "".join(f"clip{number:06}.mp4,{number}\n" for number in range(count))
    Path("m.csv").write_text('path,id\na.mp4,a\nb.mp4,"b\n' + after)
    found = list(read_inputs(["m.csv"]))
    assert [row.id for row in found if isinstance(row, Item)] == ["a", *map(str, range(count))]
    (bad,) = [row for row in found if isinstance(row, BadRow)]
    assert (bad.where, bad.code) == ("m.csv line 3", "batch.row_invalid")
    assert "no CSV" in bad.message


def test_a_csv_file_of_open_quotes_or_without_a_header_is_refused(folder: Path) -> None:
    # A quote, then half a mebibyte without another: no pair of them makes a row.
    line = 'x,"' + "y" * 600_000 + "\n"
    for text in ("path,id\n" + line + ("z" * 600_000 + "\n" + line) * 40, 'path,"id\na.mp4,a\n'):
        Path("m.csv").write_text(text)
        with pytest.raises(BatchError) as caught:
            list(read_inputs(["m.csv"]))
        assert caught.value.code == "batch.manifest_invalid"
        assert "no CSV" in caught.value.message


def test_repeated_ids_are_reported_and_repeated_sources_get_ids(folder: Path) -> None:
    rows = [
        {"path": "a.mp4", "id": "x"},
        {"path": "b.mp4", "id": "x"},
        {"path": "c.mp4", "question": "one?"},
        {"path": "c.mp4", "question": "two?"},
        {"path": "c.mp4", "question": "three?"},
        {"path": "c.mp4", "question": "one?"},
    ]
    Path("m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = list(read_inputs(["m.jsonl"]))
    assert [row.id for row in found if isinstance(row, Item)] == [
        *("x", "c.mp4", "c.mp4#2", "c.mp4#3")
    ]
    bad = bad_rows("m.jsonl")
    assert [(row.where, row.code) for row in bad] == [
        ("m.jsonl line 2", "batch.id_repeated"),
        ("m.jsonl line 6", "batch.id_repeated"),
    ]
    assert len({row.id for row in found}) == len(found)


def test_unreadable_inputs_are_errors(folder: Path) -> None:
    with pytest.raises(InputError) as missing:
        list(read_inputs(["none.csv"]))
    assert missing.value.code == "input.not_found"
    Path("m.parquet").write_bytes(b"PAR1 not")
    for inputs, code in (
        (["m.parquet"], "batch.manifest_invalid"),
        (["d/*.none"], "batch.no_input"),
        (["d/*.tar"], "batch.no_input"),
        ([], "batch.no_input"),
    ):
        with pytest.raises(BatchError) as caught:
            list(read_inputs(inputs))
        assert caught.value.code == code


def test_a_hash_set_holds_the_added_values() -> None:
    seen = HashSet()
    assert all(seen.add(str(number)) for number in range(20_000))
    assert not any(seen.add(str(number)) for number in range(20_000))
    assert "19999" in seen and "20000" not in seen
    assert seen.add(("a", "bc")) and seen.add(("ab", "c")) and not seen.add(("a", "bc"))


def test_a_path_and_the_same_path_with_values_are_two_items(folder: Path) -> None:
    mere, worded = "path,question\na.mp4,\n", "a.mp4,one?\n"
    Path("m.csv").write_text(mere + worded + worded + "a.mp4,\n")
    found = list(read_inputs(["m.csv"]))
    assert [row.id for row in found] == ["a.mp4", "a.mp4#2", "m.csv line 4", "m.csv line 5"]
    Path("n.csv").write_text("path,question\n" + worded + "a.mp4,\n" * 2 + worded)
    found = list(read_inputs(["n.csv"]))
    assert [row.id for row in found] == ["a.mp4", "a.mp4#2", "n.csv line 4", "n.csv line 5"]


def test_a_text_list_from_windows(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.mp4\r\nb.mp4\r\n")
    sources = [item.source for item in items_of(str(path))]
    assert sources == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
