"""The answer branch's training: rows ask what their frames show, and a run can be resumed."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from seedvideo.evaluate.synthetic.world import COLOURS, HELD_OUT, SHAPES, all_coloured_shapes
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.metadata import ANSWER_ID, END_ID, FRAME_END_ID
from seedvideo.model.seedvl import AnswerBranch, AnswerConfig, SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import (
    STEM_CHANNELS,
    STEM_STRIDE_PX,
    VitConfig,
    make_thumbnails,
    scale_thumbnails,
)
from seedvideo.training.answer_batches import (
    POOL_STEPS,
    BucketedBatches,
    QuestionBatch,
    collate,
    stream_batches,
)
from seedvideo.training.answer_data import Pixels
from seedvideo.training.answer_loss import (
    STATE_FILE,
    AnswerTrainConfig,
    answer_recipe,
    attention_loss,
    forward_batch,
    pointing_loss,
)
from seedvideo.training.answer_questions import AttentionTarget, QuestionSampler, TrainingSequence
from seedvideo.training.auxiliary_tasks import (
    EMPTY_LABELS,
    FrameLabelHeads,
    pretrain_adapter,
    pretrain_decoder,
)
from seedvideo.training.feature_cache import (
    DeviceFeatureStore,
    FeatureCache,
    build_feature_cache,
    merge_caches,
)
from seedvideo.training.metrics import exact_match_rates
from seedvideo.training.trainer import Trainer, read_averaged
from tests.tiers import slow
from tests.training.sample_data import float32
from tests.training.test_answer_data import ANNOTATIONS, PHOTOS

__all__ = ["float32"]

VOCABULARY = 300
SIZES = AnswerConfig(
    adapter_hidden=16,
    decoder=DecoderConfig(vocabulary=VOCABULARY, width=16, depth=4, heads=2, kv_heads=1, hidden=24),
    thumbnails=True,
    pointer=True,
    reader=True,
)
EASY_STEPS = 100 * POOL_STEPS
"""Steps of a training whose first pools have few frames per sequence: such steps are quick."""
NOWHERE = AttentionTarget((None, None), None)


def encode(text: str) -> list[int]:
    return [6 + byte % 256 for byte in text.encode()]


class PooledStem(torch.nn.Module):
    """A stem that knows the mean colour of each cell, in a hundredth of the convolutions' time."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(3, STEM_CHANNELS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        means = torch.nn.functional.avg_pool2d(pixels, STEM_STRIDE_PX)
        cells: torch.Tensor = self.project(means.permute(0, 2, 3, 1))
        return cells


@pytest.fixture(scope="module")
def model() -> SeedVL:
    torch.manual_seed(1)  # for the stem, which `initialise` leaves as PyTorch made it
    made = SeedVL(
        SeedVLConfig(
            vit=VitConfig(width=16, depth=1, heads=2, embedding="conv"),
            adapter_hidden=16,
            decoder=DecoderConfig(
                vocabulary=VOCABULARY, width=16, depth=1, heads=2, kv_heads=1, hidden=24
            ),
            answer=SIZES,
        )
    )
    made.vit.patches.stem = PooledStem()
    initialise(made, seed=1)
    return made.eval()


@pytest.fixture(scope="module")
def cache(model: SeedVL) -> FeatureCache:
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (192, 192, 3), dtype=np.uint8) for _ in PHOTOS]
    return made_of(model, photos, seed=1)


def made_of(
    model: SeedVL, photos: Sequence[Pixels], *, seed: int, scenes: int = 6, workers: int = 0
) -> FeatureCache:
    return build_feature_cache(
        model,
        photos,
        scenes=scenes,
        views=1,
        seed=seed,
        things=all_coloured_shapes(),
        workers=workers,
        progress=lambda line: None,
    )


@pytest.fixture(scope="module")
def store(cache: FeatureCache) -> DeviceFeatureStore:
    return DeviceFeatureStore(cache, torch.device("cpu"))


def pools_of(cache: FeatureCache, *, steps: int, batch_tokens: int) -> BucketedBatches:
    quiz = QuestionSampler(cache, ANNOTATIONS, seed=1)
    return BucketedBatches(
        quiz, cache.layout(), encode, steps=steps, batch_tokens=batch_tokens, seed=1
    )


def branch() -> AnswerBranch:
    torch.manual_seed(0)
    return AnswerBranch(16, SIZES)


def start(
    folder: Path, config: AnswerTrainConfig, store: DeviceFeatureStore
) -> Trainer[QuestionBatch]:
    return Trainer(answer_recipe(branch(), FrameLabelHeads(16), config, store), folder)


def train(
    run: Trainer[QuestionBatch], pools: BucketedBatches, until: int, *, log_every: int = 1
) -> list[dict[str, float]]:
    batches = run.fit(
        lambda step: stream_batches(pools, step=step, workers=0), until=until, log_every=log_every
    )
    return list(batches)


def rows(cache: FeatureCache, count: int, *, stories: float = 0.6) -> list[TrainingSequence]:
    quiz = QuestionSampler(cache, ANNOTATIONS, seed=1)
    drawn = [quiz.draw(number, max_frames=10, stories=stories) for number in range(count)]
    return [row for row in drawn if row.pairs]


def test_a_bank_is_the_same_after_saving_and_its_parts_keep_their_frames(
    cache: FeatureCache, tmp_path: Path
) -> None:
    cache.save(tmp_path / "bank.safetensors")
    again = FeatureCache.load(tmp_path / "bank.safetensors")
    assert again.scenes == cache.scenes and again.slides == cache.slides
    both = merge_caches([cache, again])
    first, second = both.scenes[1], both.scenes[len(cache.scenes) + 1]
    for one, other in zip(first.events, second.events, strict=True):
        for group, others in zip(one.frames, other.frames, strict=True):
            for a, b in zip(group, others, strict=True):
                assert a != b
                torch.testing.assert_close(both.features_of(a), both.features_of(b))
    assert [len(slide.views) for slide in both.slides] == [2] * len(PHOTOS)


def test_a_bank_holds_what_the_model_sees(model: SeedVL, cache: FeatureCache) -> None:
    # The adapter of the answer branch must read in training what it reads in use.
    frame = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (192, 320, 3), np.uint8))
    seen = model.vit([frame])
    tokens, thumbs = seen, make_thumbnails(frame.unsqueeze(0), model.config.token_px)[0]
    assert model.answer is not None
    by_hand = model.answer.adapter(torch.cat((tokens, scale_thumbnails(thumbs)), dim=1))
    torch.testing.assert_close(by_hand, model.encode_frames([frame], task="ask"))
    kept = cache.features_of(cache.scenes[0].quiet[0])
    assert kept[0].shape == tokens.shape and kept[1].shape == thumbs.shape


def test_moments_are_the_frames_that_show_them(cache: FeatureCache) -> None:
    quiet = {frame for scene in cache.scenes for frame in scene.quiet}
    named = 0
    for row in rows(cache, 60, stories=1.0):
        for (_, _, answer), kind, look in zip(row.pairs, row.kinds, row.targets, strict=True):
            if kind != "when":
                continue
            assert look.pointed_frames is not None
            assert answer == ("found" if look.pointed_frames else "not found")
            inside = {row.frames[at] for at in look.pointed_frames}
            assert not quiet & inside
            assert all(
                frame not in inside
                for at, frame in enumerate(row.frames)
                if at not in look.pointed_frames
            )
            named += bool(look.pointed_frames)
    assert named > 30


def test_thoughts_stand_between_their_marks_and_the_prompt_asks_for_them(
    cache: FeatureCache,
) -> None:
    quiz = QuestionSampler(cache, ANNOTATIONS, seed=1)
    row = next(
        row
        for row in (quiz.draw(n, max_frames=10, stories=1.0, thinking=1.0) for n in range(20))
        if row.pairs
    )
    for prompt, thought, answer in row.pairs:
        assert prompt.endswith(" First think, between <think> and </think>.")
        assert thought.startswith("<think>") and thought.endswith("</think>")
        assert " - " in thought and answer and "think" not in answer
    batch = collate([row], cache.layout(), encode)
    last = batch.ids.flatten()[batch.answer_starts].tolist()
    assert last == [encode(thought)[-1] for _, thought, _ in row.pairs]


def test_what_no_scene_shows_is_not_asked_about(cache: FeatureCache) -> None:
    shown = {each.event.thing for scene in cache.scenes for each in scene.events}
    unshown = [thing.name for thing in HELD_OUT - shown]
    assert unshown
    prompts = [prompt for row in rows(cache, 200, stories=1.0) for prompt, _, _ in row.pairs]
    assert len(prompts) > 1_000
    assert not [prompt for prompt in prompts if any(name in prompt for name in unshown)]


def test_a_question_alone_is_answered_as_among_others(
    cache: FeatureCache, store: DeviceFeatureStore
) -> None:
    model = branch().eval()
    row = rows(cache, 5)[0]
    batch = collate([row], cache.layout(), encode)
    together = forward_batch(model, batch, store.gather(batch.token_indices)).logits
    for number in range(len(row.pairs)):
        alone = TrainingSequence(
            row.frames,
            row.times,
            row.pairs[number : number + 1],
            row.kinds[number : number + 1],
            row.frame_labels,
            row.targets[number : number + 1],
        )
        single = collate([alone], cache.layout(), encode)
        # bfloat16 sums in another order.
        torch.testing.assert_close(
            forward_batch(model, single, store.gather(single.token_indices)).logits,
            together[batch.pair_index == number],
            atol=0.05,
            rtol=0.05,
        )


def test_only_answers_are_learned(cache: FeatureCache) -> None:
    drawn = rows(cache, 4)
    batch = collate(drawn, cache.layout(), encode)
    wanted = [[*encode(answer), END_ID] for row in drawn for _, _, answer in row.pairs]
    assert batch.labels.tolist() == [token for answer in wanted for token in answer]
    assert int((batch.ids == ANSWER_ID).sum()) == len(wanted) == len(batch.kinds)


@slow
def test_training_goes_on_where_it_was_stopped(
    cache: FeatureCache, store: DeviceFeatureStore, tmp_path: Path
) -> None:
    config = AnswerTrainConfig(steps=20, decay_steps=2, warmup_steps=2, batch_tokens=600)
    pools = pools_of(cache, steps=EASY_STEPS, batch_tokens=600)
    whole = start(tmp_path / "whole", config, store)
    train(whole, pools, POOL_STEPS + 1)
    whole.save()
    stopped = start(tmp_path / "whole", config, store)
    assert stopped.step == POOL_STEPS + 1
    one = [line["loss"] for line in train(whole, pools, POOL_STEPS + 2)]
    other = [line["loss"] for line in train(stopped, pools, POOL_STEPS + 2)]
    assert one == other and len(one) == 1
    weights, step = read_averaged(tmp_path / "whole" / STATE_FILE, torch.device("cpu"))
    assert step == POOL_STEPS + 1 and weights.keys() == dict(branch().named_parameters()).keys()


def test_a_line_stands_for_the_steps_since_the_last_one(
    cache: FeatureCache, store: DeviceFeatureStore, tmp_path: Path
) -> None:
    config = AnswerTrainConfig(steps=5, decay_steps=1, batch_tokens=600)
    run = start(tmp_path, config, store)
    lines = train(run, pools_of(cache, steps=EASY_STEPS, batch_tokens=600), 9, log_every=2)
    assert [line["step"] for line in lines] == [2, 4, 5]


@slow
@pytest.mark.usefixtures("float32")
def test_a_few_answers_can_be_learned_by_heart(
    cache: FeatureCache, store: DeviceFeatureStore, tmp_path: Path
) -> None:
    class Same(BucketedBatches):
        def __getitem__(self, number: int) -> list[QuestionBatch]:
            del number
            return [collate(rows(cache, 3)[:1], cache.layout(), encode)] * POOL_STEPS

    config = AnswerTrainConfig(
        steps=60, decay_steps=20, warmup_steps=5, batch_tokens=4_000, learning_rate=5e-3, noise=0.0
    )
    run = start(tmp_path, config, store)
    quiz = QuestionSampler(cache, ANNOTATIONS, seed=1)
    same = Same(quiz, cache.layout(), encode, steps=60, batch_tokens=4_000, seed=1)
    losses = [line["loss"] for line in train(run, same, 60)]
    assert losses[-1] < 0.5 * losses[0]


def test_batches_of_a_pool_cost_about_the_same(cache: FeatureCache) -> None:
    batches = pools_of(cache, steps=64, batch_tokens=9_000)[5]
    assert len(batches) == POOL_STEPS
    sizes = [batch.ids.numel() for batch in batches]
    assert max(sizes) < 2 * sum(sizes) / POOL_STEPS
    padded = sum(int((batch.groups < 0).sum()) for batch in batches)
    assert padded < 0.4 * sum(sizes)


def test_a_stream_is_the_same_from_any_step_on_and_from_any_process(cache: FeatureCache) -> None:
    pools = pools_of(cache, steps=2 * POOL_STEPS, batch_tokens=600)
    whole = [batch.ids for batch in stream_batches(pools, step=0, workers=0)]
    assert len(whole) == 2 * POOL_STEPS
    later = [batch.ids for batch in stream_batches(pools, step=3, workers=1)]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], later, strict=True))


@slow
def test_scenes_are_the_same_from_any_process(model: SeedVL) -> None:
    photos = [np.full((192, 192, 3), 90, dtype=np.uint8)]
    here = made_of(model, photos, seed=4, scenes=2)
    there = made_of(model, photos, seed=4, scenes=2, workers=1)
    other = made_of(model, photos, seed=5, scenes=2)
    assert here.scenes == there.scenes and here.scenes != other.scenes
    for size, tokens in here.tokens.items():
        assert torch.equal(tokens, there.tokens[size])


def test_a_shelf_holds_what_the_bank_holds(cache: FeatureCache, store: DeviceFeatureStore) -> None:
    frames = [scene.quiet[-1] for scene in cache.scenes]
    frames += [frame for slide in cache.slides for frame, _ in slide.views]
    parts = []
    for tokens, thumbs in map(cache.features_of, frames):
        parts.append(torch.cat((tokens.float(), scale_thumbnails(thumbs)), dim=1))
    assert torch.equal(store.gather(store.layout.token_indices(frames)), torch.cat(parts))


@pytest.mark.usefixtures("float32")
def test_the_first_lesson_tells_colours_apart(
    cache: FeatureCache, store: DeviceFeatureStore
) -> None:
    losses = [
        float(loss)
        for loss in pretrain_adapter(branch().adapter, cache, store, steps=60, rate=5e-3)
    ]
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


@pytest.mark.usefixtures("float32")
def test_the_second_lesson_learns_what_frames_show(
    cache: FeatureCache, store: DeviceFeatureStore
) -> None:
    model, heads = branch(), FrameLabelHeads(16)
    lesson = pretrain_decoder(
        model, heads, cache, store, ANNOTATIONS, encode, steps=40, seed=1, rate=5e-3
    )
    losses = [float(loss) for loss in lesson]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_sights_are_read_at_the_mark_that_ends_a_frame(
    cache: FeatureCache, store: DeviceFeatureStore
) -> None:
    model = branch().eval()
    frame = cache.scenes[0].quiet[0]
    row = TrainingSequence(
        (frame,), (Fraction(0),), (("a?", "", "b"),), ("what",), (EMPTY_LABELS,), (NOWHERE,)
    )
    batch = collate([row], cache.layout(), encode)
    at_end = forward_batch(model, batch, store.gather(batch.token_indices)).block_inputs[0][
        batch.frame_ends
    ]
    loss = FrameLabelHeads(16).loss(at_end, at_end, batch.frame_labels)
    assert at_end.shape == (1, 16) and bool(loss.isfinite())
    assert int(batch.ids.flatten()[batch.frame_ends]) == FRAME_END_ID


def test_a_question_looks_at_the_frames_that_show_its_answer(cache: FeatureCache) -> None:
    looked = 0
    for row in rows(cache, 60, stories=1.0):
        for (_, _, answer), kind, look in zip(row.pairs, row.kinds, row.targets, strict=True):
            if kind in ("first", "last", "after"):
                stretch = look.hops[1]
                assert stretch is not None and look.pointed_frames is not None
                assert set(range(stretch[0], stretch[1] + 1)) == look.pointed_frames
                sight = row.frame_labels[stretch[0]]
                assert sight.labels is not None
                colour, shape = answer.split()
                assert list(COLOURS)[sight.labels[0]] == colour
                assert SHAPES[sight.labels[1]] == shape
                looked += 1
            if kind == "after":
                first, second = look.hops
                assert first is not None and second is not None and first[1] < second[0]
            if kind == "happened":
                assert bool(look.pointed_frames) == (answer == "yes")
    assert looked > 20


def test_frames_of_a_row_know_what_came_before(cache: FeatureCache) -> None:
    moved = 0
    for row in rows(cache, 40, stories=1.0):
        begun = [sight.story[0] for sight in row.frame_labels]
        assert begun == sorted(begun) and begun[0] in (0, 1)
        moved += sum(sight.story[1] > 0 for sight in row.frame_labels)
    assert moved > 10


@slow
@pytest.mark.usefixtures("float32")
def test_looking_and_pointing_are_learned_from_where_the_answer_is(
    cache: FeatureCache, store: DeviceFeatureStore
) -> None:
    model = branch()
    quiz = QuestionSampler(cache, ANNOTATIONS, seed=1)
    drawn = [quiz.draw(number, max_frames=4, stories=1.0) for number in range(8)]
    batch = collate([row for row in drawn if row.pairs][:2], cache.layout(), encode)
    beside, length = batch.same_row_mask(), batch.ids.shape[1]
    assert bool((batch.hops <= beside).all())
    assert bool((batch.pointed_frames <= beside).all())
    visible = batch.visible_mask()[:, batch.frame_ends % length]
    assert bool((batch.hops.any(0) <= visible).all())
    # An answer sees its own question and no other one.
    groups = batch.groups[batch.answer_starts // length]
    own = batch.groups.flatten()[batch.answer_starts].unsqueeze(1)
    assert not bool((batch.visible_mask() & (groups != own) & (groups != 0)).any())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    targets, points = [], []
    for _ in range(60):
        output = forward_batch(model, batch, store.gather(batch.token_indices))
        look, point = attention_loss(model, batch, output), pointing_loss(model, batch, output)
        optimizer.zero_grad()
        (look + point).backward()
        optimizer.step()
        targets.append(float(look.detach()))
        points.append(float(point.detach()))
    assert targets[-1] < 0.7 * targets[0]
    assert points[-1] < 0.7 * points[0]


def test_exactness_counts_every_kind(cache: FeatureCache, store: DeviceFeatureStore) -> None:
    drawn = rows(cache, 6)
    right = exact_match_rates(branch(), drawn, store, encode)
    assert sum(asked for _, asked in right.values()) == sum(len(row.pairs) for row in drawn)
    assert set(right) == {kind for row in drawn for kind in row.kinds}


def test_times_rise_and_stay_within_the_duration(cache: FeatureCache) -> None:
    for row in rows(cache, 40):
        assert all(a < b for a, b in zip(row.times, row.times[1:], strict=False))
        assert row.times[0] >= Fraction(0) and len(row.times) == len(row.frames) <= 10
