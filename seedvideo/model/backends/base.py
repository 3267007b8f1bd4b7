"""Backend Protocols, the values that backends exchange, and the order of text and image parts.

The sampler asks a backend for geometry and text costs, so token counts in a plan are the model's
own. A model that can rank given answers also implements `SupportsChoice`; one that can point at
frames, `SupportsPointing`; one that can answer several prompts at once, `SupportsBatches`.

`interleave` combines frames, times and the user's text into one model-independent list of parts:

    0 s, image, 1/2 s, image, ..., "Describe the video."

As published, the time of each frame is before it and the user's text comes last (Seed1.5-VL,
section 2.2; official cookbook). A backend writes the times in the words of its model and turns the
list into its own tensors or request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions
from seedvideo.sampler.geometry import Geometry
from seedvideo.utils.timecode import timestamp_text


@dataclass(frozen=True)
class TimePart:
    """The time of the frame that follows; each backend writes it in the words of its model.

    Args:
        pts: presentation time from the start of the video, in seconds.

    Raises:
        ValueError: if the time is below zero.
    """

    pts: Fraction

    def __post_init__(self) -> None:
        _ = self.text

    @property
    def text(self) -> str:
        """The time as in the published model: ``[12.5 second]``."""
        return timestamp_text(self.pts)


@dataclass(frozen=True)
class TextPart:
    """Plain text.

    Args:
        text: the text; special tokens inside it have no special meaning.
    """

    text: str


@dataclass(frozen=True)
class ImagePart:
    """One frame, at the size in which the model encodes it.

    Args:
        pixels: ``(height_px, width_px, 3)`` uint8 RGB.
        partner: a second frame shortly after it, of the same size, that the model merges with it;
            the time before the image is then the mean of both. None for a single frame.

    Raises:
        ValueError: if an array has another shape or dtype.
    """

    pixels: npt.NDArray[np.uint8]
    partner: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.partner is not None and self.partner.shape != self.pixels.shape:
            raise ValueError(
                f"a pair has frames of shapes {self.pixels.shape} and {self.partner.shape},"
                " expected the same"
            )
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"a frame is {self.pixels.dtype} of shape {self.pixels.shape}, "
                "expected uint8 (height, width, 3)"
            )

    def __repr__(self) -> str:
        height_px, width_px, _ = self.pixels.shape
        return f"ImagePart({width_px}x{height_px} px)"


Part: TypeAlias = TimePart | TextPart | ImagePart


def interleave(
    frames: Sequence[tuple[Fraction, npt.NDArray[np.uint8]]],
    prompt: str,
    *,
    partners: Sequence[tuple[Fraction, npt.NDArray[np.uint8]] | None] = (),
) -> list[Part]:
    """Interleave frames with their times, then append the prompt.

    Args:
        frames: presentation time in seconds and ``(h, w, 3)`` pixels of each frame, in time order.
        prompt: the user's text.
        partners: a second frame for each, or None; of no frame if empty. The time of a pair is the
            mean of both.

    Raises:
        ValueError: if there are no frames, times do not increase, or the prompt is empty.
    """
    if not frames:
        raise ValueError("no frames to interleave")
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    parts: list[Part] = []
    last: Fraction | None = None
    for (time, pixels), partner in zip(frames, partners or [None] * len(frames), strict=True):
        if last is not None and time <= last:
            raise ValueError(f"frame times must increase, got {time} after {last}")
        last = time
        if partner is None:
            parts += [TimePart(time), ImagePart(pixels)]
        else:
            parts += [TimePart((time + partner[0]) / 2), ImagePart(pixels, partner[1])]
    return [*parts, TextPart(prompt)]


TaskName: TypeAlias = Literal["caption", "ask", "ground"]
"""Task of a model: describe, answer a question, or find a moment."""

OpenMethod: TypeAlias = Literal["words", "known_answers", "description"]
"""Method by which an open question was answered."""

TASKS: Final[tuple[TaskName, ...]] = get_args(TaskName)


@dataclass(frozen=True)
class Usage:
    """Token counts of one answer, by the model that gave it.

    Args:
        visual_tokens: tokens of all frames.
        prompt_tokens: all tokens before the answer, including visual ones.
        output_tokens: tokens of the answer, including its reasoning.
    """

    visual_tokens: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Note:
    """A remark about an answer.

    Args:
        code: stable identifier; one that begins with ``answer.`` explains why the answer is unsure.
        message: text for people, without a full stop.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Generation:
    """One generated answer.

    Args:
        text: the answer as generated, without its reasoning.
        confident: false if the frames are unlike the training images, or a note explains why the
            answer is unsure.
        familiarity: similarity of the frames to the training images, from -1 to 1; None if unknown.
        usage: token counts.
        thinking: reasoning before the answer; None if none was requested.
        probability: probability of the answer among all possible ones; None if unknown.
        method: how a question was answered: ``words`` (free text), ``known_answers`` (likeliest of
            the answers known for this kind of question) or ``description`` (from a caption).
        notes: remarks about the answer.
    """

    text: str
    confident: bool
    familiarity: float | None
    usage: Usage
    thinking: str | None = None
    probability: float | None = None
    method: OpenMethod = "words"
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One of the answers that a model was given to choose among.

    Args:
        index: index of the candidate.
        probability: probability of this answer given that one of the scored candidates is answered;
            all of them sum to 1.
    """

    index: int
    probability: float


@dataclass(frozen=True)
class ChoiceResult:
    """Candidates ranked by a model.

    Args:
        ranked: best first; at most ``top`` of them.
        confident: as in ``Generation``.
        familiarity: as in ``Generation``.
        thinking: as in ``Generation``.
        usage: token counts; the output is that of the best choice.
        notes: as in ``Generation``.
    """

    ranked: tuple[Choice, ...]
    confident: bool
    familiarity: float | None
    thinking: str | None
    usage: Usage
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class PointingResult:
    """Probabilities of the frames.

    Args:
        probabilities: probability that the text is about each frame, in order.
        confident: as in ``Generation``.
        familiarity: as in ``Generation``.
        thinking: as in ``Generation``.
        usage: token counts; no answer is generated.
        notes: as in ``Generation``.
    """

    probabilities: tuple[float, ...]
    confident: bool
    familiarity: float | None
    thinking: str | None
    usage: Usage
    notes: tuple[Note, ...] = ()


ModelSource: TypeAlias = Literal["shipped", "folder", "hub", "server"]
"""Where a model comes from."""


@dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """Facts about a model that its records state, besides its name and hash.

    Args:
        source: where the model comes from.
        family: row of `seedvideo.model.families`; None for the embedded models.
        time_format: how the time of a frame is written, with 12.5 s as the example.
        time_precision_s: maximum difference between a frame's time and its text, in seconds; None
            if unknown.
        revision: commit of a model from a hub.
        dtype: number format of the weights.
        quantize: bits of quantized weights.
        server: base URL, without credentials.
        server_version: version, as the server states it.
        jpeg_quality: quality of the JPEG pictures that a server is sent.
        pairs: whether two near frames are shown for the price of one.
        supports: what the model supports of how an answer is written: fields of
            `GenerationOptions`, ``prompt`` (another caption prompt) and ``stream``.
    """

    source: ModelSource
    family: str | None = None
    time_format: str = timestamp_text(Fraction(25, 2))
    time_precision_s: float | None = 0.05
    revision: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    server: str | None = None
    server_version: str | None = None
    jpeg_quality: int | None = None
    pairs: bool = False
    supports: tuple[str, ...] = ("system", "max_new_tokens", "temperature", "prompt", "stream")

    def to_record(self) -> dict[str, Any]:
        """Return the fields of a record."""
        return {name: value for name, value in vars(self).items() if name != "supports"}


OnText: TypeAlias = Callable[[str], None]
"""Receives the text of an answer piece by piece, as it is generated."""


class TokenCosts(Protocol):
    """Properties of a model that planning needs; none requires its weights."""

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        ...

    @property
    def sha256(self) -> str:
        """Hash that changes when a weight does."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Frame sizes, levels and default budget."""
        ...

    @property
    def details(self) -> ModelDetails:
        """Facts for the record."""
        ...

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame at a time: the time and the tokens around the image."""
        ...


class Backend(Protocol):
    """A model that answers about frames."""

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        ...

    @property
    def sha256(self) -> str:
        """Hash that changes when a weight does."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Frame sizes, levels and default budget."""
        ...

    @property
    def details(self) -> ModelDetails:
        """Facts for the record."""
        ...

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        ...

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame at a time: the time and the tokens around the image."""
        ...

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
        """Generate an answer to interleaved parts.

        Args:
            parts: frames and text, as made by `interleave`.
            task: what to generate.
            thinking: whether the prompt asks for reasoning before the answer. The reasoning is
                returned separately, and closed by the backend if it grows too long.
            max_new_tokens: maximum tokens of the answer, excluding reasoning.
            beams: hypotheses kept in parallel; None for the default of the task.
            options: system prompt, temperature and token limit; the limit overrides
                ``max_new_tokens``.
            on_text: receives the answer as it is generated; only for models that support it.

        Raises:
            ValueError: if there is no image, or one of a size outside the geometry.
            ModelError: if the model gives no usable answer.
            ConfigError: ``config.invalid`` if the model does not support an option.
        """
        ...


@runtime_checkable
class SupportsChoice(Protocol):
    """A model that can rank given answers."""

    def choose(
        self,
        parts: Sequence[Part],
        candidates: Sequence[str],
        *,
        task: TaskName,
        thinking: bool = False,
        top: int = 8,
        max_thinking_tokens: int = 256,
        options: GenerationOptions = DEFAULT_GENERATION,
    ) -> ChoiceResult:
        """Rank the given answers to interleaved parts; no other answer is possible.

        Args:
            parts: frames and text, as made by `interleave`.
            candidates: the answers to rank. Up to 64 are all scored; of more, unlikely ones may be
                pruned.
            task: what to generate.
            thinking: whether the prompt asks for reasoning before the answer.
            top: maximum number of choices to return.
            max_thinking_tokens: maximum tokens of the reasoning, which is then closed by the
                backend.
            options: as in `Backend.generate`.

        Raises:
            ValueError: if the parts are invalid, there are no candidates, or two have equal token
                ids.
        """
        ...


@runtime_checkable
class SupportsBatches(SupportsChoice, Protocol):
    """A model that can answer several prompts at once, and rank given answers."""

    def generate_batch(
        self,
        prompts: Sequence[Sequence[Part]],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
    ) -> list[Generation]:
        """Generate the answer of each prompt; see `Backend.generate`.

        In float32 the answers are those of single prompts.
        """
        ...


@runtime_checkable
class SupportsLimitedAnswers(Protocol):
    """A model whose answer can be limited to given ones, without their probabilities."""

    @property
    def can_limit_answers(self) -> bool:
        """Whether this model's server can."""
        ...

    def generate_one_of(
        self,
        parts: Sequence[Part],
        answers: Sequence[str],
        *,
        task: TaskName,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        """Generate one of the given answers, without reasoning; see `Backend.generate`."""
        ...


@runtime_checkable
class SupportsPointing(Protocol):
    """A model that can point at the frames that a text is about."""

    @property
    def can_point(self) -> bool:
        """Whether this checkpoint was trained to point."""
        ...

    def point(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName,
        thinking: bool = False,
        max_thinking_tokens: int = 256,
    ) -> PointingResult:
        """Return the probability that the text is about each frame.

        Args:
            parts: frames and text, as made by `interleave`.
            task: what to look for: an answer or a moment.
            thinking: whether the prompt asks for reasoning before the answer.
            max_thinking_tokens: maximum tokens of the reasoning, which is then closed by the
                backend.

        Raises:
            ValueError: if the parts are invalid, or the checkpoint cannot point.
        """
        ...
