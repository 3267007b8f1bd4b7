"""Broken stills and keyframes at every entry point: the same answer, and never a bug of ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import seedvideo
from seedvideo.errors import SeedVideoError
from tests.cli.conftest import Run
from tests.fixtures import Clips
from tests.media.still_files import pictures, png, png_chunks, saved
from tests.sampler.test_damaged_start import damaged
from tests.synthetic_clips import ColourChooser, ColourModel, FixedAnswerModel

_Words = Callable[[Path, Path], tuple[str | Path, ...]]
ENTRIES: dict[str, _Words] = {
    "plan": lambda path, _: ("plan", path, "--json"),
    "plan uniform": lambda path, _: ("plan", path, "--policy", "uniform", "--json"),
    "plan keyframes": lambda path, _: ("plan", path, "--policy", "keyframes", "--json"),
    "plan seed1.5": lambda path, _: ("plan", path, "--policy", "seed1.5", "--json"),
    "plan packets": lambda path, _: ("plan", path, "--analysis", "packets", "--json"),
    "plan full": lambda path, _: ("plan", path, "--analysis", "full", "--json"),
    "frames": lambda path, out: ("frames", path, "-o", out),
    "caption": lambda path, _: ("caption", path, "--json"),
    "dense": lambda path, _: ("caption", path, "--dense", "--json"),
    "shots": lambda path, _: ("shots", path, "--json"),
    "ask": lambda path, _: ("ask", path, "Which colour?", "--options", "red,blue", "--json"),
    "ground": lambda path, _: ("ground", path, "a red picture", "--json"),
}
FEW = ("plan", "plan uniform", "frames", "caption", "shots", "ask", "ground")
DECODE_NOTHING = ("plan uniform", "plan keyframes", "plan seed1.5", "plan packets")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, coded_clips: Clips) -> dict[str, Path]:
    """A photo without its end, one without a picture, and a video without its keyframe."""
    folder = tmp_path_factory.mktemp("broken")
    photo, drawing = saved(pictures(77, 1), "JPEG"), saved(pictures(77, 1), "PNG")
    (folder / "half.jpg").write_bytes(photo[: len(photo) // 2])
    (folder / "half.png").write_bytes(drawing[: len(drawing) // 2])
    return {
        "half.jpg": folder / "half.jpg",
        "half.png": folder / "half.png",
        "h.mp4": damaged(coded_clips, "hevc"),
    }


def use(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    model = {"ask": ColourChooser(), "ground": FixedAnswerModel("0.0-0.04")}.get(
        entry, ColourModel()
    )
    monkeypatch.setattr(seedvideo.api, "load", lambda name="nano", options=None: model)


@pytest.mark.parametrize("entry", FEW)
def test_half_a_photo_is_used_with_a_warning(
    run: Run, broken: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    use(monkeypatch, entry)
    done = run(*ENTRIES[entry](broken["half.jpg"], tmp_path / "out"))
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "plan.json").read_text() if entry == "frames" else done.out
    if entry != "shots":
        payload = json.loads(text)
        assert [each["code"] for each in payload["media"]["warnings"]] == ["media.truncated"]


@pytest.mark.parametrize(
    ("name", "entry"),
    [*(("h.mp4", entry) for entry in ENTRIES), ("half.png", "plan"), ("half.png", "ground")],
)
def test_a_file_without_a_picture_is_an_error_with_a_code(
    run: Run,
    broken: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    entry: str,
) -> None:
    use(monkeypatch, entry)
    done = run(*ENTRIES[entry](broken[name], tmp_path / "out"))
    if name == "h.mp4" and entry in DECODE_NOTHING:
        assert done.code == 0, done.err  # The header and the packets are sound.
        return
    assert done.code == 1
    assert "[media.corrupt]" in done.err and name in done.err and "internal" not in done.err
    assert "hint:" in done.err
    assert not (tmp_path / "out").exists()


def test_python_gives_the_same(broken: dict[str, Path]) -> None:
    model = ColourModel()
    record = seedvideo.caption(broken["half.jpg"], model=model)
    assert record.media is not None
    assert [each.code for each in record.media.warnings] == ["media.truncated"]
    for name in ("half.png", "h.mp4"):
        with pytest.raises(SeedVideoError) as caught:
            seedvideo.plan(broken[name])
        assert caught.value.code == "media.corrupt"


def test_damage_that_the_analysis_met_is_in_the_plan(run: Run, coded_clips: Clips) -> None:
    path = damaged(coded_clips, "mpeg4")
    done = run("plan", path, "--budget", "2k", "--json")
    assert done.code == 0
    assert "media.damaged" in [each["code"] for each in json.loads(done.out)["media"]["warnings"]]
    assert "(media.damaged)" in run("plan", path, "--budget", "2k").out


def test_a_moving_png_is_planned_as_a_video(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "moving.png"
    chunks = list(png_chunks(saved(pictures(0, 8), "PNG", duration=500)))
    path.write_bytes(png(chunks))
    payload = json.loads(run("plan", path, "--policy", "uniform", "--json").out)
    assert payload["media"]["duration_s"] == 4.0 and len(payload["frames"]) > 1
