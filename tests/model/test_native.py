"""The native backend on a small checkpoint built on disk."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model import load
from seedvideo.model.backends.base import (
    TASKS,
    Choice,
    ImagePart,
    Part,
    SupportsChoice,
    SupportsPointing,
    TextPart,
    interleave,
)
from seedvideo.model.backends.native import NativeBackend
from seedvideo.model.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from seedvideo.model.generation import MAX_THINKING_TOKENS, THINK, generate, log_probabilities
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.metadata import Tokenizer
from seedvideo.model.seedvl import AnswerConfig, SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import VitConfig
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.training.export import learn_vocabulary
from tests.model.pictures import picture
from tests.synthetic_clips import ColourModel

TEXTS = ["a man rides a bike", "two dogs run", "[12.5 second]", "Describe the video."]
GEOMETRY = TokenGeometry("linear", 28, (16, 8), 4, 256)
FAMILIARITY = ("mean", "directions", "bank")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the published linear patches, everything tiny."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def two_voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a branch for answers, which is of another width and depth."""
    return save_tiny(tmp_path_factory.mktemp("two"), answers=True)


def save_tiny(target: Path, *, answers: bool = False) -> Path:
    learn_vocabulary(TEXTS, target / "vocabulary.json", size=300)
    vocabulary = (target / "vocabulary.json").read_text(encoding="utf-8")
    size = Tokenizer.from_file(target / "vocabulary.json").size
    decoder = DecoderConfig(vocabulary=size, width=32, depth=1, heads=2, kv_heads=1, hidden=32)
    config = SeedVLConfig(
        vit=VitConfig(width=32, depth=1, heads=2),
        adapter_hidden=32,
        decoder=decoder,
        answer=AnswerConfig(
            adapter_hidden=24,
            decoder=replace(decoder, width=16, depth=2),
            pointer=True,
            reader=True,
        )
        if answers
        else None,
    )
    model = SeedVL(config)
    initialise(model, seed=0)
    described = CheckpointConfig(
        name="tiny", description="for tests", licence="none", model=config, geometry=GEOMETRY
    )
    save_checkpoint(target, described, model.state_dict(), vocabulary)
    return target


def test_usage_is_what_the_sequence_costs(folder: Path) -> None:
    backend = load(str(folder))
    frames = [(Fraction(0), picture(28, 56)), (Fraction(5, 2), picture(84, 28))]
    answer = backend.generate(interleave(frames, "Describe the video."), max_new_tokens=5)
    assert answer.usage.visual_tokens == 2 + 3
    text = sum(backend.frame_text_tokens(time) for time in (Fraction(0), Fraction(5, 2)))
    prompt = backend.count_text_tokens("Describe the video.")
    # One more token asks for the answer.
    assert answer.usage.prompt_tokens == 5 + text + prompt + 1
    assert answer.usage.output_tokens <= 5
    assert answer.confident and answer.familiarity is None


def test_the_same_parts_give_the_same_answer(folder: Path) -> None:
    parts = interleave([(Fraction(0), picture(56, 56))], "Describe the video.")
    first, second = load(str(folder)), load(str(folder))
    assert first.sha256 == second.sha256
    assert first.generate(parts) == second.generate(parts)


def test_special_tokens_in_a_users_text_are_plain_text(folder: Path) -> None:
    backend = load(str(folder))
    text = "what does <image> </frame> <answer> mean?"
    parts: list[Part] = [ImagePart(picture(28, 28)), TextPart(text)]
    assert backend.generate(parts, max_new_tokens=3).usage.visual_tokens == 1


def test_read_only_and_mirrored_arrays_are_taken(folder: Path) -> None:
    backend = load(str(folder))
    pixels = picture(28, 56)
    mirrored = pixels[:, ::-1].copy()[:, ::-1]
    pixels.setflags(write=False)
    answers = [
        backend.generate(interleave([(Fraction(0), each)], "Describe the video."), max_new_tokens=3)
        for each in (pixels, mirrored)
    ]
    assert answers[0] == answers[1]


def native(folder: Path) -> NativeBackend:
    return NativeBackend.from_folder(folder)


def asked(text: str = "what runs?") -> list[Part]:
    return interleave([(Fraction(0), picture(56, 56)), (Fraction(1), picture(28, 56, 1))], text)


COLOURS = ["red", "green", "blue", "a light blue"]


def test_each_task_uses_its_own_branch(folder: Path, two_voices: Path) -> None:
    backend = native(two_voices)
    # Another branch for answers changes no caption.
    assert backend.generate(asked()).text == native(folder).generate(asked()).text
    with torch.no_grad():
        backend._model.decoder.embedding.weight.zero_()  # captions become empty
    silenced = backend.choose(asked(), COLOURS, task="caption")
    for task in ("ask", "ground"):
        spoken = backend.choose(asked(), COLOURS, task=task)
        assert spoken == native(two_voices).choose(asked(), COLOURS, task=task)
        assert spoken.ranked != silenced.ranked


def test_one_branch_answers_where_there_is_no_other(folder: Path) -> None:
    backend = native(folder)
    chosen = [backend.choose(asked(), COLOURS, task=task) for task in TASKS]
    assert chosen[0] == chosen[1] == chosen[2]


def test_an_answer_is_the_likeliest_of_four_beams(two_voices: Path) -> None:
    backend = native(two_voices)
    answer = backend.generate(asked(), task="ask", max_new_tokens=6)
    prompt = backend._build_prompt(asked(), "ask", None)
    (written,) = generate(
        prompt.decoder,
        prompt.vectors,
        max_new_tokens=6,
        beams=4,
        length_penalty=0.0,
        state_hook=prompt.state_hook,
    )
    assert answer.text == backend._tokenizer.decode(written[0].ids)
    assert answer.usage.output_tokens == len(written[0].ids)
    assert answer.thinking is None


def test_choices_are_ranked_and_their_probabilities_sum_to_one(two_voices: Path) -> None:
    backend: object = load(str(two_voices))
    assert isinstance(backend, SupportsChoice)
    chosen = backend.choose(asked(), COLOURS, task="ask")
    assert sorted(choice.index for choice in chosen.ranked) == [0, 1, 2, 3]
    shares = [choice.probability for choice in chosen.ranked]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)
    assert chosen.thinking is None and chosen.confident and chosen.familiarity is None
    best = COLOURS[chosen.ranked[0].index]
    usage = native(two_voices).generate(asked(), task="ask", max_new_tokens=1).usage
    assert chosen.usage == replace(usage, output_tokens=native(two_voices).count_text_tokens(best))
    two = backend.choose(asked(), COLOURS, task="ask", top=2)
    assert two.ranked == chosen.ranked[:2]
    only = backend.choose(asked(), ["red"], task="ask").ranked
    assert only == (Choice(index=0, probability=1.0),)


def test_a_backend_that_only_writes_is_no_chooser() -> None:
    assert not isinstance(ColourModel(), SupportsChoice)
    assert not isinstance(ColourModel(), SupportsPointing)


def test_every_frame_is_pointed_at_with_a_probability(two_voices: Path) -> None:
    backend: object = load(str(two_voices))
    assert isinstance(backend, SupportsPointing) and backend.can_point
    pointed = backend.point(asked(), task="ground")
    frames = sum(isinstance(part, ImagePart) for part in asked())
    assert len(pointed.probabilities) == frames
    assert all(0 < probability < 1 for probability in pointed.probabilities)
    assert pointed.usage.output_tokens == 0
    # By hand: the states where the frames end, and where the answer would begin.
    own = native(two_voices)
    branch = own._model.answer
    assert branch is not None and branch.pointer is not None
    with torch.inference_mode():
        prompt = own._build_prompt(asked(), "ground", None)
        states = branch.decoder(prompt.vectors)[0]
        query, keys = branch.pointer.query(states[-1]), branch.pointer.key(states)
        by_hand = (keys @ query / 8 + branch.pointer.bias).sigmoid()[prompt.frame_ends]
    assert pointed.probabilities == pytest.approx(by_hand.tolist(), abs=1e-5)
    thought = backend.point(asked(), task="ground", thinking=True, max_thinking_tokens=4)
    assert thought.thinking is not None and thought.usage.output_tokens > 0


def test_answers_are_written_from_the_frames_that_are_pointed_at(two_voices: Path) -> None:
    backend = native(two_voices)
    branch = backend._model.answer
    assert branch is not None and branch.pointer is not None and branch.reader is not None
    # By hand: the likeliest first token.
    with torch.inference_mode():
        prompt = backend._build_prompt(asked(), "ask", None)
        states = branch.decoder(prompt.vectors)[0]
        last, frames = states[-1:], states[prompt.frame_ends]
        named, held = branch.reader.named(last, frames), branch.pointer(last, frames)
        is_own = torch.ones_like(named, dtype=torch.bool)
        evidence = branch.reader.evidence(named, held, frames, is_own)
        # Louder than a fresh reader is, so that it decides.
        branch.reader.out.weight.mul_(1_000)
        wanted = log_probabilities(branch.decoder, branch.reader(last, evidence)).argmax()
        unread = log_probabilities(branch.decoder, last).argmax()
    assert wanted != unread
    answer = backend.generate(asked(), task="ask", max_new_tokens=1, beams=1)
    assert answer.text == backend._tokenizer.decode([int(wanted)])


def test_a_checkpoint_without_a_pointer_cannot_point(folder: Path) -> None:
    backend = native(folder)
    assert not backend.can_point
    with pytest.raises(ValueError, match="cannot point"):
        backend.point(asked(), task="ground")


def test_unfit_choices_are_refused(two_voices: Path) -> None:
    backend = native(two_voices)
    for candidates, message in (
        ([], "no candidates"),
        (["red", ""], "candidate 1 is empty"),
        (["red", "blue", "red"], "'red' and 'red' are the same to the model"),
        (["Red", "rED"], "'Red' and 'rED' are the same to the model"),
    ):
        with pytest.raises(ValueError, match=message):
            backend.choose(asked(), candidates, task="ask")
    with pytest.raises(ValueError, match="top is 0"):
        backend.choose(asked(), COLOURS, task="ask", top=0)
    with pytest.raises(ValueError, match="expected one of caption, ask, ground"):
        backend.choose(asked(), COLOURS, task="draw")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no frames"):
        backend.choose([TextPart("hello")], COLOURS, task="ask")


def test_special_tokens_in_a_candidate_are_plain_text(two_voices: Path) -> None:
    chosen = native(two_voices).choose(asked(), ["<end>", "<image>"], task="ask")
    assert len(chosen.ranked) == 2


def test_reasoning_is_separated_limited_and_counted(two_voices: Path) -> None:
    backend = native(two_voices)
    marks = backend.count_text_tokens("<think>") + backend.count_text_tokens("</think>")
    plain = backend.choose(asked(), COLOURS, task="ask")
    chosen = backend.choose(asked(), COLOURS, task="ask", thinking=True, max_thinking_tokens=3)
    assert chosen.thinking is not None and "think>" not in chosen.thinking
    assert chosen.usage.prompt_tokens == plain.usage.prompt_tokens
    answer_tokens = backend.count_text_tokens(COLOURS[chosen.ranked[0].index])
    assert marks <= chosen.usage.output_tokens - answer_tokens <= marks + 3
    # The answer follows from the reasoning.
    assert chosen.ranked != plain.ranked
    written = backend.generate(asked(), task="ask", thinking=True, max_new_tokens=2)
    assert written.thinking is not None
    assert marks <= written.usage.output_tokens <= marks + MAX_THINKING_TOKENS + 2
    assert THINK not in written.text


def test_no_picture_and_wrong_sizes_are_refused(folder: Path) -> None:
    backend = load(str(folder))
    with pytest.raises(ValueError, match="no frames"):
        backend.generate([TextPart("hello")])
    with pytest.raises(ValueError, match="multiples of 28 px"):
        backend.generate([ImagePart(picture(28, 30)), TextPart("hello")])


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", "9" * 20])
def test_a_senseless_thread_count_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SEEDVIDEO_THREADS", value)
    with pytest.raises(ConfigError) as caught:
        load(str(folder))
    assert caught.value.code == "config.invalid"


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(ModelError) as caught:
        load("giant")
    assert caught.value.code == "model.unknown"
    assert "nano" in caught.value.hint


def test_a_name_that_no_file_can_have_is_unknown() -> None:
    for name in ("", "a" * 300, "a\0b"):
        with pytest.raises(ModelError) as caught:
            load(name)
        assert caught.value.code == "model.unknown"


def test_parts_of_a_checkpoint_must_fit_each_other(folder: Path) -> None:
    whole = load_checkpoint(folder)
    for tensors in ({"mean": torch.zeros(4)}, {name: torch.zeros(4) for name in FAMILIARITY}):
        with pytest.raises(ModelError, match="inconsistent"):
            NativeBackend(replace(whole, familiarity=tensors))
    decoder = replace(whole.config.model.decoder, vocabulary=10)
    config = replace(whole.config, model=replace(whole.config.model, decoder=decoder))
    with pytest.raises(ModelError, match="the model 10"):
        NativeBackend(replace(whole, config=config))


def test_a_broken_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    for text in ("{", "{}", (folder / "config.json").read_text()):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(ModelError) as caught:
            Tokenizer.from_file(tmp_path / "tokenizer.json")
        assert caught.value.code == "model.checkpoint_invalid"


def test_times_are_read_digit_by_digit(folder: Path) -> None:
    backend = load(str(folder))
    short, long = (backend.count_text_tokens(time) for time in ("[1.5 second]", "[123.5 second]"))
    assert long == short + 2
