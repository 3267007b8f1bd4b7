"""Server backend: a model on a server with the chat interface of OpenAI.

Each frame is a JPEG picture after the text of its time, in order; the prompt comes last. Threads
may share a backend. A pickled one holds its name and options only, never a key.

Before an answer, a server that can count is asked for the tokens of the request, if none was as
long so far; after every answer its count is compared with the plan. Fewer tokens than the frames
alone need are a sign that the server dropped or shrank some.

Separate from `seedvideo.model.servers`, which plans for a server and needs no openai.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import (
    Generation,
    ImagePart,
    ModelDetails,
    Note,
    OnText,
    Part,
    TaskName,
    TextPart,
    TimePart,
    Usage,
)
from seedvideo.model.backends.server_client import DEFAULT_RETRIES, RetryPolicy, ServerClient
from seedvideo.model.backends.server_content import picture_content, video_content
from seedvideo.model.backends.server_replies import Reply
from seedvideo.model.servers import ServerCosts, estimate_text_tokens
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions, ModelOptions
from seedvideo.sampler.geometry import Geometry
from seedvideo.tasks.prompts import remove_think_suffix

MAX_NEW_TOKENS: Final = 512
"""Default maximum tokens of an answer; models on servers write longer ones than embedded models."""

MAX_THINKING_TOKENS: Final = 4_096
"""Further tokens if reasoning is requested; servers count it as part of the answer."""


class ServerBackend:
    """A model on a server.

    Args:
        costs: name, frame sizes and token costs.
        retries: when requests are repeated.

    Raises:
        ModelError: ``model.key_missing`` or ``model.key_rejected``.
    """

    def __init__(self, costs: ServerCosts, *, retries: RetryPolicy = DEFAULT_RETRIES) -> None:
        key = os.environ.get(costs.address.preset.key_variable)
        self._costs = costs
        if costs.options.deadline_s is not None:
            retries = replace(retries, deadline_s=costs.options.deadline_s)
        self._client = ServerClient(costs.address, key, retries=retries)
        self._lock = Lock()
        self._counted_tokens = 0
        self._version: str | None = None

    def __repr__(self) -> str:
        return f"ServerBackend({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # The client holds the key.
        return _rebuild, (self.name, self._costs.options)

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        return self._costs.name

    @property
    def sha256(self) -> str:
        """Hash of preset, address and name of the model."""
        return self._costs.sha256

    @property
    def geometry(self) -> Geometry:
        """Frame sizes, levels and default budget."""
        return self._costs.geometry

    @property
    def details(self) -> ModelDetails:
        """Facts for the record; the version is known after the first answer, if at all."""
        return replace(self._costs.details, server_version=self._version)

    def count_text_tokens(self, text: str) -> int:
        """Estimate the tokens of ``text``; see `ServerCosts`."""
        return self._costs.count_text_tokens(text)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Estimate the text tokens of a frame; see `ServerCosts`."""
        return self._costs.frame_text_tokens(pts)

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
        """See `Backend`.

        Raises:
            ValueError: if there is no image.
            PlanError: ``plan.invalid`` if an image has a size outside the geometry.
            ModelError: ``model.request_too_large``, ``model.tokens_differ``, ``model.server_*``,
                ``model.key_rejected`` or ``model.empty_answer``.
            ConfigError: ``config.invalid`` for beams, or frames of several sizes as a video.
        """
        if beams is not None:
            raise ConfigError(
                "config.invalid", f"beams is {beams}, but a server does not support beams"
            )
        limit_tokens = options.max_new_tokens or (
            max_new_tokens + (MAX_THINKING_TOKENS if thinking else 0)
        )
        return self._generate(
            parts,
            options,
            on_text,
            limit_tokens=limit_tokens,
            thinking=thinking,
        )

    @property
    def can_limit_answers(self) -> bool:
        """Whether the server can limit an answer to given ones."""
        return self._costs.address.preset.can_limit_answers

    def generate_one_of(
        self,
        parts: Sequence[Part],
        answers: Sequence[str],
        *,
        task: TaskName,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        """See `SupportsLimitedAnswers`; raises what `generate` does."""
        limit_tokens = options.max_new_tokens or MAX_NEW_TOKENS
        return self._generate(
            parts,
            options,
            on_text,
            limit_tokens=limit_tokens,
            more={"structured_outputs": {"choice": list(answers)}},
        )

    def _generate(
        self,
        parts: Sequence[Part],
        options: GenerationOptions,
        on_text: OnText | None,
        *,
        limit_tokens: int,
        thinking: bool = False,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Generation:
        preset = self._costs.address.preset
        if thinking and preset.thinking_on:
            parts = [_without_think_suffix(part) for part in parts]
        request = self._make_request(parts, options)
        body = {
            **request.body,
            "temperature": options.temperature,
            preset.token_limit_field: limit_tokens,
            **(preset.thinking_on if thinking else preset.thinking_off),
            **more,
        }
        if on_text is not None:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        content = self._encode(body, request)
        self._count_longest(request)
        refused_hint = ""
        if self._costs.options.as_video:
            refused_hint = "start vLLM with --trust-request-mm-kwargs, or leave --as-video out"
        reply = self._client.ask(content, on_text=on_text, refused_hint=refused_hint)
        return self._make_generation(reply, request, limit_tokens)

    def _make_request(self, parts: Sequence[Part], options: GenerationOptions) -> "_Request":
        images = [part.pixels for part in parts if isinstance(part, ImagePart)]
        if not images:
            raise ValueError("there is no image to send")
        frame_tokens = [
            self.geometry.tokens(width_px=pixels.shape[1], height_px=pixels.shape[0])
            for pixels in images
        ]
        text_tokens = estimate_text_tokens(options.system or "") + sum(
            self.frame_text_tokens(part.pts)
            if isinstance(part, TimePart)
            else estimate_text_tokens(part.text)
            for part in parts
            if not isinstance(part, ImagePart)
        )
        messages: list[dict[str, Any]] = []
        if options.system is not None:
            messages.append({"role": "system", "content": options.system})
        body: dict[str, Any] = {"model": self._costs.address.model, "messages": messages}
        if self._costs.options.as_video:
            content, more = video_content(parts)
            body |= more
            # Two frames are merged.
            visual_tokens = math.ceil(len(images) / 2) * frame_tokens[0]
        else:
            content = picture_content(parts, self._costs.time, self._costs.family)
            visual_tokens = sum(frame_tokens)
        messages.append({"role": "user", "content": content})
        return _Request(body, len(images), visual_tokens, text_tokens)

    def _encode(self, body: Mapping[str, Any], request: "_Request") -> bytes:
        """Return a request as JSON, if the server takes that much."""
        preset = self._costs.address.preset
        content = json.dumps(body).encode()
        problem = ""
        if preset.max_images is not None and request.frames > preset.max_images:
            problem = f"{request.frames:,} pictures, {preset.product} takes {preset.max_images:,}"
        elif len(content) > preset.max_body_bytes:
            problem = (
                f"{len(content) / 1024**2:.1f} MiB,"
                f" {preset.product} takes {preset.max_body_bytes // 1024**2}"
            )
        if problem:
            raise _too_large_error(f"the request has {problem}")
        return content

    def _count_longest(self, request: "_Request") -> None:
        """Compare the server's count of tokens with the plan, if no request was as long so far."""
        if not self._costs.address.preset.can_count_tokens:
            return
        with self._lock:
            counted_tokens = self._counted_tokens
            self._counted_tokens = max(counted_tokens, request.visual_tokens)
        if request.visual_tokens <= counted_tokens:
            return
        if not counted_tokens:
            self._version = self._client.version() or self._version
        if not self._costs.options.as_video:
            content = json.dumps({**request.body, "add_generation_prompt": True}).encode()
            counted = self._client.count_tokens(content)
            if counted is not None:
                self._check_count(request, *counted)

    def _check_count(self, request: "_Request", tokens: int, max_tokens: int | None) -> None:
        if self._costs.is_checked and tokens < request.visual_tokens:
            raise ModelError(
                "model.tokens_differ",
                f"{self.name} counts {tokens:,} tokens for a request whose frames alone take"
                f" {request.visual_tokens:,} with the {self.geometry.name} geometry",
                hint="choose the family of the model: --geometry NAME",
            )
        if max_tokens is not None and tokens > max_tokens:
            raise _too_large_error(
                f"the request has {tokens:,} tokens, {self.name} takes {max_tokens:,}"
            )

    def _make_generation(self, reply: Reply, request: "_Request", limit_tokens: int) -> Generation:
        clean = self._client.clean
        if reply.version is not None and self._version is None:
            self._version = clean(reply.version)[:100]
        is_cut = reply.finish_reason == "length"
        if reply.refusal is not None or reply.finish_reason == "content_filter":
            reason = clean(reply.refusal or "its content filter")[:300]
            raise ModelError(
                "model.server_refused",
                f"{self.name} refused to answer: {reason!r}",
                hint="rephrase the question, or use another model",
            )
        if not reply.text:
            raise ModelError(
                "model.empty_answer",
                f"{self.name} returned an empty answer"
                + (f", as its reasoning took all {limit_tokens:,} tokens" if is_cut else ""),
                hint=f"allow more tokens: --max-new-tokens {4 * limit_tokens}"
                if is_cut
                else "try another --policy or a larger --budget",
            )
        notes = self._usage_notes(reply, request)
        if is_cut:
            message = f"the answer was cut after {limit_tokens:,} tokens (--max-new-tokens)"
            notes.append(Note("answer.truncated", message))
        prompt_tokens, output_tokens = reply.prompt_tokens, reply.output_tokens
        if prompt_tokens is None:
            prompt_tokens = request.visual_tokens + request.text_tokens
        if output_tokens is None:
            output_tokens = estimate_text_tokens(reply.text + (reply.thinking or ""))
        return Generation(
            text=clean(reply.text),
            confident=not any(note.code.startswith("answer.") for note in notes),
            familiarity=None,
            usage=Usage(request.visual_tokens, prompt_tokens, output_tokens),
            thinking=None if reply.thinking is None else clean(reply.thinking),
            notes=tuple(notes),
        )

    def _usage_notes(self, reply: Reply, request: "_Request") -> list[Note]:
        """Compare the tokens that the server states with the plan."""
        if reply.prompt_tokens is None:
            message = "the server states no tokens, so they are estimated"
            return [Note("tokens.estimated", message)]
        if not self._costs.is_checked:
            message = (
                "the plan's visual tokens are not those of this model, whose family is unknown;"
                " prompt tokens are the server's"
            )
            return [Note("tokens.unchecked", message)]
        if reply.prompt_tokens < request.visual_tokens:
            message = (
                f"the server read {reply.prompt_tokens:,} tokens, but the frames alone have"
                f" {request.visual_tokens:,}: it dropped or shrank frames"
            )
            return [Note("answer.truncated_input", message)]
        return []


@dataclass(frozen=True)
class _Request:
    """What a server is asked.

    Args:
        body: model and messages.
        frames: number of frames.
        visual_tokens: tokens of all frames, by the plan.
        text_tokens: estimated tokens of all texts.
    """

    body: Mapping[str, Any]
    frames: int
    visual_tokens: int
    text_tokens: int


def _rebuild(name: str, options: ModelOptions) -> ServerBackend:
    return ServerBackend(ServerCosts.from_name(name, options))


def _too_large_error(message: str) -> ModelError:
    return ModelError(
        "model.request_too_large", message, hint="use --max-frames or a smaller --budget"
    )


def _without_think_suffix(part: Part) -> Part:
    return TextPart(remove_think_suffix(part.text)) if isinstance(part, TextPart) else part
