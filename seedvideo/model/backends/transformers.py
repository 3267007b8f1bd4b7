"""Transformers backend: an open-weight checkpoint that runs in the calling process.

Answers are greedy by default, so they repeat. Options are ranked by log-likelihood: the prompt is
read once, and each option continues its cache (`option_scores`).

Separate from `seedvideo.model`, which finds models without importing torch.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from seedvideo.environment import is_out_of_memory
from seedvideo.errors import ModelError
from seedvideo.model.backends.base import (
    Choice,
    ChoiceResult,
    Generation,
    ModelDetails,
    Note,
    OnText,
    Part,
    TaskName,
    Usage,
)
from seedvideo.model.families import with_family_package
from seedvideo.model.loading import first_line, load_model
from seedvideo.model.open_weights import checkpoint_sha256, with_family, with_pairs
from seedvideo.model.option_scores import score_options
from seedvideo.model.processing import Encoded, PromptProcessor
from seedvideo.model.runtime import isolate_torch, set_threads
from seedvideo.model_options import (
    DEFAULT_GENERATION,
    GenerationOptions,
    ModelOptions,
)
from seedvideo.sampler.geometry import Geometry
from seedvideo.tasks.prompts import split_reasoning, strip_answer_tags

MAX_NEW_TOKENS: Final = 512
"""Default maximum tokens of an answer, without reasoning."""

MAX_THINKING_TOKENS: Final = 4_096
"""Default maximum tokens of the reasoning before an answer."""


class TransformersBackend:
    """A loaded open-weight model.

    Args:
        name: name, as in ``--model``.
        folder: folder of the checkpoint.
        model: a model of transformers for images and text.
        processor: processor of the checkpoint.
        details: facts for the record.
        options: how it was loaded.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        model: Any,
        processor: PromptProcessor,
        details: ModelDetails,
        options: ModelOptions,
    ) -> None:
        self.name, self._options = name, options
        self._folder, self._model, self._processor = folder, model, processor
        self._details = with_family(details, processor.family)
        # A model of transformers keeps the positions of its last prompt as state.
        self._lock = threading.RLock()

    @classmethod
    def from_folder(
        cls, name: str, folder: Path, details: ModelDetails, options: ModelOptions
    ) -> "TransformersBackend":
        """Load a checkpoint folder.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if the checkpoint is damaged or its type is
                unknown; ``model.not_installed`` if an option needs a package.
            ConfigError: ``config.invalid`` for pairs of a family that does not merge two frames.
        """
        set_threads()
        with isolate_torch(inference=False):
            processor = PromptProcessor.from_folder(folder)
            if options.pairs:
                details = with_pairs(name, details, processor.family)
            model = load_model(folder, options)
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(name, folder, model, processor, replace(details, dtype=dtype), options)

    def __reduce__(self) -> tuple[object, ...]:
        # Another process loads the folder itself: weights are not sent.
        place = (self.name, self._folder, self._details, self._options)
        return TransformersBackend.from_folder, place

    @cached_property
    def sha256(self) -> str:
        """Hash over all files of the checkpoint."""
        return with_family_package(checkpoint_sha256(self._folder), self._processor.family)

    @property
    def geometry(self) -> Geometry:
        """Frame sizes, levels and default budget."""
        return self._processor.geometry

    @property
    def details(self) -> ModelDetails:
        """Facts for the record."""
        return self._details

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return self._processor.count_text_tokens(text)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame: its time and the markup around its visual tokens."""
        return self._processor.frame_text_tokens(pts)

    def generate(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = MAX_NEW_TOKENS,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        """Generate an answer; see `Backend.generate`.

        Raises:
            ValueError: if there is no image, or one of a size outside the geometry.
            ModelError: ``model.tokens_differ`` if the processor makes other visual tokens than
                planned; ``model.prompt_too_long`` if the answer would not fit the context;
                ``model.thought_unfinished`` if the limit is reached inside the reasoning.
        """
        (made,) = self.generate_batch(
            [parts],
            task=task,
            thinking=thinking,
            max_new_tokens=max_new_tokens,
            beams=beams,
            options=options,
            on_text=on_text,
        )
        return made

    @isolate_torch()
    def generate_batch(
        self,
        prompts: Sequence[Sequence[Part]],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = MAX_NEW_TOKENS,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> list[Generation]:
        """Generate the answers of several prompts at once, padded on the left.

        In float32 the answers are those of single prompts; in other formats a sum may round
        differently, so that now and then a token differs (docs/concepts/models.md).

        Raises:
            ValueError: as `generate` does.
            ModelError: as `generate` does.
        """
        del task
        with self._lock:
            encoded = self._processor.encode(prompts, system=options.system, thinking=thinking)
            thinking = thinking or encoded.opens_thought or self._processor.always_thinks
            limit = self._limit(
                encoded, options, max_new_tokens + (MAX_THINKING_TOKENS if thinking else 0)
            )
            rows = self._write(encoded, limit, beams, options, on_text)
        return [
            self._read(row, encoded, index, limit=limit, thinking=thinking)
            for index, row in enumerate(rows)
        ]

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
        """Rank answers by their log-likelihood, including the token that ends an answer.

        Reasoning is written first if ``thinking`` is set, and closed if it grows too long.
        Otherwise a thought that the prompt opens is closed at once, so that the answers are scored
        and not its first words.

        Raises:
            ValueError: as `generate` does; if there are no candidates, or two have equal token ids.
            ModelError: as `generate` does.
        """
        ids = self._candidate_ids(candidates)
        thought, spent = "", 0
        if thinking:
            thought, spent = self._reason(parts, options, max_thinking_tokens)
        with self._lock:
            encoded = self._processor.encode(
                [parts], system=options.system, thinking=bool(thought), thought=thought
            )
            self._check_context(encoded, max(map(len, ids)))
            with self._translate_errors():
                scores = score_options(
                    self._model, self._on_device(encoded.inputs), ids, end_ids=self._end_ids
                )
        total = torch.logsumexp(torch.tensor(scores, dtype=torch.float64), dim=0).item()
        order = sorted(range(len(ids)), key=lambda index: (-scores[index], index))
        return ChoiceResult(
            ranked=tuple(
                Choice(index, min(1.0, math.exp(scores[index] - total))) for index in order[:top]
            ),
            confident=True,
            familiarity=None,
            thinking=thought or None,
            usage=Usage(
                encoded.visual_tokens[0], encoded.prompt_tokens[0], spent + len(ids[order[0]])
            ),
        )

    @contextmanager
    def _translate_errors(self, stream: "_TextStream | None" = None) -> Iterator[None]:
        """Translate errors of the model's own code: this device or format may not be supported.

        Args:
            stream: streamer of the answer, whose receiver's errors are its caller's.

        Raises:
            ModelError: ``model.failed``.
        """
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # the code of any family may raise anything
            if is_out_of_memory(error) or (stream is not None and stream.failure is error):
                raise
            details = self.details
            raise ModelError(
                "model.failed",
                f"{self.name} failed on {self._model.device} in {details.dtype}:"
                f" {first_line(error)}",
                hint="try another --dtype or --attention, or leave --quantize out",
            ) from error

    def _reason(
        self, parts: Sequence[Part], options: GenerationOptions, max_thinking_tokens: int
    ) -> tuple[str, int]:
        """Write reasoning; return its text and the number of written tokens."""
        processor = self._processor
        with self._lock:
            encoded = processor.encode([parts], system=options.system, thinking=True)
            limit = self._limit(encoded, options, max_thinking_tokens)
            (ids,) = self._write(encoded, limit, None, options, None)
        end = processor.thought_ids[1]
        if end is not None and end in ids:
            thought = processor.decode_thought(ids[: ids.index(end)])
        elif encoded.opens_thought:
            thought = processor.decode_thought(ids)
        else:
            thought = split_reasoning(processor.decode(ids))[0]
        return thought or "", len(ids)

    def _limit(self, encoded: Encoded, options: GenerationOptions, default: int) -> int:
        """Return the maximum of new tokens: as asked for, or a default that fits the context."""
        context = self._processor.context_tokens
        if options.max_new_tokens is not None or context is None:
            return options.max_new_tokens or default
        return max(1, min(default, context - max(encoded.prompt_tokens)))

    def _write(
        self,
        encoded: Encoded,
        limit: int,
        beams: int | None,
        options: GenerationOptions,
        on_text: OnText | None,
    ) -> list[list[int]]:
        """Generate the ids of each answer, up to the token that ends it."""
        self._check_context(encoded, limit)
        settings: dict[str, Any] = {"do_sample": options.temperature > 0}
        if options.temperature > 0:
            # 0: from all tokens, as servers do; the library's default is the likeliest 50.
            settings |= {"temperature": options.temperature, "top_k": 0}
        if beams is not None:
            settings["num_beams"] = beams
        stream = None
        if on_text is not None:
            stream = settings["streamer"] = _TextStream(
                self._processor, on_text, opens_thought=encoded.opens_thought
            )
        inputs = self._on_device(encoded.inputs)
        with self._translate_errors(stream):
            made = self._model.generate(
                **inputs, max_new_tokens=limit, eos_token_id=list(self._end_ids) or None, **settings
            )
        answers = made[:, inputs["input_ids"].shape[1] :].tolist()
        return [_cut_at_end(answer, self._end_ids) for answer in answers]

    def _read(
        self, ids: list[int], encoded: Encoded, index: int, *, limit: int, thinking: bool
    ) -> Generation:
        """Separate reasoning from an answer and note if it was cut."""
        processor = self._processor
        is_cut = len(ids) >= limit
        start, end = processor.thought_ids
        if end is not None and end in ids:
            cut = len(ids) - 1 - ids[::-1].index(end)
            thought = processor.decode_thought(ids[:cut])
            text = processor.decode(ids[cut + 1 :])
        elif start is not None and ids[:1] == [start]:
            thought, text = processor.decode_thought(ids), ""
        else:
            text = processor.decode(ids)
            if encoded.opens_thought and "</think>" not in text:
                raise _unfinished_error(limit)
            thought, text = split_reasoning(text)
        if thought is not None and not text and is_cut:
            raise _unfinished_error(limit)
        if is_cut and not text.strip():
            raise ModelError(
                "model.empty_answer",
                f"{self.name} wrote nothing but white space in {limit} tokens",
                hint="raise --max-new-tokens",
            )
        notes: tuple[Note, ...] = ()
        if is_cut:
            notes = (
                Note(
                    "answer.truncated",
                    f"the answer reached the limit of {limit} tokens and may be cut"
                    " (--max-new-tokens)",
                ),
            )
        return Generation(
            text=strip_answer_tags(text),
            confident=not is_cut,
            familiarity=None,
            usage=Usage(encoded.visual_tokens[index], encoded.prompt_tokens[index], len(ids)),
            thinking=thought if thinking else None,
            notes=notes,
        )

    def _check_context(self, encoded: Encoded, new_tokens: int) -> None:
        """Raise an error if the prompt and the answer do not fit the context of the model."""
        context, prompt = self._processor.context_tokens, max(encoded.prompt_tokens)
        if context is not None and prompt + new_tokens > context:
            raise ModelError(
                "model.prompt_too_long",
                f"a prompt of {prompt:,} tokens and an answer of up to {new_tokens:,} exceed the"
                f" {context:,} tokens of {self.name}",
                hint="use a smaller --budget or --max-new-tokens",
            )

    @cached_property
    def _end_ids(self) -> tuple[int, ...]:
        """Ids that end an answer, of the generation config, the tokenizer and the template."""
        stated = self._model.generation_config.eos_token_id
        ids = [*stated] if isinstance(stated, list | tuple) else [stated]
        ids += [self._processor.tokenizer.eos_token_id, self._processor.turn_end_id]
        return tuple(dict.fromkeys(int(each) for each in ids if each is not None))

    def _candidate_ids(self, candidates: Sequence[str]) -> list[list[int]]:
        """Encode each candidate, with what closes an answer that the prompt opens."""
        if not candidates:
            raise ValueError("there are no candidates")
        known: dict[tuple[int, ...], str] = {}
        all_ids = []
        for text in candidates:
            ids = self._processor.tokenizer.encode(
                self._processor.neutralize(text), add_special_tokens=False
            )
            if tuple(ids) in known:
                raise ValueError(f"{known[tuple(ids)]!r} and {text!r} are the same to the model")
            known[tuple(ids)] = text
            all_ids.append([*ids, *self._processor.answer_end_ids])
        return all_ids

    def _on_device(self, inputs: Any) -> Any:
        """Move inputs to the model; pictures get its number format."""
        return inputs.to(self._model.device, dtype=self._model.dtype)


class _TextStream:
    """Streamer of transformers: decodes new ids and passes on text that will not change.

    Reasoning is left out, if its marks are tokens.

    Args:
        processor: decodes ids.
        on_text: receives the answer piece by piece.
        opens_thought: whether the prompt ends inside an opened thought.

    Attributes:
        failure: error that the receiver raised.
    """

    def __init__(self, processor: PromptProcessor, on_text: OnText, *, opens_thought: bool) -> None:
        self._processor, self._on_text = processor, on_text
        self._opens_thought = opens_thought
        self.failure: Exception | None = None
        self._ids: list[int] = []
        self._sent = ""
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        """Receive new ids; the first call has those of the prompt."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._ids += value.flatten().tolist()
        text = self._answer()
        # A character may still lack some of its bytes.
        if not text.endswith("\ufffd"):
            self._send(text)

    def end(self) -> None:
        """Pass on what is left."""
        self._send(self._answer())

    def _answer(self) -> str:
        ids, (start, end) = self._ids, self._processor.thought_ids
        if end is not None and end in ids:
            ids = ids[len(ids) - ids[::-1].index(end) :]
        elif self._opens_thought or (start is not None and ids[:1] == [start]):
            ids = []
        return strip_answer_tags(self._processor.decode(ids))

    def _send(self, text: str) -> None:
        if text.startswith(self._sent) and len(text) > len(self._sent):
            try:
                self._on_text(text[len(self._sent) :])
            except Exception as error:
                self.failure = error
                raise
            self._sent = text


def _cut_at_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    """Cut an answer before the first token that ends it."""
    for index, each in enumerate(ids):
        if each in end_ids:
            return ids[:index]
    return ids


def _unfinished_error(limit: int) -> ModelError:
    return ModelError(
        "model.thought_unfinished",
        f"the model had not finished its reasoning after {limit:,} tokens",
        hint="raise --max-new-tokens",
    )
