"""The promise of a plan: its tokens are those that the model really reads, to the last one."""

from pathlib import Path

import pytest

import seedvideo
from seedvideo.config import PolicyName
from seedvideo.model.backends.base import interleave
from seedvideo.model.checkpoint import CheckpointConfig, save_checkpoint
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import VitConfig
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.tasks.prompts import CAPTION_PROMPT
from seedvideo.training.export import learn_vocabulary
from tests.synthetic_clips import paint

GEOMETRY = TokenGeometry(
    name="tiny",
    token_px=28,
    levels_tokens=(24, 12, 6),
    min_frame_tokens=2,
    default_budget_tokens=300,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small native model that was never trained: it counts as the large ones do."""
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = folder / "words.json"
    learn_vocabulary(["a man rides a bike", CAPTION_PROMPT, "[12.5 second]"], vocabulary, size=300)
    config = SeedVLConfig(
        vit=VitConfig(width=32, depth=1, heads=2),
        adapter_hidden=32,
        decoder=DecoderConfig(vocabulary=300, width=32, depth=1, heads=2, kv_heads=1, hidden=64),
    )
    model = SeedVL(config)
    initialise(model, seed=0)
    described = CheckpointConfig(
        name="tiny", description="for tests", licence="none", model=config, geometry=GEOMETRY
    )
    save_checkpoint(folder / "tiny", described, model.state_dict(), vocabulary.read_text())
    return folder / "tiny"


@pytest.mark.parametrize("policy", ["uniform", "keyframes", "seed1.5"])
@pytest.mark.parametrize("budget_tokens", [None, 60, 1_000])
def test_a_plan_counts_as_the_model_does(
    checkpoint: Path, tmp_path: Path, policy: PolicyName, budget_tokens: int | None
) -> None:
    model = seedvideo.load(str(checkpoint))
    path = paint(tmp_path / "long.mp4", ["red", "green", "blue"], shot_s=5)
    with seedvideo.open(path) as video:
        plan = seedvideo.plan(video, model=model, policy=policy, budget_tokens=budget_tokens)
        frames = [(frame.pts, frame.pixels) for _, frame in video.frames(plan)]
    usage = model.generate(interleave(frames, CAPTION_PROMPT), max_new_tokens=2, beams=1).usage
    assert usage.visual_tokens == plan.totals.visual_tokens
    # The prompt's own words, and the mark after which the answer begins.
    words = model.count_text_tokens(CAPTION_PROMPT) + 1
    assert usage.prompt_tokens == plan.totals.tokens + words
    if policy != "seed1.5":
        assert plan.charged_tokens == plan.totals.tokens
    assert plan.charged_tokens <= plan.budget_tokens
