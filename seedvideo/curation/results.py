"""Results of a curation: what became of the rows, by rule and by domain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

INVALID: Final = "row_invalid"
"""Rule that drops rows that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class DomainCount:
    """Clips of one domain.

    Args:
        name: name of the domain.
        before: clips in the table.
        after: clips that are taken, each as often as it is.
        is_rare: whether it has fewer than half the mean number of clips before the balance.
    """

    name: str
    before: int
    after: int
    is_rare: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SignalValues:
    """Values of one column in all rows.

    Args:
        name: name of the column.
        values: value of each row; NaN where it is empty, ``(rows,)``.
    """

    name: str
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class CurationResult:
    """What became of a table.

    Args:
        rows: number of rows read.
        kept: number of rows that stay.
        taken: number of clips that are taken: rows that stay, each as often as it is repeated.
        dropped: number of dropped rows by rule, in the order of the rules.
        unknown: number of those that a filter drops because a value is empty or of another type.
        uncompared: clips that lack what a rule of duplicates compares, by rule.
        domains: clips by domain, the most frequent first; empty without domains.
        copies: how often each row is taken, ``(rows,)``.
        signals: values of numeric columns; only for a report.
        failed_scores: number of rows whose video could not be scored.
    """

    rows: int
    kept: int
    taken: int
    dropped: Mapping[str, int]
    unknown: Mapping[str, int]
    uncompared: Mapping[str, int]
    domains: Sequence[DomainCount]
    copies: npt.NDArray[np.int64]
    signals: Sequence[SignalValues] = ()
    failed_scores: int = 0

    @property
    def invalid(self) -> int:
        """Number of rows that could not be used."""
        return self.dropped.get(INVALID, 0)
