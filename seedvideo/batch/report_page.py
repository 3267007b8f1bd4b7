"""The frame of the report: head, totals, tools and feet of a page that is whole in itself.

A page loads nothing, runs nothing but its own script and works from a disk. Its policy, in a
``meta`` tag, allows that one style sheet and that one script by their hashes, and pictures inside
the page; a ``<script>`` that a caption smuggled in would not run even if it were not escaped, which
it is. Without scripts the page is a list. HTML is made with the standard library: every value is
escaped where it is put in, so a template engine would add a dependency and no safety. Knows no
journal.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from seedvideo.batch.report_clip import GLYPHS, shown

STATES: Final = ("done", "filtered", "failed", "quarantined", "pending")
"""In the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the head of a report tells.

    Args:
        title: what was done, such as ``Captions``.
        about: settings of the job, each a few words.
        counts: clips a state; only those of `STATES`.
        failures: (code, stage, clips), the most frequent first.
        facts: totals and rates by name, for people.
    """

    title: str
    about: Sequence[str]
    counts: Mapping[str, int]
    failures: Sequence[tuple[str, str, int]] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


INDEX: Final = "index.html"
"""The first page."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which page of a report: ``number`` of ``of``, from 1, with clips ``first`` to ``last``."""

    number: int
    of: int
    first: int
    last: int
    total: int

    def name(self, number: int | None = None) -> str:
        """The file of this page, or of another one."""
        number = self.number if number is None else number
        return INDEX if number == 1 else f"page-{number:04d}.html"


def is_page(name: str) -> bool:
    """Whether a file name is one that a report's page has."""
    return name == INDEX or re.fullmatch(r"page-\d{4,}\.html", name, re.ASCII) is not None


def render_start(overview: Overview, page: Page) -> str:
    """Everything above the clips."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = shown(overview.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="generator" content="seedvideo">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#clips">To the clips</a>\n'
        f'<header class="head wide">\n{_head(overview)}\n</header>\n'
        f"{_tools(overview)}\n"
        f'<main class="wide">\n{_pages(page)}<h2 class="unseen">Clips</h2>\n'
        '<div class="clips" id="clips">\n'
    )


def render_end(page: Page) -> str:
    """Everything below the clips."""
    return (
        '</div>\n<p class="nothing" id="nothing" hidden>No clip on this page fits.</p>\n'
        f"{_pages(page)}</main>\n"
        '<footer class="wide">Made by seedvideo from the journal of the job. This page loads '
        "nothing from elsewhere; machine-made text may be wrong.</footer>\n"
        '<dialog aria-label="contact sheet"><form method="dialog"><p></p><button>Close</button>'
        '</form><img src="data:," alt=""></dialog>\n'
        f"<script>{_asset('report.js')}</script>\n</body>\n</html>\n"
    )


def _head(overview: Overview) -> str:
    total = sum(overview.counts.values())
    states = [state for state in STATES if overview.counts.get(state)]
    tiles = [f'<div class="all"><dt>clip{"s" * (total != 1)}</dt><dd>{total:,}</dd></div>']
    tiles += [
        f'<div class="{state}"><dt>{state}</dt><dd>{overview.counts[state]:,}</dd></div>'
        for state in states
    ]
    about = " \u00b7 ".join(shown(each) for each in overview.about)
    parts = [
        '<p class="brand">seedvideo batch report</p>',
        f"<h1>{shown(overview.title)}</h1>",
        f'<p class="about">{about}</p>' if about else "",
        _share(overview.counts, total),
        f'<dl class="tiles">{"".join(tiles)}</dl>',
    ]
    facts = "".join(
        f"<dt>{shown(name)}</dt><dd>{shown(value)}</dd>" for name, value in overview.facts
    )
    boxes = f'<section><h2>Totals</h2><dl class="pairs">{facts}</dl></section>' if facts else ""
    if overview.failures:
        rows = "".join(
            f'<tr><td data-code="{shown(code)}"><code>{shown(code)}</code></td>'
            f"<td>{shown(stage)}</td><td>{count:,}</td></tr>"
            for code, stage, count in overview.failures
        )
        boxes += f'<section><h2>Failures by code</h2><table class="codes">{rows}</table></section>'
    if boxes:
        parts.append(f'<div class="facts">{boxes}</div>')
    return "\n".join(filter(None, parts))


def _share(counts: Mapping[str, int], total: int) -> str:
    """One bar, parted as the verdicts are."""
    if not total:
        return ""
    left = 0.0
    parts = []
    for state in STATES:
        width = 100 * counts.get(state, 0) / total
        if width:
            parts.append(
                f'<rect class="{state}" x="{left:.3f}%" width="{width:.3f}%" height="10">'
                f"<title>{state}: {counts[state]:,}</title></rect>"
            )
        left += width
    return (
        '<svg class="share" width="100%" height="10" role="img" aria-label="share of each verdict">'
        f"{''.join(parts)}</svg>"
    )


def _tools(overview: Overview) -> str:
    total = sum(overview.counts.values())
    choices = [("", "all", total)]
    choices += [
        (state, f"{GLYPHS[state]} {state}", overview.counts[state])
        for state in STATES
        if overview.counts.get(state)
    ]
    labels = "".join(
        f'<label><input class="unseen" type="radio" name="state" value="{value}"'
        f"{' checked' if not value else ''}><span>{name}<b>{count:,}</b></span></label>"
        for value, name, count in choices
    )
    return (
        '<div class="tools" hidden><div class="wide" role="search">'
        '<input type="search" id="search" aria-label="Search the clips of this page"'
        ' placeholder="Search names, captions, codes   ( / )" autocomplete="off"'
        ' spellcheck="false">'
        f'<fieldset><legend class="unseen">Verdict</legend>{labels}</fieldset>'
        '<output id="count" for="search" aria-live="polite"></output></div></div>'
    )


def _pages(page: Page) -> str:
    if page.of == 1:
        return ""
    links = []
    if page.number > 1:
        links.append(f'<a href="{page.name(1)}">First page</a>')
        links.append(f'<a href="{page.name(page.number - 1)}" rel="prev">Previous</a>')
    if page.number < page.of:
        links.append(f'<a href="{page.name(page.number + 1)}" rel="next">Next</a>')
        links.append(f'<a href="{page.name(page.of)}">Last page</a>')
    where = (
        f"Page {page.number:,} of {page.of:,}: clips {page.first:,} to {page.last:,} of"
        f" {page.total:,}. Search and filters work on this page."
    )
    return f'<nav class="pages" aria-label="pages"><span>{where}</span>{"".join(links)}</nav>\n'


@cache
def _asset(name: str) -> str:
    return files("seedvideo.batch").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{b64encode(digest).decode('ascii')}"
