"""The joined model: gradients, places of visual tokens, sizes, and training's packed answers."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from seedvideo.model.backends.base import TASKS
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.metadata import (
    ANSWER_ID,
    END_ID,
    FRAME_END_ID,
    FRAME_ID,
    IMAGE_ID,
    SPECIAL_TOKENS,
)
from seedvideo.model.seedvl import AnswerConfig, SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import VitConfig
from seedvideo.sampler.geometry import TOKEN_PX

DECODER = DecoderConfig(vocabulary=50, width=32, depth=2, heads=2, kv_heads=1, hidden=48)
TINY = SeedVLConfig(vit=VitConfig(width=32, depth=1, heads=2), adapter_hidden=48, decoder=DECODER)


# Neither its width nor its depth is the other's.
WITH_ANSWER = replace(
    TINY,
    answer=AnswerConfig(
        adapter_hidden=40,
        decoder=DecoderConfig(vocabulary=50, width=24, depth=3, heads=2, kv_heads=1, hidden=32),
    ),
)


def tiny_model(config: SeedVLConfig = TINY) -> SeedVL:
    model = SeedVL(config)
    initialise(model, seed=0)
    return model.eval()


def noise(height_px: int, width_px: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (height_px, width_px, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("embedding", ["linear", "conv"])
def test_gradients_reach_every_parameter(embedding: str) -> None:
    if embedding == "linear":
        config, side_px = TINY, TOKEN_PX
    else:
        config = SeedVLConfig.nano(vocabulary=50)
        side_px = config.token_px
    model = tiny_model(config).train()
    # Two tokens wide, so that attention has something to choose from.
    frames = [noise(side_px, 2 * side_px, seed) for seed in range(2)]
    frame_ids = [FRAME_ID, IMAGE_ID, IMAGE_ID, FRAME_END_ID]
    ids = torch.tensor([[*frame_ids, *frame_ids, 20, ANSWER_ID, 21, END_ID]])
    logits = model(ids, frames)
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    loss.backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert silent == []


def test_visual_tokens_replace_their_ids_in_order() -> None:
    model = tiny_model()
    ids = torch.tensor([[7, IMAGE_ID, 8], [IMAGE_ID, 9, IMAGE_ID]])
    visual = torch.arange(3.0).view(3, 1).expand(3, 32)
    x = model.embed(ids, visual).detach()
    assert [float(x[0, 1, 0]), float(x[1, 0, 0]), float(x[1, 2, 0])] == [0.0, 1.0, 2.0]
    torch.testing.assert_close(x[0, 0], model.decoder.embedding.weight[7])


@pytest.mark.parametrize("places", [0, 1, 3])
def test_a_wrong_number_of_image_ids_is_refused(places: int) -> None:
    ids = torch.tensor([[IMAGE_ID] * places + [10]])
    with pytest.raises(ValueError, match=f"got 2 visual tokens, expected {places}"):
        tiny_model().embed(ids, torch.zeros(2, 32))


def test_frames_of_different_sizes_go_together() -> None:
    model = tiny_model()
    frames = [noise(TOKEN_PX, 2 * TOKEN_PX), noise(2 * TOKEN_PX, TOKEN_PX), noise(28, 28)]
    ids = torch.tensor([[IMAGE_ID] * 5 + [10]])
    assert model(ids, frames).shape == (1, 6, 50)


def test_special_ids_are_their_indices() -> None:
    assert SPECIAL_TOKENS[END_ID] == "<end>"
    assert SPECIAL_TOKENS[IMAGE_ID] == "<image>"
    assert SPECIAL_TOKENS[ANSWER_ID] == "<answer>"


def test_config_survives_json() -> None:
    config = SeedVLConfig.nano(vocabulary=99, dropout=0.25)
    assert SeedVLConfig.from_json(config.to_json()) == config
    assert SeedVLConfig.from_json(WITH_ANSWER.to_json()) == WITH_ANSWER
    with pytest.raises(TypeError):
        SeedVLConfig.from_json({**config.to_json(), "surprise": 1})


def test_a_model_without_an_answer_branch_uses_one_branch_for_every_task() -> None:
    model = tiny_model()
    for task in TASKS:
        assert model.branch(task) == (model.adapter, model.decoder)


def test_an_answer_branch_leaves_captions_as_they_were() -> None:
    plain, both = tiny_model(), tiny_model(WITH_ANSWER)
    assert {name for name in both.state_dict() if name not in plain.state_dict()} == {
        name for name in both.state_dict() if name.startswith("answer.")
    }
    for name, value in plain.state_dict().items():
        assert torch.equal(both.state_dict()[name], value), name
    ids, frames = torch.tensor([[IMAGE_ID, 10, 11]]), [noise(28, 28)]
    assert torch.equal(plain(ids, frames), both(ids, frames))
    asked = both(ids, frames, task="ask")
    assert torch.equal(asked, both(ids, frames, task="ground"))
    assert not torch.equal(asked, both(ids, frames))
    assert both.encode_frames(frames, task="ask").shape == (1, 24)


def test_gradients_of_an_answer_reach_its_branch_and_the_encoder_alone() -> None:
    model = tiny_model(WITH_ANSWER).train()
    ids = torch.tensor([[FRAME_ID, IMAGE_ID, IMAGE_ID, FRAME_END_ID, 20, ANSWER_ID, 21, END_ID]])
    logits = model(ids, [noise(28, 56)], task="ask")
    torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {
        name for name, _ in model.named_parameters() if name.startswith(("vit.", "answer."))
    }


def test_residual_outputs_start_by_the_depth_of_their_own_stack() -> None:
    deep = replace(DECODER, depth=50, hidden=400)
    config = replace(TINY, answer=AnswerConfig(adapter_hidden=8, decoder=deep))
    weights = tiny_model(config).state_dict()
    down = weights["answer.decoder.blocks.0.feed_forward.down.weight"]
    assert float(down.std()) == pytest.approx(0.02 / 10, rel=0.05)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of caption, ask, ground"):
        tiny_model().branch("draw")  # type: ignore[arg-type]


def test_branches_share_a_vocabulary() -> None:
    other = replace(DECODER, vocabulary=51)
    with pytest.raises(ValueError, match="must share one vocabulary"):
        replace(TINY, answer=AnswerConfig(adapter_hidden=8, decoder=other))


def test_published_sizes() -> None:
    published = SeedVLConfig.published()
    assert asdict(published.vit) == {
        "width": 1280,
        "depth": 27,
        "heads": 20,
        "mlp_ratio": 4.0,
        "embedding": "linear",
        "dropout": 0.0,
    }
    assert published.token_px == TOKEN_PX
    with torch.device("meta"):
        model = SeedVL(published)
    decoder = sum(parameter.numel() for parameter in model.decoder.parameters())
    assert decoder == pytest.approx(20e9, rel=0.05)


def test_initialise_is_repeatable() -> None:
    first, second = tiny_model(), tiny_model()
    for name, value in first.state_dict().items():
        if "patches" not in name or "project" in name:
            assert torch.equal(value, second.state_dict()[name]), name


def test_forward_needs_no_frames() -> None:
    ids = torch.tensor([[10, 11, 12]])
    assert np.isfinite(tiny_model()(ids, []).detach().numpy()).all()
