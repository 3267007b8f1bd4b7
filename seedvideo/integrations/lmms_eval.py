"""Model of lmms-eval: its video tasks, with the frames of our plans and any of our models.

lmms-eval 0.7 finds it as ``--model seedvideo`` (an entry point of the group ``lmms_eval.models``)
and imports this module. Arguments of ``--model_args`` are the name of a model, options of its
loading, and fields of `seedvideo.SamplingConfig`:

    --model seedvideo --model_args pretrained=Qwen/Qwen3-VL-8B-Instruct,policy=uniform

Separate from all other modules, as importing it needs lmms-eval.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from warnings import warn

from lmms_eval.api.model import lmms

from seedvideo.config import SamplingConfig, resolve_sampling
from seedvideo.errors import ConfigError, DecodeError, InputError, MediaError
from seedvideo.inference import FrameSet
from seedvideo.model import load
from seedvideo.model.backends.base import Backend, SupportsChoice
from seedvideo.model_options import GenerationOptions, ModelOptions
from seedvideo.pipeline import prepare

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

DEFAULT_NEW_TOKENS: Final = 1_024
"""Maximum tokens of an answer if the task states none."""

_IGNORED_STOP: Final = "\n\n"
"""Stop text that lmms-eval adds to tasks without one; it would end an answer at its first
paragraph, so the Qwen models of lmms-eval ignore it too."""


def manifest() -> "ModelManifest":
    """Return what lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="seedvideo", simple_class_path=f"{__name__}.{SampledVideoModel.__name__}"
    )


class SampledVideoModel(lmms):
    """A model of seedvideo, in the interface of lmms-eval.

    Args:
        pretrained: name of a model, as `seedvideo.load` takes it.
        batch_size: only 1: requests are answered one by one.
        max_batch_size: not used.
        device: ``cpu``, ``cuda`` or ``mps``, also with ``:0``; the best one if None.
        options: further fields of `seedvideo.ModelOptions` and `seedvideo.SamplingConfig`.

    Raises:
        ConfigError: ``config.invalid`` if an option does not exist or is invalid.
        SeedVideoError: as `seedvideo.load` does.
    """

    def __init__(
        self,
        pretrained: str = "nano",
        batch_size: int | str | None = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        del max_batch_size
        if batch_size not in (None, 1, "1"):
            raise ConfigError(
                "config.invalid",
                f"batch_size is {batch_size!r}, expected 1",
                hint="leave --batch_size out: requests are answered one by one",
            )
        sampling = {each.name for each in fields(SamplingConfig)}
        loading = {each.name for each in fields(ModelOptions)}
        for name in options.keys() - sampling - loading:
            raise ConfigError(
                "config.invalid",
                f"--model_args has {name!r}, expected one of"
                f" {', '.join(sorted(sampling | loading))}",
            )
        chosen = {name: value for name, value in options.items() if name in loading}
        if device is not None:
            kind, _, index = device.partition(":")
            if index not in ("", "0"):
                raise ConfigError(
                    "config.invalid",
                    f"device is {device!r}, expected {kind!r}, its first one",
                    hint=f"choose another with: CUDA_VISIBLE_DEVICES={index} lmms-eval ...",
                )
            chosen["device"] = kind
        self._sampling = resolve_sampling(
            **{name: value for name, value in options.items() if name in sampling}
        )
        self._backend: Backend = load(pretrained, ModelOptions(**chosen))
        self._last: tuple[str, FrameSet] | None = None

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer each request; a video that cannot be read gets an empty answer and a warning."""
        answers = []
        for request in requests:
            context, settings, get_visuals, doc_id, task, split = request.args
            try:
                frames = self._frames(get_visuals, doc_id, task, split)
            except (InputError, MediaError, DecodeError) as error:
                warn(f"{task} {doc_id}: no answer: {error} [{error.code}]", stacklevel=2)
                answer = ""
            else:
                answer = self._generate(frames, context, settings)
            self.cache_hook.add_partial("generate_until", (context, settings), answer)
            answers.append(answer)
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Rank the options of each question.

        The values are logarithms of probabilities that sum to 1 over the options of one question,
        whose requests follow one another. Their order is that of the log-likelihoods.

        Raises:
            ConfigError: ``config.invalid`` if the model ranks no options, or a question has one.
        """
        backend = self._backend
        if not isinstance(backend, SupportsChoice):
            raise ConfigError(
                "config.invalid",
                f"the model {backend.name} cannot rank given answers",
                hint="choose a task with generated answers, or a model that runs here",
            )
        results: list[tuple[float, bool]] = []
        for group in _by_question(requests):
            context, _, get_visuals, doc_id, task, split = group[0].args
            options = [str(request.args[1]).strip() for request in group]
            if len(set(options)) < 2:
                raise ConfigError(
                    "config.invalid",
                    f"{task} {doc_id} has {len(set(options))} answer to rank, expected at least 2",
                    hint="tasks of the type multiple_choice and generate_until are supported",
                )
            parts = self._frames(get_visuals, doc_id, task, split).with_prompt(context)
            distinct = list(dict.fromkeys(options))
            ranked = backend.choose(parts, distinct, task="ask", top=len(distinct)).ranked
            found = {distinct[choice.index]: choice.probability for choice in ranked}
            best = distinct[ranked[0].index]
            results += [(_log(found.get(option, 0.0)), option == best) for option in options]
        return results

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse tasks of several rounds.

        Raises:
            ConfigError: ``config.invalid``, always.
        """
        raise ConfigError(
            "config.invalid",
            f"{len(requests)} requests have several rounds, which this model does not support",
            hint="choose a task of the type generate_until or multiple_choice",
        )

    def _frames(self, get_visuals: Any, doc_id: Any, task: str, split: str) -> FrameSet:
        """Return the frames of the video of a request; those of the last one are kept."""
        visuals = get_visuals(self.task_dict[task][split][doc_id]) or []
        if len(visuals) != 1 or not isinstance(visuals[0], str):
            kinds = ", ".join(type(each).__name__ for each in visuals) or "nothing"
            raise ConfigError(
                "config.invalid",
                f"{task} {doc_id} shows {kinds}, expected the path of one video",
                hint="choose a task about single videos",
            )
        (path,) = visuals
        if self._last is None or self._last[0] != path:
            prepared = prepare(path, model=self._backend, sampling=self._sampling)
            self._last = (path, prepared.frame_sets[0])
        return self._last[1]

    def _generate(self, frames: FrameSet, context: str, settings: dict[str, Any]) -> str:
        """Generate an answer with the settings of a task, and cut it at its stop texts."""
        temperature = float(settings.get("temperature") or 0.0)
        if settings.get("do_sample") is False:
            temperature = 0.0
        text = self._backend.generate(
            frames.with_prompt(context),
            task="ask",
            max_new_tokens=int(settings.get("max_new_tokens") or DEFAULT_NEW_TOKENS),
            options=GenerationOptions(temperature=temperature),
        ).text
        stops = settings.get("until") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            if stop and stop != _IGNORED_STOP:
                text = text.split(stop)[0]
        return text


def _by_question(requests: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the consecutive requests of each question.

    Raises:
        ConfigError: ``config.invalid`` if a request has no video, as those for mutual information.
    """
    for request in requests:
        if len(request.args) != 6 or callable(request.args[1]):
            raise ConfigError(
                "config.invalid",
                "a request has no video or no text to rank",
                hint="tasks of the type multiple_choice and generate_until are supported",
            )

    def question(request: Any) -> tuple[str, str, str, str]:
        context, _, _, doc_id, task, split = request.args
        return context, str(doc_id), task, split

    for _, group in groupby(requests, key=question):
        yield list(group)


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
