"""One row of a job: a video and what is asked of it, or the reason why the row is none.

Knows no job, no journal and no file. Times are exact seconds.
"""

import json
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, Final, Self


@dataclass(frozen=True, kw_only=True)
class Item:
    """A video and the words that its row gives it; what a row leaves out, the job says.

    Args:
        id: names the item in its job, in every run: the manifest's id, or the source; rows that
            repeat a source with other words are told apart by ``#2``, ``#3`` at the end.
        source: the path as given; `Job.path_of` tells where it is opened.
        question: for the task ``ask``.
        options: answers to choose from, for the task ``ask``.
        query: what is looked for, for the task ``ground``.
        start_s: look only from here on.
        end_s: look only before this.
        extra: the other columns of its row as one JSON object; empty if there are none. They are
            carried to the exports and change nothing else.
        origin: for people, the line of the list that it is from; empty for a file that was named.

    Raises:
        ValueError: if it has no id or no source, or its window ends before it starts.
    """

    id: str
    source: str
    question: str = ""
    options: tuple[str, ...] = ()
    query: str = ""
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    extra: str = ""
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.id or not self.source:
            raise ValueError("an item needs an id and a source")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ValueError(
                f"the window ends at {float(self.end_s):g} s,"
                f" expected a time after its start at {float(self.start_s or 0):g} s"
            )

    @property
    def words(self) -> tuple[object, ...]:
        """Everything but its names, as plain JSON values; all empty for a mere path."""
        return (
            self.question,
            list(self.options),
            self.query,
            None if self.start_s is None else str(self.start_s),
            None if self.end_s is None else str(self.end_s),
        )

    @property
    def has_words(self) -> bool:
        """Whether the row says anything beyond its names."""
        return (
            bool(self.question or self.options or self.query)
            or self.start_s is not None
            or self.end_s is not None
        )

    def to_json(self) -> str:
        """One line of ASCII JSON: the source and the words. Any bytes of a name survive.

        It decides whether a verdict still holds, so the id, `extra` and `origin` are not in it.
        """
        if not self.has_words:
            return f'{{"source": {json.dumps(self.source)}}}'
        values: dict[str, Any] = {"source": self.source}
        names = ("question", "options", "query", "start_s", "end_s")
        told = zip(names, self.words, strict=True)
        values |= {name: word for name, word in told if word not in ("", [], None)}
        return json.dumps(values, ensure_ascii=True)

    @classmethod
    def from_json(cls, id: str, text: str) -> Self:  # noqa: A002  # as the field
        """Read what `to_json` made.

        Raises:
            ValueError: if it is none.
        """
        try:
            values = json.loads(text)
            unknown = set(values) - _FIELDS
            if unknown:
                raise ValueError(f"unknown keys {sorted(unknown)}")
            for name in ("start_s", "end_s"):
                if name in values:
                    values[name] = Fraction(values[name])
            return cls(id=id, **{**values, "options": tuple(values.get("options", ()))})
        except (TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
            raise ValueError(f"not an item: {error}") from error


_FIELDS: Final = {each.name for each in fields(Item)} - {"id", "extra", "origin"}


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row of the input that makes no item; it fails at once and the job goes on.

    Args:
        id: names it in its job: the row's own id where it has a usable one, else where it is.
        where: for people, such as ``list.csv line 7``.
        code: ``batch.row_invalid``, ``batch.id_repeated``, or another code of the tree.
        message: what is wrong with it.
        is_repeat: whether an earlier row is the same word by word, so that nothing is lost.
        extra: its other columns, where they could be read; see `Item`.
    """

    id: str
    where: str
    code: str
    message: str
    is_repeat: bool = False
    extra: str = ""
