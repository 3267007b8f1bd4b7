"""``seedvideo batch export`` of datasets: options, messages and exit codes."""

from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.batch.export import EXPORT_FORMATS as FILES
from seedvideo.batch.inputs import Item
from seedvideo.cli.option_values import EXPORT_FORMATS, FILE_FORMATS
from seedvideo.datasets.export import DATASET_FORMATS
from tests.cli.conftest import Run
from tests.datasets.clip_jobs import all_bytes, job_of


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return job_of(tmp_path)


def test_the_names_of_the_formats_are_those_of_the_exports() -> None:
    assert FILE_FORMATS == FILES
    assert (*FILES, *DATASET_FORMATS) == EXPORT_FORMATS


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("dataset", "9 clips in 2 files: {out}\n"),
        ("webdataset", "4 clips in 3 files: {out}; not in it: 5 without a result\n"),
        ("hf", "4 clips in 4 files: {out}; not in it: 5 without a result\n"),
    ],
)
def test_a_dataset_reports_its_clips(
    run: Run, job: Path, tmp_path: Path, form: str, message: str
) -> None:
    out = tmp_path / "out"
    result = run("batch", "export", job, "-f", form, "-o", out)
    assert (result.code, result.out) == (0, "")
    assert result.err == message.format(out=out)
    result = run("batch", "export", job, "-f", form, "-o", out)
    assert result.code == 1 and "is not empty" in result.err and "[output.exists]" in result.err
    before = all_bytes(out)
    assert run("batch", "export", job, "-f", form, "-o", out, "--overwrite", "-q").code == 0
    assert all_bytes(out) == before


def test_clips_without_their_bytes_end_with_1(run: Run, job: Path, tmp_path: Path) -> None:
    (tmp_path / "clips" / "long.mp4").unlink()
    out = tmp_path / "out"
    result = run("batch", "export", job, "-f", "webdataset", "-o", out)
    assert result.code == 1
    first, last = result.err.splitlines()
    assert first == f"long.mp4: {tmp_path}/clips/long.mp4: no such file [input.not_found]"
    assert last.endswith("not in it: 5 without a result, 1 that cannot be read")
    assert (out / "dataset.json").exists()


def test_options_reach_the_dataset(run: Run, job: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id\na/one.mp4\n")
    words = ["--rows", rows, "--copies", "--shard-gib", "0.000001", "--sheets"]
    result = run("batch", "export", job, "-f", "webdataset", "-o", tmp_path / "out", *words)
    assert result.err == f"3 clips in 5 files: {tmp_path / 'out'}\n"
    assert b".jpg\0" in (tmp_path / "out" / "train-000000.tar").read_bytes()
    words = ["--no-bytes", "--licence", "CC0"]
    assert run("batch", "export", job, "-f", "hf", "-o", tmp_path / "hf", *words).code == 0
    card = (tmp_path / "hf" / "README.md").read_text()
    assert 'license: "CC0"' in card and "at the address in" in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-f dataset", "-f dataset writes several files: name a folder with -o"),
        ("-f hf -o -", "-f hf writes several files"),
        ("-f csv --copies", "--copies is for datasets (-f dataset, webdataset or hf)"),
        ("-f dataset -o OUT --shard-gib 2", "--shard-gib is for -f webdataset and -f hf, not for"),
        ("-f webdataset -o OUT --no-bytes", "--no-bytes is for -f hf, not for -f webdataset"),
        ("-f hf -o OUT --sheets", "--sheets is for -f webdataset, not for -f hf"),
        ("-f dataset -o OUT --cut exact", "--cut is for -f webdataset and -f hf, not for"),
        ("-f webdataset -o OUT --licence x", "--licence is for -f hf"),
        ("-f hf -o OUT --shard-gib 0", "shard_gib is 0.0, expected a number above 0"),
        ("-f lance -o OUT", "'lance' is not one of"),
    ],
)
def test_wrong_usage(run: Run, job: Path, tmp_path: Path, words: str, message: str) -> None:
    out = str(tmp_path / "out")
    result = run("batch", "export", job, *(word.replace("OUT", out) for word in words.split()))
    assert result.code == 2 and message in result.err
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_output_must_exist(run: Run, job: Path, tmp_path: Path) -> None:
    result = run("batch", "export", job, "-f", "hf", "-o", tmp_path / "none" / "out")
    assert result.code == 3 and "[output.unwritable]" in result.err


def test_windows_are_refused_with_the_next_step(run: Run, tmp_path: Path) -> None:
    window = Item(id="w", source="a/one.mp4", start_s=Fraction(0), end_s=Fraction(1))
    job = job_of(tmp_path, first=window)
    result = run("batch", "export", job, "-f", "webdataset", "-o", tmp_path / "out")
    assert result.code == 1 and "[batch.clips_not_cut]" in result.err
    assert "hint: cut them: --cut exact" in result.err
    words = ["--cut", "exact", "-q"]
    result = run("batch", "export", job, "-f", "webdataset", "-o", tmp_path / "out", *words)
    assert result.code == 0
