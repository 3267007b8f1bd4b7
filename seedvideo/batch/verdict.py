"""What a journal tells: states, how many items are in each, and what is known of one item."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, Self, TypeAlias, get_args

from seedvideo.batch.item import Item

State: TypeAlias = Literal["pending", "running", "done", "filtered", "failed", "quarantined"]
Process: TypeAlias = Literal["decode", "model"]
"""Kinds of processes of a job, by the stage of what they do."""

STATES: Final[tuple[State, ...]] = get_args(State)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many items of the input are in each state."""

    pending: int = 0
    running: int = 0
    done: int = 0
    filtered: int = 0
    failed: int = 0
    quarantined: int = 0

    @classmethod
    def of(cls, counted: Mapping[str, int]) -> Self:
        """From a number a state; none is 0."""
        return cls(**{state: counted.get(state, 0) for state in STATES})

    @property
    def total(self) -> int:
        """All items."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def settled(self) -> int:
        """Items with a verdict."""
        return self.total - self.pending - self.running


@dataclass(frozen=True, kw_only=True)
class Taken:
    """An item to do now.

    Args:
        item: what to do.
        tries: how often it was begun, this time included.
        fingerprint: of its last finish, if it had one.
    """

    item: Item
    tries: int
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of one item.

    Args:
        item: the row; of a bad row, its source says where it is.
        state: where it stands.
        tries: how often it was begun, deaths of the whole job not counted.
        interrupted: how often the job died while it was under way.
        fingerprint: of its record.
        size: bytes of the file when the verdict was given, if it was read.
        mtime_ns: when the file was last changed, likewise.
        code: of the failure.
        stage: in which it happened.
        message: for people; also why it was filtered.
        hint: what to do next.
        retryable: whether another try could help.
        rule: which filter left it out.
        started_at: wall clock, seconds since 1970, for people only.
        finished_at: likewise.
        record: the record's JSON, if it is done.
        sheet: its contact sheet, if there is one and it was asked for.
    """

    item: Item
    state: State
    tries: int = 0
    interrupted: int = 0
    fingerprint: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    code: str | None = None
    stage: str | None = None
    message: str | None = None
    hint: str | None = None
    retryable: bool | None = None
    rule: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    record: str | None = None
    sheet: bytes | None = None
