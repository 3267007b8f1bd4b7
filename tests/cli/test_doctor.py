"""``seedvideo doctor`` and ``seedvideo models``: facts ready to paste, and an honest exit code."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import seedvideo
import seedvideo.model
from seedvideo import api
from seedvideo.cli import doctor
from seedvideo.errors import ModelError
from seedvideo.model import ModelInfo, metadata
from seedvideo.model.families import FAMILIES
from seedvideo.model.presets import PRESETS
from tests.cli.conftest import Run


@pytest.mark.usefixtures("model")
def test_all_is_well(run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    facts = {line.split()[1]: line for line in out.splitlines()}
    assert list(facts) == list(doctor.CHECKS)
    assert seedvideo.__version__ in facts["seedvideo"]
    assert "FFmpeg" in facts["av"]
    assert "5 frames" in facts["decoding"]
    assert "colours c0c0c0c0c0c0" in facts["weights"]


def test_broken_weights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, options: object = None) -> None:
        raise ModelError("model.checkpoint_invalid", "weights are damaged\x1b[2J")

    monkeypatch.setattr(api, "load", refuse)
    code, out, _ = run("doctor")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("broken")]
    assert line.split()[1] == "weights"
    assert line.endswith("damaged\\x1b[2J [model.checkpoint_invalid]")


@pytest.mark.usefixtures("model")
def test_an_absent_option_is_not_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    code, out, _ = run("doctor")
    assert code == 0
    assert "absent  decord" in out


def test_models(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ModelInfo("nano", "Captions.", "research only", Path("weights"), 3 * 2**20)
    monkeypatch.setattr(seedvideo.model, "available", lambda: (listed,))
    monkeypatch.setattr(metadata, "verify_files", lambda folder: "ab" * 32)
    _, out, _ = run("models")
    own = f"nano  3.0 MiB  research only\n  Captions.\n  sha256 {'ab' * 32}\n"
    assert out.startswith(f"{own}\nopen-weight families: ")
    assert all(f"\n  {each.name} " in out for each in (*FAMILIES, *PRESETS))
    _, out, _ = run("models", "--json")
    first, *others = map(json.loads, out.splitlines())
    assert [(each["kind"], each["name"]) for each in others] == [
        *(("family", each.name) for each in FAMILIES),
        *(("server", each.name) for each in PRESETS),
    ]
    assert first == {
        "kind": "model",
        "name": "nano",
        "description": "Captions.",
        "licence": "research only",
        "size_bytes": 3 * 2**20,
        "sha256": "ab" * 32,
    }


@pytest.mark.usefixtures("model")
def test_json_has_stable_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, options: object = None) -> None:
        raise ModelError("model.checkpoint_invalid", "weights are damaged")

    monkeypatch.setattr(api, "load", refuse)
    monkeypatch.setattr(doctor, "_package_version", lambda package: None)
    code, out, err = run("doctor", "--json")
    facts = json.loads(out)
    assert (code, err, out.count("\n")) == (1, "", 1)
    assert list(facts) == [
        *("schema_version", "ok", "versions", "system", "decoders", "memory", "checks")
    ]
    assert facts["ok"] is False
    assert facts["versions"]["seedvideo"] == seedvideo.__version__
    assert facts["versions"]["torch"] is None
    assert facts["decoders"]["pyav"] is True
    assert facts["memory"]["total_bytes"] > 2**28
    assert set(facts["memory"]) == {"total_bytes", "available_bytes", "limit_bytes"}
    checks = {check["name"]: check for check in facts["checks"]}
    assert list(checks) == list(doctor.CHECKS)
    assert checks["av"]["state"] == "ok" and checks["av"]["code"] is None
    assert checks["weights"]["state"] == "broken"
    assert checks["weights"]["code"] == "model.checkpoint_invalid"


def test_memory_that_the_system_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", hidden)
    assert doctor.read_memory()["available_bytes"] is None


def test_a_missing_extra_is_named_once() -> None:
    with pytest.raises(doctor.NotInstalledError) as caught:
        doctor._optional("no-such-package", purpose="models on servers")
    assert str(caught.value) == "models on servers: no-such-package is not installed"
