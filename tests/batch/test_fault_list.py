"""A folder with every kind of bad clip: a verdict for each, and exports that are sound."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from seedvideo.batch.journal import Journal
from tests.batch.command import export, finish
from tests.batch.fault_injection import DONE, make_faults
from tests.batch.test_report import Page
from tests.fixtures import Clips
from tests.tiers import exhaustive, slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> tuple[Path, dict[str, str]]:
    """The folder, and what must become of each clip in it by its id."""
    home = tmp_path_factory.mktemp("faults")
    verdicts = make_faults(home / "clips", clips)
    return home, {f"{home / 'clips'}/{name}": verdict for name, verdict in verdicts.items()}


@pytest.fixture(scope="module")
def ran(expected: tuple[Path, dict[str, str]]) -> tuple[int, str, str]:
    """The job, run once by the command."""
    home, _ = expected
    return finish(home / "clips", "-o", home / "out", "--workers", "2", timeout_s=600)


@pytest.fixture
def out(expected: tuple[Path, dict[str, str]], ran: tuple[int, str, str]) -> Path:
    """Where the job is."""
    assert ran[0] == 1
    return expected[0] / "out"


def rows_of(out: Path, path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(out, "jsonl", path).splitlines()]


def test_each_clip_has_its_verdict_and_the_exit_code_reports_failures(
    expected: tuple[Path, dict[str, str]], ran: tuple[int, str, str]
) -> None:
    home, wanted = expected
    code, out, err = ran
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert all(line.isprintable() for line in err.splitlines())
    with Journal.open(home / "out", write=False) as journal:
        found = {e.item.id: e.code or e.state for e in journal.entries()}
        assert journal.counts().pending == journal.counts().running == 0
        assert journal.find_problems() == []
    assert found == wanted


@slow
def test_a_second_run_has_nothing_to_do(
    expected: tuple[Path, dict[str, str]], out: Path, tmp_path: Path
) -> None:
    before = export(out, "jsonl", tmp_path / "before.jsonl")
    code, _, err = finish("-o", out)
    assert code == 1
    assert f"{len(expected[1])} of {len(expected[1])} clips" in err
    assert export(out, "jsonl", tmp_path / "after.jsonl") == before


@exhaustive
def test_every_export_holds_every_clip(
    expected: tuple[Path, dict[str, str]], out: Path, tmp_path: Path
) -> None:
    _, wanted = expected
    rows = rows_of(out, tmp_path / "all.jsonl")
    assert [row["id"] for row in rows] == sorted(wanted, key=_order)
    for row in rows:
        verdict = wanted[row["id"]]
        assert (row["state"], (row.get("error") or {"code": DONE})["code"]) == (
            DONE if verdict == DONE else "failed",
            verdict,
        )
        assert bool(row.get("text")) == (verdict == DONE)
    export(out, "parquet", tmp_path / "all.parquet")
    assert len(parquet.read_table(tmp_path / "all.parquet")) == len(rows)
    export(out, "csv", tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    done = [name for name, verdict in wanted.items() if verdict == DONE]
    for form in ("srt", "vtt"):
        export(out, form, tmp_path / form)
        assert len(list((tmp_path / form).glob(f"*.{form}"))) == len(done)
    page = Page(export(out, "html", tmp_path / "all.html").decode())
    assert len(page.all("article")) == len(rows)


def _order(name: str) -> list[bytes]:
    return [os.fsencode(part) for part in name.split("/")]
