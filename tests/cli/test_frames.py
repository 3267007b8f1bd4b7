"""``seedvideo frames``: formats of the pictures, their list, and what may be left out."""

import json
import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedvideo.cli.output import PNG, ImageEncoding, ImageFormat, encode_image
from seedvideo.cli.plan import remove_pictures
from tests.cli.conftest import Run
from tests.synthetic_clips import nearest

LIGHT = ("--policy", "uniform", "--budget", "300")


@pytest.mark.parametrize(
    ("words", "suffix", "kind"),
    [
        ((), ".png", "PNG"),
        (("--image-format", "jpeg"), ".jpg", "JPEG"),
        (("--image-format", "webp", "--image-quality", "50"), ".webp", "WEBP"),
    ],
)
def test_pictures_match_their_names(
    run: Run, clips: Path, tmp_path: Path, words: tuple[str, ...], suffix: str, kind: str
) -> None:
    out = tmp_path / "out"
    assert run("frames", clips / "two.mp4", "-o", out, *LIGHT, *words).code == 0
    plan = json.loads((out / "plan.json").read_text())["frames"]
    listed = json.loads((out / "frames.json").read_text())
    assert listed["source"] == str(clips / "two.mp4")
    for entry, planned in zip(listed["frames"], plan, strict=True):
        assert re.fullmatch(r"\d{4}_\d+\.\d{3}s" + re.escape(suffix), entry.pop("file"))
        assert entry == {name: planned[name] for name in entry}
        assert set(entry) == {"pts_s", "pts", "width_px", "height_px", "tokens"}
    listed = json.loads((out / "frames.json").read_text())
    for entry in listed["frames"]:
        with Image.open(out / entry["file"]) as picture:
            assert picture.format == kind
            assert picture.size == (entry["width_px"], entry["height_px"])
            assert nearest(np.asarray(picture)) == ("red" if entry["pts_s"] < 2 else "blue")
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"
    names = {entry["file"] for entry in listed["frames"]}
    assert set(os.listdir(out)) == names | {"frames.json", "plan.json", "contact_sheet.png"}


def test_no_sheets(run: Run, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("frames", clips / "two.mp4", "-o", out, "--budget", "800")
    assert run(*words).code == 0
    assert {"contact_sheet.png", "plan.png"} < set(os.listdir(out))
    code, _, err = run(*words, "--no-sheets", "--image-format", "jpeg", "--overwrite")
    assert (code, err) == (0, f"{len(os.listdir(out)) - 2} frames in {out}\n")
    assert {Path(name).suffix for name in os.listdir(out)} == {".jpg", ".json"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--image-quality", "90"), "--image-quality cannot be used with --image-format png"),
        (("--image-format", "png", "--image-quality", "1"), "png, which is lossless"),
        (("--image-format", "jpeg", "--image-quality", "0"), "--image-quality"),
        (("--image-format", "webp", "--image-quality", "101"), "--image-quality"),
        (("--image-format", "jpg"), "did you mean 'jpeg'?"),
    ],
)
def test_wrong_usage_makes_nothing(
    run: Run, clips: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    code, _, err = run("frames", clips / "red.mp4", "-o", tmp_path / "out", *words)
    assert (code, "[usage]" in err, expected in err) == (2, True, True)
    assert not (tmp_path / "out").exists()


def test_quality_and_exactness() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    sizes = {}
    forms: tuple[ImageFormat, ...] = ("jpeg", "webp")
    for form in forms:
        sizes[form] = [
            len(encode_image(pixels, ImageEncoding(form, quality))) for quality in (1, 50, 100)
        ]
        assert sizes[form] == sorted(sizes[form])
        assert 3 * sizes[form][0] < sizes[form][2]
    with Image.open(BytesIO(encode_image(pixels, PNG))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_pictures_of_any_earlier_run_are_removed_and_no_others(tmp_path: Path) -> None:
    ours = ("0001_0.000s.png", "0002_1.500s.jpg", "12345_9.000s.webp", "frames.json", "plan.png")
    theirs = ("0001_0.000s.gif", "x0001_0.000s.jpg", "0001.jpg", "frames.jsonl", "notes.txt")
    for name in (*ours, *theirs):
        (tmp_path / name).touch()
    remove_pictures(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(theirs)
