"""Lists that are wrong as a whole: refused before a job begins, each with what to do."""

import gzip
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from seedvideo import BatchError
from seedvideo.batch.inputs import read_inputs, validate_manifests
from tests.cli.conftest import Run, run

__all__ = ["run"]

TABLE = "path,question\nclips/a.mp4,What is this?\n"
NOISE = random.Random(7).randbytes(3_000)
WRONG = [
    ("semicolons.csv", TABLE.replace(",", ";").encode(), "separated by semicolons", "commas.csv"),
    ("tabs.csv", TABLE.replace(",", "\t").encode(), "separated by tabs", "'\\t'"),
    ("bars.csv", b'id|"path"\r\n1|a.mp4\r\n', "separated by bars", "'|'"),
    ("no_path.csv", b"id,name\n1,a.mp4\n", "no column names the video", "first line"),
    ("no_header.csv", b"clips/a.mp4\nclips/b.mp4\n", "no column names the video", ".txt"),
    ("twice.csv", b"path,label,label\na.mp4,1,2\n", "two columns have the same name", ""),
    ("excel.csv", TABLE.encode("utf-16"), "UTF-16", "iconv -f UTF-16"),
    ("wide.csv", TABLE.encode("utf-16-le"), "UTF-16", "iconv -f UTF-16"),
    ("german.csv", "path,größe\na.mp4,1\n".encode("cp1252"), "not UTF-8", "WINDOWS-1252"),
    ("sheet.csv", b"PK\x03\x04" + NOISE, "a zip file", "as CSV"),
    ("noise.csv", NOISE, "binary data", ""),
    ("packed.jsonl", gzip.compress(TABLE.encode()), "gzip", "gunzip -k"),
    ("array.jsonl", b'[\n  {"path": "a.mp4"},\n  {"path": "b.mp4"}\n]\n', "JSON", "jq -c '.[]'"),
    ("one_line.jsonl", b'[{"path": "a.mp4"}, {"path": "b.mp4"}]', "JSON", "jq -c '.[]'"),
    ("pretty.jsonl", b'{\n  "path": "a.mp4"\n}\n', "JSON", "jq -c ."),
    ("no_path.jsonl", b'{"file": "a.mp4"}\n{"file": "b.mp4"}\n', "its columns are file", "path"),
    ("mere.jsonl", b"a.mp4\nb.mp4\n", "no line is a JSON object", ".txt"),
    ("wide.jsonl", '{"path": "a.mp4"}\n'.encode("utf-16-be"), "UTF-16", "iconv"),
    ("table.txt", TABLE.encode(), "a table with commas", "mv table.txt table.csv"),
    ("lines.txt", b'{"path": "a.mp4"}\n', "JSON lines", "mv lines.txt lines.jsonl"),
    ("wide.txt", "clips/a.mp4\r\n".encode("utf-16"), "UTF-16", "iconv"),
    ("noise.txt", NOISE, "binary data", "the video itself"),
    ("noise.parquet", NOISE, "invalid parquet", ""),
]


@pytest.mark.parametrize(
    ("name", "data", "message", "hint"), WRONG, ids=[f"{row[0]}-{row[2]}" for row in WRONG]
)
def test_invalid_lists_are_refused(
    name: str,
    data: bytes,
    message: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    with pytest.raises(BatchError) as caught:
        validate_manifests([name])
    assert caught.value.code == "batch.manifest_invalid"
    assert message in caught.value.message and hint in caught.value.hint
    for words in (["-o", "out"], ["--dry-run"]):
        result = run("batch", "run", name, *words)
        assert (result.code, result.out) == (2, "")
        assert result.err.count("[batch.manifest_invalid]") == 1 and "hint: " in result.err
    assert os.listdir() == [name]


def test_parquet_without_a_path(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"file": ["a.mp4"]}), tmp_path / "m.parquet")
    with pytest.raises(BatchError, match="its columns are file"):
        validate_manifests([str(tmp_path / "m.parquet")])


def test_the_command_of_a_hint_mends_the_separators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my list.csv").write_text('path;question\na.mp4;"one, two; three?"\n')
    with pytest.raises(BatchError) as caught:
        validate_manifests(["my list.csv"])
    command = caught.value.hint.replace("python3", sys.executable)
    subprocess.run(["/bin/sh", "-c", command], check=True)
    (item,) = read_inputs(["commas.csv"])
    assert getattr(item, "question", "") == "one, two; three?"


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("hostile.txt", b"new\nline\0\xe2\x80\xaertl\0\x1b[2J\xff\xfe.mp4\0", 3),
        ("latin.txt", "Größe.mp4\nÄ.mp4\n".encode("latin-1"), 2),
        ("latin.csv", b"path,id\ncaf\xe9.mp4,1\n", 1),
        ("mark.csv", b"\xef\xbb\xbf\r\nPATH,\xe2\x82\xac;x\r\na.mp4,1\r\n", 1),
        ("late.jsonl", b"no\n" * 50 + b'{"path": "a.mp4"}\n', 51),
        ("comma.txt", b"path, to.mp4\n", 1),
        ("braces.txt", b"{a}.mp4\n", 1),
    ],
)
def test_unusual_but_valid_lists_are_accepted(
    name: str, data: bytes, count: int, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    assert len(list(read_inputs([str(tmp_path / name)]))) == count


@pytest.mark.parametrize("name", ["m.txt", "m.csv", "m.jsonl"])
def test_an_empty_list_has_no_input(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BatchError) as caught:
        list(read_inputs([str(tmp_path / name)]))
    assert caught.value.code == "batch.no_input"
