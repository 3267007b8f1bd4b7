"""The report: what it counts, that it is the same in every run, and that values stay text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from seedvideo.curation.balance import BalanceRule
from seedvideo.curation.concepts import ConceptList
from seedvideo.curation.curate import curate
from seedvideo.curation.duplicates import DuplicateOptions
from seedvideo.curation.expression import parse_expression
from seedvideo.curation.options import CurationOptions
from seedvideo.curation.report import (
    MAX_DOMAINS,
    describe_options,
    domain_rows,
    make_histogram,
    report_columns,
    write_report,
)
from seedvideo.curation.results import CurationResult, DomainCount, SignalValues
from tests.curation.tables import Row, write_rows

ROWS: list[Row] = [
    {
        "id": f"c{number:03}",
        "path": f"c{number}.mp4",
        "duration_s": number / 10,
        "shots": 1 + number % 3,
        "score": None if number % 4 else number,
        "domain": "street" if number % 5 else "<script>alert(1)</script>\x1b",
        "caption": f"clip {number // 2}",
    }
    for number in range(100)
]
OPTIONS = CurationOptions(
    filters=[("keep", parse_expression("duration_s >= 2 and (score is empty or score < 90)"))],
    duplicates=DuplicateOptions(rules=frozenset({"caption"}), prefer="score"),
    balance=BalanceRule.parse("boost:3"),
    by="domain",
    seed=4,
)


def report(folder: Path, rows: list[Row], options: CurationOptions) -> tuple[str, CurationResult]:
    """Curate rows and return the page."""
    table = write_rows(folder / "t.jsonl", rows)
    columns = report_columns(options)
    result = curate([str(table)], folder / "o.jsonl", options, signals=columns, overwrite=True)
    page = folder / "r.html"
    write_report(page, result, options, ["t.jsonl"], overwrite=True)
    return page.read_text(encoding="utf-8"), result


class Shape(HTMLParser):
    """Checks that all elements are closed; counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        assert not {name for name, _ in attrs} & {"style", "onclick", "onload"}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "rect"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_states_what_happened(tmp_path: Path) -> None:
    page, result = report(tmp_path, ROWS, OPTIONS)
    shape = Shape()
    shape.feed(page)
    assert shape.open == [] and "script" not in shape.counts and "img" not in shape.counts
    assert f"<h1>{result.kept} of 100 clips stay</h1>" in page
    assert f"<dt>taken, with repetitions</dt><dd>{result.taken}</dd>" in page
    for rule, count in result.dropped.items():
        cells = rf"<code>{rule}</code></td><td class=\"number\">{count}</td>"
        assert re.search(cells, page)
    titles = re.findall(r"<h3>(.*)</h3>", page)
    assert titles == ["duration_s", "shots", "score"]
    assert "median 50, after" not in page and "75 empty" in page
    text = re.sub(r"<[^>]*>", " ", page)
    for word in ("boost:3", "captions, from 80% common runs", "seed", "duration_s &gt;= 2"):
        assert word in text


def test_values_are_text(tmp_path: Path) -> None:
    page, _ = report(tmp_path, ROWS, OPTIONS)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b" in page
    assert "<script" not in page and "\x1b" not in page
    assert "default-src 'none'" in page and "script-src" not in page


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    first, _ = report(tmp_path, ROWS, OPTIONS)
    second, _ = report(tmp_path, ROWS[::-1], OPTIONS)
    third, _ = report(tmp_path, ROWS, OPTIONS)
    assert first == second == third


def test_a_table_without_signals_or_domains_has_a_page(tmp_path: Path) -> None:
    rows: list[Row] = [{"path": "a", "caption": "A dog."}]
    page, _ = report(tmp_path, rows, CurationOptions())
    assert "1 of 1 clips stay" in page
    assert "<h2>Signals</h2>" not in page and "<h2>Domains</h2>" not in page
    nothing = CurationOptions(filters=[("keep", parse_expression("path = 'b'"))])
    page, _ = report(tmp_path, rows, nothing)
    assert "0 of 1 clips stay" in page
    words = CurationOptions(concepts=ConceptList(["dog"]))
    page, _ = report(tmp_path, rows, words)
    assert ">dog</td>" in page


def test_histograms_count_every_value() -> None:
    values = np.array([0, 1, 1, 2, np.nan, 5], np.float32)
    copies = np.array([1, 0, 2, 1, 1, 0])
    found = make_histogram(SignalValues(name="shots", values=values), copies)
    assert found is not None
    labels = [each.label.partition(": ")[2] for each in found.bins]
    assert labels == [
        "1 before, 1 after",
        "2 before, 2 after",
        "1 before, 1 after",
        "0 before, 0 after",
        "0 before, 0 after",
        "1 before, 0 after",
        "0 before, 0 after",
        "0 before, 0 after",
    ]
    assert (found.before, found.after, found.empty) == ("1", "1", 1)
    heights = [(each.before_px, each.after_px) for each in found.bins]
    assert heights[1] == (found.height_px, found.height_px)
    assert heights[3] == (0.0, 0.0)


def test_outliers_do_not_squeeze_a_histogram() -> None:
    values = np.append(np.linspace(0, 1, 999), 1e9).astype(np.float32)
    found = make_histogram(SignalValues(name="x", values=values), np.ones(1000, np.int64))
    assert found is not None
    assert found.high.endswith("+") and float(found.high[:-1]) < 3
    counts = [int(re.findall(r"([\d,]+) before", each.label)[0]) for each in found.bins]
    assert sum(counts) == 1000 and sum(count > 0 for count in counts) > 8
    same = make_histogram(
        SignalValues(name="x", values=np.full(3, 0.5, np.float32)), np.ones(3, int)
    )
    assert same is not None and sum(each.before_px > 0 for each in same.bins) == 1
    assert (
        make_histogram(
            SignalValues(name="x", values=np.full(3, np.nan, np.float32)), np.ones(3, int)
        )
        is None
    )


@pytest.mark.parametrize("count", [1, MAX_DOMAINS, MAX_DOMAINS + 7])
def test_many_domains_are_summed_up(count: int) -> None:
    domains = [
        DomainCount(name=str(n), before=2 + n % 9, after=1, is_rare=n > MAX_DOMAINS + 2)
        for n in range(count)
    ]
    rows = domain_rows(domains)
    assert len(rows) == min(count, MAX_DOMAINS + 2)
    assert [(row.name, row.is_rare) for row in rows[MAX_DOMAINS:]] == (
        [("3 others", False), ("4 others", True)] if count > MAX_DOMAINS else []
    )
    assert sum(row.before for row in rows) == sum(each.before for each in domains)
    assert all(0 <= row.before_width <= 100 for row in rows)


def test_many_tables_are_counted() -> None:
    names = [f"{number}.csv" for number in range(1_234)]
    ((_, words),) = describe_options(CurationOptions(), names)
    assert words.endswith("8.csv, 9.csv and 1,224 others")
    ((_, words),) = describe_options(CurationOptions(), names[:10])
    assert words.endswith("8.csv, 9.csv")


def test_rare_domains_are_those_that_boost_repeats(tmp_path: Path) -> None:
    """They are counted after the filters: those that stay of "b" are rare, all of it is not."""
    rows: list[Row] = [{"path": f"a{n}", "domain": "a", "size": 1} for n in range(20)]
    rows += [{"path": f"b{n}", "domain": "b", "size": n % 5} for n in range(20)]
    chosen = CurationOptions(
        filters=[("keep", parse_expression("size = 1"))],
        balance=BalanceRule.parse("boost:2"),
        by="domain",
    )
    page, result = report(tmp_path, rows, chosen)
    counts = [(each.name, each.before, each.after, each.is_rare) for each in result.domains]
    assert counts == [("a", 20, 20, False), ("b", 20, 8, True)]
    assert 'b <span class="rare">rare</span>' in page and "that other rules leave" in page
