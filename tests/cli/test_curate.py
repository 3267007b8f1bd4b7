"""The command curate: what it writes, prints and refuses."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.curation.tables import Row, read_ids, read_rows, write_rows
from tests.tiers import slow

ROWS = [
    {
        "id": f"c{number}",
        "path": f"c{number}.mp4",
        "duration_s": number / 2,
        "domain": "ab"[number > 2],
    }
    for number in range(6)
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "t.jsonl", ROWS)


def test_rows_that_stay_and_reasons(run: Run, table: Path, tmp_path: Path) -> None:
    output, dropped, page = (tmp_path / name for name in ("o.csv", "d.csv", "r.html"))
    words = ["--keep", "duration_s >= 1", "--preset", "clip-length", "--balance", "cap:1"]
    words += ["--by", "domain", "--dropped", str(dropped), "--report", str(page)]
    found = run("curate", table, "-o", output, *words)
    assert (found.code, found.out) == (0, "")
    assert found.err.splitlines() == [
        f"1 of 6 (16.7%) rows stay: {output}",
        "  keep                2 dropped",
        "  preset:clip-length  2 dropped",
        "  balance             1 dropped",
    ]
    rows = {row["id"]: (row["rule"], row["message"]) for row in read_rows(dropped)}
    assert rows["c0"] == ("keep", "not duration_s >= 1: duration_s is 0.0")
    assert rows["c3"] == ("preset:clip-length", "not 2 <= duration_s <= 10: duration_s is 1.5")
    (kept,) = read_ids(output)
    (other,) = {"c4", "c5"} - {kept}
    assert rows[other] == ("balance", "cap:1: b has 2 clips")
    assert "<h1>1 of 6 clips stay</h1>" in page.read_text()


def test_unusable_rows_are_exit_code_1(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"path": "a"}\n{\n')
    found = run("curate", table, "-o", tmp_path / "o.jsonl")
    assert found.code == 1
    assert "row_invalid  1 dropped" in found.err
    assert "list the unusable rows with --dropped FILE" in found.err
    assert read_ids(tmp_path / "o.jsonl") == ["a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep", "duration_s >"], "expected a column, a number"),
        (["--keep", "motion_mean > 1"], "--keep needs the column 'motion_mean'"),
        (["--preset", "moving"], "--preset moving needs the column 'motion_mean'"),
        (["--preset", "fast"], "--preset is 'fast', expected one of moving,"),
        (["--drop-near"], "--drop-near needs the column 'signature'"),
        (["--drop-duplicates"], "--drop-exact needs the column 'sha256'"),
        (["--drop-same-caption"], "--drop-same-caption needs the column 'caption'"),
        (["--drop-semantic"], "--drop-semantic needs embeddings"),
        (["--drop-semantic", "--embeddings", "none.npy"], "none.npy: no such file"),
        (["--near-distance", "3"], "--near-distance needs --drop-near"),
        (["--caption-similarity", "0.5"], "--caption-similarity needs --drop-same-caption"),
        (["--prefer", "duration_s"], "--prefer needs a rule for duplicates"),
        (["--balance", "cap:0", "--by", "domain"], "--balance is 'cap:0', expected one of cap:"),
        (["--balance", "cap:5"], "--balance cap:5 needs domains"),
        (["--by", "domain"], "--by needs --balance, or --report"),
        (["--seed", "0"], "--seed needs --balance"),
        (["--weights"], "--weights needs --balance"),
        (["--balance", "cap:5", "--concepts", "w.txt"], "w.txt: no such file"),
        (["--clip-score", "clip"], "--clip-score and --scorer need each other"),
        (["--clip-score", "clip", "--scorer", "none"], "--scorer is 'none', expected one of trans"),
        (["--report", "r.txt"], "--report is 'r.txt', expected a name that ends in .html"),
        (["--dropped", "o.jsonl"], "-o and --dropped name the same file, o.jsonl"),
        (["--report", "o.jsonl"], "-o and --report name the same file, o.jsonl"),
        (["-o", "t.jsonl", "--overwrite"], "-o t.jsonl is one of the tables"),
        (["-o", "o.txt"], "-o is 'o.txt', expected a name that ends in .csv, .jsonl or"),
    ],
)
def test_wrong_usage(
    run: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("curate", table, "-o", "o.jsonl", *words)
    assert found.code in (2, 3)
    assert message in found.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.jsonl"]


def test_unknown_comparisons_are_counted(run: Run, tmp_path: Path) -> None:
    rows: list[Row] = [{"path": str(n), "score": n % 2 or None, "tags": ["x"]} for n in range(10)]
    table = write_rows(tmp_path / "t.jsonl", rows)
    found = run("curate", table, "-o", tmp_path / "o.csv", "--keep", "not score < 1")
    assert "keep  5 dropped, of which 5 for a value that is empty or of another type" in found.err
    words = ("--keep", "tags = 'x'", "--overwrite")
    found = run("curate", table, "-o", tmp_path / "o.csv", *words)
    assert "keep  10 dropped, of which 10 for a value" in found.err
    found = run("curate", table, "-o", tmp_path / "o.csv", "--keep", "path > '4'", "--overwrite")
    assert "dropped\n" in found.err


def test_an_existing_output_stays(run: Run, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    output.write_text("mine")
    assert run("curate", table, "-o", output).code == 3
    assert output.read_text() == "mine"
    assert run("curate", table, "-o", output, "--overwrite").code == 0
    assert read_ids(output) == [row["id"] for row in ROWS]


@slow
def test_copies_are_captioned_once(run: Run, clips: Path, tmp_path: Path) -> None:
    """A job of the output has a record for each row, made by one run of the model."""
    often: Row = {"path": str(clips / "two.mp4"), "domain": "often"}
    rows: list[Row] = [{"path": str(clips / "red.mp4"), "domain": "rare"}]
    rows += [{**often, "end": end} for end in (1, 2, 3, 4)]
    table = write_rows(tmp_path / "t.jsonl", rows)
    output, job, export = tmp_path / "o.jsonl", tmp_path / "job", tmp_path / "e.jsonl"
    words = ["--balance", "boost:3", "--by", "domain", "--keep", "domain = 'rare' or end < 3"]
    assert run("curate", table, "-o", output, *words).code == 0
    ids = read_ids(output)
    assert len(ids) == 3 and not any("~" in name for name in ids)  # 1 is not below half of 1.5
    assert run("curate", table, "-o", output, *words[:4], "--overwrite").code == 0
    ids = read_ids(output)
    assert [name.rpartition("/")[2] for name in ids[:3]] == ["red.mp4", "red.mp4~2", "red.mp4~3"]
    assert run("batch", "run", output, "-o", job, "--model", "nano", "--budget", "256").code == 0
    assert run("batch", "export", job, "-f", "jsonl", "-o", export).code == 0
    exported = {row["id"]: row for row in read_rows(export)}
    assert list(exported) == ids
    assert len({exported[name]["text"] for name in ids[:3]}) == 1
    with sqlite3.connect(job / "journal.sqlite") as tables:
        assert tables.execute("SELECT COUNT(*) FROM records").fetchone() == (5,)
