"""Filter expressions over the columns of a table: ``duration_s >= 2 and not aspect > 3``.

::

    expression = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation = "not" negation | "(" expression ")" | comparison
    comparison = operand ( operator operand { operator operand }
               | "is" [ "not" ] "empty" | [ "not" ] "in" "(" literal { "," literal } ")" )
    operand = number | "text" | 'text' | true | false | column | `column`
    operator = "<" | "<=" | ">" | ">=" | "=" | "==" | "!="

An expression is data: it is parsed here, and nothing of it is executed. A comparison with an empty
value is unknown, and so is one of a number with a text that is not a number; ``and``, ``or`` and
``not`` treat unknown as SQL does. A row stays if the expression is true.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from seedvideo.errors import ConfigError
from seedvideo.utils.text import printable
from seedvideo.utils.values import is_empty, to_comparable, to_number, to_text

MAX_CHARACTERS: Final = 10_000
"""Maximum length of an expression."""

MAX_DEPTH: Final = 50
"""Maximum number of parentheses and negations around a comparison."""

_SHOWN_CHARACTERS: Final = 60

Truth: TypeAlias = bool | None
"""Result of a comparison; None if it is unknown."""

Getter: TypeAlias = Callable[[str], Any]
"""Returns the value of a column of one row; None if it is empty."""

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))"
    r"|(?P<word>[^\W\d][\w.]*)"
    r"|`(?P<column>[^`]+)`"
    r"|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'"
    r"|(?P<sign><=|>=|==|!=|[<>=(),]))"
)
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "=": lambda one, other: one == other,
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
}
_KEYWORDS: Final = frozenset({"and", "or", "not", "is", "in", "empty", "true", "false"})


@dataclass(frozen=True)
class Literal:
    """A number, a text, or a truth value.

    Args:
        value: the value.
    """

    value: float | str | bool


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        name: its name.
    """

    name: str


Operand: TypeAlias = Literal | Column


@dataclass(frozen=True)
class Comparison:
    """A comparison of two values.

    Numbers are compared as numbers if both sides are numbers, or texts that are. Texts are compared
    with texts by their characters.

    Args:
        left: left operand.
        sign: one of the operators.
        right: right operand.
    """

    left: Operand
    sign: str
    right: Operand

    def evaluate(self, get: Getter) -> Truth:
        """Return whether it is true for a row; None if it is unknown."""
        one, other = _value(self.left, get), _value(self.right, get)
        for operand, value in ((self.left, one), (self.right, other)):
            if isinstance(operand, Column) and is_empty(value):
                return None
        are_columns = isinstance(self.left, Column) and isinstance(self.right, Column)
        pair = to_comparable(one, other, are_columns=are_columns)
        return None if pair is None else _COMPARISONS[self.sign](*pair)


@dataclass(frozen=True)
class Emptiness:
    """``column is empty``.

    Args:
        operand: the column.
    """

    operand: Operand

    def evaluate(self, get: Getter) -> Truth:
        """Return whether the value is empty."""
        return is_empty(_value(self.operand, get))


@dataclass(frozen=True)
class Negation:
    """Negation of a term."""

    term: "Term"

    def evaluate(self, get: Getter) -> Truth:
        """Return the negation; unknown stays unknown."""
        found = self.term.evaluate(get)
        return None if found is None else not found


@dataclass(frozen=True)
class AllOf:
    """Conjunction of terms."""

    terms: tuple["Term", ...]

    def evaluate(self, get: Getter) -> Truth:
        """Return False if a term is false, True if all are true, else None."""
        found: Truth = True
        for term in self.terms:
            value = term.evaluate(get)
            if value is False:
                return False
            if value is None:
                found = None
        return found


@dataclass(frozen=True)
class AnyOf:
    """Disjunction of terms."""

    terms: tuple["Term", ...]

    def evaluate(self, get: Getter) -> Truth:
        """Return True if a term is true, False if all are false, else None."""
        found: Truth = False
        for term in self.terms:
            value = term.evaluate(get)
            if value is True:
                return True
            if value is None:
                found = None
        return found


Term: TypeAlias = Comparison | Emptiness | Negation | AllOf | AnyOf


class Clause(NamedTuple):
    """One condition of an expression, joined to the others by ``and``.

    Args:
        text: its text, on one line.
        term: what it means.
        columns: names of its columns, in their order.
    """

    text: str
    term: Term
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Args:
        text: the text as given, on one line.
        clauses: conditions that must all be true.
    """

    text: str
    clauses: tuple[Clause, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in their order."""
        return tuple(dict.fromkeys(name for clause in self.clauses for name in clause.columns))

    def find_false(self, get: Getter) -> Clause | None:
        """Return the first condition that is not true for a row; None if all are true."""
        for clause in self.clauses:
            if clause.term.evaluate(get) is not True:
                return clause
        return None


def explain(clause: Clause, get: Getter) -> str:
    """Return why a condition is not true for a row, for people.

    >>> clause = parse_expression("motion_mean > 0.1").clauses[0]
    >>> explain(clause, {"motion_mean": 0.04}.get)
    'not motion_mean > 0.1: motion_mean is 0.04'
    """
    values = []
    for name in clause.columns:
        value = get(name)
        shown = "empty" if is_empty(value) else _shorten(value)
        values.append(f"{printable(name)} is {shown}")
    return f"not {clause.text}: {', '.join(values)}"


def _shorten(value: object) -> str:
    text = repr(value) if isinstance(value, str) and to_number(value) is None else to_text(value)
    text = printable(text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _value(operand: Operand, get: Getter) -> Any:
    return operand.value if isinstance(operand, Literal) else get(operand.name)


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def parse_expression(text: str, *, option: str = "--keep") -> Expression:
    """Parse an expression.

    Args:
        text: the expression.
        option: where it is from, for messages.

    Raises:
        ConfigError: ``config.invalid`` with the position of the mistake.
    """
    return _Parser(text, option).parse()


class _Parser:
    """Recursive-descent parser of one expression."""

    def __init__(self, text: str, option: str) -> None:
        self._text = text
        self._option = option
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(
                "config.invalid",
                f"{option} has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}",
            )
        self._tokens = list(self._tokenize())
        self._next = 0
        self._depth = 0

    def parse(self) -> Expression:
        clauses = [self._clause()]
        while self._accept("and"):
            clauses.append(self._clause())
        if self._peek("or"):
            # The expression is one disjunction: start again.
            self._next = 0
            start = self._current.start
            term = self._disjunction()
            clauses = [self._make_clause(term, start)]
        if self._current.kind != "end":
            raise self._error("'and', 'or' or the end")
        return Expression(_one_line(self._text), tuple(clauses))

    def _clause(self) -> Clause:
        start = self._current.start
        return self._make_clause(self._negation(), start)

    def _make_clause(self, term: Term, start: int) -> Clause:
        end = self._tokens[self._next - 1].end
        return Clause(_one_line(self._text[start:end]), term, tuple(dict.fromkeys(_columns(term))))

    def _disjunction(self) -> Term:
        terms = [self._conjunction()]
        while self._accept("or"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _conjunction(self) -> Term:
        terms = [self._negation()]
        while self._accept("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else AllOf(tuple(terms))

    def _negation(self) -> Term:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"at most {MAX_DEPTH} levels of parentheses")
        term: Term
        if self._accept("not"):
            term = Negation(self._negation())
        elif self._accept("("):
            term = self._disjunction()
            self._expect(")")
        else:
            term = self._comparison()
        self._depth -= 1
        return term

    def _comparison(self) -> Term:
        start = self._next
        left = self._operand()
        if self._accept("is"):
            is_negated = self._accept("not")
            self._expect("empty")
            term: Term = Emptiness(left)
            return Negation(term) if is_negated else term
        is_negated = self._accept("not")
        if is_negated or self._peek("in"):
            self._expect("in")
            term = AnyOf(tuple(Comparison(left, "=", each) for each in self._literals()))
            return Negation(term) if is_negated else term
        terms: list[Term] = []
        while self._current.text in _COMPARISONS and self._current.kind == "sign":
            sign = self._advance().text
            right = self._operand()
            terms.append(Comparison(left, sign, right))
            left = right
        if not terms:
            raise self._error("one of < <= > >= = != is in")
        term = terms[0] if len(terms) == 1 else AllOf(tuple(terms))
        if not any(_columns(term)):
            self._next = start
            raise self._error("the name of a column on one side")
        return term

    def _operand(self) -> Operand:
        token = self._current
        if token.kind == "column" or (token.kind == "word" and token.text not in _KEYWORDS):
            self._next += 1
            return Column(token.text)
        return self._literal("a column, a number or a text in quotes")

    def _literal(self, expected: str) -> Literal:
        token = self._current
        if token.kind == "number":
            number = to_number(token.text)
            if number is None:
                raise self._error("a finite number")
            value: float | str | bool = number
        elif token.kind in ("double", "single"):
            value = token.text
        elif token.kind == "word" and token.text in ("true", "false"):
            value = token.text == "true"
        else:
            raise self._error(expected)
        self._next += 1
        return Literal(value)

    def _literals(self) -> list[Literal]:
        self._expect("(")
        found = [self._literal("a number or a text in quotes")]
        while self._accept(","):
            found.append(self._literal("a number or a text in quotes"))
        self._expect(")")
        return found

    @property
    def _current(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _peek(self, text: str) -> bool:
        return self._current.text == text and self._current.kind in ("word", "sign")

    def _accept(self, text: str) -> bool:
        is_next = self._peek(text)
        self._next += is_next
        return is_next

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(repr(text))

    def _tokenize(self) -> Sequence[_Token]:
        tokens: list[_Token] = []
        position = 0
        end = len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None:
                position += len(self._text[position:]) - len(self._text[position:].lstrip())
                raise self._mistake(f"unknown sign {self._text[position]!r}", position)
            kind = match.lastgroup or ""
            start = match.end() - len(match[0].lstrip())
            text = match[kind]
            if kind == "word" and text.lower() in _KEYWORDS:
                text = text.lower()
            tokens.append(_Token(kind, text, start, match.end()))
            position = match.end()
        return [*tokens, _Token("end", "", end, end)]

    def _error(self, expected: str) -> ConfigError:
        token = self._current
        found = "the end" if token.kind == "end" else repr(self._text[token.start : token.end])
        return self._mistake(f"{found}, expected {expected}", token.start)

    def _mistake(self, what: str, position: int) -> ConfigError:
        return ConfigError(
            "config.invalid",
            f"{self._option}: {what}, at character {position + 1} of"
            f" {printable(self._text[:200])!r}",
            hint="write it as 'duration_s >= 2 and motion_mean > 0.1'; docs/guides/curate.md has"
            " the grammar",
        )


def _columns(term: Term) -> Sequence[str]:
    """Return the names of the columns of a term, in their order."""
    if isinstance(term, Comparison):
        operands: Sequence[Operand] = (term.left, term.right)
    elif isinstance(term, Emptiness):
        operands = (term.operand,)
    elif isinstance(term, Negation):
        return _columns(term.term)
    else:
        return [name for each in term.terms for name in _columns(each)]
    return [each.name for each in operands if isinstance(each, Column)]


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
