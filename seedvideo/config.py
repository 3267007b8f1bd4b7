"""Configuration of a call: frame sampling (`SamplingConfig`) and resource limits (`Limits`).

Both are frozen and validated on construction. The module is light, as the decode worker imports it.
``_s`` are seconds, exact if they are fractions; ``_fps`` are frames per second; ``_tokens`` of a
level are visual tokens per frame.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypedDict, Unpack, get_args
from warnings import warn

from seedvideo.arguments import check_amount, check_int, check_kind, check_number, check_text
from seedvideo.errors import ConfigError, PlanError, suggestion
from seedvideo.plugins import find_plugin, list_plugins

__all__ = [
    "DEFAULT_COVERAGE",
    "DEFAULT_LIMITS",
    "DEFAULT_SAMPLING",
    "PRESET_FPS",
    "SHIPPED_POLICIES",
    "UNSUPPORTED_OPTIONS",
    "AnalysisMethod",
    "Limits",
    "PolicyName",
    "RatePreset",
    "SamplingConfig",
    "SamplingConflictError",
    "SamplingFields",
    "SamplingOverrides",
    "analysis_error",
    "find_unsupported",
    "is_policy",
    "list_policies",
    "make_knobs",
    "resolve_sampling",
]

PolicyName: TypeAlias = str
"""One of `SHIPPED_POLICIES`, or a policy of another package."""

SHIPPED_POLICIES: Final = ("seed1.5", "uniform", "keyframes", "adaptive")
RatePreset: TypeAlias = Literal["general", "detail", "motion"]
AnalysisMethod: TypeAlias = Literal["packets", "auto", "fast", "full"]

PRESET_FPS: Final = {"general": 1.0, "detail": 2.0, "motion": 5.0}
"""Frames per second of each rate preset (Seed1.5-VL report, section 2.2)."""

DEFAULT_COVERAGE: Final = 0.5
"""Fraction of the budget that is spread evenly, which a wrong estimate cannot misplace."""

_ADAPTIVE_ONLY: Final = ("coverage", "min_fps", "max_fps", "min_utility")

UNSUPPORTED_OPTIONS: Final[Mapping[PolicyName, tuple[str, ...]]] = {
    "adaptive": (),
    "uniform": _ADAPTIVE_ONLY,
    "seed1.5": (*_ADAPTIVE_ONLY, "levels_tokens"),
    "keyframes": (*_ADAPTIVE_ONLY, "fps"),
}
"""Fields of `SamplingConfig` that a policy does not support, as it chooses the level or the rate
itself, or has no analysis. Policies of other packages get all options."""


class SamplingConflictError(PlanError):
    """An option is set that the policy does not support."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the frames of a video are sampled. None leaves the choice to the policy or the model.

    Args:
        policy: the rule that chooses. ``adaptive`` analyses the video first, which can take as long
            as decoding all of it; ``uniform``, ``keyframes`` and ``seed1.5`` read only its times.
            Other packages add further ones.
        budget_tokens: maximum visual and text tokens of one pass; the model's own default if None.
        rate_preset: sampling rate before any budget: ``general`` is 1, ``detail`` 2 and ``motion``
            5 frames per second.
        fps: another rate, which overrides the preset.
        analysis: depth of the analysis of ``adaptive``: ``packets`` decodes nothing, ``auto``
            decodes where packet sizes are inconclusive, but in long videos no more than evenly
            spread frames would cost, ``fast`` everywhere there, ``full`` every frame.
        levels_tokens: the levels that may be used, out of those of the model.
        max_frames: maximum number of frames.
        start_s: start of the window, in seconds. A float is taken as it is written: 0.1 is 1/10.
        end_s: end of the window, in seconds; a frame at this time is outside.
        coverage: fraction of the budget that is spread evenly whatever the analysis finds, from 0
            to 1, at which the plan is the even one; `DEFAULT_COVERAGE` if None. ``adaptive`` only.
        min_fps: minimum rate everywhere. ``adaptive`` only.
        max_fps: maximum rate anywhere. ``adaptive`` only.
        min_utility: fraction of the complete budget's utility that is enough, above 0 and up to 1:
            the plan spends the fewest tokens that reach it. Found events keep their frames. None
            spends the complete budget. ``adaptive`` only.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range, two contradict each other, or the
            policy does not support one (`UNSUPPORTED_OPTIONS`).
        ConfigError: ``config.invalid`` if the analysis is unknown; an `OptionTypeError`
            (``config.type``), which is a ``TypeError`` too, if a value has a wrong type.
    """

    # Validation by pydantic of plain values, such as those of a job file.
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012

    policy: PolicyName = "adaptive"
    budget_tokens: int | None = None
    rate_preset: RatePreset = "general"
    fps: float | None = None
    analysis: AnalysisMethod = "auto"
    levels_tokens: tuple[int, ...] | None = None
    max_frames: int | None = None
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    coverage: float | None = None
    min_fps: float | None = None
    max_fps: float | None = None
    min_utility: float | None = None

    def __post_init__(self) -> None:
        self._check_types()
        self._check_choices()
        self._check_ranges()
        for name in ("start_s", "end_s"):
            object.__setattr__(self, name, _exact_s(name, getattr(self, name)))
        self._check_window()
        unsupported = find_unsupported(self.policy, vars(self))
        if unsupported:
            raise SamplingConflictError(
                "plan.invalid",
                f"policy {self.policy} does not support {' and '.join(unsupported)}",
                hint=_supporting_hint(unsupported),
            )

    @property
    def rate_fps(self) -> float:
        """Return the requested frames per second, before any budget."""
        return PRESET_FPS[self.rate_preset] if self.fps is None else float(self.fps)

    def with_window(
        self, *, start_s: Fraction | None = None, end_s: Fraction | None = None
    ) -> "SamplingConfig":
        """Return the config with the window of one video; an end that is None stays as it is.

        Raises:
            PlanError: ``plan.invalid`` if the window ends before it starts.
        """
        return replace(
            self,
            start_s=self.start_s if start_s is None else start_s,
            end_s=self.end_s if end_s is None else end_s,
        )

    def _check_types(self) -> None:
        for name in ("policy", "rate_preset", "analysis"):
            check_text(name, getattr(self, name))
        for name in ("budget_tokens", "max_frames"):
            check_int(name, getattr(self, name))
        for name in ("fps", "start_s", "end_s", *_ADAPTIVE_ONLY):
            check_number(name, getattr(self, name))
        if self.levels_tokens is not None:
            check_kind("levels_tokens", self.levels_tokens, Sequence, "a tuple of whole numbers")
            for level in self.levels_tokens:
                check_int("levels_tokens", level)

    def _check_choices(self) -> None:
        if not is_policy(self.policy):
            _check_choice("policy", self.policy, list_policies())
        _check_choice("rate_preset", self.rate_preset, get_args(RatePreset))
        methods = get_args(AnalysisMethod)
        if self.analysis not in methods:
            raise analysis_error(self.analysis)

    def _check_ranges(self) -> None:
        if self.levels_tokens is not None and not self.levels_tokens:
            _refuse("levels_tokens is empty, expected at least one level")
        if self.max_frames is not None and self.max_frames < 1:
            _refuse(f"max_frames is {self.max_frames}, expected at least 1")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            _refuse(f"fps is {self.fps}, expected a finite value above 0")
        if self.coverage is not None and not 0 <= self.coverage <= 1:
            _refuse(f"coverage is {self.coverage}, expected 0 to 1")
        if self.min_utility is not None and not 0 < self.min_utility <= 1:
            _refuse(f"min_utility is {self.min_utility}, expected a value above 0, up to 1")
        for name in ("min_fps", "max_fps"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                _refuse(f"{name} is {value}, expected a value above 0")
        if self.min_fps is not None and self.max_fps is not None and self.min_fps > self.max_fps:
            _refuse(f"min_fps is {self.min_fps:g}, above max_fps {self.max_fps:g}")

    def _check_window(self) -> None:
        if self.start_s is not None and self.start_s < 0:
            _refuse(f"start is {self.start_s} s, expected 0 or later")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            _refuse(
                f"the window ends at {float(self.end_s):g} s,"
                f" expected a time after its start at {float(self.start_s or 0):g} s"
            )


class SamplingFields(TypedDict, total=False):
    """Fields of `SamplingConfig` as keyword arguments that override a config."""

    policy: PolicyName
    budget_tokens: int | None
    rate_preset: RatePreset
    fps: float | None
    analysis: AnalysisMethod
    levels_tokens: tuple[int, ...] | None
    max_frames: int | None
    start_s: Fraction | float | None
    end_s: Fraction | float | None
    coverage: float | None
    min_fps: float | None
    max_fps: float | None
    min_utility: float | None


class SamplingOverrides(SamplingFields, total=False):
    """Fields of `SamplingConfig` as keyword arguments, and two former names, for one release."""

    task: RatePreset
    knobs: SamplingConfig


_FIELDS: Final = frozenset(each.name for each in fields(SamplingConfig))
_FORMER_FIELDS: Final = ("levels_tokens", "max_frames", "start_s", "end_s", *_ADAPTIVE_ONLY)


def resolve_sampling(
    sampling: SamplingConfig | None = None, /, **overrides: Unpack[SamplingOverrides]
) -> SamplingConfig:
    """Build the config of a call: one that was given, the defaults otherwise, and its overrides.

    The public functions, the command line, batch jobs and the evaluation all build theirs here.

    Args:
        sampling: the config that the options change; the defaults if None.
        overrides: fields of `SamplingConfig`. ``task`` is the former name of ``rate_preset``;
            ``knobs`` is a config of which only the fields count that `make_knobs` takes. Both warn.

    Raises:
        TypeError: if an option is unknown.
        SeedVideoError: as `SamplingConfig` does.
    """
    if sampling is not None:
        check_kind("sampling", sampling, SamplingConfig, "a seedvideo.SamplingConfig")
    given: dict[str, Any] = dict(overrides)
    if "knobs" in given:
        _warn("knobs= is deprecated: give a config as sampling=, or its fields as keywords")
        knobs = given.pop("knobs")
        check_kind("knobs", knobs, SamplingConfig, "a seedvideo.SamplingConfig")
        former = {name: getattr(knobs, name) for name in _FORMER_FIELDS}
        given = {**{n: value for n, value in former.items() if value is not None}, **given}
    if "task" in given:
        _warn("task= is deprecated: the rate preset is now rate_preset=")
        given.setdefault("rate_preset", given.pop("task"))
    for name in given:
        if name not in _FIELDS:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
    return replace(SamplingConfig() if sampling is None else sampling, **given)


def _warn(message: str) -> None:
    warn(
        f"{message}; the former name will be removed in the next release",
        DeprecationWarning,
        stacklevel=4,
    )


def make_knobs(
    *,
    levels_tokens: tuple[int, ...] | None = None,
    max_frames: int | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
    coverage: float | None = None,
    min_fps: float | None = None,
    max_fps: float | None = None,
) -> SamplingConfig:
    """Build a `SamplingConfig` from the arguments of the former class ``seedvideo.Knobs``."""
    return SamplingConfig(
        levels_tokens=levels_tokens,
        max_frames=max_frames,
        start_s=start,
        end_s=end,
        coverage=coverage,
        min_fps=min_fps,
        max_fps=max_fps,
    )


def find_unsupported(policy: PolicyName, values: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the set options that a policy does not support.

    Args:
        policy: name of the policy.
        values: values of `SamplingConfig` by field name; None is not set.
    """
    unsupported = UNSUPPORTED_OPTIONS.get(policy, ())
    return tuple(n for n in unsupported if values.get(n) is not None)


def list_policies() -> tuple[str, ...]:
    """Return the names of all policies, those of other packages last."""
    others = (plugin.name for plugin in list_plugins("policy"))
    return tuple(dict.fromkeys([*SHIPPED_POLICIES, *others]))


def is_policy(name: str) -> bool:
    """Return whether a policy exists; the code of other packages is not imported.

    Raises:
        ConfigError: ``config.plugin_invalid`` if two packages register the name.
    """
    return name in SHIPPED_POLICIES or find_plugin("policy", name) is not None


def analysis_error(method: object) -> ConfigError:
    """Return the error for an unknown analysis."""
    allowed = get_args(AnalysisMethod)
    return ConfigError(
        "config.invalid",
        f"analysis is {method!r}, expected one of {', '.join(allowed)}",
        hint=suggestion(method, allowed),
    )


def _exact_s(name: str, value: Fraction | float | None) -> Fraction | None:
    if value is None or isinstance(value, Fraction):
        return value
    if not math.isfinite(value):
        _refuse(f"{name} is {value}, expected finite seconds")
    return Fraction(str(value))


def _supporting_hint(unsupported: Sequence[str]) -> str:
    supporting = [name for name, no in UNSUPPORTED_OPTIONS.items() if not {*no} & {*unsupported}]
    return f"use policy {' or '.join(supporting)}"


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        _refuse(
            f"{name} is {value!r}, expected one of {', '.join(allowed)}",
            hint=suggestion(value, allowed),
        )


def _refuse(message: str, *, hint: str = "") -> NoReturn:
    raise PlanError("plan.invalid", message, hint=hint)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds for one video. Every value must be finite and above zero.

    Raises:
        OptionTypeError: ``config.type`` if a value is not a number.
        ValueError: if a value is not finite or not above zero.
    """

    max_input_bytes: int = 8 * 1024**3
    """File size."""
    max_duration_s: float = 6 * 3600.0
    """Duration, by the header and by the decoded times."""
    max_frame_pixels: int = 40_000_000
    """Pixels of one native frame: just over 8K UHD."""
    max_side_px: int = 16_384
    """Width and height of one native frame."""
    max_aspect: float = 64.0
    """Longer side divided by shorter side."""
    max_streams: int = 64
    """Number of streams of all types in the container."""
    max_packets: int = 3_000_000
    """Packets of one file: six hours at 120 frames per second need 2.6 million."""
    max_error_fraction: float = 0.05
    """Fraction of packets that may fail to decode before the file counts as corrupt.

    Applies from 100 packets on, so that one bad packet cannot fail a short clip.
    """
    max_consecutive_errors: int = 200
    """Consecutive packets that may fail to decode."""
    max_sampled_frames: int = 4_096
    """Frames of one plan."""
    open_timeout_s: float = 30.0
    """Time to open a file and read its header."""
    stall_timeout_s: float = 60.0
    """Time between two messages of the decode worker."""
    item_timeout_s: float = 900.0
    """Time for decoding one video."""
    worker_memory_bytes: int = 4 * 1024**3
    """Address space that the decode worker may allocate after its start."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check_amount(field.name, value)
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"{field.name} is {value!r}, expected a finite value above 0")


DEFAULT_LIMITS: Final = Limits()
DEFAULT_SAMPLING: Final = SamplingConfig()
