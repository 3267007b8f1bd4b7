"""Duplicates of a table: which clips repeat an earlier one, by which rule, at which distance.

Clips are compared in order of preference: the order of the table, or the values of a column, the
greatest first. A clip is compared with clips that stay, never with one that was left out, as in
`seedvideo.batch.duplicates`: if b is like a, and c is like b but not like a, a and c stay. So every
duplicate names a clip that stays. Rules are tried in the order of `RULES`, the cheapest first.

Only clips with the same question, options and query are compared, and only equal windows of the
same file are the same.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from seedvideo.batch.similarity import (
    NEAR_LEVELS,
    Signature,
    count_exposures,
)
from seedvideo.curation.captions import SAME_CAPTION, CaptionSearch, RunCounts, Runs, caption_runs
from seedvideo.curation.near import NearSearch
from seedvideo.curation.semantic import (
    MAX_SEMANTIC_DISTANCE,
    SemanticSearch,
    Vector,
    normalize,
)
from seedvideo.curation.spool import Spool
from seedvideo.curation.table import TableRow
from seedvideo.errors import BatchError, ConfigError, InputError
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import parse_timecode
from seedvideo.utils.values import is_empty, to_float, to_text

EXACT: Final = "exact"
PACKETS: Final = "packets"
NEAR: Final = "near"
SEMANTIC: Final = "semantic"
CAPTION: Final = "caption"
RULES: Final[tuple[str, ...]] = (EXACT, PACKETS, NEAR, SEMANTIC, CAPTION)
"""Names of the rules, in the order in which they are tried."""

_BLOCK_CLIPS: Final = 1_024
"""Clips whose candidates are searched together."""

_ROUNDING: Final = 1e-5
"""Maximum relative rounding of durations in a table."""

_WORD_COLUMNS: Final = ("question", "options", "query")


@dataclass(frozen=True, kw_only=True)
class DuplicateOptions:
    """Which duplicates are left out.

    Args:
        rules: names of rules, of `RULES`.
        near_levels: maximum distance of near-duplicates, in grey levels.
        semantic_distance: maximum cosine distance of semantic duplicates.
        caption_similarity: minimum Jaccard similarity of captions that are the same.
        prefer: column whose greatest value stays; the first in the table if None.
        embeddings: column of the embeddings, or the path of a ``.npy`` file with a row for each row
            of the table.
    """

    rules: frozenset[str] = frozenset()
    near_levels: float = NEAR_LEVELS
    semantic_distance: float = MAX_SEMANTIC_DISTANCE
    caption_similarity: float = SAME_CAPTION
    prefer: str | None = None
    embeddings: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Columns that are needed, each with the option that needs it."""
        needed: dict[str, str] = {}
        if EXACT in self.rules:
            needed["sha256"] = "--drop-exact"
        if PACKETS in self.rules:
            needed["packets_sha256"] = "--drop-same-packets"
        if NEAR in self.rules:
            needed |= {"signature": "--drop-near", "duration_s": "--drop-near"}
        if SEMANTIC in self.rules and self.embeddings and not self.embeddings.endswith(".npy"):
            needed[self.embeddings] = "--embeddings"
        if CAPTION in self.rules:
            needed["caption"] = "--drop-same-caption"
        if self.prefer is not None and self.rules:
            needed[self.prefer] = "--prefer"
        return needed


@dataclass(frozen=True)
class DuplicateMatch:
    """Why a clip is left out.

    Args:
        rule: name of the rule.
        kept: position of the clip that stays.
        distance: distance by the rule: grey levels, cosine distance or 1 minus the similarity of
            the captions; None for equal bytes.
    """

    rule: str
    kept: int
    distance: float | None = None

    def describe(self, kept_id: str) -> str:
        """Return a message for people with the id of the clip that stays."""
        name = printable(kept_id)
        if self.distance is None:
            same = "bytes" if self.rule == EXACT else "video packets"
            return f"the same {same} as {name}"
        if self.rule == NEAR:
            return f"differs from {name} by {self.distance:.2f} grey levels on average"
        if self.rule == SEMANTIC:
            return f"its embedding is at a cosine distance of {self.distance:.4f} from {name}"
        return f"{100 * (1 - self.distance):.0f}% of the words are those of {name}"


Flags = npt.NDArray[np.bool_]


class _Search(Protocol):
    """Search by one rule; clips have numbers in order of preference."""

    def begin(self, clips: Sequence[int]) -> None: ...

    def find(self, clip: int, stays: Flags) -> tuple[int, float] | None: ...

    def keep(self, clip: int) -> None: ...

    def end(self, stays: Flags) -> None: ...


class _KeySearch:
    """Search of clips with the same key.

    Args:
        get_key: returns the key of a clip by its number; empty if it has none.
    """

    def __init__(self, get_key: Callable[[int], bytes]) -> None:
        self._get_key = get_key
        self._first: dict[bytes, int] = {}

    def begin(self, clips: Sequence[int]) -> None:
        pass

    def find(self, clip: int, stays: Flags) -> tuple[int, float] | None:
        other = self._first.get(self._get_key(clip))
        return None if other is None else (other, 0.0)

    def keep(self, clip: int) -> None:
        if key := self._get_key(clip):
            self._first.setdefault(key, clip)

    def end(self, stays: Flags) -> None:
        pass


class DuplicateTable:
    """What the rules compare, of all clips; use it in a ``with`` statement.

    Args:
        options: which duplicates are left out.
        folder: folder for temporary files.
    """

    def __init__(self, options: DuplicateOptions, folder: Path) -> None:
        self._options = options
        self._rules = [rule for rule in RULES if rule in options.rules]
        self._spools = {rule: Spool(folder) for rule in self._rules}
        self._durations_s = array("d")
        self._preferences = array("d")
        self._words = array("q")
        self._word_numbers: dict[bytes, int] = {}
        self._rows = array("q")
        self._run_counts = RunCounts()
        self._file_embeddings = _open_embeddings(options)
        self.uncompared = dict.fromkeys(self._rules, 0)
        """Number of clips without what a rule compares."""

    def __enter__(self) -> "DuplicateTable":
        for spool in self._spools.values():
            spool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for spool in self._spools.values():
            spool.__exit__(*error)

    def add(self, position: int, row: TableRow, *, embedding: Vector | None = None) -> None:
        """Add a clip.

        Args:
            position: position of its row in the table.
            row: the row.
            embedding: its embedding, if a scorer made it.

        Raises:
            BatchError: ``batch.manifest_invalid`` if a value is not what its column should hold.
        """
        self._rows.append(position)
        self._durations_s.append(to_float(row.get("duration_s"), otherwise=0.0))
        if self._options.prefer is not None:
            value = row.get(self._options.prefer)
            self._preferences.append(to_float(value, otherwise=float("-inf")))
        words = _key(*(row.get(name) for name in _WORD_COLUMNS))
        self._words.append(self._word_numbers.setdefault(words, len(self._word_numbers)))
        for rule in self._rules:
            data = self._data(rule, position, row, embedding)
            self.uncompared[rule] += not data
            self._spools[rule].append(data)

    def find(self, get_id: Callable[[int], str]) -> Iterator[tuple[int, DuplicateMatch]]:
        """Yield the position of each duplicate and why it is left out.

        Args:
            get_id: returns the id of a row by its position.
        """
        order = self._order(get_id)
        searches = {rule: self._make_search(rule, order) for rule in self._rules}
        stays = np.zeros(len(order), bool)

        for start in range(0, len(order), _BLOCK_CLIPS):
            block = range(start, min(start + _BLOCK_CLIPS, len(order)))
            for search in searches.values():
                search.begin(block)
            for number in block:
                match = self._first_match(searches, number, stays, order)
                if match is not None:
                    yield self._rows[order[number]], match
                    continue
                stays[number] = True
                for search in searches.values():
                    search.keep(number)
            for search in searches.values():
                search.end(stays)

    def _first_match(
        self,
        searches: dict[str, _Search],
        number: int,
        stays: Flags,
        order: Sequence[int],
    ) -> DuplicateMatch | None:
        for rule, search in searches.items():
            found = search.find(number, stays)
            if found is not None:
                other, distance = found
                is_same = rule in (EXACT, PACKETS)
                kept = self._rows[order[other]]
                return DuplicateMatch(rule, kept, None if is_same else distance)
        return None

    def _order(self, get_id: Callable[[int], str]) -> Sequence[int]:
        """Return the clips in order of preference; equal ones by their ids."""
        if self._options.prefer is None:
            return range(len(self._rows))
        values = self._preferences
        return sorted(
            range(len(self._rows)), key=lambda each: (-values[each], get_id(self._rows[each]))
        )

    def _make_search(self, rule: str, order: Sequence[int]) -> _Search:
        spool, words = self._spools[rule], self._words

        def get_data(number: int) -> bytes:
            return spool[order[number]]

        def get_words(number: int) -> int:
            return words[order[number]]

        def get_signature(number: int) -> Signature | None:
            return self._read_signature(order[number], get_data(number))

        def get_embedding(number: int) -> Vector | None:
            data = get_data(number)
            return np.frombuffer(data, np.float32) if data else None

        def get_runs(number: int) -> Runs:
            return np.frombuffer(get_data(number), np.uint64)

        options = self._options
        if rule == NEAR:
            return NearSearch(options.near_levels, get_signature, get_words)
        if rule == SEMANTIC:
            return SemanticSearch(options.semantic_distance, get_embedding, get_words)
        if rule == CAPTION:
            return CaptionSearch(options.caption_similarity, get_runs, get_words, self._run_counts)
        return _KeySearch(get_data)

    def _data(self, rule: str, position: int, row: TableRow, embedding: Vector | None) -> bytes:
        """Return what a rule compares of a row; empty if it has none."""
        if rule in (EXACT, PACKETS):
            digest = row.get("sha256" if rule == EXACT else "packets_sha256")
            if is_empty(digest):
                return b""
            # The hash of packets is of those in the window, that of the file is of all of it.
            window = _exact_window(row) if rule == EXACT else ()
            return _key(digest, *window, *(row.get(name) for name in _WORD_COLUMNS))
        if rule == NEAR:
            value = row.get("signature")
            return b"" if is_empty(value) else _parse_signature(row, value)
        if rule == CAPTION:
            value = row.get("caption")
            runs = caption_runs("" if is_empty(value) else to_text(value))
            self._run_counts.add(runs)
            return runs.tobytes()
        vector = embedding
        if self._file_embeddings is not None:
            # A file that is too short is refused by `check_rows`.
            is_stored = position < len(self._file_embeddings)
            vector = normalize(self._file_embeddings[position]) if is_stored else None
        elif self._options.embeddings is not None:
            vector = _parse_embedding(row, self._options.embeddings)
        if vector is None:
            return b""
        self._check_size(row, len(vector))
        return vector.tobytes()

    def check_rows(self, count: int) -> None:
        """Refuse a file of embeddings that has not one vector for each row of the table.

        Args:
            count: number of rows of the table.

        Raises:
            ConfigError: ``config.invalid``.
        """
        stored = self._file_embeddings
        if stored is not None and len(stored) != count:
            raise ConfigError(
                "config.invalid",
                f"--embeddings {printable(str(self._options.embeddings))} has {len(stored):,}"
                f" vectors, expected {count:,}: one for each row of the table",
                hint="give the vectors in the order of the rows, those that filters drop included",
            )

    def _read_signature(self, clip: int, data: bytes) -> Signature | None:
        """Return the signature of a clip.

        Raises:
            BatchError: ``batch.manifest_invalid`` if it is damaged, or of another duration.
        """
        if not data:
            return None
        duration_s = self._durations_s[clip]
        try:
            signature = Signature.from_bytes(duration_s, data)
            least, most = (
                count_exposures(duration_s * (1 + sign * _ROUNDING), signature.step_s)
                for sign in (-1, 1)
            )
            if not least <= len(signature.values) <= most:
                raise ValueError(
                    f"{len(signature.values)} exposures, expected {most} for {duration_s:g} s"
                )
        except (ValueError, ArithmeticError) as error:
            where = f"row {self._rows[clip] + 1} of the table"
            raise _value_error(where, "signature", str(error)) from error
        return signature

    def _check_size(self, row: TableRow, size: int) -> None:
        first = getattr(self, "_size", size)
        self._size = first
        if size != first:
            name = self._options.embeddings or "embedding"
            raise _value_error(
                row.where, name, f"{size} numbers, expected {first} as in other rows"
            )


def _value_error(where: str, column: str, problem: str) -> BatchError:
    hint = "give the same number of numbers in all rows, or none"
    if column == "signature":
        hint = "make the table again: seedvideo inspect TABLE -f jsonl -o inspected.jsonl"
    return BatchError(
        "batch.manifest_invalid",
        f"{where}: the column {printable(column)}: {printable(problem[:200])}",
        hint=hint,
    )


def _parse_signature(row: TableRow, value: Any) -> bytes:
    try:
        return value if isinstance(value, bytes) else bytes.fromhex(value)
    except (ValueError, TypeError) as error:
        raise _value_error(row.where, "signature", str(error)) from error


def _key(*values: Any) -> bytes:
    """Return a hash of texts; empty values are equal."""
    parts = ("" if is_empty(each) else to_text(each) for each in values)
    text = "\0".join(part.strip() for part in parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _exact_window(row: TableRow) -> tuple[str, str]:
    """Return the times of a window, however they are written; empty for the end of the file."""
    start, end = (_exact_time(text) for text in row.window)
    return start or "0", end


def _exact_time(text: str) -> str:
    try:
        return str(parse_timecode(text))
    except (ValueError, ArithmeticError):
        return text  # Batch runs report it.


def _parse_embedding(row: TableRow, column: str) -> Vector | None:
    value = row.get(column)
    if is_empty(value):
        return None
    if isinstance(value, str):
        import json

        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise _value_error(row.where, column, f"not JSON: {error}") from error
    try:
        if not isinstance(value, Iterable):
            raise ValueError("not a list of numbers")
        return normalize(list(value))
    except (ValueError, TypeError) as error:
        raise _value_error(row.where, column, f"not a list of numbers: {error}") from error


def _open_embeddings(options: DuplicateOptions) -> Any:
    """Map a ``.npy`` file into memory; None if the embeddings are a column.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable``.
        ConfigError: ``config.invalid`` if it does not hold one vector a row.
    """
    name = options.embeddings
    if name is None or not name.endswith(".npy") or SEMANTIC not in options.rules:
        return None
    try:
        stored = np.load(name, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(
            "input.not_found",
            f"{printable(name)}: no such file",
            hint="check the name and the folder",
        ) from error
    except (OSError, ValueError) as error:
        raise InputError("input.unreadable", f"{printable(name)}: {error}") from error
    if stored.ndim != 2 or stored.dtype.kind != "f":
        raise ConfigError(
            "config.invalid",
            f"--embeddings {printable(name)} has the shape {stored.shape} and the type"
            f" {stored.dtype}, expected floats of shape (rows, size)",
        )
    return stored
