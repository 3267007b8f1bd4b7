"""What every model must offer, whoever made it: one Protocol and the values it exchanges.

The sampler asks a backend for geometry and text costs, so a plan's count of tokens is the model's
own. A model that can say which of given answers it holds likeliest is a ``Chooser`` too, one that
can point at pictures a ``Pointer``. Knows nothing of any particular model.

Frames, times and the user's words, interleaved into one model-free list of parts.

    "[0.0 second]", picture, "[0.5 second]", picture, ..., "Describe the video."

As published: the time is text before each frame, the user's text comes last (Seed1.5-VL, section
2.2; official cookbook). A backend turns the list into its own tensors or request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.geometry import TokenGeometry, timestamp_text


@dataclass(frozen=True)
class TextPart:
    """Words, read as plain text.

    Args:
        text: what is said.
    """

    text: str


@dataclass(frozen=True)
class ImagePart:
    """One frame, at the size in which the model is to see it.

    Args:
        pixels: ``(height_px, width_px, 3)`` uint8 RGB.

    Raises:
        ValueError: if the array is not of that kind.
    """

    pixels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"a frame is {self.pixels.dtype} of shape {self.pixels.shape}, "
                "expected uint8 (height, width, 3)"
            )

    def __repr__(self) -> str:
        height_px, width_px, _ = self.pixels.shape
        return f"ImagePart({width_px}x{height_px} px)"


Part: TypeAlias = TextPart | ImagePart


def pack(frames: Sequence[tuple[Fraction, npt.NDArray[np.uint8]]], prompt: str) -> list[Part]:
    """Interleave frames with their times, then the prompt.

    Args:
        frames: pairs of true time in seconds and ``(h, w, 3)`` pixels, in time order.
        prompt: the user's words.

    Raises:
        ValueError: if there is no frame, the times do not rise, or there are no words.
    """
    if not frames:
        raise ValueError("there are no frames to pack")
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    parts: list[Part] = []
    last: Fraction | None = None
    for time, pixels in frames:
        if last is not None and time <= last:
            raise ValueError(f"frame times must rise: {time} follows {last}")
        last = time
        parts += [TextPart(timestamp_text(time)), ImagePart(pixels)]
    return [*parts, TextPart(prompt)]


Skill: TypeAlias = Literal["caption", "ask", "ground"]
"""What a model is asked for: to describe, to answer a question, or to find a moment."""

OpenMethod: TypeAlias = Literal["words", "known_answers", "description"]
"""How an open question was answered."""

SKILLS: Final[tuple[Skill, ...]] = get_args(Skill)


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, counted by the model that gave it.

    Args:
        visual_tokens: tokens of all frames.
        prompt_tokens: all tokens of the sequence before the answer, visual ones included.
        output_tokens: tokens of the answer, those of its thought included.
    """

    visual_tokens: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Note:
    """What a reader of an answer should know.

    Args:
        code: stable, for programs; one that begins with ``answer.`` says why the answer is unsure.
        message: for people, without a full stop.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Generation:
    """One answer.

    Args:
        text: as the model wrote it, without its thought.
        confident: false where the frames look unlike anything that the model was trained on, or
            where a note says why the answer is unsure.
        familiarity: how alike they look, from -1 to 1; None where a model cannot tell.
        usage: tokens spent.
        thinking: what it wrote between the marks of a thought; None if it was not to think.
        probability: of the answer among those that it could have been; None where a model does not
            say.
        method: how a question was answered: in the model's own words, by the likeliest of the
            answers that it knows to such a question, or by a description of what is shown.
        notes: what a reader should know.
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
        index: its place among them.
        probability: that the model answers this, given that it answers one of those that were
            scored. Of all of them together it is 1.
    """

    index: int
    probability: float


@dataclass(frozen=True)
class Chosen:
    """What a model chose.

    Args:
        ranked: best first; at most as many as were asked for.
        confident: as in ``Generation``.
        familiarity: as in ``Generation``.
        thinking: as in ``Generation``.
        usage: tokens spent; the answer's are those of the best choice.
        notes: as in ``Generation``.
    """

    ranked: tuple[Choice, ...]
    confident: bool
    familiarity: float | None
    thinking: str | None
    usage: Usage
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Pointed:
    """What a model says of each picture that it was shown.

    Args:
        probabilities: one a picture, in order: how likely the words are about it.
        confident: as in ``Generation``.
        familiarity: as in ``Generation``.
        thinking: as in ``Generation``.
        usage: tokens spent; no answer is written.
        notes: as in ``Generation``.
    """

    probabilities: tuple[float, ...]
    confident: bool
    familiarity: float | None
    thinking: str | None
    usage: Usage
    notes: tuple[Note, ...] = ()


class Prices(Protocol):
    """What planning needs to know of a model, which takes none of its weights."""

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        ...

    @property
    def sha256(self) -> str:
        """Hash that changes when a weight does."""
        ...

    @property
    def geometry(self) -> TokenGeometry:
        """Sizes of frames, levels and default budget."""
        ...

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens that a frame costs beside its visual ones: its time and its two marks."""
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
    def geometry(self) -> TokenGeometry:
        """Sizes of frames, levels and default budget."""
        ...

    def count_text_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        ...

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens that a frame costs beside its visual ones: its time and its two marks."""
        ...

    def generate(
        self,
        parts: Sequence[Part],
        *,
        skill: Skill = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
    ) -> Generation:
        """Answer a packed sequence.

        Args:
            parts: frames and words.
            skill: what is asked for.
            thinking: whether the words ask for a thought before the answer; it is kept apart from
                the answer's text, and ended for the model where it grows too long.
            max_new_tokens: most tokens of the answer, a thought not counted.
            beams: answers kept in parallel; None for as many as suit the skill.

        Raises:
            ValueError: if the parts hold no picture or a size that the geometry does not allow.
            ModelError: if the model gives no usable answer.
        """
        ...


@runtime_checkable
class Chooser(Protocol):
    """A model that can say which of given answers is likeliest."""

    def choose(
        self,
        parts: Sequence[Part],
        candidates: Sequence[str],
        *,
        skill: Skill,
        thinking: bool = False,
        top: int = 8,
        max_thinking_tokens: int = 256,
    ) -> Chosen:
        """Rank the given answers to a packed sequence; nothing else can be answered.

        Args:
            parts: frames and words.
            candidates: the answers to choose among. Up to 64 are all scored; of more, those that a
                search finds worth it.
            skill: what is asked for.
            thinking: whether the words ask for a thought before the answer.
            top: most choices to give back.
            max_thinking_tokens: a thought that grows longer is ended for the model.

        Raises:
            ValueError: if the parts are unfit, there are no candidates, or two of them are the same
                to the model.
        """
        ...


@runtime_checkable
class Pointer(Protocol):
    """A model that can point at the pictures that words are about."""

    @property
    def points(self) -> bool:
        """Whether this checkpoint has learned to."""
        ...

    def point(
        self,
        parts: Sequence[Part],
        *,
        skill: Skill,
        thinking: bool = False,
        max_thinking_tokens: int = 256,
    ) -> Pointed:
        """Say of each picture how likely the words are about it.

        Args:
            parts: frames and words.
            skill: what is asked for.
            thinking: whether the words ask for a thought before the answer.
            max_thinking_tokens: a thought that grows longer is ended for the model.

        Raises:
            ValueError: if the parts are unfit, or the checkpoint does not point.
        """
        ...
