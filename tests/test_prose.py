"""Check the language: struck words and number style in pages, docstrings, messages and names.

The rules are in CONTRIBUTING.md, section "Prose". Fenced blocks, inline code and double-quoted text
of a page are quotations, so they are exempt.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import seedvideo
from tests.doc_examples import DOCS, README, ROOT

PACKAGE: Final = Path(seedvideo.__file__).parent
PAGES: Final = sorted(
    path
    for path in (
        README,
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "SECURITY.md",
        *DOCS.rglob("*.md"),
    )
    # This page repeats the help texts of the commands, which are checked with the folder `cli`.
    if path != DOCS / "reference" / "cli.md"
)

MODULES: Final = sorted(PACKAGE.rglob("*.py"))
WORD_LISTS: Final = (PACKAGE / "model" / "open_answers.py",)
"""Modules whose strings list the words that users write."""
STORED_MESSAGES: Final = ("options are no JSON: ",)
"""Messages that a journal keeps and compares with those of a later run, so they never change."""

STRUCK: Final = {
    r"told|tells?|telling": "report, print, return, describe, distinguish",
    r"wishes": "options, requests",
    r"(?<!seedvideo\.)knobs?(?!=)": "options, configuration",
    r"crew": "processes, workers",
    r"parcels?": "message, frames",
    r"bumps?": "outlier, peak",
    r"anew": "again",
    r"nobody|somebody": "name the actor: process, caller, user, person",
    r"(?<!there\s)(?:is|are)\s+no\s+(?!(?:longer|more|better)\b)[a-z]+": "is not ...",
}
"""Words that no sentence uses, as regular expressions, and what to write instead."""

NUMBER_WITHOUT_ZERO: Final = re.compile(r"(?<![\w.)\]/*%:{])[-+]?\.\d+")
PERCENT_WITH_SPACE: Final = re.compile(r"(?<!Keye )\b\d[\d.,]* %")
"""In pages only: the outputs of commands keep the space. "Keye 95 %" is the name of a baseline."""

STRUCK_NAMES: Final = frozenset(
    (
        "told",
        "tell",
        "tells",
        "wish",
        "wishes",
        "knob",
        "knobs",
        "crew",
        "parcel",
        "parcels",
        "bump",
        "bumps",
        "anew",
        "look",
        "looks",
        "looked",
        "lean",
        "patience",
        "shelf",
        "seer",
        "lot",
        "grant",
        "spot",
        "spots",
        "lane",
        "paper",
        "hands",
    )
)
"""Parts of identifiers that no name contains."""

ALLOWED_NAMES: Final = frozenset({"tell", "knobs", "make_knobs"})
"""Identifiers with such a part that stay: a method of Python's files, and names of the last
release, which work for one more."""


class Fault(NamedTuple):
    """One place that breaks a rule."""

    line: int
    text: str
    advice: str


def faults(text: str, *, line: int = 1, in_page: bool = False) -> list[Fault]:
    """Find the struck words and numbers of a text.

    Args:
        text: prose, possibly of several lines.
        line: number of its first line.
        in_page: also apply the rules for pages.
    """
    rules = [
        *((re.compile(rf"\b(?:{words})\b", re.IGNORECASE), use) for words, use in STRUCK.items()),
        (NUMBER_WITHOUT_ZERO, "0.5, not .5"),
        *([(PERCENT_WITH_SPACE, "90%, not 90 %")] if in_page else []),
    ]
    found = [
        Fault(line + text.count("\n", 0, match.start()), " ".join(match[0].split()), advice)
        for rule, advice in rules
        for match in rule.finditer(text)
    ]
    return sorted(found, key=lambda fault: fault.line)


def without_quotations(page: str) -> str:
    """Blank out fenced blocks, inline code, quoted text, links and comments, keeping the lines."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n") or " "

    page = re.sub(r"^```.*?^```$", blank, page, flags=re.DOTALL | re.MULTILINE)
    page = re.sub(r"<!--.*?-->", blank, page, flags=re.DOTALL)
    page = re.sub(r"`[^`]*`", blank, page)
    page = re.sub(r'"[^"\n]*(?:\n[^"\n]+)?"', blank, page)
    return re.sub(r"\]\([^)]*\)", blank, page)


def prose_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, comment and message with a space in it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Constant) or node.value in STORED_MESSAGES:
            continue
        if isinstance(node.value, str) and " " in node.value:
            # Inline code of docstrings is a quotation.
            yield node.lineno, re.sub(r"`+[^`]*`+", " ", node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], re.sub(r"`+[^`]*`+", " ", token.string)


def names_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each class, function, parameter, variable and option."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.Constant(value=str() as text) if re.fullmatch(r"--[a-z][a-z-]*", text):
                yield node.lineno, text
            case _:
                pass


def struck_parts(name: str) -> set[str]:
    """Return the struck parts of an identifier: "told" of ``_told_of`` and of ``ToldOf``."""
    if name in ALLOWED_NAMES:
        return set()
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower() for part in parts} & STRUCK_NAMES


def relative(path: Path) -> str:
    """Name a file as a test shows it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_page_has_no_struck_words(page: Path) -> None:
    text = without_quotations(page.read_text(encoding="utf-8"))
    assert faults(text, in_page=True) == []


@pytest.mark.parametrize("path", sorted({*MODULES} - {*WORD_LISTS}), ids=relative)
def test_module_prose_has_no_struck_words(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert [fault for line, text in prose_of(source) for fault in faults(text, line=line)] == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_names_have_no_struck_words(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    found = [(1, path.stem), *names_of(source)]
    assert [(line, name) for line, name in found if struck_parts(name)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The caller is told the size.", ["told"]),
        ("It does not tell\nwhat failed.", ["tell"]),
        ("This is no\nTOML file.", ["is no TOML"]),
        ("There is no default. It is no longer read.", []),
        ("There are no files. These are no files.", ["are no files"]),
        ("a score of .98 (.95 to 1.00)", [".98", ".95"]),
        ("0.98, v1.2, clip.mp4, 3.14, ..., .mp4", []),
        ("The untold retelling of a bumpy road", []),
    ],
)
def test_struck_words_are_found(text: str, found: list[str]) -> None:
    assert [fault.text for fault in faults(text)] == found


def test_space_before_percent_is_a_fault_of_a_page() -> None:
    text = "95 % of 1,000 files, 95% of others, and the baseline Keye 95 %"
    assert [fault.text for fault in faults(text, in_page=True)] == ["95 %"]
    assert faults(text) == []


def test_fault_states_its_line() -> None:
    assert [fault.line for fault in faults("one\ntwo\nis told\n", line=10)] == [12]


def test_quotations_of_a_page_are_exempt() -> None:
    page = 'told `told` "told" [x](told.md)\n```text\ntold\n```\ntold\n'
    assert [fault.line for fault in faults(without_quotations(page))] == [1, 5]


def test_prose_of_a_module_holds_docstrings_messages_and_comments() -> None:
    source = '"""A docstring."""\n\nX = "a message"  # a comment\nY = "key"\n'
    assert sorted(prose_of(source)) == [
        (1, "A docstring."),
        (3, "# a comment"),
        (3, "a message"),
    ]


def test_names_of_a_module_hold_definitions_parameters_and_options() -> None:
    source = 'class A:\n    def b(self, c):\n        self.d = e = 1\nF = option("--g-h", f)\n'
    assert {name for _, name in names_of(source)} == set("AbcdeF") | {"self", "--g-h"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("_told_of", {"told"}),
        ("LookSpan", {"look"}),
        ("MOST_LOOKS", {"looks"}),
        ("--wishes", {"wishes"}),
        ("Knobs", {"knobs"}),
        ("outlook", set()),
        ("cleanup", set()),
        ("handshake", set()),
    ],
)
def test_struck_parts_of_a_name(name: str, parts: set[str]) -> None:
    assert struck_parts(name) == parts
