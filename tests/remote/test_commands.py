"""Every command that takes a VIDEO takes an address."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seedvideo.cli import main
from tests.cli.conftest import Result, model, run
from tests.object_server import Server
from tests.remote.fault_server import FaultServer
from tests.remote.test_containers import tar_of
from tests.synthetic_clips import ColourModel, paint

__all__ = ["model", "run"]


@pytest.mark.parametrize(
    "words",
    [
        ["caption", "VIDEO"],
        ["ask", "VIDEO", "what is it?"],
        ["ground", "VIDEO", "the blue wall"],
        ["plan", "VIDEO"],
        ["frames", "VIDEO", "-o", "OUT", "--max-frames", "2"],
        ["shots", "VIDEO"],
        ["batch", "run", "VIDEO", "--dry-run", "--max-frames", "2"],
        ["batch", "run", "VIDEO", "-o", "OUT", "--max-frames", "2"],
    ],
    ids=lambda words: "-".join(word for word in words if word.islower())[:12],
)
def test_a_command_takes_an_address(
    words: list[str],
    run: Callable[..., Result],
    model: ColourModel,
    store: Server,
    clip: bytes,
    tmp_path: Path,
) -> None:
    store.put("clips", "red.mp4", clip)
    named = {"VIDEO": "s3://clips/red.mp4", "OUT": str(tmp_path / "out")}
    options = ["--store-endpoint", store.endpoint, "--spool", str(tmp_path / "spool")]
    done = run(*(named.get(word, word) for word in words), *options)
    # The model of the tests names colours, which are not spans.
    assert done.code == 0 or "contains no time span: 'red then blue'" in done.err, done.err
    assert list((tmp_path / "spool").iterdir()) == []
    written = "".join(
        path.read_text(encoding="latin-1") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert "secret" not in done.out + done.err + written


def test_a_manifest_cannot_set_the_endpoint(
    run: Callable[..., Result], store: Server, clip: bytes, tmp_path: Path
) -> None:
    store.put("clips", "red.mp4", clip)
    row = {"path": "s3://clips/red.mp4", "store_endpoint": "http://127.0.0.1:9", "anonymous": True}
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps(row) + "\n", encoding="utf-8")
    done = run("plan", listed, "--store-endpoint", store.endpoint)
    assert done.code == 0, done.err


def test_the_help_of_every_command_has_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["caption"], ["ask"], ["ground"], ["plan"], ["frames"], ["shots"]):
        assert main([*words, "--help"]) == 0
        assert "--allow-private-addresses" in capsys.readouterr().out


def test_split_takes_addresses_tars_and_parquet_files(
    run: Callable[..., Result],
    store: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    monkeypatch.chdir(tmp_path)
    clip = paint(tmp_path / "film.mp4", ["red", "blue"], shot_s=2).read_bytes()
    tar = tar_of(("d/a.mp4", clip), ("d/a.json", b'{"label": "x", "start_s": 9}'))
    Path("here.tar").write_bytes(tar)
    parquet.write_table(pyarrow.table({"video": [clip], "label": ["x"]}), "here.parquet")
    store.put("clips", "red.mp4", clip)
    store.put("clips", "c.tar", tar)
    sources = {
        "s3://clips/red.mp4": "s3://clips/red.mp4",
        "s3://clips/c.tar": "s3://clips/c.tar::d/a.mp4",
        "here.tar": "../here.tar::d/a.mp4",
        "here.parquet": "../here.parquet::0",
    }
    Path("rows").mkdir()
    shared = ("--store-endpoint", store.endpoint)
    options = (*shared, "--min-s", "0.3", "--crop-s", "0.1")
    assert run("split", *sources, "-o", "rows/a.jsonl", *options).code == 0
    rows = [json.loads(line) for line in Path("rows/a.jsonl").read_text().splitlines()]
    shots = [(row["shot"], row["of_shots"]) for row in rows]
    assert shots == 4 * [(1, 2), (2, 2)]
    assert [row["path"] for row in rows[::2]] == list(sources.values())
    assert [row.get("label") for row in rows[::2]] == [None, "x", "x", "x"]
    words = ("-o", "job", "--dry-run", "--json", "--budget", "1k", *shared)
    assert json.loads(run("batch", "run", "rows/a.jsonl", *words).out)["clips"] == 8

    files = ("--clips", "files", "-o", "rows/b.jsonl")
    assert run("split", *sources, *files, *options).code == 0
    cuts = [json.loads(line) for line in Path("rows/b.jsonl").read_text().splitlines()]
    assert [row["film"] for row in cuts] == [row["path"] for row in rows]
    assert len({row["film_sha256"] for row in cuts}) == 1
    assert len({row["path"] for row in cuts}) == 8
    assert all((Path("rows") / row["path"]).is_file() for row in cuts)

    dry = run("batch", "run", *sources, "--split", "shots", *options, *words[:-2])
    assert json.loads(dry.out)["clips"] == 8, dry.err


def test_split_writes_no_rows_that_lack_a_signature(
    run: Callable[..., Result],
    server: FaultServer,
    clip: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files["/a.mp4"] = clip
    options = ("--allow-http", "--allow-private-addresses", "--min-s", "0.3")
    for query in ("X-Amz-Signature=SECRET", "token=SECRET"):
        words = (f"{server.url}/a.mp4?{query}", "-o", "rows.csv", *options)
        refused = run("split", *words)
        assert refused.code == 2
        assert "--split shots" in refused.err and "--clips DIR" in refused.err
        assert not Path("rows.csv").exists()
        assert not server.requests
    # Files need no address.
    assert run("split", *words, "--clips", "files").code == 0
    assert list(Path("files").iterdir())
    assert "SECRET" not in Path("rows.csv").read_text()
