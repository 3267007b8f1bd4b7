"""Settings of a curation: filters, duplicates, domains and balance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from seedvideo.curation.balance import BalanceRule
from seedvideo.curation.concepts import ConceptList
from seedvideo.curation.duplicates import DuplicateOptions
from seedvideo.curation.expression import Clause, Expression
from seedvideo.curation.semantic import Vector
from seedvideo.curation.table import TableRow
from seedvideo.errors import ConfigError


class RowScorer(Protocol):
    """Scores the caption of a row against the pictures of its video."""

    columns: tuple[str, ...]
    """Names of the columns that it adds."""
    failures: int
    """Number of rows whose video could not be used."""

    def score(self, row: TableRow) -> tuple[tuple[float | None, ...], Vector | None]:
        """Return the values of its columns and the embedding of the clip, if it makes one."""


@dataclass(frozen=True, kw_only=True)
class CurationOptions:
    """What is done with a table.

    Args:
        filters: names and conditions of the filters; rows stay if all are true.
        duplicates: which duplicates are left out.
        balance: how domains are balanced, if at all.
        by: column of the domain of a clip, or of several as a list.
        concepts: words that are domains where they occur in a caption.
        seed: seed of the draws.
        weights: whether to write how often a row is taken as a column, not as copies of the row.
        scorer: adds scores of captions.

    Raises:
        ConfigError: ``config.invalid`` if options contradict each other.
    """

    filters: Sequence[tuple[str, Expression]] = ()
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    balance: BalanceRule | None = None
    by: str | None = None
    concepts: ConceptList | None = None
    seed: int = 0
    weights: bool = False
    scorer: RowScorer | None = None

    def __post_init__(self) -> None:
        if self.by is not None and self.concepts is not None:
            raise ConfigError(
                "config.invalid",
                "both --by and --concepts are given, expected one of them",
                hint="balance by a column, or by words in the captions",
            )
        if self.balance is not None and self.by is None and self.concepts is None:
            raise ConfigError(
                "config.invalid",
                f"--balance {self.balance} needs domains",
                hint="name their column with --by COLUMN, or words with --concepts FILE",
            )

    @property
    def clauses(self) -> list[tuple[str, Clause]]:
        """Conditions with the names of their filters; those that need scores come last."""
        scored = set() if self.scorer is None else set(self.scorer.columns)
        clauses = [(name, clause) for name, each in self.filters for clause in each.clauses]
        return sorted(clauses, key=lambda each: not scored.isdisjoint(each[1].columns))

    @property
    def columns(self) -> dict[str, str]:
        """Columns that are needed, each with the option that needs it."""
        needed: dict[str, str] = {}
        for name, expression in self.filters:
            option = "--keep" if name == "keep" else f"--preset {name.partition(':')[2]}"
            needed |= dict.fromkeys(expression.columns, option)
        needed |= self.duplicates.columns
        if self.by is not None:
            needed[self.by] = "--by"
        if self.concepts is not None:
            needed["caption"] = "--concepts"
        if self.scorer is not None:
            needed["caption"] = "--clip-score"
            for column in self.scorer.columns:
                needed.pop(column, None)
        return needed
