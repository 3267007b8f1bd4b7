"""The same bytes, whatever the number of workers, the clock, the time zone and the locale (B11)."""

import locale
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seedvideo.batch.export import export as write_export
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Filters
from seedvideo.batch.journal import Journal
from tests.batch.command import export, finish
from tests.batch.jobs import JOB, Make, run
from tests.tiers import exhaustive, slow

NAMES = ("a-red", "b-two", "c-black", "d-green", "e-red", "bug-red", "f-blue")


def exported(folder: Path) -> dict[str, bytes]:
    """Every form of export that is one file."""
    return {form: export(folder, form, folder / f"all.{form}") for form in ("jsonl", "csv", "html")}


@exhaustive
def test_one_two_and_four_workers(tmp_path: Path, made: Make) -> None:
    made(*NAMES)
    (tmp_path / "text.mp4").write_text("no video\n")
    found = []
    for workers in ("1", "2", "4"):
        out = tmp_path / f"out-{workers}"
        code, _, _ = finish(tmp_path, "-o", out, "--workers", workers, "--drop-duplicates")
        assert code == 1
        found.append(exported(out))
    assert found[0]["jsonl"].count(b"\n") == len(NAMES) + 1
    assert found[0] == found[1] == found[2]


@exhaustive
def test_zones_and_languages(tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made("a-red", "bug-red")
    found = []
    for number, (zone, language) in enumerate(
        (("UTC", "C"), ("Asia/Kathmandu", "de_DE.UTF-8"), ("America/St_Johns", "fa_IR"))
    ):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", language)
        out = tmp_path / f"out-{number}"
        assert finish(tmp_path, "-o", out)[0] == 1
        found.append(exported(out))
    assert found[0] == found[1] == found[2]


@pytest.fixture
def decimal_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A locale with 1,5 for this process, C libraries included; made if the system has none."""
    program = shutil.which("localedef")
    if program is None:
        pytest.skip("there is no localedef to make a language with")
    home = tmp_path / "languages"
    home.mkdir()
    words = [program, "-i", "de_DE", "-f", "UTF-8", str(home / "de_DE.UTF-8")]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("localedef knows no German here")
    monkeypatch.setenv("LOCPATH", str(home))
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    try:
        assert locale.localeconv()["decimal_point"] == ","
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def exported_here(folder: Path, items: list[Item]) -> list[bytes]:
    run(folder, items, replace(JOB, filters=Filters(min_duration_s=0.5)))
    made = []
    with Journal.open(folder, write=False) as journal:
        for form in ("jsonl", "csv", "html", "srt"):
            path = folder / f"all-{form}"
            write_export(journal, form, path, timings=False)
            files = [path] if path.is_file() else sorted(path.iterdir())
            made += [each.read_bytes() for each in files]
    return made


@exhaustive
def test_a_decimal_comma(tmp_path: Path, made: Make, request: pytest.FixtureRequest) -> None:
    items = made("a-red", "bug-red", "b-two")
    truth = exported_here(tmp_path / "point", items)
    request.getfixturevalue("decimal_comma")
    assert exported_here(tmp_path / "comma", items) == truth


@slow
def test_a_clock_that_jumps(tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    items = made("a-red", "bug-red", "b-two")
    truth = exported_here(tmp_path / "steady", items)
    chance = random.Random(11)
    monkeypatch.setattr(time, "time", lambda: chance.uniform(-1e9, 4e9))
    assert exported_here(tmp_path / "jumps", items) == truth
