"""From frames, times and text to the inputs of an open-weight model, by the checkpoint's processor.

The user's turn is rendered as one text: the time of each frame beside its placeholder, then the
prompt. So no chat template can move a time away from its frame. The sizes of the plan are kept, and
the visual tokens that the processor made are compared with those of the plan.

Separate from the backend, as costs of a family without a row need a processor but no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from seedvideo.environment import is_out_of_memory
from seedvideo.errors import ModelError
from seedvideo.model.backends.base import ImagePart, Part, TextPart, TimePart
from seedvideo.model.families import UNKNOWN_TIME, CheckpointConfig, Family, find_family
from seedvideo.model.loading import load_processor, loading_error
from seedvideo.model.metadata import checkpoint_error
from seedvideo.model.open_weights import make_geometry, read_checkpoint
from seedvideo.model.time_format import TimeFormat
from seedvideo.sampler.geometry import Geometry, ProbedGeometry
from seedvideo.tasks.prompts import THINK_SUFFIX, remove_think_suffix, split_reasoning
from seedvideo.utils.text import printable

_LEFT_MARK, _RIGHT_MARK = "@LEFT@", "@RIGHT@"
_PUBLISHED_CONTEXT_TOKENS: Final = 8_192
"""Assumed length of a sequence, if the checkpoint of an unknown family does not state it."""


@dataclass(frozen=True)
class Encoded:
    """Inputs of a model for one or several prompts, padded on the left.

    Args:
        inputs: tensors by argument of the model.
        visual_tokens: visual tokens of each prompt.
        prompt_tokens: all tokens of each prompt.
        opens_thought: whether the prompts end inside an opened thought.
    """

    inputs: Any
    visual_tokens: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    opens_thought: bool


class PromptProcessor:
    """The processor of a checkpoint, with what its family adds.

    Args:
        processor: a processor of transformers.
        folder: folder of the checkpoint, for messages.
        config: JSON files of the checkpoint.
        family: row of its family; None if it has none.
    """

    def __init__(
        self, processor: Any, folder: Path, config: CheckpointConfig, family: Family | None
    ) -> None:
        self._processor, self._folder, self._config = processor, folder, config
        self.tokenizer = processor.tokenizer
        self._is_unknown = family is None
        self.family = self._unknown_family() if family is None else family
        self.geometry: Geometry = make_geometry(folder, self.family, config)

    @classmethod
    def from_folder(cls, folder: Path) -> "PromptProcessor":
        """Load the processor of a checkpoint.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if it cannot be loaded.
        """
        config = read_checkpoint(folder)
        processor = load_processor(folder, str(config.model.get("model_type")))
        processor.tokenizer.padding_side = "left"
        family = find_family(str(config.model.get("model_type")))
        prompts = cls(processor, folder, config, family)
        # A damaged chat template is found here and not by the first answer.
        prompts.render([TextPart("?")], system=None, thinking=False)
        return prompts

    @property
    def context_tokens(self) -> int | None:
        """Maximum tokens of a sequence; None if unknown."""
        return self._config.context_tokens

    @cached_property
    def _placeholder(self) -> str:
        """The placeholder of an image, or of a clip of one frame."""
        name = "video_token" if self.family.as_clips else "image_token"
        return str(getattr(self._processor, name))

    @cached_property
    def _visual_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that count as visual."""
        # Gemma 3 writes another token than its placeholder.
        ids = [getattr(self._processor, "image_token_id", None)]
        if self.family.as_clips:
            ids = [getattr(self._processor, "video_token_id", None)]
        image_token = getattr(self.tokenizer, "image_token", None)
        if not self.family.as_clips and image_token is not None:
            ids = [self.tokenizer.convert_tokens_to_ids(image_token)]
        if ids == [None]:
            ids = [self.tokenizer.convert_tokens_to_ids(self._placeholder)]
        if self.family.merges_pairs:
            ids.append(getattr(self._processor, "video_token_id", None))
        ids += [self.tokenizer.convert_tokens_to_ids(t) for t in self.family.row_end_tokens]
        return tuple(int(each) for each in ids if each is not None)

    @cached_property
    def _control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer or the processor does not read as plain text, longest first."""
        texts = {*self.tokenizer.get_added_vocab(), self._placeholder}
        for name in ("image_token", "video_token", "boi_token"):
            text = getattr(self._processor, name, None)
            texts |= {text} if isinstance(text, str) else set()
        # A space cannot break white space, which some tokenizers have as added tokens.
        breakable = (t for t in texts if len(t) > 1 and not t.isspace() and t not in _broken(t))
        return tuple(sorted(breakable, key=lambda t: (-len(t), t)))

    @cached_property
    def thought_ids(self) -> tuple[int | None, int | None]:
        """Ids of the tokens that open and end a thought; None if they are plain text."""
        vocabulary, family = self.tokenizer.get_added_vocab(), self.family
        first = next((t for t in vocabulary if family.thought_start.startswith(t)), "")
        return vocabulary.get(first), vocabulary.get(family.thought_end)

    @cached_property
    def always_thinks(self) -> bool:
        """Whether the model reasons even if it is not asked to, and opens its thoughts itself."""
        return self.family.always_thinks and not self._has_thinking_switch

    @cached_property
    def turn_end_id(self) -> int | None:
        """Id of the special token that the chat template writes after an answer; None if none."""
        turns = [
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": _RIGHT_MARK}]},
        ]
        after = self._apply_template(turns).rpartition(_RIGHT_MARK)[2]
        written = self.tokenizer.encode(after, add_special_tokens=False)
        return (
            int(written[0])
            if written[:1] and written[0] in self.tokenizer.all_special_ids
            else None
        )

    @cached_property
    def answer_end_ids(self) -> tuple[int, ...]:
        """Ids of what closes an answer, where a closed thought also opens one."""
        end = self.family.answer_end if self.always_thinks else ""
        return tuple(self.tokenizer.encode(end, add_special_tokens=False))

    def neutralize(self, text: str) -> str:
        """Break control tokens in a user's text, so that they stay plain text.

        A space after the first character is enough: ``<|im_end|>`` becomes ``< |im_end|>``.
        """
        changed = True
        while changed:
            changed = False
            for token in self._control_tokens:
                if token in text:
                    text = text.replace(token, _broken(token))
                    changed = True
        return text

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame: its time and the markup around its visual tokens."""
        return self.count_text_tokens(self.family.frame_text(pts))

    def messages(
        self, parts: Sequence[Part], *, system: str | None = None, thinking: bool = False
    ) -> list[dict[str, Any]]:
        """Return the messages of a prompt; the user's is one text with placeholders.

        Args:
            parts: see `render`.
            system: see `render`.
            thinking: see `render`.
        """
        time, words, before, trailing = self.family.time, "", "", ""
        reasons_by_itself = self._has_thinking_switch or self.always_thinks
        for part in parts:
            if isinstance(part, TimePart):
                before = (self.family.between if words else "") + time.text_before(part.pts)
                trailing = time.text_after(part.pts)
            elif isinstance(part, ImagePart) and part.partner is not None:
                # The processor writes the time and the markup of a video itself.
                words += str(self._processor.video_token)
            elif isinstance(part, ImagePart):
                words += before + self.family.image_text.format(image=self._placeholder) + trailing
            else:
                text = remove_think_suffix(part.text)
                words += (self.family.separator if words else "") + self.neutralize(text)
                if text != part.text and thinking and not reasons_by_itself:
                    words += THINK_SUFFIX
        messages = [{"role": "user", "content": [{"type": "text", "text": words}]}]
        if system is not None:
            text = self.neutralize(system)
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": text}]})
        return messages

    def render(
        self,
        parts: Sequence[Part],
        *,
        system: str | None,
        thinking: bool,
        thought: str | None = None,
    ) -> tuple[str, bool]:
        """Render a prompt as text with placeholders.

        Args:
            parts: frames and text, as made by `interleave`.
            system: system prompt.
            thinking: whether to ask for reasoning.
            thought: reasoning to write into the prompt, closed, so that the answer comes next; the
                empty text closes an opened thought at once.

        Returns:
            The text, and whether it ends inside an opened thought.
        """
        messages = self.messages(parts, system=system, thinking=thinking)
        switch = {"enable_thinking": thinking} if self._has_thinking_switch else {}
        rendered = self._apply_template(messages, add_generation_prompt=True, **switch)
        family = self.family
        is_open = rendered.rstrip().endswith(family.thought_start.strip())
        if thought is not None and (is_open or thought or self.always_thinks):
            opening = "" if is_open else family.thought_start
            closing = f"\n{family.thought_end}{family.answer_start}"
            rendered, is_open = f"{rendered}{opening}{self.neutralize(thought)}{closing}", False
        return rendered, is_open

    def encode(
        self,
        prompts: Sequence[Sequence[Part]],
        *,
        system: str | None = None,
        thinking: bool = False,
        thought: str | None = None,
    ) -> Encoded:
        """Encode prompts, and compare the visual tokens of each with its plan.

        Args:
            prompts: the parts of each prompt.
            system: see `render`.
            thinking: see `render`.
            thought: see `render`.

        Raises:
            ValueError: if a prompt has no image.
            ModelError: ``model.tokens_differ`` if the processor makes other visual tokens than
                planned; ``model.checkpoint_invalid`` if it fails.
        """
        images = [[part for part in parts if isinstance(part, ImagePart)] for parts in prompts]
        if not all(images):
            raise ValueError("a prompt has no image")
        rendered = [
            self.render(parts, system=system, thinking=thinking, thought=thought)
            for parts in prompts
        ]
        texts = [text for text, _ in rendered]
        inputs = self._process(
            texts,
            [[each.pixels for each in row if each.partner is None] for row in images],
            pairs=[pair for parts in prompts for pair in _find_pairs(parts)],
        )
        prompt_tokens = [int(n) for n in inputs["attention_mask"].sum(dim=1)]
        if self._is_unknown:
            visual = [
                total - self._count_words(text)
                for text, total in zip(texts, prompt_tokens, strict=True)
            ]
        else:
            visual = _count_ids(inputs["input_ids"], self._visual_ids)
        planned = [
            sum(
                self.geometry.tokens(width_px=each.pixels.shape[1], height_px=each.pixels.shape[0])
                for each in row
            )
            for row in images
        ]
        if visual != planned:
            raise ModelError(
                "model.tokens_differ",
                f"the processor of {printable(self._folder.name)} makes {visual} visual tokens,"
                f" the plan has {planned}",
                hint="please report the model; its family may need another row",
            )
        return Encoded(
            inputs=inputs,
            visual_tokens=tuple(visual),
            prompt_tokens=tuple(prompt_tokens),
            opens_thought=rendered[0][1],
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Decode generated ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_thought(self, ids: Sequence[int]) -> str | None:
        """Decode generated reasoning, without what opens it; None if it is empty."""
        start = self.tokenizer.encode(self.family.thought_start, add_special_tokens=False)
        text = self.decode(ids).strip().removeprefix(self.decode(start).strip())
        return split_reasoning(f"{text}</think>")[0]

    def _process(
        self,
        texts: list[str],
        frames: list[list[Any]],
        *,
        pairs: Sequence[tuple[Fraction, ImagePart]] = (),
    ) -> Any:
        """Run the processor.

        Args:
            texts: rendered prompts.
            frames: single frames of each prompt.
            pairs: time and frames of all pairs, in order.
        """
        media: dict[str, Any] = {}
        if self.family.as_clips:
            media = {"videos": as_clips(frames)}
        elif any(frames):
            media = {"images": frames}
        if pairs:
            media |= _pair_arguments(self.family.time, pairs)
        arguments = {**media, **self.arguments(texts[0])}
        try:
            return self._processor(text=texts, return_tensors="pt", padding=True, **arguments)
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise loading_error(self._folder, "processor", error) from error

    def _count_words(self, text: str) -> int:
        """Count the tokens of a rendered prompt that belong to no image.

        Of an unknown family, all that its processor writes for an image counts as visual.
        """
        image, mark = self.family.image_text.format(image=self._placeholder), self._placeholder
        words = text.replace(image, mark)
        options = self._text_arguments(text)
        return len(self.tokenizer(words, **options)["input_ids"]) - words.count(mark)

    def arguments(self, text: str) -> dict[str, Any]:
        """Return the further arguments of the processor for a rendered prompt."""
        return {**self.family.processor_arguments, **self._text_arguments(text)}

    def _text_arguments(self, text: str) -> dict[str, Any]:
        """Return the arguments of the tokenizer for a rendered prompt."""
        begin = self.tokenizer.bos_token
        # Some chat templates have written the token that begins a text.
        return {"add_special_tokens": False} if begin and text.startswith(begin) else {}

    def _apply_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        try:
            rendered = self._processor.apply_chat_template(messages, tokenize=False, **options)
        except Exception as error:  # a template may raise anything
            raise loading_error(self._folder, "chat template", error) from error
        return str(rendered[0] if isinstance(rendered, list) else rendered)

    @cached_property
    def _has_thinking_switch(self) -> bool:
        template = self._processor.chat_template or self.tokenizer.chat_template
        return "enable_thinking" in str(template)

    def _unknown_family(self) -> Family:
        """Make the row of a family that has none: markup from the template, costs by probing."""
        if not hasattr(self._processor, "image_token"):
            raise checkpoint_error(
                self._folder, "its processor has no placeholder for images, so it takes no frames"
            )
        content = [
            {"type": "text", "text": _LEFT_MARK},
            {"type": "image"},
            {"type": "text", "text": _RIGHT_MARK},
        ]
        text = self._apply_template([{"role": "user", "content": content}])
        placeholder = str(self._processor.image_token)
        between = text.partition(_LEFT_MARK)[2].partition(_RIGHT_MARK)[0].strip("\n")
        image_text = between if placeholder in between else placeholder
        model_type = str(self._config.model.get("model_type"))
        row = Family(
            name=model_type,
            model_types=(model_type,),
            time=UNKNOWN_TIME,
            make_geometry=self._probe,
            image_text=image_text.replace(placeholder, "{image}"),
            expanded=("", ""),
            between="\n",
        )
        self.family = row
        return row

    def _probe(self, config: CheckpointConfig) -> Geometry:
        """Return a geometry that asks the processor what one more image costs."""

        @cache
        def measure(width_px: int, height_px: int) -> int:
            blank = np.zeros((height_px, width_px, 3), np.uint8)
            image = self.family.image_text.format(image=self._placeholder)
            two, three = (
                int(self._process([image * n], [[blank] * n])["input_ids"].shape[1]) for n in (2, 3)
            )
            return three - two

        return ProbedGeometry.probe(
            self.family.name,
            measure,
            default_budget_tokens=config.budget(published_context_tokens=_PUBLISHED_CONTEXT_TOKENS),
        )


def as_clips(frames: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return the frames of each prompt as videos of one frame.

    The list is nested, as a flat one would count as one clip per prompt.
    """
    return [[pixels[None] for pixels in each] for each in frames]


def _find_pairs(parts: Sequence[Part]) -> list[tuple[Fraction, ImagePart]]:
    """Return the pairs of a prompt, each with the time before it."""
    pairs, pts = [], Fraction(0)
    for part in parts:
        if isinstance(part, TimePart):
            pts = part.pts
        elif isinstance(part, ImagePart) and part.partner is not None:
            pairs.append((pts, part))
    return pairs


def _pair_arguments(
    time: TimeFormat, pairs: Sequence[tuple[Fraction, ImagePart]]
) -> dict[str, Any]:
    """Return the arguments of a processor that show each pair as a video of two frames.

    The processor writes the mean of the two times with one decimal. Both are stated as the rounded
    mean, so that it writes what a single frame of that time would have.
    """
    mean_ms = [round(1000 * time.rounded(pts)) for pts, _ in pairs]
    return {
        "videos": [
            np.stack((pair.pixels, pair.partner)) for _, pair in pairs if pair.partner is not None
        ],
        # The library only divides: a clock of milliseconds takes any time.
        "video_metadata": [
            {
                "total_num_frames": ms + 2,
                "fps": 1000,
                "frames_indices": [ms, ms],
                "duration": (ms + 2) / 1000,
            }
            for ms in mean_ms
        ],
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }


def _broken(token: str) -> str:
    """Return the text of a token with a space after its first character."""
    return f"{token[0]} {token[1:]}"


def _count_ids(input_ids: Any, ids: Sequence[int]) -> list[int]:
    """Count the tokens with one of the ids, in each row."""
    counts = [0] * int(input_ids.shape[0])
    for each in ids:
        for row, count in enumerate((input_ids == each).sum(dim=1).tolist()):
            counts[row] += int(count)
    return counts
