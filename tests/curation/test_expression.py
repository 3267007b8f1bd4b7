"""Filter expressions: what they mean, what they refuse, and what they say."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.curation.expression import MAX_CHARACTERS, explain, parse_expression
from seedvideo.curation.presets import PRESETS, parse_preset
from seedvideo.errors import ConfigError
from tests.doc_examples import DOCS
from tests.tiers import examples

ROW = {
    "duration_s": 3.5,
    "motion_mean": 0.04,
    "shots": 2,
    "aesthetic": "4.75",
    "name": "beach",
    "nsfw": False,
    "blank": "",
    "absent": None,
    "nan": float("nan"),
    "media.fps": 25,
    "odd name": 1,
    "user": 2**53 + 1,
    "user text": str(2**53 + 1),
    "price": Decimal("4.50"),
    "seen": datetime.date(2024, 5, 17),
    "lasts": datetime.timedelta(seconds=90),
    "flag number": 1,
    "flag text": "True",
    "separated": "1_000",
}


def holds(text: str, row: dict[str, Any] = ROW) -> bool:
    return parse_expression(text).find_false(row.get) is None


@pytest.mark.parametrize(
    "text",
    [
        "duration_s >= 2",
        "duration_s = 3.5",
        "duration_s == 3.5 and shots != 3",
        "2 <= duration_s < 4",
        "not duration_s < 2",
        "not (duration_s < 2 or shots > 5)",
        "duration_s < 2 or shots = 2",
        "duration_s < 2 and shots = 2 or name = 'beach'",
        "aesthetic >= 4.5",
        "aesthetic > motion_mean",
        "name = \"beach\" and name != 'Beach'",
        "name in ('sea', 'beach')",
        "shots in (1, 2)",
        "not name in ('sea')",
        "name not in ('sea')",
        "nsfw = false",
        "nsfw != true",
        "blank is empty and absent is empty and nan is empty and nothing is empty",
        "name is not empty",
        "`odd name` = 1",
        "media.fps = 25",
        "motion_mean > 4e-2 or motion_mean = .04",
        "motion_mean > -1",
        "DURATION_S is empty",
        "duration_s > 1 AND NOT shots > 2",
        "3 < duration_s",
        "blank > 1 or duration_s > 1",
        "not (blank > 1 and duration_s < 1)",
        "user = 9007199254740993 and `user text` = 9007199254740993",
        "user > 9007199254740992 and user = `user text`",
        "price = 4.5 and 4 < price < 5 and price = '4.50' or price is empty",
        "price >= 4.5 and price not in (4, 5)",
        "seen >= '2024-05' and seen < '2025'",
        "lasts > 60",
        "nsfw = 0 and `flag number` = true and `flag text` = true",
    ],
)
def test_true(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "duration_s > 3.5",
        "2 <= duration_s < 3",
        "name = 'sea'",
        "name > 5",
        "not name > 5",
        "blank > 1",
        "not blank > 1",
        "nan >= 0",
        "nan != 1",
        "absent = 'x' or duration_s < 1",
        "not (blank > 1 and duration_s > 1)",
        "name is empty",
        "shots not in (2, 3)",
        "user = 9007199254740992 or `user text` = 9007199254740992",
        "seen > 5",
        "separated > 5",
    ],
)
def test_not_true(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end, expected a column, a number or a text in quotes, at character 1"),
        ("duration_s >=", "the end, expected a column, a number or a text in quotes, at charac"),
        ("duration_s", "the end, expected one of < <= > >= = != is in, at character 11"),
        ("duration_s > 2 aspect", "'aspect', expected 'and', 'or' or the end, at character 16"),
        ("(duration_s > 2", "the end, expected ')', at character 16"),
        ("duration_s > 2)", "')', expected 'and', 'or' or the end"),
        ("duration_s ; 2", "unknown sign ';', at character 12"),
        ("2 > 1", "'2', expected the name of a column on one side, at character 1"),
        ("name in ()", "')', expected a number or a text in quotes, at character 10"),
        ("name in (other)", "'other', expected a number or a text in quotes"),
        ("name is", "the end, expected 'empty'"),
        ("name = 'open", 'unknown sign "\'"'),
        ("__import__('os')", "'(', expected one of < <= > >= = != is in, at character 11"),
        ("a > 1e999", "'1e999', expected a finite number"),
        ("(" * 60 + "a > 1" + ")" * 60, "expected at most 50 levels of parentheses"),
        ("a > 1 " + " " * MAX_CHARACTERS, "characters, expected at most 10,000"),
    ],
)
def test_mistakes_have_a_position(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_expression(text)
    assert message in caught.value.message
    assert caught.value.code == "config.invalid"
    assert caught.value.message.startswith("--keep")


def test_columns_and_clauses() -> None:
    parsed = parse_expression("b > 1 and (a < 2 or c = b) and `d e` is empty")
    assert parsed.columns == ("b", "a", "c", "d e")
    assert [clause.text for clause in parsed.clauses] == [
        "b > 1",
        "(a < 2 or c = b)",
        "`d e` is empty",
    ]
    # A disjunction is one condition.
    assert len(parse_expression("a > 1 and b > 1 or c > 1").clauses) == 1


def test_reason_names_condition_and_values() -> None:
    parsed = parse_expression("shots = 2 and (motion_mean > 0.1 or blank > 1)")
    false = parsed.find_false(ROW.get)
    assert false is not None
    assert explain(false, ROW.get) == (
        "not (motion_mean > 0.1 or blank > 1): motion_mean is 0.04, blank is empty"
    )
    hostile = {"name": "a\x1b[2J" + "b" * 100}
    clause = parse_expression("name = 'x'").clauses[0]
    assert "\x1b" not in explain(clause, hostile.get)
    assert len(explain(clause, hostile.get)) < 120


NUMBERS = st.sampled_from([0.0, 1.0, 2.0, None])


@given(a=NUMBERS, b=NUMBERS, c=NUMBERS)
@examples(200)
def test_logic_is_that_of_sql(a: float | None, b: float | None, c: float | None) -> None:
    """Each connective against a table of three values."""
    row = {"a": a, "b": b, "c": c}

    def above(value: float | None) -> bool | None:
        return None if value is None else value > 0

    x, y, z = above(a), above(b), above(c)
    both = False if False in (x, y) else None if None in (x, y) else True
    either = True if True in (both, z) else None if None in (both, z) else False
    text = "a > 0 and b > 0 or c > 0"
    assert holds(text, row) is (either is True)
    assert holds(f"not ({text})", row) is (either is False)


@given(st.text(max_size=30))
@examples(300)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed = parse_expression(text)
    except ConfigError:
        return
    parsed.find_false(lambda name: None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_parse(name: str) -> None:
    assert parse_preset(name).columns
    assert PRESETS[name].source and PRESETS[name].about


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_preset("aesthetic-4")
    assert caught.value.hint == "did you mean 'aesthetic-4.5'?"


def test_the_guide_lists_the_presets() -> None:
    page = (DOCS / "guides" / "curate.md").read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        row = f"| `{name}` | `{preset.expression}` | {preset.about} | {preset.source} |"
        assert row in page
