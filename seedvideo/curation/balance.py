r"""Balance: how often each clip is taken, so that frequent domains do not bury rare ones.

``cap:K``: at most ``K`` clips of a domain stay, those with the smallest draws.

``boost:F``: domains with fewer than half the mean number of clips, $n_d < 0.5 N / D$, are repeated
``F`` times: the rule of Seed1.5-VL (arXiv 2505.07062), which does not state its factor.

``metaclip:T``: a clip stays if any of its concepts passes its own draw, with the probability
$p_c = \min(1, T / n_c)$; clips without a concept do not stay (MetaCLIP, arXiv 2309.16671).

``repeat:T``: a clip is repeated $\max_c \max(1, \sqrt{T / f_c})$ times, where $f_c$ is the fraction
of clips with a concept (repeat factors of LVIS, arXiv 1908.03195).

``temperature:A:SIZE``: domains get ``SIZE`` clips in proportion to $n_d^A$, rounded by largest
remainders. A domain with more clips keeps those with the smallest draws; one with fewer repeats
them evenly.

Fractions of repetitions are drawn. Every draw depends on the seed and the id of the clip alone, so
the order of rows and the number of files change nothing. A clip may have several domains; ``cap``
keeps it if it is among the chosen of any, ``boost`` and ``repeat`` take the greatest factor, and
``temperature`` refuses it. Clips without a domain are taken once, except by ``metaclip``.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.curation.draws import draw
from seedvideo.errors import ConfigError
from seedvideo.utils.text import printable

RARE_FRACTION: Final = 0.5
"""Domains below this fraction of the mean number of clips are repeated by ``boost``."""

MAX_COPIES: Final = 1_000
"""Maximum number of times that a clip is taken."""

_FORMS: Final = {
    "cap": "cap:CLIPS",
    "boost": "boost:FACTOR",
    "metaclip": "metaclip:CLIPS",
    "repeat": "repeat:FRACTION",
    "temperature": "temperature:EXPONENT:SIZE",
}

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BalanceRule:
    """A rule with its parameter.

    Args:
        kind: ``cap``, ``boost``, ``metaclip``, ``repeat`` or ``temperature``.
        value: clips, factor, fraction or exponent; see the module.
        size: clips of the balanced table; ``temperature`` only.
    """

    kind: str
    value: float
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> "BalanceRule":
        """Parse a rule such as ``cap:1000``.

        Raises:
            ConfigError: ``config.invalid`` with the allowed forms.
        """
        kind, *words = text.split(":")
        try:
            if kind in _FORMS and len(words) == _FORMS[kind].count(":"):
                rule = cls(kind, float(words[0]), int(words[1]) if len(words) > 1 else 0)
                if rule._is_valid:
                    return rule
        except ValueError:
            pass  # reported below, with the forms
        raise ConfigError(
            "config.invalid",
            f"--balance is {printable(text)!r}, expected one of {', '.join(_FORMS.values())}",
            hint="for example --balance cap:1000 --by domain",
        )

    @property
    def _is_valid(self) -> bool:
        if not math.isfinite(self.value):
            return False
        if self.kind in ("cap", "metaclip"):
            return self.value >= 1 and self.value == int(self.value)
        if self.kind == "boost":
            return 1 <= self.value <= MAX_COPIES
        if self.kind == "repeat":
            return 0 < self.value <= 1
        return 0 <= self.value <= 1 and self.size >= 1

    def __str__(self) -> str:
        size = f":{self.size}" if self.size else ""
        return f"{self.kind}:{self.value:.15g}{size}"


class Membership:
    """Domains of clips: any number of each.

    Clips have positions from 0.
    """

    def __init__(self) -> None:
        self._ends = array("q", [0])
        self._codes = array("i")
        self._numbers: dict[str, int] = {}

    def add(self, domains: Sequence[str]) -> None:
        """Add the next clip with its domains."""
        for name in dict.fromkeys(domains):
            self._codes.append(self._numbers.setdefault(name, len(self._numbers)))
        self._ends.append(len(self._codes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def names(self) -> list[str]:
        """Names of the domains, by their codes."""
        return list(self._numbers)

    def codes(self, position: int) -> Sequence[int]:
        """Return the codes of the domains of a clip."""
        return self._codes[self._ends[position] : self._ends[position + 1]]

    def pairs(self, positions: Ints) -> tuple[Ints, Ints]:
        """Return the pairs of a clip and a domain.

        Args:
            positions: positions of clips, ascending.

        Returns:
            Indices into ``positions``, and codes.
        """
        ends = np.frombuffer(self._ends, np.int64)
        codes = np.frombuffer(self._codes, np.int32) if len(self._codes) else np.empty(0, np.int32)
        counts = (ends[1:] - ends[:-1])[positions]
        clips = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(clips)) - np.repeat(np.cumsum(counts) - counts, counts)
        return clips, codes[ends[positions][clips] + within].astype(np.int64)

    def counts(self, positions: Ints, copies: Ints | None = None) -> Ints:
        """Return the number of clips of each domain, each counted as often as it is taken."""
        clips, codes = self.pairs(positions)
        weights = None if copies is None else copies[clips]
        counted = np.bincount(codes, weights, minlength=len(self._numbers))
        return np.rint(counted).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Balanced:
    """Result of a rule.

    Args:
        copies: how often each clip is taken; 0 if it does not stay, ``(clips,)``.
        counts: number of clips of each domain before, ``(domains,)``.
        quotas: clips of each domain afterwards, for rules that set it.
    """

    copies: Ints
    counts: Ints
    quotas: Ints | None = None


def balance(
    rule: BalanceRule,
    membership: Membership,
    positions: Ints,
    get_id: Callable[[int], str],
    *,
    seed: int = 0,
) -> Balanced:
    """Decide how often each clip is taken.

    Args:
        rule: the rule.
        membership: domains of all clips.
        positions: positions of the clips to balance, ascending.
        get_id: returns the id of a clip by its position.
        seed: seed of the draws.

    Raises:
        ConfigError: ``config.invalid`` if ``temperature`` meets a clip of several domains.
    """
    ids = [get_id(position) for position in positions.tolist()]
    clips, codes = membership.pairs(positions)
    counts = np.bincount(codes, minlength=len(membership.names)).astype(np.int64)
    problem = _Problem(rule, ids, clips, codes, counts, membership.names, seed)
    if rule.kind == "cap":
        return Balanced(problem.cap(), counts)
    if rule.kind == "metaclip":
        return Balanced(problem.metaclip(), counts)
    if rule.kind == "temperature":
        copies, quotas = problem.temperature()
        return Balanced(copies, counts, quotas)
    factors = problem.boost() if rule.kind == "boost" else problem.repeat()
    return Balanced(problem.draw_copies(factors), counts)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Clips to balance.

    Args:
        rule: the rule.
        ids: ids of the clips.
        clips: index of the clip, for each pair of a clip and a domain.
        codes: code of the domain, for each pair.
        counts: number of clips of each domain.
        names: names of the domains.
        seed: seed of the draws.
    """

    rule: BalanceRule
    ids: Sequence[str]
    clips: Ints
    codes: Ints
    counts: Ints
    names: Sequence[str]
    seed: int

    def cap(self) -> Ints:
        limits = np.minimum(self.counts, int(self.rule.value))
        chosen = self._ranks("cap") < limits[self.codes]
        return self._chosen_copies(chosen, otherwise=1)

    def metaclip(self) -> Ints:
        limits = np.minimum(1.0, self.rule.value / np.maximum(self.counts, 1))
        chosen = np.ones(len(self.codes), bool)
        # Concepts within the limit pass without a draw.
        for pair in np.flatnonzero(limits[self.codes] < 1).tolist():
            code = int(self.codes[pair])
            salt = f"metaclip\0{self.names[code]}"
            chosen[pair] = draw(self.seed, salt, self.ids[self.clips[pair]]) < limits[code]
        return self._chosen_copies(chosen, otherwise=0)

    def temperature(self) -> tuple[Ints, Ints]:
        copies = np.ones(len(self.ids), np.int64)
        if not len(self.codes):
            return copies, self.counts
        if len(np.unique(self.clips)) < len(self.clips):
            first = int(self.clips[np.flatnonzero(np.diff(self.clips) == 0)[0]])
            raise ConfigError(
                "config.invalid",
                f"--balance temperature needs one domain for each clip, and"
                f" {printable(self.ids[first][:200])} has several",
                hint="use --by with a column of one domain, or another rule",
            )
        quotas = self._quotas()
        whole, rest = np.divmod(quotas, np.maximum(self.counts, 1))
        extra = self._ranks("temperature") < rest[self.codes]
        copies[self.clips] = whole[self.codes] + extra
        if int(copies.max()) > MAX_COPIES:
            raise ConfigError(
                "config.invalid",
                f"--balance {self.rule} would take a clip {int(copies.max()):,} times, at most"
                f" {MAX_COPIES:,}",
                hint="choose a smaller SIZE, or an exponent nearer to 1",
            )
        return copies, quotas

    def _quotas(self) -> Ints:
        """Return the clips of each domain, by largest remainders; ties by name."""
        weights = np.where(self.counts > 0, self.counts.astype(float) ** self.rule.value, 0.0)
        exact = self.rule.size * weights / math.fsum(weights)  # the same in any order
        quotas: Ints = np.floor(exact).astype(np.int64)
        remainders = np.round(exact - quotas, 9)
        order = sorted(range(len(quotas)), key=lambda code: (-remainders[code], self.names[code]))
        for code in order[: self.rule.size - int(quotas.sum())]:
            quotas[code] += 1
        return quotas

    def boost(self) -> npt.NDArray[np.float64]:
        """Return the factor of each clip by the rule of Seed1.5-VL."""
        return self._greatest(np.where(rare_domains(self.counts), self.rule.value, 1.0))

    def repeat(self) -> npt.NDArray[np.float64]:
        """Return the factor of each clip by the rule of LVIS."""
        fractions = np.maximum(self.counts, 1) / max(1, len(self.ids))
        return self._greatest(np.maximum(1.0, np.sqrt(self.rule.value / fractions)))

    def draw_copies(self, factors: npt.NDArray[np.float64]) -> Ints:
        """Return each factor rounded down, or up with the probability of its fraction."""
        whole = np.floor(factors)
        fractions = factors - whole
        copies: Ints = whole.astype(np.int64)
        for clip in np.flatnonzero(fractions > 0).tolist():
            copies[clip] += draw(self.seed, self.rule.kind, self.ids[clip]) < fractions[clip]
        limited: Ints = np.minimum(copies, MAX_COPIES)
        return limited

    def _greatest(self, factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the greatest factor of the domains of each clip, 1 without a domain."""
        greatest = np.ones(len(self.ids))
        np.maximum.at(greatest, self.clips, factors[self.codes])
        return greatest

    def _ranks(self, salt: str) -> Ints:
        """Return the rank of each pair in its domain, by the draws of the clips."""
        draws = np.array([draw(self.seed, salt, each) for each in self.ids])
        order = np.lexsort((draws[self.clips], self.codes))
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - starts[self.codes[order]]
        return ranks

    def _chosen_copies(self, chosen: npt.NDArray[np.bool_], *, otherwise: int) -> Ints:
        """Return 1 for clips that any of their domains chose, and a number for those without."""
        copies = np.full(len(self.ids), otherwise, np.int64)
        copies[self.clips] = 0
        copies[self.clips[chosen]] = 1
        return copies


def rare_domains(counts: Ints) -> npt.NDArray[np.bool_]:
    """Return which domains have fewer than half the mean number of clips; empty ones do not count.

    Args:
        counts: number of clips of each domain, ``(domains,)``.
    """
    present = counts > 0
    mean = counts.sum() / max(1, int(present.sum()))
    rare: npt.NDArray[np.bool_] = present & (counts < RARE_FRACTION * mean)
    return rare
