"""Balance: rules by their formulas, draws by their probabilities, and any order of rows."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.curation.balance import BalanceRule, Membership, balance, rare_domains
from seedvideo.curation.concepts import ConceptList
from seedvideo.curation.curate import curate
from seedvideo.curation.draws import draw
from seedvideo.curation.duplicates import DuplicateOptions
from seedvideo.curation.expression import parse_expression
from seedvideo.curation.options import CurationOptions
from seedvideo.errors import ConfigError, InputError
from tests.curation.tables import Row, balance_by, read_ids, run, write_rows
from tests.curation.test_duplicates import near_row
from tests.tiers import examples


def table(counts: dict[str, int]) -> list[Row]:
    """Return rows of domains with so many clips."""
    return [
        {"id": f"{name}{number}", "path": f"{name}{number}.mp4", "domain": name}
        for name, count in counts.items()
        for number in range(count)
    ]


def taken(rows: Sequence[Row]) -> Counter[str]:
    """Count the rows of each domain."""
    return Counter(str(row["domain"]) for row in rows)


def decide(rule: str, domains: Sequence[Sequence[str]], seed: int = 0) -> list[int]:
    """Return how often each clip is taken; ids are their positions."""
    membership = Membership()
    for names in domains:
        membership.add(names)
    positions = np.arange(len(domains))
    found = balance(BalanceRule.parse(rule), membership, positions, str, seed=seed)
    return [int(count) for count in found.copies]


def test_boost_repeats_exactly_the_domains_below_half_the_mean(tmp_path: Path) -> None:
    """The rule of Seed1.5-VL: n < 0.5 N / D. Here N / D = 400 / 5 = 80, so below 40."""
    counts = {"street": 200, "kitchen": 120, "forest": 40, "moth": 39, "lynx": 1}
    kept, dropped, result = run(tmp_path, table(counts), balance_by("boost:2"))
    assert taken(kept) == {"street": 200, "kitchen": 120, "forest": 40, "moth": 78, "lynx": 2}
    assert dropped == []
    assert [(each.name, each.before, each.after) for each in result.domains] == [
        ("street", 200, 200),
        ("kitchen", 120, 120),
        ("forest", 40, 40),
        ("moth", 39, 78),
        ("lynx", 1, 2),
    ]
    copies = [row for row in kept if row["copy_of"]]
    assert {row["id"] for row in copies} == {f"moth{n}~2" for n in range(39)} | {"lynx0~2"}
    assert all(row["id"] == f"{row['copy_of']}~2" for row in copies)
    assert {row["path"] for row in copies} <= {row["path"] for row in kept if not row["copy_of"]}


def test_weights_are_a_column_in_place_of_copies(tmp_path: Path) -> None:
    chosen = CurationOptions(balance=BalanceRule.parse("boost:3"), by="domain", weights=True)
    kept, _, result = run(tmp_path, table({"a": 9, "b": 1}), chosen)
    assert [row["repeats"] for row in kept] == [1] * 9 + [3]
    assert (result.kept, result.taken) == (10, 12)


def test_copies_take_no_id_of_the_table(tmp_path: Path) -> None:
    """A table that was balanced before is balanced again."""
    rows = [{"id": name, "path": "a.mp4", "domain": "rare"} for name in ("a", "a~2")]
    rows += [{"id": f"b{number}", "path": "b.mp4", "domain": "b"} for number in range(20)]
    for _ in range(2):
        kept, _, result = run(tmp_path, rows, balance_by("boost:3"))
        ids = [row["id"] for row in kept]
        assert len(set(ids)) == len(ids) == result.taken
        rows.reverse()
    assert {"a~3", "a~4", "a~2~2", "a~2~3"} < set(ids)


def test_cap_takes_the_smallest_draws() -> None:
    domains = [["a"]] * 50 + [["b"]] * 3 + [[]]
    copies = decide("cap:10", domains, seed=4)
    draws = sorted(draw(4, "cap", str(number)) for number in range(50))
    assert [n for n in range(50) if copies[n]] == [
        n for n in range(50) if draw(4, "cap", str(n)) < draws[10]
    ]
    assert copies[50:] == [1, 1, 1, 1]
    assert set(copies) == {0, 1}


def test_cap_of_several_domains_keeps_what_any_chose() -> None:
    domains = [["a"]] * 20 + [["a", "rare"]] * 2
    for seed in range(5):
        assert decide("cap:3", domains, seed)[20:] == [1, 1]


def test_temperature_takes_exactly_the_quotas(tmp_path: Path) -> None:
    """Weights are square roots, 10 : 5 : 1, so 160 clips are 100, 50 and 10."""
    kept, dropped, _ = run(
        tmp_path, table({"a": 100, "b": 25, "c": 1}), balance_by("temperature:0.5:160")
    )
    assert taken(kept) == {"a": 100, "b": 50, "c": 10}
    assert dropped == []
    kept, dropped, _ = run(
        tmp_path, table({"a": 100, "b": 25, "c": 1}), balance_by("temperature:1:13")
    )
    assert taken(kept) == {"a": 10, "b": 3}  # 10.3, 2.6 and 0.1: the largest remainder is b's
    assert dropped[-1]["message"] == "temperature:1:13: c has 1 clips, of which 0 are taken"
    # Copies differ by one at most.
    kept, _, _ = run(tmp_path, table({"a": 7}), balance_by("temperature:0:17"))
    times = Counter(row["id"].partition("~")[0] for row in kept)
    assert sorted(times.values()) == [2, 2, 2, 2, 3, 3, 3]


def test_temperature_refuses_several_domains(tmp_path: Path) -> None:
    rows: list[Row] = [{"id": "x", "path": "x", "domain": ["a", "b"]}]
    with pytest.raises(ConfigError, match="x has several"):
        run(tmp_path, rows, balance_by("temperature:0.5:10"))
    with pytest.raises(ConfigError, match="at most 1,000"):
        run(tmp_path, table({"a": 1}), balance_by("temperature:0.5:5000"))


def assert_expected(counts: Sequence[int], probability: float) -> None:
    """Check a sum of draws of one probability, over seeds, against four standard deviations."""
    trials = len(counts)
    mean, deviation = probability * trials, math.sqrt(trials * probability * (1 - probability))
    assert abs(sum(counts) - mean) <= 4 * deviation


@pytest.mark.parametrize("seed", range(3))
def test_metaclip_keeps_with_the_stated_probability(seed: int) -> None:
    """One concept: t / n. Two: 1 - (1 - t / n)^2. None: never. Rare: always."""
    domains = [["a"]] * 4_000 + [["b", "c"]] * 4_000 + [[]] * 10 + [["rare"]] * 50
    copies = decide("metaclip:1000", domains, seed)
    assert_expected(copies[:4_000], 0.25)
    assert_expected(copies[4_000:8_000], 1 - 0.75**2)
    assert copies[8_000:8_010] == [0] * 10
    assert copies[8_010:] == [1] * 50


@pytest.mark.parametrize("seed", range(3))
def test_repeat_factors_round_by_their_fraction(seed: int) -> None:
    """Fraction 0.1 with t = 0.4: twice. Fraction 0.2: sqrt(2) times. Frequent: once."""
    domains = [["a"]] * 7_000 + [["b", "a"]] * 2_000 + [["c"]] * 1_000
    copies = decide("repeat:0.4", domains, seed)
    assert copies[:7_000] == [1] * 7_000
    assert copies[9_000:] == [2] * 1_000
    assert_expected([each - 1 for each in copies[7_000:9_000]], math.sqrt(2) - 1)


@pytest.mark.parametrize("seed", range(3))
def test_boost_by_a_fraction_is_drawn(seed: int) -> None:
    domains = [["a"]] * 9_000 + [["b"]] * 2_000 + [[]] * 5
    copies = decide("boost:1.3", domains, seed)
    assert copies[:9_000] == [1] * 9_000
    assert copies[11_000:] == [1] * 5
    assert_expected([each - 1 for each in copies[9_000:11_000]], 0.3)


@pytest.mark.parametrize("seed", range(3))
def test_cap_is_fair(seed: int) -> None:
    """Each half of a domain has its part of the chosen, as without replacement."""
    copies = decide("cap:1000", [["a"]] * 4_000, seed)
    assert sum(copies) == 1_000
    deviation = math.sqrt(1_000 * 0.5 * 0.5 * (3_000 / 3_999))
    assert abs(sum(copies[:2_000]) - 500) <= 4 * deviation


def test_draws_are_uniform_and_independent() -> None:
    draws = np.array([draw(0, "x", str(number)) for number in range(20_000)])
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, 20, (0, 1))[0]
    assert np.abs(counts - 1_000).max() <= 4 * math.sqrt(1_000 * 0.95)
    other = np.array([draw(0, "y", str(number)) for number in range(20_000)])
    assert abs(np.corrcoef(draws, other)[0, 1]) <= 4 / math.sqrt(20_000)


def test_added_rows_change_nothing_else() -> None:
    """A draw depends on the id and the seed alone."""
    domains = [["a"]] * 40 + [["b"]] * 40
    before = decide("cap:7", domains)
    after = decide("cap:7", [*domains, *[["c"]] * 100])
    assert after[:80] == before
    assert decide("cap:7", domains, seed=1) != before


@given(
    rows=st.permutations(range(60)),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    rule=st.sampled_from(["cap:5", "boost:1.5", "metaclip:9", "repeat:0.5", "temperature:0.5:40"]),
)
@examples(60)
def test_any_order_and_any_number_of_files_give_the_same_ids(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[int],
    cuts: list[int],
    rule: str,
) -> None:
    """Filter, near-duplicates with a preference, and every rule of balance."""
    folder = tmp_path_factory.mktemp("orders")
    made = [
        near_row(
            f"{number:02}", 40 + 7 * (number % 23), size=number % 4, domain="aaabbc"[number % 6]
        )
        for number in range(60)
    ]
    chosen = CurationOptions(
        filters=[("keep", parse_expression("duration_s > 1 and size != 3"))],
        duplicates=DuplicateOptions(rules=frozenset({"near"}), prefer="size", near_levels=8.0),
        balance=BalanceRule.parse(rule),
        by="domain",
        seed=3,
    )
    expected, dropped, _ = run(folder, made, chosen)
    shuffled = [made[number] for number in rows]
    edges = [0, *sorted(cuts), 60]
    files = [
        str(write_rows(folder / f"{number}.jsonl", shuffled[start:end]))
        for number, (start, end) in enumerate(pairwise(edges))
    ]
    # A file without a row is a table too.
    result = curate(files, folder / "o.jsonl", chosen, overwrite=True)
    assert sorted(read_ids(folder / "o.jsonl")) == sorted(row["id"] for row in expected)
    assert result.kept == 60 - len(dropped)
    assert {row["rule"] for row in dropped} >= {"keep", "near"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cap:1000", "cap:1000"),
        ("boost:2", "boost:2"),
        ("repeat:1e-3", "repeat:0.001"),
        ("cap:1234567", "cap:1234567"),
        ("temperature:0.50:20", "temperature:0.5:20"),
    ],
)
def test_rules_are_parsed(text: str, shown: str) -> None:
    assert str(BalanceRule.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "cap", "cap:", "cap:0", "cap:1.5", "cap:1:2", "boost:0.5", "boost:inf", "repeat:0"),
        *("repeat:2", "metaclip:nan", "temperature:0.5", "temperature:2:9", "temperature:1:0"),
        "x:1",
    ],
)
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected one of cap:CLIPS, boost:FACTOR"):
        BalanceRule.parse(text)


def test_rare_domains() -> None:
    assert rare_domains(np.array([10, 5, 4, 1, 0])).tolist() == [False, False, False, True, False]
    assert rare_domains(np.array([0, 0])).tolist() == [False, False]


def test_concepts_are_whole_words_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# animals\nCar\npolar bear\nbear\n\ncar\nCafé\n")
    words = ConceptList.read(path)
    assert len(words) == 4
    assert words.find("A polar-bear in a CAR; two cars.") == ["polar bear", "bear", "Car"]
    assert words.find("the café") == ["Café"]
    assert words.find("scars") == []
    path.write_text("狗\n公园\n日\n", encoding="utf-8")
    assert ConceptList.read(path).find("一只小狗在公园里。") == ["狗", "公园"]
    path.write_text("# none\n")
    with pytest.raises(ConfigError, match="has no word"):
        ConceptList.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError):
        ConceptList.read(path)


def test_balance_by_concepts(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": str(number), "path": "x", "text": "a cat sleeps"} for number in range(30)
    ]
    rows += [{"id": "dog", "path": "x", "text": "A dog and a cat."}]
    rows += [{"id": "none", "path": "x", "text": "a street"}]
    words = ConceptList(["cat", "dog"])
    chosen = CurationOptions(balance=BalanceRule.parse("metaclip:5"), concepts=words)
    kept, dropped, _ = run(tmp_path, rows, chosen)
    by_id = {row["id"]: row for row in kept}
    assert by_id["dog"]["concepts"] == ["dog", "cat"]
    assert 1 <= len(kept) < 20
    reasons = {row["id"]: row["message"] for row in dropped}
    assert reasons["none"] == "metaclip:5: no concept in its caption"
    assert "metaclip:5: cat has 31 clips" in reasons.values()
