"""Settings of a batch job: validated once, stored as JSON in its journal.

A job comes from a TOML file, from the command line or from the API. No video is opened. A shard
selects the same part of the items on every machine, in any order of the rows.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, Unpack

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from seedvideo.batch.inputs import Item
from seedvideo.batch.similarity import NEAR_LEVELS, SIGNATURE_VERSION
from seedvideo.clips.windows import SplitOptions
from seedvideo.config import (
    DEFAULT_SAMPLING,
    SamplingConfig,
    SamplingConflictError,
    SamplingOverrides,
    is_policy,
    list_policies,
    resolve_sampling,
)
from seedvideo.errors import ConfigError, InputError, SeedVideoError, suggestion
from seedvideo.model import plugin_origins
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model_options import (
    DEFAULT_GENERATION,
    DEFAULT_MODEL_OPTIONS,
    GenerationOptions,
    ModelOptions,
    changed_fields,
)
from seedvideo.model_tasks import DEFAULT_TOP, TaskKind
from seedvideo.remote_options import (
    DEFAULT_REMOTE,
    REMOTE_FIELDS,
    RemoteOptions,
    changed_remote,
)
from seedvideo.tasks.grounding import clean_query
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.addresses import is_address, safe_name
from seedvideo.utils.files import get_working_folder
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import parse_timecode
from seedvideo.validation import explain

_SHARD_PATTERN: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``of``, counted from 1.

    Raises:
        ConfigError: ``config.invalid`` if the index is out of range.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.of:
            raise ConfigError(
                "config.invalid",
                f"shard {self.index}/{self.of} does not exist",
                hint="3/16 is the third of sixteen parts; the first is 1/16",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a shard such as ``3/16``.

        Raises:
            ConfigError: ``config.invalid`` if the text is not valid.
        """
        found = _SHARD_PATTERN.fullmatch(text)
        if found is None:
            raise ConfigError(
                "config.invalid",
                f"{text[:40]!r} is not a shard",
                hint="write it as INDEX/COUNT, for example 3/16",
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def in_shard(item_id: str, shard: Shard) -> bool:
    """Return whether an item is in a shard: each item is in exactly one."""
    digest = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shard.of == shard.index - 1


_ADDED: Final = ("prompt", "batch_size", "concurrency", "min_utility", "split")
"""Fields that older journals lack: stored only if they are set."""

_CHECKED: Final = ConfigDict(extra="forbid", allow_inf_nan=False)
_NOT_IN_FINGERPRINT: Final = (
    "inputs",
    "folder",
    "split",
    "shard",
    "workers",
    "memory_gib",
    "timeout_s",
    "sheets",
    "device",
    "attention",
    "offline",
    "batch_size",
    "concurrency",
    *REMOTE_FIELDS,
)
"""Fields that do not change the results."""


def _parse_time(value: object) -> object:
    # TOML has numbers and texts; a journal has "25/2".
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return parse_timecode(str(value))


def _parse_shard(value: object) -> object:
    return Shard.parse(value) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Filters:
    """Rules that leave clips out; such a clip gets a verdict of its own. None or False: no rule.

    Args:
        min_duration_s: leave out shorter clips.
        max_duration_s: leave out longer clips.
        min_side_px: leave out clips with a smaller shorter side.
        black: leave out clips that are black throughout.
        frozen: leave out clips without motion.
        duplicates: combine the next two rules.
        exact_duplicates: leave out clips with the same bytes and question as an earlier clip.
        near_duplicates: leave out clips that differ little from an earlier clip.
        near_distance_levels: maximum mean difference of near-duplicates, in grey levels of 255;
            `similarity.NEAR_LEVELS` if None.

    Raises:
        ConfigError: ``config.invalid`` if a bound is not above zero, the bounds of the duration
            contradict each other, or a distance is given without its rule.
    """

    min_duration_s: float | None = None
    max_duration_s: float | None = None
    min_side_px: int | None = None
    black: bool = False
    frozen: bool = False
    duplicates: bool = False
    exact_duplicates: bool = False
    near_duplicates: bool = False
    near_distance_levels: float | None = None

    def __post_init__(self) -> None:
        for name in ("min_duration_s", "max_duration_s", "min_side_px", "near_distance_levels"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise _config_error(f"{name} is {value}, expected a value above 0")
        shortest, longest = self.min_duration_s, self.max_duration_s
        if shortest is not None and longest is not None and shortest > longest:
            raise _config_error(f"min_duration_s is {shortest:g}, above max_duration_s {longest:g}")
        if self.near_distance_levels is not None and not self.drops_near:
            raise _config_error(
                "near_distance_levels (--near-distance) is given without near_duplicates"
                " (--drop-near) or duplicates (--drop-duplicates)"
            )

    @property
    def drops_exact(self) -> bool:
        """Whether clips with the same bytes are left out."""
        return self.duplicates or self.exact_duplicates

    @property
    def drops_near(self) -> bool:
        """Whether clips that are nearly the same are left out."""
        return self.duplicates or self.near_duplicates

    @property
    def near_levels(self) -> float:
        """Mean difference up to which clips are near duplicates."""
        return NEAR_LEVELS if self.near_distance_levels is None else self.near_distance_levels

    def to_values(self) -> dict[str, Any]:
        """Return JSON values. Rules that older journals lack appear only if they are set."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        added = ("exact_duplicates", "near_duplicates", "near_distance_levels")
        return {n: value for n, value in values.items() if value or n not in added}


DEFAULT_FILTERS: Final = Filters()


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Job:
    """Settings of a batch job. None leaves a choice to the model or the policy.

    Args:
        inputs: files, folders, globs, manifests, or ``-`` for a list on stdin.
        folder: absolute path that relative inputs and sources start from, wherever the job is
            resumed. Default: the working folder.
        task: task for each video.
        question: question of ``ask``, for rows without their own.
        options: answers to choose from, for rows without their own.
        query: query of ``ground``, for rows without their own.
        top: maximum number of spans of ``ground``.
        thinking: let the model reason first; not for captions.
        prompt: prompt of ``caption`` and ``dense``; the usual one if empty.
        model: name of a model, of any kind that `seedvideo.load` takes.
        model_options: how the model is loaded or reached.
        generation: how the model writes.
        batch_size: clips that an open-weight model answers at once.
        concurrency: requests to a server at once; None for 4. Only for a server.
        sampling: how frames are sampled; a row's own window overrides that of the config.
        source_fps: frame rate of raw streams without timestamps.
        decoder: decoding library.
        filters: rules that leave clips out.
        split: how videos are split into clips by their shots; None to take them as they are.
        shard: part of the inputs that this job processes; None for all.
        workers: number of decode processes.
        memory_gib: maximum address space that each of them may add; None for no bound beyond that
            of `Limits` for the decoder itself.
        timeout_s: maximum seconds of one clip in one stage.
        sheets: keep a contact sheet of each clip.
        remote: how addresses are reached.

    Raises:
        ConfigError: ``config.invalid`` if a value is invalid, or two contradict each other.
        AskError: if the question or its options are invalid.
        GroundError: if the query is invalid.
    """

    inputs: tuple[str, ...] = ()
    folder: str = field(default_factory=get_working_folder)
    task: TaskKind = "caption"
    question: str = ""
    options: tuple[str, ...] = ()
    query: str = ""
    top: int = DEFAULT_TOP
    thinking: bool = False
    prompt: str = ""
    model: str = "nano"
    model_options: ModelOptions = DEFAULT_MODEL_OPTIONS
    generation: GenerationOptions = DEFAULT_GENERATION
    batch_size: int = 1
    concurrency: int | None = None
    sampling: SamplingConfig = DEFAULT_SAMPLING
    source_fps: float | None = None
    decoder: Literal["pyav", "decord"] = "pyav"
    filters: Filters = DEFAULT_FILTERS
    split: SplitOptions | None = None
    shard: Annotated[Shard, BeforeValidator(_parse_shard)] | None = None
    workers: int = 1
    memory_gib: float | None = None
    timeout_s: float = 120.0
    sheets: bool = True
    remote: RemoteOptions = DEFAULT_REMOTE

    def __post_init__(self) -> None:
        counts = ("top", "workers", "batch_size", "concurrency")
        for name in (*counts, "source_fps", "memory_gib", "timeout_s"):
            _check_above_0(name, getattr(self, name))
        _check_above_0("budget_tokens", self.sampling.budget_tokens)
        if not os.path.isabs(self.folder):
            raise _config_error(f"folder is {self.folder[:200]!r}, expected an absolute path")
        self._check_task_options()

    def _check_task_options(self) -> None:
        """Check that the options fit the task; rows may still supply question or query."""
        unused = {
            "ask": ("query", "prompt"),
            "ground": ("question", "options", "prompt"),
        }.get(self.task, ("question", "options", "query", "thinking"))
        given = [name for name in unused if getattr(self, name)]
        if self.task != "ground" and self.top != DEFAULT_TOP:
            given.append("top")
        if given:
            raise _config_error(f"the task {self.task} does not take {', '.join(given)}")
        if self.question or self.options:
            # Options may wait for the questions of the rows: they are checked with any.
            Question.of(self.question or "?", self.options)
        if self.query:
            clean_query(self.query)

    def resolve_path(self, source: str) -> str:
        """Return the path at which an item's video is opened."""
        return source if is_address(source) else os.path.join(self.folder, source)

    def sampling_for(self, item: Item) -> SamplingConfig:
        """Return the config of one item, whose own window overrides that of the job.

        Raises:
            PlanError: ``plan.invalid`` if the window ends before it starts.
        """
        return self.sampling.with_window(start_s=item.start_s, end_s=item.end_s)

    def with_sampling(self, **overrides: Unpack[SamplingOverrides]) -> Self:
        """Return the job with other sampling options.

        Raises:
            ConfigError: ``config.invalid`` if the policy does not take an option.
            PlanError: ``plan.invalid`` if a value is out of range.
        """
        with _conflicts_as_invalid():
            return replace(self, sampling=resolve_sampling(self.sampling, **overrides))

    def settings(self) -> dict[str, Any]:
        """Return everything that changes an outcome, as JSON values: not the inputs, not the speed.

        The model's name is included, but its weights count by their hash. If near-duplicates are
        left out, the version of the signatures counts: clips compared by signatures of another
        version are compared again. A model or policy of another package counts with its version.
        """
        values = self._to_dict()
        if self.filters.drops_near:
            values["filters"]["signature_version"] = SIGNATURE_VERSION
        if plugins := plugin_origins(self.model, self.sampling.policy):
            values["plugins"] = plugins
        return {name: value for name, value in values.items() if name not in _NOT_IN_FINGERPRINT}

    def to_json(self) -> str:
        """Return one line of ASCII JSON; names with invalid UTF-8 survive."""
        return json.dumps(self._to_dict(), allow_nan=False, default=dataclasses.asdict)

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, SamplingConfig):
                # Stored flat: jobs are older than the config.
                values |= {
                    _stored_key(part.name): getattr(value, part.name)
                    for part in fields(value)
                    if part.name not in _ADDED or getattr(value, part.name) != part.default
                }
            elif isinstance(value, ModelOptions | GenerationOptions):
                values |= changed_fields(value)
            elif isinstance(value, RemoteOptions):
                values |= changed_remote(value)
            elif each.name not in _ADDED or value != each.default:
                values[each.name] = value
        for name in ("start_s", "end_s", "shard"):
            values[name] = None if values[name] is None else str(values[name])
        values["filters"] = self.filters.to_values()
        values["inputs"] = [safe_name(one) for one in self.inputs]  # without keys
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a line that `to_json` returned.

        Raises:
            ConfigError: ``config.invalid`` if it is not a job.
        """
        try:
            return cls.from_values(json.loads(text), where="the journal's job")
        except (json.JSONDecodeError, RecursionError) as error:
            raise _config_error(f"the journal's job is not valid JSON: {error}") from error

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a job file: the names of the fields as keys, ``[filters]`` as a table.

        Raises:
            InputError: ``input.not_found`` or ``input.unreadable``.
            SeedVideoError: ``config.invalid`` naming the key, or as `Job` does.
        """
        display_name = printable(str(path))
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError("input.not_found", f"{display_name}: no such file") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError("input.unreadable", f"{display_name}: {reason.lower()}") from error
        except (ValueError, RecursionError) as error:
            raise _config_error(
                f"{display_name} is not valid TOML: {printable(str(error))}"
            ) from error
        return cls.from_values(values, where=display_name)

    @classmethod
    def from_values(cls, values: dict[str, Any], *, where: str) -> Self:
        """Check plain values, as a file or a journal gives them.

        Raises:
            SeedVideoError: ``config.invalid`` naming the key, or as `Job` does.
        """
        if not isinstance(values, dict):
            display_name = printable(repr(values)[:80])
            raise _config_error(f"{where}: the document is {display_name}, expected a table")
        if "sampling" in values:
            raise _config_error(f"{where}: sampling is not a known key")
        try:
            with _conflicts_as_invalid():
                sampling, rest = _split_sampling(values, where=where)
            parts: dict[str, Any] = {"sampling": sampling}
            for name, options in (
                ("model_options", ModelOptions),
                ("generation", GenerationOptions),
                ("remote", RemoteOptions),
            ):
                if name in rest:
                    raise _config_error(f"{where}: {name} is not a known key")
                keys = {field.name for field in fields(options)} & rest.keys()
                given = {key: rest.pop(key) for key in keys}
                parts[name] = TypeAdapter(options).validate_python(given)
            return TypeAdapter(cls).validate_python({**rest, **parts})
        except SeedVideoError:
            raise
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(_stored_key(str(part)) for part in first["loc"]) or "the whole"
            if first["type"] == "literal_error":
                value, allowed = first["input"], first["ctx"]["expected"]
                raise _config_error(
                    f"{where}: {printable(key)} is {printable(repr(value)[:200])},"
                    f" expected {allowed}",
                    nearest=suggestion(value, re.findall("'([^']*)'", allowed)),
                ) from error
            raise _config_error(f"{where}: {explain(error)}") from error


def pin_revision(job: Job, costs: TokenCosts) -> Job:
    """Return a job whose model on a hub is the commit that was found, not the newest one.

    Args:
        job: the job.
        costs: token costs of its model.
    """
    if costs.details.source != "hub":
        return job
    options = replace(job.model_options, revision=costs.details.revision)
    return replace(job, model_options=options)


def _split_sampling(
    values: Mapping[str, Any], *, where: str
) -> tuple[SamplingConfig, dict[str, Any]]:
    """Read the config from the flat keys of a job; the second part is the keys that are left."""
    part, rest = {}, dict(values)
    for name in (each.name for each in fields(SamplingConfig)):
        key = _stored_key(name)
        if key in rest:
            part[name] = rest.pop(key)
    for name in ("start_s", "end_s"):
        try:
            part |= {name: _parse_time(part[name])} if name in part else {}
        except ValueError as error:
            raise _config_error(f"{where}: {name}: {printable(str(error))}") from error
    if isinstance(policy := part.get("policy"), str) and not is_policy(policy):
        names = list_policies()
        problem = f"policy is {printable(repr(policy)[:200])}, expected one of {', '.join(names)}"
        nearest = suggestion(policy, names) or "install the package that adds it;"
        raise _config_error(f"{where}: {problem}", nearest=nearest)
    if isinstance(part.get("fps"), int | float):
        _check_above_0("fps", part["fps"])
    return TypeAdapter(SamplingConfig).validate_python(part), rest


def _stored_key(name: str) -> str:
    """Return the key of a config's field in a job file and a journal."""
    return "sampling_task" if name == "rate_preset" else name


@contextmanager
def _conflicts_as_invalid() -> Iterator[None]:
    try:
        yield
    except SamplingConflictError as error:
        raise _config_error(error.message) from error


def _check_above_0(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise _config_error(f"{name} is {value}, expected a value above 0")


def _config_error(message: str, *, nearest: str = "") -> ConfigError:
    hint = f"{nearest} docs/guides/batch.md lists the keys of a job".lstrip()
    return ConfigError("config.invalid", message, hint=hint)
