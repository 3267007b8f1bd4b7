"""Every command that takes a VIDEO takes an address."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seedvideo.cli import main
from tests.cli.conftest import Result, model, run
from tests.object_server import Server
from tests.synthetic_clips import ColourModel

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
