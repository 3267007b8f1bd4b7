"""Native backend: a SeedVL checkpoint that runs in the calling process.

It turns interleaved parts into ids and frames, and ids into text. Threads may share a model. A
forked process may use its parent's model, on one thread, with equal results.

A caption is the consensus of many beams. An answer is short and has one correct form, so it is the
likeliest of a few beams.

Notation used for tensor shapes:
    s: positions of the prompt; k: visual tokens of all frames; d: width of the decoder

Separate from `seedvideo.model`, which lists models without importing torch.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import (
    Choice,
    ChoiceResult,
    Generation,
    ImagePart,
    ModelDetails,
    ModelSource,
    Note,
    OnText,
    Part,
    PointingResult,
    TaskName,
    TextPart,
    Usage,
)
from seedvideo.model.checkpoint import Checkpoint, load_checkpoint
from seedvideo.model.generation import (
    MAX_THINKING_TOKENS,
    STEP_SEPARATOR,
    THINK,
    THINK_END,
    Reasoning,
    StateHook,
    embed_ids,
    generate,
    generate_reasoning,
    identity,
    mbr_select,
    score_candidates,
)
from seedvideo.model.language_model import Decoder
from seedvideo.model.metadata import (
    ANSWER_ID,
    EMBEDDED_SUPPORTS,
    FRAME_END_ID,
    FRAME_ID,
    IMAGE_ID,
    TOKENS_PER_FRAME_MARKUP,
    Tokenizer,
)
from seedvideo.model.ood import KnnOodDetector
from seedvideo.model.open_answers import answer_open_question, detects_thing, find_things
from seedvideo.model.runtime import isolate_torch, set_threads
from seedvideo.model.vision_encoder import ConvPatches
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions, refuse_unsupported
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.tasks.prompts import remove_think_suffix
from seedvideo.tasks.question_answering import open_question
from seedvideo.utils.timecode import timestamp_text

CAPTION_BEAMS: Final = 32
"""Beams of a caption: enough hypotheses for a consensus (docs/log.md)."""
ANSWER_BEAMS: Final = 4
"""Beams of an answer."""

_CAPTION_LENGTH_PENALTY: Final = 0.7
"""Chosen on dev photos (docs/log.md)."""
_ANSWER_LENGTH_PENALTY: Final = 0.0
"""No length penalty: "two" must not lose to "two dogs" because it is shorter."""

_STEM_BATCH = 4
"""Frames per call of the stem: enough to use the cores, few enough to bound memory."""


@dataclass(frozen=True)
class _Prompt:
    """An encoded prompt, ready for the decoder of its task.

    Args:
        decoder: language model of the task.
        state_hook: transforms the states before the logits.
        vectors: ``(1, s, d)``, including reasoning if there is any.
        frame_ends: positions of the tokens that end the frames.
        prompt_tokens: number of tokens without reasoning.
        visual_tokens: number of tokens of all frames.
        familiarity: as in ``Generation``.
        reasoning: the accepted reasoning; None if there is none.
        reasoning_tokens: number of generated reasoning tokens, including rejected ones.
        notes: remarks about the reasoning.
    """

    decoder: Decoder
    state_hook: StateHook
    vectors: Tensor
    frame_ends: Tensor
    prompt_tokens: int
    visual_tokens: int
    familiarity: float | None
    reasoning: Reasoning | None = None
    reasoning_tokens: int = 0
    notes: tuple[Note, ...] = ()

    @property
    def thinking(self) -> str | None:
        """Text of the reasoning."""
        return self.reasoning.text if self.reasoning is not None else None

    def usage(self, answer_tokens: int) -> Usage:
        """Return the token counts with an answer of ``answer_tokens``."""
        return Usage(self.visual_tokens, self.prompt_tokens, self.reasoning_tokens + answer_tokens)


class NativeBackend:
    """A loaded checkpoint.

    Args:
        checkpoint: read and verified.
        source: whether the checkpoint ships with the package.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if its parts contradict each other.
    """

    def __init__(self, checkpoint: Checkpoint, *, source: ModelSource = "folder"):
        self._details = ModelDetails(source=source, dtype="float32", supports=EMBEDDED_SUPPORTS)
        self._model = checkpoint.model
        self._config = checkpoint.config
        self._sha256 = checkpoint.sha256
        self._tokenizer = Tokenizer.from_file(checkpoint.tokenizer_file)
        vocabulary = self._config.model.decoder.vocabulary
        if self._tokenizer.size > vocabulary:
            raise _unfit_error(
                f"a tokenizer of {self._tokenizer.size} tokens, the model {vocabulary}"
            )
        self._familiarity = _make_ood_detector(checkpoint)
        self._last: tuple[bytes, Tensor, float | None] | None = None

    @classmethod
    def from_folder(cls, folder: Path, *, source: ModelSource = "folder") -> "NativeBackend":
        """Load a checkpoint folder and set the thread count.

        Raises:
            ModelError: if the checkpoint is damaged or inconsistent.
            ConfigError: if ``SEEDVIDEO_THREADS`` is not a whole number from 1 to 9999.
        """
        set_threads()
        with isolate_torch(inference=False):
            return cls(load_checkpoint(folder), source=source)

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
        """Frame sizes, levels and default budget."""
        return self._config.geometry

    @property
    def details(self) -> ModelDetails:
        """Facts for the record."""
        return self._details

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return len(self._tokenizer.encode(text))

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the tokens of a frame's time and the special tokens around its visual tokens."""
        return self.count_text_tokens(timestamp_text(pts)) + TOKENS_PER_FRAME_MARKUP

    @isolate_torch()
    def generate(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        """Generate an answer to interleaved parts; equal parts give equal answers.

        A caption is the consensus of 32 beams, an answer the likeliest of four; ``beams`` overrides
        both. Reasoning is generated greedily, with at most 256 tokens. If the checkpoint has
        thresholds for open questions, `open_answers` answers them.

        Raises:
            ValueError: if there is no image, or one of a size outside the geometry.
            ModelError: ``model.no_answer`` if the model was not trained for such an open question.
            ConfigError: ``config.invalid`` for a system prompt, a temperature or ``on_text``.
        """
        self._refuse(options, on_text)
        max_new_tokens = options.max_new_tokens or max_new_tokens
        thresholds, words = self._config.open_answers, parts[-1] if parts else None
        if task == "ask" and thresholds is not None and isinstance(words, TextPart):
            question = open_question(words.text)
            if question is not None:
                return answer_open_question(
                    self, parts[:-1], question, thinking=thinking, thresholds=thresholds
                )
        prompt = self._build_prompt(parts, task, MAX_THINKING_TOKENS if thinking else None)
        is_caption = task == "caption"
        answers = generate(
            prompt.decoder,
            prompt.vectors,
            max_new_tokens=max_new_tokens,
            beams=beams if beams is not None else CAPTION_BEAMS if is_caption else ANSWER_BEAMS,
            length_penalty=_CAPTION_LENGTH_PENALTY if is_caption else _ANSWER_LENGTH_PENALTY,
            state_hook=prompt.state_hook,
        )[0]
        answer = mbr_select(answers) if is_caption else answers[0]
        return Generation(
            text=self._tokenizer.decode(answer.ids),
            confident=self._is_confident(prompt.familiarity),
            familiarity=prompt.familiarity,
            usage=prompt.usage(len(answer.ids)),
            thinking=prompt.thinking,
            notes=prompt.notes,
        )

    @isolate_torch()
    def choose(
        self,
        parts: Sequence[Part],
        candidates: Sequence[str],
        *,
        task: TaskName,
        thinking: bool = False,
        top: int = 8,
        max_thinking_tokens: int = MAX_THINKING_TOKENS,
        options: GenerationOptions = DEFAULT_GENERATION,
    ) -> ChoiceResult:
        """Rank the given answers to interleaved parts by constrained scoring (`score_candidates`).

        Raises:
            ValueError: if there is no image, or one of a size outside the geometry; if there are no
                candidates, one is empty, or two have equal token ids (case is ignored); if ``top``
                is below one.
            ConfigError: as `generate` does.
        """
        self._refuse(options)
        if top < 1:
            raise ValueError(f"top is {top}, expected 1 or more")
        ids = self._candidate_ids(candidates)
        prompt = self._build_prompt(parts, task, max_thinking_tokens if thinking else None)
        scored = score_candidates(prompt.decoder, prompt.vectors, ids, state_hook=prompt.state_hook)
        return ChoiceResult(
            ranked=tuple(
                Choice(each.index, math.exp(each.normalized_log_probability))
                for each in scored[:top]
            ),
            confident=self._is_confident(prompt.familiarity),
            familiarity=prompt.familiarity,
            thinking=prompt.thinking,
            usage=prompt.usage(len(ids[scored[0].index])),
            notes=prompt.notes,
        )

    @property
    def can_point(self) -> bool:
        """Whether the checkpoint has a frame pointer."""
        return self._model.answer is not None and self._model.answer.pointer is not None

    @isolate_torch()
    def point(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName,
        thinking: bool = False,
        max_thinking_tokens: int = MAX_THINKING_TOKENS,
    ) -> PointingResult:
        """Return the probability that the text is about each frame (`FramePointer`).

        Raises:
            ValueError: if there is no image, or one of a size outside the geometry; if the
                checkpoint has no pointer, or the task does not use it.
        """
        branch = self._model.answer
        if branch is None or branch.pointer is None or task == "caption":
            raise ValueError(f"{self.name} cannot point at frames for task {task}")
        prompt = self._build_prompt(parts, task, max_thinking_tokens if thinking else None)
        states = prompt.decoder(prompt.vectors)[0]
        probabilities = branch.pointer(states[-1:], states[prompt.frame_ends])[0].sigmoid()
        return PointingResult(
            probabilities=tuple(probabilities.tolist()),
            confident=self._is_confident(prompt.familiarity),
            familiarity=prompt.familiarity,
            thinking=prompt.thinking,
            usage=prompt.usage(0),
            notes=prompt.notes,
        )

    def _refuse(self, options: GenerationOptions, on_text: OnText | None = None) -> None:
        """Refuse what the embedded model cannot do."""
        refuse_unsupported(options, supported=EMBEDDED_SUPPORTS, model=self.name)
        if on_text is not None:
            raise ConfigError(
                "config.invalid",
                f"{self.name} cannot stream: it writes several answers and takes the best",
                hint="leave --stream out, or use another --model",
            )

    def _candidate_ids(self, candidates: Sequence[str]) -> list[list[int]]:
        """Encode each candidate and check that no two are equal."""
        all_ids = [self._tokenizer.encode(text) for text in candidates]
        known: dict[tuple[int, ...], str] = {}
        for text, ids in zip(candidates, all_ids, strict=True):
            if tuple(ids) in known:
                raise ValueError(f"{known[tuple(ids)]!r} and {text!r} are the same to the model")
            known[tuple(ids)] = text
        return all_ids

    def _build_prompt(
        self, parts: Sequence[Part], task: TaskName, thinking_tokens: int | None
    ) -> _Prompt:
        """Encode frames and text; generate reasoning first if ``thinking_tokens`` is given.

        Reasoning is kept only where the model also detects the coloured shapes that it names
        (`open_answers`): trained on synthetic scenes, the model names shapes in any film. If
        nothing remains, the prompt is built without reasoning.
        """
        # Copy: torch accepts neither read-only arrays nor negative strides.
        frames = [
            torch.from_numpy(part.pixels.copy()) for part in parts if isinstance(part, ImagePart)
        ]
        ids = self._ids(parts)
        features, familiarity = self._cached_features(frames)
        decoder = self._model.branch(task).decoder
        visual = self._model.project(features, frames, task=task)
        prompt = self._model.embed(torch.tensor([ids]), visual, task=task)
        reasoning, reasoning_tokens = None, 0
        notes: tuple[Note, ...] = ()
        if thinking_tokens is not None:
            reasoning = generate_reasoning(
                decoder, prompt, self._tokenizer, max_tokens=thinking_tokens
            )
            reasoning_tokens = len(reasoning.ids)
            reasoning, notes = self._filter_reasoning(parts[:-1], reasoning)
            if reasoning is None:
                without = self._build_prompt(_remove_think_suffix(parts), task, None)
                return replace(without, reasoning_tokens=reasoning_tokens, notes=notes)
            prompt = torch.cat((prompt, embed_ids(decoder, reasoning.ids)), dim=1)
        frame_ends = (torch.tensor(ids) == FRAME_END_ID).nonzero().flatten()
        branch = self._model.answer
        state_hook: StateHook = identity
        if branch is not None and task != "caption":
            state_hook = partial(branch.fuse_evidence, frame_ends=frame_ends)
        return _Prompt(
            decoder=decoder,
            state_hook=state_hook,
            vectors=prompt,
            frame_ends=frame_ends,
            prompt_tokens=len(ids),
            visual_tokens=features.shape[0],
            familiarity=familiarity,
            reasoning=reasoning,
            reasoning_tokens=reasoning_tokens,
            notes=notes,
        )

    def _filter_reasoning(
        self, frame_parts: Sequence[Part], reasoning: Reasoning
    ) -> tuple[Reasoning | None, tuple[Note, ...]]:
        """Remove the steps that name coloured shapes detected in no frame, and note them."""
        if not self.can_point:
            return reasoning, ()
        missing = [
            thing
            for thing in find_things(reasoning.text)
            if not detects_thing(self, frame_parts, thing)
        ]
        if not missing:
            return reasoning, ()
        steps = reasoning.text.split(STEP_SEPARATOR)
        kept = [step for step in steps if not set(find_things(step)) & set(missing)]
        note = Note(
            "thought.left_out",
            f"left out of the reasoning, as detected in no frame: {', '.join(missing)}",
        )
        if not kept:
            return None, (note,)
        text = STEP_SEPARATOR.join(kept)
        ids = tuple(self._tokenizer.encode(f"{THINK}{text}{THINK_END}"))
        return Reasoning(ids, text), (note,)

    def _ids(self, parts: Sequence[Part]) -> list[int]:
        """Encode interleaved parts as token ids."""
        ids: list[int] = []
        for part in parts:
            if not isinstance(part, ImagePart):
                ids += self._tokenizer.encode(part.text)
            else:
                height_px, width_px, _ = part.pixels.shape
                count = height_px * width_px // self._config.geometry.token_px**2
                ids += [FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
        return [*ids, ANSWER_ID]

    def _cached_features(self, frames: Sequence[Tensor]) -> tuple[Tensor, float | None]:
        """Return `_encode` of the frames, cached for the last ones: questions come in a row."""
        digest = hashlib.sha256()
        for frame in frames:
            digest.update(repr(tuple(frame.shape)).encode())
            digest.update(frame.numpy().data)
        key = digest.digest()
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != key:
            self._last = last = (key, *self._encode(frames))
        return last[1:]

    def _encode(self, frames: Sequence[Tensor]) -> tuple[Tensor, float | None]:
        """Return the visual tokens of all frames, ``(k, width)``, and their familiarity."""
        vit = self._model.vit
        if not isinstance(vit.patches, ConvPatches):
            return vit(frames), None
        grids = [vit.grid(frame.shape[0], frame.shape[1]) for frame in frames]
        if not grids:
            raise ValueError("the prompt has no image")
        embedded, means = [], []
        for _, same in groupby(frames, key=lambda frame: frame.shape):
            for chunk in torch.stack(list(same)).split(_STEM_BATCH):
                cells = vit.patches.stem(chunk)
                means.append(cells.mean(dim=(1, 2)))
                embedded.append(vit.patches.embed(cells).flatten(0, 1))
        features = vit.encode(torch.cat(embedded), grids)
        if self._familiarity is None:
            return features, None
        return features, float(self._familiarity.score(torch.cat(means)).mean())

    def _is_confident(self, familiarity: float | None) -> bool:
        """Return whether the frames are similar enough to the training images, as far as known."""
        threshold = self._config.familiarity_threshold
        return threshold is None or familiarity is None or familiarity >= threshold


def _remove_think_suffix(parts: Sequence[Part]) -> list[Part]:
    """Return the parts without the request for reasoning."""
    return [
        TextPart(remove_think_suffix(part.text)) if isinstance(part, TextPart) else part
        for part in parts
    ]


def _make_ood_detector(checkpoint: Checkpoint) -> KnnOodDetector | None:
    """Return the checkpoint's out-of-distribution detector, if it has one."""
    if not checkpoint.familiarity:
        return None
    try:
        return KnnOodDetector(**checkpoint.familiarity)
    except (TypeError, ValueError, LookupError) as error:
        raise _unfit_error("inconsistent familiarity tensors") from error


def _unfit_error(what: str) -> ModelError:
    return ModelError(
        "model.checkpoint_invalid",
        f"the checkpoint has {what}",
        hint="copy or install the checkpoint again",
    )
