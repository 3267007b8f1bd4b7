"""The native backend: a SeedVL checkpoint that runs in this process.

Turns packed parts into ids and frames, and ids into text. Threads may share a model. A forked
process may use the model of its parent, on one thread; it computes what the parent does.

Captions are what most of many beams agree on. Answers are short and there is one right one, so a
few beams are enough and the likeliest is taken.

Notation used for tensor shapes:
    s: positions of the prompt; k: visual tokens of all frames; d: width of the decoder
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from seedvideo.errors import ModelError
from seedvideo.model.backends.base import (
    Choice,
    Chosen,
    Generation,
    ImagePart,
    Note,
    Part,
    Pointed,
    Skill,
    TextPart,
    Usage,
)
from seedvideo.model.checkpoint import Checkpoint, load_checkpoint
from seedvideo.model.generation import (
    MAX_THINKING_TOKENS,
    STEP,
    THINK,
    THINK_END,
    Reading,
    Thought,
    as_it_is,
    most_agreed,
    rank_candidates,
    think,
    vectors,
    write,
)
from seedvideo.model.language_model import Decoder
from seedvideo.model.metadata import (
    ANSWER_ID,
    FRAME_END_ID,
    FRAME_ID,
    IMAGE_ID,
    MARKS_A_FRAME,
    Tokenizer,
)
from seedvideo.model.ood import Familiarity
from seedvideo.model.open_answers import answer_openly, finds, things_in
from seedvideo.model.runtime import own_settings, set_threads
from seedvideo.model.vision_encoder import ConvPatches
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.tasks.prompts import without_thinking
from seedvideo.tasks.question_answering import open_question

CAPTION_BEAMS: Final = 32
ANSWER_BEAMS: Final = 4

_CAPTION_LENGTH_PENALTY: Final = 0.7
_ANSWER_LENGTH_PENALTY: Final = 0.0
"""Answers rank by their probability alone: "two" is not to lose because "two dogs" is longer."""

_STEM_FRAMES = 4
"""Frames that pass the stem at once: enough to use the cores, few enough to save memory."""


@dataclass(frozen=True)
class _Prompt:
    """A packed sequence as the decoder of its skill reads it.

    Args:
        decoder: of the skill.
        reading: what the pictures do to the states that its words are chosen from.
        vectors: ``(1, s, d)``; a thought is part of it where there is one.
        frame_ends: positions of the marks that end the frames.
        prompt_tokens: without the thought.
        visual_tokens: of all frames.
        familiarity: as in ``Generation``.
        thought: what was written so far, if the model was to think and the thought holds.
        thought_tokens: of all that was thought, what does not hold included.
        notes: on the thought.
    """

    decoder: Decoder
    reading: Reading
    vectors: Tensor
    frame_ends: Tensor
    prompt_tokens: int
    visual_tokens: int
    familiarity: float | None
    thought: Thought | None = None
    thought_tokens: int = 0
    notes: tuple[Note, ...] = ()

    @property
    def thinking(self) -> str | None:
        """The thought's text."""
        return self.thought.text if self.thought is not None else None

    def usage(self, answer_tokens: int) -> Usage:
        """Tokens spent with an answer of so many."""
        return Usage(self.visual_tokens, self.prompt_tokens, self.thought_tokens + answer_tokens)


class NativeBackend:
    """A checkpoint, ready to answer.

    Args:
        checkpoint: read and checked.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if its parts do not fit each other.
    """

    def __init__(self, checkpoint: Checkpoint):
        self._model = checkpoint.model
        self._config = checkpoint.config
        self._sha256 = checkpoint.sha256
        self._tokenizer = Tokenizer.from_file(checkpoint.tokenizer_file)
        vocabulary = self._config.model.decoder.vocabulary
        if self._tokenizer.size > vocabulary:
            raise _unfit(f"{self._tokenizer.size} words, the model knows {vocabulary}")
        self._familiarity = _familiarity(checkpoint)
        self._last: tuple[bytes, Tensor, float | None] | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> "NativeBackend":
        """Load a checkpoint folder and set the thread count.

        Raises:
            ModelError: if the checkpoint is not sound.
            ConfigError: if ``SEEDVIDEO_THREADS`` is no whole number from 1 to 9999.
        """
        set_threads()
        with own_settings(inference=False):
            return cls(load_checkpoint(folder))

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        return self._config.name

    @property
    def sha256(self) -> str:
        """Hash over all files of the checkpoint."""
        return self._sha256

    @property
    def geometry(self) -> TokenGeometry:
        """Sizes of frames, levels and default budget."""
        return self._config.geometry

    def count_text_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        return len(self._tokenizer.encode(text))

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens of a frame's time and of the marks before and after its visual tokens."""
        return self.count_text_tokens(time_text) + MARKS_A_FRAME

    @own_settings()
    def generate(
        self,
        parts: Sequence[Part],
        *,
        skill: Skill = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
    ) -> Generation:
        """Answer a packed sequence; the same parts give the same answer.

        A caption is what most of 32 beams agree on, an answer the likeliest of four; ``beams`` sets
        another number. A thought is written greedily, of at most 256 tokens. Open questions are
        answered as `open_answers` says, where the checkpoint has thresholds for it.

        Raises:
            ValueError: if there is no picture, or one has a size that the geometry does not allow.
            ModelError: ``model.no_answer`` if an open question is of no kind that was learned.
        """
        sure, words = self._config.open_answers, parts[-1] if parts else None
        if skill == "ask" and sure is not None and isinstance(words, TextPart):
            question = open_question(words.text)
            if question is not None:
                return answer_openly(self, parts[:-1], question, thinking=thinking, sure=sure)
        prompt = self._read(parts, skill, MAX_THINKING_TOKENS if thinking else None)
        is_caption = skill == "caption"
        answers = write(
            prompt.decoder,
            prompt.vectors,
            max_new_tokens=max_new_tokens,
            beams=beams if beams is not None else CAPTION_BEAMS if is_caption else ANSWER_BEAMS,
            length_penalty=_CAPTION_LENGTH_PENALTY if is_caption else _ANSWER_LENGTH_PENALTY,
            reading=prompt.reading,
        )[0]
        answer = most_agreed(answers) if is_caption else answers[0]
        return Generation(
            text=self._tokenizer.decode(answer.ids),
            confident=self._is_known(prompt.familiarity),
            familiarity=prompt.familiarity,
            usage=prompt.usage(len(answer.ids)),
            thinking=prompt.thinking,
            notes=prompt.notes,
        )

    @own_settings()
    def choose(
        self,
        parts: Sequence[Part],
        candidates: Sequence[str],
        *,
        skill: Skill,
        thinking: bool = False,
        top: int = 8,
        max_thinking_tokens: int = MAX_THINKING_TOKENS,
    ) -> Chosen:
        """Rank the given answers to a packed sequence; see ``constrained`` for how.

        Raises:
            ValueError: if there is no picture, or one has a size that the geometry does not allow;
                if there are no candidates, one is empty, or two are the same to the model, which
                does not tell capitals from small letters; if ``top`` is below one.
        """
        if top < 1:
            raise ValueError(f"top is {top}, expected 1 or more")
        ids = self._candidate_ids(candidates)
        prompt = self._read(parts, skill, max_thinking_tokens if thinking else None)
        scored = rank_candidates(prompt.decoder, prompt.vectors, ids, reading=prompt.reading)
        return Chosen(
            ranked=tuple(Choice(each.index, math.exp(each.log_share)) for each in scored[:top]),
            confident=self._is_known(prompt.familiarity),
            familiarity=prompt.familiarity,
            thinking=prompt.thinking,
            usage=prompt.usage(len(ids[scored[0].index])),
            notes=prompt.notes,
        )

    @property
    def points(self) -> bool:
        """Whether the checkpoint has a pointer."""
        return self._model.answer is not None and self._model.answer.pointer is not None

    @own_settings()
    def point(
        self,
        parts: Sequence[Part],
        *,
        skill: Skill,
        thinking: bool = False,
        max_thinking_tokens: int = MAX_THINKING_TOKENS,
    ) -> Pointed:
        """Say of each picture how likely the words are about it; see ``model.pointer``.

        Raises:
            ValueError: if there is no picture, or one has a size that the geometry does not allow;
                if the checkpoint has no pointer, or the skill does not use it.
        """
        branch = self._model.answer
        if branch is None or branch.pointer is None or skill == "caption":
            raise ValueError(f"{self.name} does not point at pictures with skill {skill}")
        prompt = self._read(parts, skill, max_thinking_tokens if thinking else None)
        states = prompt.decoder(prompt.vectors)[0]
        told = branch.pointer(states[-1:], states[prompt.frame_ends])[0].sigmoid()
        return Pointed(
            probabilities=tuple(told.tolist()),
            confident=self._is_known(prompt.familiarity),
            familiarity=prompt.familiarity,
            thinking=prompt.thinking,
            usage=prompt.usage(0),
            notes=prompt.notes,
        )

    def _candidate_ids(self, candidates: Sequence[str]) -> list[list[int]]:
        """Ids of each candidate, no two the same."""
        all_ids = [self._tokenizer.encode(text) for text in candidates]
        known: dict[tuple[int, ...], str] = {}
        for text, ids in zip(candidates, all_ids, strict=True):
            if tuple(ids) in known:
                raise ValueError(f"{known[tuple(ids)]!r} and {text!r} are the same to the model")
            known[tuple(ids)] = text
        return all_ids

    def _read(self, parts: Sequence[Part], skill: Skill, thinking_tokens: int | None) -> _Prompt:
        """Encode frames and words; think first, if a number of tokens is given for it.

        Of a thought only that is kept whose coloured shapes the model also finds (`open_answers`):
        trained on made scenes, it sees them in any film. Where nothing is left, it does not think.
        """
        # Copies: a caller's array may be read-only or turned round, and torch takes neither.
        frames = [
            torch.from_numpy(part.pixels.copy()) for part in parts if isinstance(part, ImagePart)
        ]
        ids = self._ids(parts)
        seen, familiarity = self._remembered(frames)
        decoder = self._model.voice(skill).decoder
        visual = self._model.adapt(seen, frames, skill=skill)
        prompt = self._model.embed(torch.tensor([ids]), visual, skill=skill)
        thought, thought_tokens = None, 0
        notes: tuple[Note, ...] = ()
        if thinking_tokens is not None:
            thought = think(decoder, prompt, self._tokenizer, max_tokens=thinking_tokens)
            thought_tokens = len(thought.ids)
            thought, notes = self._checked(parts[:-1], thought)
            if thought is None:
                plain = self._read(_without_thinking(parts), skill, None)
                return replace(plain, thought_tokens=thought_tokens, notes=notes)
            prompt = torch.cat((prompt, vectors(decoder, thought.ids)), dim=1)
        frame_ends = (torch.tensor(ids) == FRAME_END_ID).nonzero().flatten()
        branch = self._model.answer
        reading: Reading = as_it_is
        if branch is not None and skill != "caption":
            reading = partial(branch.read, frame_ends=frame_ends)
        return _Prompt(
            decoder=decoder,
            reading=reading,
            vectors=prompt,
            frame_ends=frame_ends,
            prompt_tokens=len(ids),
            visual_tokens=seen.shape[0],
            familiarity=familiarity,
            thought=thought,
            thought_tokens=thought_tokens,
            notes=notes,
        )

    def _checked(
        self, pictures: Sequence[Part], thought: Thought
    ) -> tuple[Thought | None, tuple[Note, ...]]:
        """A thought without what names coloured shapes that are in no frame, and what went."""
        if not self.points:
            return thought, ()
        missing = [thing for thing in things_in(thought.text) if not finds(self, pictures, thing)]
        if not missing:
            return thought, ()
        steps = thought.text.split(STEP)
        kept = [step for step in steps if not set(things_in(step)) & set(missing)]
        note = Note(
            "thought.left_out",
            f"the thought named what {self.name} finds in no frame: {', '.join(missing)}",
        )
        if not kept:
            return None, (note,)
        text = STEP.join(kept)
        ids = tuple(self._tokenizer.encode(f"{THINK}{text}{THINK_END}"))
        return Thought(ids, text), (note,)

    def _ids(self, parts: Sequence[Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            if isinstance(part, TextPart):
                ids += self._tokenizer.encode(part.text)
            else:
                height_px, width_px, _ = part.pixels.shape
                count = height_px * width_px // self._config.geometry.token_px**2
                ids += [FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
        return [*ids, ANSWER_ID]

    def _remembered(self, frames: Sequence[Tensor]) -> tuple[Tensor, float | None]:
        """What `_see` gives; the last frames are not seen twice: questions often come in a row."""
        digest = hashlib.sha256()
        for frame in frames:
            digest.update(repr(tuple(frame.shape)).encode())
            digest.update(frame.numpy().data)
        key = digest.digest()
        last = self._last  # Read once: another thread may replace it.
        if last is None or last[0] != key:
            self._last = last = (key, *self._see(frames))
        return last[1:]

    def _see(self, frames: Sequence[Tensor]) -> tuple[Tensor, float | None]:
        """The encoder's visual tokens of all frames, ``(k, width)``, and their familiarity."""
        vit = self._model.vit
        if not isinstance(vit.patches, ConvPatches):
            return vit(frames), None
        grids = [vit.grid(frame.shape[0], frame.shape[1]) for frame in frames]
        if not grids:
            raise ValueError("there is no picture to answer about")
        embedded, means = [], []
        for _, same in groupby(frames, key=lambda frame: frame.shape):
            for chunk in torch.stack(list(same)).split(_STEM_FRAMES):
                cells = vit.patches.stem(chunk)
                means.append(cells.mean(dim=(1, 2)))
                embedded.append(vit.patches.embed(cells).flatten(0, 1))
        seen = vit.encode(torch.cat(embedded), grids)
        if self._familiarity is None:
            return seen, None
        return seen, float(self._familiarity.score(torch.cat(means)).mean())

    def _is_known(self, familiarity: float | None) -> bool:
        """Whether frames look enough like what the model was trained on, as far as it can tell."""
        threshold = self._config.familiarity_threshold
        return threshold is None or familiarity is None or familiarity >= threshold


def _without_thinking(parts: Sequence[Part]) -> list[Part]:
    """The same without the wish to think first."""
    return [
        TextPart(without_thinking(part.text)) if isinstance(part, TextPart) else part
        for part in parts
    ]


def _familiarity(checkpoint: Checkpoint) -> Familiarity | None:
    """What the training pictures looked like, if the checkpoint says so."""
    if not checkpoint.familiarity:
        return None
    try:
        return Familiarity(**checkpoint.familiarity)
    except (TypeError, ValueError, LookupError) as error:
        raise _unfit("tensors of familiarity that do not fit each other") from error


def _unfit(what: str) -> ModelError:
    return ModelError(
        "model.checkpoint_invalid",
        f"the checkpoint has {what}",
        hint="copy or install the checkpoint again",
    )
