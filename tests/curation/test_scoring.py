"""Scores of captions: models of the user, on real frames, with their failures reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seedvideo.curation.curate import curate
from seedvideo.curation.duplicates import DuplicateOptions
from seedvideo.curation.options import CurationOptions
from seedvideo.curation.scoring import CaptionScorer, Frames, load_scorer
from seedvideo.curation.table import iter_rows, open_tables
from seedvideo.errors import ConfigError, InputError, ModelError
from seedvideo.model.image_text import ImageTextModel
from tests.cli.conftest import Run, run
from tests.curation.tables import Row, read_rows, write_rows
from tests.model.tiny_image_text import make_clip, make_siglip
from tests.plugins import in_child, install_example
from tests.synthetic_clips import paint

__all__ = ["run"]

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    paint(folder / "red.mp4", ["red", "blue"])
    paint(folder / "white.mp4", ["white", "white"])
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


class Brightness:
    """Scores by brightness; keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def score(self, frames: Frames, text: str) -> list[float]:
        self.seen.append((len(frames), text))
        return [float(frame.mean()) / 255 for frame in frames]

    def embed(self, frames: Frames) -> np.ndarray[Any, Any]:
        return np.stack([frame.mean(axis=(0, 1)) for frame in frames])


@pytest.mark.parametrize("make", [make_clip, make_siglip])
def test_scores_are_cosines_of_the_model(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Compared with the model's own product of pictures and text."""
    folder = make(tmp_path / "model")
    model = ImageTextModel(folder)
    scores = model.score(list(PICTURES), "A man rides a red bike.")
    inner, processor = model._model, model._processor
    inputs = processor(
        text=["A man rides a red bike."],
        images=list(PICTURES),
        padding="max_length",
        truncation=True,
        max_length=16,
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = inner(**inputs).logits_per_image[:, 0]
        logits = logits - getattr(inner, "logit_bias", torch.zeros(1))
        expected = logits / inner.logit_scale.exp()
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(set(scores)) > 1
    assert np.linalg.norm(model.embed(list(PICTURES)), axis=1) == pytest.approx(np.ones(5))
    # A text longer than the model reads is cut; pictures do not depend on their batch.
    assert len(model.score(list(PICTURES[:1]), "red " * 100)) == 1
    twenty = [*PICTURES] * 4
    assert model.score(twenty, "red")[:5] == pytest.approx(model.score(twenty, "red")[15:])


def test_a_row_gets_mean_and_maximum_of_its_frames(videos: Path) -> None:
    rows: list[Row] = [
        {"path": "red.mp4", "text": "Red, then blue."},
        {"path": "white.mp4", "caption": "White.", "start": "0.5", "end": 1.5},
        {"path": "red.mp4", "id": "silent", "caption": ""},
        {"path": "none.mp4", "text": "Nothing."},
    ]
    table = open_tables([str(write_rows(videos / "t.jsonl", rows))])
    failed = []
    scorer = Brightness()
    scores = CaptionScorer(
        scorer,
        column="fit",
        max_frames=4,
        embeds=True,
        on_failure=lambda row, error: failed.append((row.path, error.code)),
    )
    assert scores.columns == ("fit", "fit_max")
    found = [scores.score(row) for row in iter_rows(table)]
    assert [text for _, text in scorer.seen] == ["Red, then blue.", "White."]
    assert all(1 <= count <= 4 for count, _ in scorer.seen)
    ((mean, most), vector), ((white, _), bright), ((silent, _), _), ((none, _), nothing) = found
    assert mean is not None and most is not None and white is not None
    assert 0.3 < mean <= most < 0.5 < 0.9 < white
    assert (silent, none, nothing) == (None, None, None)
    assert vector is not None and bright is not None
    assert vector[0] + vector[2] > 1.2 and bright == pytest.approx([3**-0.5] * 3, abs=0.01)
    assert failed == [("none.mp4", "input.not_found")]
    assert scores.failures == 1


def test_curate_scores_rows_that_other_filters_keep(
    run: Run, videos: Path, clip_folder: Path, tmp_path: Path
) -> None:
    rows: list[Row] = [
        {"path": "red.mp4", "text": "A red bike.", "x": 1},
        {"path": "white.mp4", "text": "A car.", "x": 1},
        {"path": "none.mp4", "text": "Never opened.", "x": 0},
    ]
    table = write_rows(videos / "s.jsonl", rows)
    output = tmp_path / "o.parquet"
    words = ["--clip-score", "fit", "--scorer", f"transformers:{clip_folder}"]
    words += ["--keep", "fit >= -1 and fit_max >= fit and x = 1"]
    found = run("curate", table, "-o", output, *words)
    assert (found.code, found.out) == (0, "")
    first, second = read_rows(output)
    assert -1 <= first["fit"] <= first["fit_max"] <= 1
    assert first["fit"] != second["fit"]
    assert first["path"].endswith("red.mp4")
    # A video that cannot be opened has no score, and is reported.
    rows[2] = {**rows[2], "x": 1}
    write_rows(table, rows)
    dropped = tmp_path / "d.jsonl"
    found = run("curate", table, "-o", output, *words, "--overwrite", "--dropped", dropped)
    assert found.code == 1
    assert "no such file [input.not_found]" in found.err
    assert read_rows(dropped)[0]["message"].endswith("fit is empty")


def test_columns_are_checked_before_any_video_is_opened(videos: Path, tmp_path: Path) -> None:
    table = write_rows(videos / "m.jsonl", [{"path": "red.mp4", "text": "Red."}])
    scorer = Brightness()
    options = CurationOptions(
        duplicates=DuplicateOptions(rules=frozenset({"near"})),
        scorer=CaptionScorer(scorer, column="fit", max_frames=2),
    )
    with pytest.raises(ConfigError, match="--drop-near needs the column 'signature'"):
        curate([str(table)], tmp_path / "o.jsonl", options)
    assert scorer.seen == []


def test_semantic_duplicates_by_the_scorer(
    run: Run, videos: Path, clip_folder: Path, tmp_path: Path
) -> None:
    paint(videos / "again.mp4", ["red", "blue"], fps=12)
    rows: list[Row] = [{"path": f"{name}.mp4", "text": name} for name in ("red", "white", "again")]
    table = write_rows(videos / "e.jsonl", rows)
    words = ["--clip-score", "fit", "--scorer", f"transformers:{clip_folder}", "--drop-semantic"]
    dropped = tmp_path / "d.jsonl"
    found = run("curate", table, "-o", tmp_path / "o.jsonl", *words, "--dropped", dropped)
    assert found.code == 0
    assert [(row["id"], row["kept"]) for row in read_rows(dropped)] == [("again.mp4", "red.mp4")]


def test_wrong_checkpoints_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_scorer(f"transformers:{tmp_path / 'none'}")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_scorer(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError) as caught:
        load_scorer(f"transformers:{tmp_path}")
    assert caught.value.code == "model.checkpoint_invalid"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in clip_folder.iterdir():
        if path.suffix != ".safetensors":
            (damaged / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError) as caught:
        load_scorer(f"transformers:{damaged}")
    assert caught.value.code == "model.checkpoint_invalid"


def test_a_scorer_without_embeddings_cannot_serve_duplicates() -> None:
    class Plain:
        def score(self, frames: Frames, text: str) -> list[float]:
            return [0.0] * len(frames)

    with pytest.raises(ConfigError, match="needs embeddings"):
        CaptionScorer(Plain(), column="fit", max_frames=2, embeds=True)


def test_a_package_adds_a_scorer(videos: Path, tmp_path: Path) -> None:
    site, output = tmp_path / "site", tmp_path / "o.jsonl"
    install_example(site)
    rows: list[Row] = [{"path": "white.mp4", "text": "White."}]
    table = write_rows(videos / "p.jsonl", rows)
    words = ["curate", table, "-o", output, "--clip-score", "light", "--scorer", "brightness"]
    done = in_child(site, *words)
    assert done.returncode == 0, done.stderr
    assert read_rows(output)[0]["light"] > 0.9
    # Its faults are reported as those of its package.
    install_example(site, replaced={"float(frame.mean()) / 255 for frame in frames": "1.0"})
    done = in_child(site, *words, "--overwrite")
    assert done.returncode == 2
    assert "returned 1 scores, expected" in done.stderr
    assert "[config.plugin_invalid]" in done.stderr
