"""Curate a table: filters, duplicates and balance, each decision with its reason.

The table is read twice. The first pass decides which rows pass the filters and keeps what
duplicates and balance compare; the second writes the rows. Values that are large (signatures,
embeddings, captions, ids) lie in temporary files beside the output. No video is opened, except by a
scorer.

The same rows stay for any order of the rows and any number of files, with two limits: duplicates
prefer the first row unless `DuplicateOptions.prefer` names a column, and rows that share a path
need ids.

Separate from `seedvideo.cli.curate`, which knows options and no rows.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from seedvideo.batch.manifest import HashSet
from seedvideo.batch.table_writer import ColumnSurvey, check_output, writing_table
from seedvideo.curation.balance import Balanced, Membership, balance, rare_domains
from seedvideo.curation.duplicates import RULES, DuplicateMatch, DuplicateTable
from seedvideo.curation.expression import explain
from seedvideo.curation.options import CurationOptions
from seedvideo.curation.results import INVALID, CurationResult, DomainCount, SignalValues
from seedvideo.curation.semantic import Vector
from seedvideo.curation.spool import Spool
from seedvideo.curation.table import (
    MISSING,
    TableFile,
    TableRow,
    find_failure,
    find_layout,
    find_value,
    iter_rows,
    missing_column_error,
    open_tables,
    parquet_types,
    parse_domains,
    refuse_same_paths,
    relocate,
)
from seedvideo.errors import BatchError, InputError
from seedvideo.utils.text import printable
from seedvideo.utils.values import is_empty, to_float, to_text

FAILED: Final = "failed"
BALANCE: Final = "balance"
"""Names of the rules besides those of the user and of duplicates."""

COPY_COLUMN: Final = "copy_of"
REPEATS_COLUMN: Final = "repeats"
CONCEPTS_COLUMN: Final = "concepts"

DROPPED_COLUMNS: Final = {
    "id": "text",
    "path": "text",
    "start": "text",
    "end": "text",
    "rule": "text",
    "message": "text",
    "kept": "text",
    "distance": "number",
}
"""Columns of the table of dropped rows, with their types."""

_PROGRESS_ROWS: Final = 1_000


def curate(
    names: Sequence[str],
    output: Path,
    options: CurationOptions,
    *,
    dropped: Path | None = None,
    signals: Sequence[str] = (),
    overwrite: bool = False,
    on_progress: Callable[[str, int], None] = lambda stage, rows: None,
) -> CurationResult:
    """Read a table, decide which rows stay, and write them.

    Args:
        names: files of the table.
        output: table to write; its suffix selects the form.
        options: what is done.
        dropped: table of the dropped rows with the rule of each, if wanted.
        signals: columns whose values the result has.
        overwrite: whether to replace existing files.
        on_progress: called now and then with a verb and the number of rows.

    Raises:
        ConfigError: ``config.invalid``, ``config.column_missing`` or ``config.package_missing``.
        InputError: if an input cannot be read, or changes meanwhile (``input.changed``).
        BatchError: ``batch.manifest_invalid``; ``batch.no_input`` if there is not one row.
        OutputError: if an output cannot be written.
    """
    refuse_same_paths(names, {"-o": output, "--dropped": dropped})
    check_output(output, overwrite=overwrite, option="-o")
    if dropped is not None:
        check_output(dropped, overwrite=overwrite, option="--dropped")
    files = open_tables(names)
    with ExitStack() as stack:
        run = _Run(files, options, output, signals, stack)
        run.scan(on_progress)
        run.decide()
        run.write(output, dropped, overwrite=overwrite, on_progress=on_progress)
        return run.result()


class _Run:
    """One run of `curate`."""

    def __init__(
        self,
        files: Sequence[TableFile],
        options: CurationOptions,
        output: Path,
        signals: Sequence[str],
        stack: ExitStack,
    ) -> None:
        self._files = files
        self._states = [file.state for file in files]
        self._options = options
        self._clauses = options.clauses
        self._ids = stack.enter_context(Spool(output.parent))
        self._duplicates = stack.enter_context(DuplicateTable(options.duplicates, output.parent))
        is_parquet = output.suffix.lower() == ".parquet"
        from_parquet = all(file.suffix == ".parquet" for file in files)
        self._survey = ColumnSurvey(types=is_parquet and not from_parquet)
        self._missing = dict(options.columns)
        filters = dict.fromkeys(name for name, _ in options.filters)
        names = [
            INVALID,
            FAILED,
            *filters,
            *(each for each in RULES if each in options.duplicates.rules),
        ]
        self._rules = {name: number for number, name in enumerate(names, start=1)}
        self._unknown = dict.fromkeys(filters, 0)
        self._verdicts = array("h")
        self._matches: dict[int, DuplicateMatch] = {}
        self._membership = Membership()
        self._signals = {name: array("f") for name in signals}
        self._scores: dict[int, tuple[float | None, ...]] = {}
        self._balanced: Balanced | None = None
        self._candidates = np.empty(0, np.int64)
        self.copies = np.empty(0, np.int64)

    def scan(self, on_progress: Callable[[str, int], None]) -> None:
        """Read the table once: apply the filters and keep what later stages compare."""
        if self._options.scorer is not None:
            # Columns are checked before hours of scoring.
            for row in iter_rows(self._files):
                self._note_columns(row)
            self._check_columns()
        for position, row in enumerate(iter_rows(self._files)):
            if position % _PROGRESS_ROWS == 0:
                on_progress("read", position)
            self._scan_row(position, row)
        if not self._verdicts:
            raise BatchError(
                "batch.no_input",
                f"no row in {', '.join(file.name for file in self._files)}",
                hint="name a table with rows",
            )
        self._check_columns()

    def _note_columns(self, row: TableRow) -> None:
        for name in list(self._missing):
            if find_value(row.fields, name) is not MISSING:
                del self._missing[name]

    def _check_columns(self) -> None:
        for name, option in self._missing.items():
            raise missing_column_error(self._files, name, option)

    def _scan_row(self, position: int, row: TableRow) -> None:
        if row.error:
            self._ids.append(row.where.encode("utf-8", "surrogatepass"))
            self._add_verdict(INVALID)
            self._membership.add(())
            self._note_signals(row)
            return
        self._ids.append(row.id.encode("utf-8", "surrogatepass"))
        self._survey.add(row.fields, is_text=row.file.is_text)
        self._note_columns(row)
        rule, row, embedding = self._filter(position, row)
        self._add_verdict(rule)
        self._membership.add(self._domains(row))
        self._note_signals(row)
        if not rule and self._options.duplicates.rules:
            self._duplicates.add(position, row, embedding=embedding)

    def _filter(self, position: int, row: TableRow) -> tuple[str, TableRow, Vector | None]:
        """Return the rule that drops a row, if any, the row with its scores, and its embedding."""
        if find_failure(row):
            return FAILED, row, None
        embedding = None
        scorer = self._options.scorer
        for name, clause in self._clauses:
            needs_score = scorer is not None and not set(clause.columns).isdisjoint(scorer.columns)
            if needs_score and position not in self._scores:
                row, embedding = self._score(position, row)
            truth = clause.term.evaluate(row.get)
            if truth is not True:
                self._unknown[name] += truth is None
                return name, row, None
        if scorer is not None and position not in self._scores:
            row, embedding = self._score(position, row)
        return "", row, embedding

    def _score(self, position: int, row: TableRow) -> tuple[TableRow, Vector | None]:
        assert self._options.scorer is not None
        self._scores[position], embedding = self._options.scorer.score(row)
        return self._with_scores(position, row), embedding

    def _with_scores(self, position: int, row: TableRow) -> TableRow:
        scores = self._scores.get(position)
        if scores is None or self._options.scorer is None:
            return row
        added = dict(zip(self._options.scorer.columns, scores, strict=True))
        return row._replace(fields={**row.fields, **added})

    def _add_verdict(self, rule: str) -> None:
        self._verdicts.append(self._rules[rule] if rule else 0)

    def _domains(self, row: TableRow) -> Sequence[str]:
        if self._options.concepts is not None:
            caption = row.get("caption")
            return () if is_empty(caption) else self._options.concepts.find(to_text(caption))
        return () if self._options.by is None else parse_domains(row.get(self._options.by))

    def _note_signals(self, row: TableRow) -> None:
        for name, values in self._signals.items():
            value = None if row.error else row.get(name)
            values.append(to_float(value, otherwise=float("nan")))

    def _id(self, position: int) -> str:
        return self._ids[position].decode("utf-8", "surrogatepass")

    def decide(self) -> None:
        """Find duplicates among the rows that passed the filters, then balance the others."""
        self._duplicates.check_rows(len(self._verdicts))
        for position, match in self._duplicates.find(self._id):
            self._verdicts[position] = self._rules[match.rule]
            self._matches[position] = match
        verdicts = np.frombuffer(self._verdicts, np.int16)
        self._candidates = np.flatnonzero(verdicts == 0)
        self.copies = np.zeros(len(verdicts), np.int64)
        self.copies[self._candidates] = 1
        rule = self._options.balance
        if rule is not None:
            self._balanced = balance(
                rule, self._membership, self._candidates, self._id, seed=self._options.seed
            )
            self.copies[self._candidates] = self._balanced.copies

    def write(
        self,
        output: Path,
        dropped: Path | None,
        *,
        overwrite: bool,
        on_progress: Callable[[str, int], None],
    ) -> None:
        """Read the table again and write the rows."""
        added = self._added_columns()
        from_csv = frozenset(self._survey.names) - set(added)
        with ExitStack() as stack:
            table = writing_table(output, self._columns(output, added), overwrite=overwrite)
            kept = stack.enter_context(table)
            left_out = None
            if dropped is not None:
                table = writing_table(dropped, DROPPED_COLUMNS, overwrite=overwrite)
                left_out = stack.enter_context(table)
            for position, row in enumerate(iter_rows(self._files)):
                if position % _PROGRESS_ROWS == 0:
                    on_progress("written", position)
                if position >= len(self.copies):
                    break  # The table grew, which is reported below.
                row = self._with_scores(position, row)
                if self.copies[position]:
                    for fields in self._copies(position, row, output):
                        kept.write(fields, kept=from_csv if row.file.is_text else ())
                elif left_out is not None:
                    left_out.write(self._explain(position, row))
            # Raised here, neither file gets its name.
            if [file.state for file in self._files] != self._states:
                raise InputError(
                    "input.changed",
                    "a table changed while it was read",
                    hint="wait until it is complete, then run the command again",
                )

    @property
    def _id_name(self) -> str:
        """Name of the column of the id in the output."""
        return find_layout(tuple(self._survey.names)).id or "id"

    def _columns(self, output: Path, added: Mapping[str, str]) -> dict[str, Any]:
        """Return the columns of the output with their types; the id comes first if it is added."""
        stored = parquet_types(self._files) if output.suffix.lower() == ".parquet" else {}
        first = {"id": added["id"]} if "id" in added else {}
        return {**first, **self._survey.columns, **stored, **added}

    def _added_columns(self) -> dict[str, str]:
        added: dict[str, str] = {} if self._id_name in self._survey.names else {"id": "text"}
        if self._options.scorer is not None:
            added |= dict.fromkeys(self._options.scorer.columns, "number")
        if self._options.concepts is not None:
            added[CONCEPTS_COLUMN] = "texts"
        if self._options.balance is not None:
            is_weighted = self._options.weights
            added |= {REPEATS_COLUMN: "integer"} if is_weighted else {COPY_COLUMN: "text"}
        return added

    def _copies(self, position: int, row: TableRow, output: Path) -> Iterator[Mapping[str, Any]]:
        """Yield the row as often as it is taken; copies have free ids of ``ID~2``, ``ID~3``..."""
        count = int(self.copies[position])
        fields = dict(relocate(row, output))
        name = self._id_name
        if is_empty(fields.get(name)):
            fields[name] = row.id
        if self._options.concepts is not None:
            codes, names = self._membership.codes(position), self._membership.names
            fields[CONCEPTS_COLUMN] = [names[code] for code in codes]
        if self._options.balance is None:
            yield fields
        elif self._options.weights:
            yield {**fields, REPEATS_COLUMN: count}
        else:
            yield {COPY_COLUMN: None, **fields}
            number = 1
            for _ in range(count - 1):
                number += 1
                while f"{row.id}~{number}" in self._known_ids:
                    number += 1
                yield {**fields, name: f"{row.id}~{number}", COPY_COLUMN: row.id}

    @cached_property
    def _known_ids(self) -> HashSet:
        """All ids of the table: a table that was balanced before has copies."""
        known = HashSet()
        for position in range(len(self._ids)):
            known.add(self._id(position))
        return known

    def _explain(self, position: int, row: TableRow) -> dict[str, Any]:
        """Return the row of the table of dropped rows."""
        rule = self._rule_of(position)
        values: dict[str, Any] = dict.fromkeys(DROPPED_COLUMNS)
        values |= {"id": self._id(position), "rule": rule}
        if not row.error:
            start, end = row.window
            values |= {"path": row.path, "start": start or None, "end": end or None}
        match = self._matches.get(position)
        if match is not None:
            kept = self._id(match.kept)
            values |= {"message": match.describe(kept), "kept": kept, "distance": match.distance}
        elif rule == INVALID:
            values["message"] = row.error
        elif rule == FAILED:
            values["message"] = find_failure(row)
        elif rule == BALANCE:
            values["message"] = self._explain_balance(position)
        else:
            clauses = (clause for name, clause in self._clauses if name == rule)
            false = next(each for each in clauses if each.term.evaluate(row.get) is not True)
            values["message"] = explain(false, row.get)
        return values

    def _rule_of(self, position: int) -> str:
        number = self._verdicts[position]
        return list(self._rules)[number - 1] if number else BALANCE

    def _explain_balance(self, position: int) -> str:
        assert self._balanced is not None and self._options.balance is not None
        names, counts = self._membership.names, self._balanced.counts
        codes = self._membership.codes(position)
        if not codes:
            return f"{self._options.balance}: no concept in its caption"
        parts = []
        for code in codes:
            part = f"{printable(names[code])} has {int(counts[code]):,} clips"
            if self._balanced.quotas is not None:
                part += f", of which {int(self._balanced.quotas[code]):,} are taken"
            parts.append(part)
        return f"{self._options.balance}: {'; '.join(parts)}"

    def result(self) -> CurationResult:
        """Return the counts."""
        counted = dict.fromkeys(self._rules, 0)
        names = list(self._rules)
        for number, count in enumerate(np.bincount(np.frombuffer(self._verdicts, np.int16))):
            if number:
                counted[names[number - 1]] = int(count)
        kept = int(np.count_nonzero(self.copies))
        if self._options.balance is not None:
            counted[BALANCE] = len(self._candidates) - kept
        return CurationResult(
            rows=len(self._verdicts),
            kept=kept,
            taken=int(self.copies.sum()),
            dropped={rule: count for rule, count in counted.items() if count},
            unknown={rule: count for rule, count in self._unknown.items() if count},
            uncompared=self._duplicates.uncompared,
            domains=self._domain_counts(),
            copies=self.copies,
            signals=[
                SignalValues(name=name, values=np.frombuffer(values, np.float32))
                for name, values in self._signals.items()
            ],
            failed_scores=0 if self._options.scorer is None else self._options.scorer.failures,
        )

    def _domain_counts(self) -> list[DomainCount]:
        names = self._membership.names
        if not names:
            return []
        everything = np.arange(len(self._membership))
        before = self._membership.counts(everything)
        after = self._membership.counts(everything, self.copies)
        rare = rare_domains(before if self._balanced is None else self._balanced.counts)
        found = [
            DomainCount(
                name=name,
                before=int(before[code]),
                after=int(after[code]),
                is_rare=bool(rare[code]),
            )
            for code, name in enumerate(names)
        ]
        return sorted(found, key=lambda each: (-each.before, each.name))
