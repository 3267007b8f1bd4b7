"""Messages for pydantic validation errors: the key, its value, and the expected one."""

import reprlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

_EXPECTED: Final = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
    "dataclass": "a table",
    "is": "an object",
}
"""Expected value by the first part of pydantic's error types, such as ``int_parsing``."""

_LIMITS: Final = {"ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}"}
_LONGEST_VALUE: Final = 80
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _LONGEST_VALUE


def explain(error: "ValidationError", *, root: str = "") -> str:
    """Return the first error of a validation as ``key is value, expected something``.

    Args:
        error: error of pydantic.
        root: name of the document; with it, keys are formatted as ``root.list[3].key``.
    """
    first = error.errors(include_url=False)[0]
    if root:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        key = _printable(root + "".join(parts))
    else:
        key = _printable(".".join(str(part) for part in first["loc"])) or "the document"
    kind, context = first["type"], first.get("ctx", {})
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{key} is not a known key"
    if kind in ("value_error", "assertion_error"):
        # Our own validators raise these, in our own words.
        return f"{key}: {_printable(str(context.get('error', '')))}"
    return f"{key} is {_format_value(first['input'])}, expected {_expected(kind, context)}"


def explain_value(error: "ValidationError") -> str:
    """Return the error of a single value without a key: ``'a', expected a whole number``."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if first["type"] in ("value_error", "assertion_error"):
        return _printable(str(context.get("error", "")))
    return f"{_format_value(first['input'])}, expected {_expected(first['type'], context)}"


def _expected(kind: str, context: dict[str, Any]) -> str:
    if "expected" in context:
        return str(context["expected"])
    for name, words in _LIMITS.items():
        if name in context:
            return words.format(context[name])
    if "min_length" in context:
        return f"at least {context['min_length']} of them"
    return _EXPECTED.get(kind.split("_")[0], "another value")


def _format_value(value: object) -> str:
    try:
        # Format only the beginning of a list or an object, which may be as long as the document.
        text = _REPR.repr(value) if isinstance(value, list | tuple | dict) else repr(value)
    except ValueError:
        # Python refuses to format an integer of more than a few thousand digits.
        text = "a value that is too long to display"
    text = _printable(text)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
