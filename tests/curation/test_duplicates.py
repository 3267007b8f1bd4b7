"""Duplicates of a table: which row stays, by which rule, and what the others say."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedvideo.batch.similarity import (
    Signature,
    count_exposures,
    exposure_step_s,
    near_distance,
)
from seedvideo.curation import near
from seedvideo.curation.curate import curate
from seedvideo.curation.duplicates import DuplicateOptions
from seedvideo.curation.options import CurationOptions
from seedvideo.errors import BatchError, ConfigError
from tests.curation.tables import Row, filter_by, run, write_rows


def options(*rules: str, **values: Any) -> CurationOptions:
    return CurationOptions(duplicates=DuplicateOptions(rules=frozenset(rules), **values))


def signature(level: float, *, duration_s: float = 2.0) -> str:
    """Return the signature of a clip with one brightness, as the table holds it."""
    count = count_exposures(duration_s, exposure_step_s(duration_s))
    values = np.full((count, 384), round(level), np.uint8)
    return Signature(duration_s, values).to_bytes().hex()


def near_row(name: str, level: float, *, duration_s: float = 2.0, **more: Any) -> Row:
    return {
        "id": name,
        "path": f"{name}.mp4",
        "duration_s": duration_s,
        "signature": signature(level, duration_s=duration_s),
        **more,
    }


def verdicts(dropped: list[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    return {row["id"]: (row["rule"], row["kept"]) for row in dropped}


def test_exact_and_packets(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "a", "path": "a", "sha256": "1", "packets_sha256": "p"},
        {"id": "b", "path": "b", "sha256": "1", "packets_sha256": "p"},
        {"id": "c", "path": "c", "sha256": "2", "packets_sha256": "p"},
        {"id": "d", "path": "d", "sha256": "1", "packets_sha256": "q", "start": 1},
        {"id": "e", "path": "e", "sha256": "1", "packets_sha256": "r", "question": "why?"},
        {"id": "f", "path": "f", "sha256": None, "packets_sha256": ""},
        {"id": "g", "path": "g", "sha256": None, "packets_sha256": ""},
    ]
    kept, dropped, result = run(tmp_path, rows, options("exact", "packets"))
    assert [row["id"] for row in kept] == ["a", "d", "e", "f", "g"]
    assert {row["id"]: row["message"] for row in dropped} == {
        "b": "the same bytes as a",
        "c": "the same video packets as a",
    }
    assert result.uncompared == {"exact": 2, "packets": 2}
    assert [row["distance"] for row in dropped] == [None, None]


def test_windows_of_one_file_are_the_same_if_their_times_are(tmp_path: Path) -> None:
    windows = [(None, 2), ("0", "2.0"), (2, None), (2.0, "4"), ("2000/1000", "0:04"), ("7/3", 4)]
    rows = [
        {"id": str(number), "path": "film.mp4", "sha256": "1", "start": start, "end": end}
        for number, (start, end) in enumerate(windows)
    ]
    _, dropped, _ = run(tmp_path, rows, options("exact"))
    assert verdicts(dropped) == {"1": ("exact", "0"), "4": ("exact", "3")}


def test_near_is_not_transitive_and_names_a_row_that_stays(tmp_path: Path) -> None:
    rows = [near_row("a", 100), near_row("b", 103), near_row("c", 106), near_row("d", 107)]
    kept, dropped, _ = run(tmp_path, rows, options("near"))
    assert [row["id"] for row in kept] == ["a", "c"]
    assert verdicts(dropped) == {"b": ("near", "a"), "d": ("near", "c")}
    assert dropped[0]["distance"] == 3.0
    assert dropped[0]["message"] == "differs from a by 3.00 grey levels on average"
    kept, _, _ = run(tmp_path, rows, options("near", near_levels=2.0))
    assert [row["id"] for row in kept] == ["a", "b", "c"]


def test_near_needs_the_same_duration_and_question(tmp_path: Path) -> None:
    rows = [
        near_row("a", 100),
        near_row("b", 100, duration_s=2.5),
        near_row("c", 100, query="x"),
        near_row("d", 100, duration_s=2.2),
    ]
    _, dropped, _ = run(tmp_path, rows, options("near"))
    assert verdicts(dropped) == {"d": ("near", "a")}


def test_a_rule_compares_with_rows_that_stay_by_all_rules(tmp_path: Path) -> None:
    """A row that any rule drops is not the reason for another one."""
    rows = [
        near_row("a", 100, sha256="1"),
        near_row("b", 200, sha256="1"),
        near_row("c", 201, sha256="2"),
        near_row("d", 100, sha256="2"),
    ]
    _, dropped, _ = run(tmp_path, rows, options("exact", "near"))
    # b has the bytes of a, so c is like no row that stays; d has the bytes of c.
    assert verdicts(dropped) == {"b": ("exact", "a"), "d": ("exact", "c")}


def test_filtered_rows_are_compared_with_none(tmp_path: Path) -> None:
    rows = [near_row("a", 100, x=0), near_row("b", 100, x=1)]
    chosen = CurationOptions(
        filters=filter_by("x > 0").filters, duplicates=options("near").duplicates
    )
    kept, dropped, _ = run(tmp_path, rows, chosen)
    assert [row["id"] for row in kept] == ["b"]
    assert verdicts(dropped) == {"a": ("keep", None)}


def test_the_preferred_row_stays_in_any_order(tmp_path: Path) -> None:
    rows = [
        near_row("a", 100, height_px=360),
        near_row("b", 101, height_px=720),
        near_row("c", 102, height_px=None),
        near_row("d", 100, height_px=720),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        kept, dropped, _ = run(tmp_path, rows, options("near", prefer="height_px"))
        # Equal values: the smaller id.
        assert [row["id"] for row in kept] == ["b"]
        assert {row["kept"] for row in dropped} == {"b"}


def test_captions(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "a", "path": "a", "text": "A man walks along a beach at sunset."},
        {"id": "b", "path": "b", "text": "a man walks along a beach, at sunset"},
        {"id": "c", "path": "c", "text": "A man walks along a street at sunset."},
        {"id": "d", "path": "d", "text": ""},
        {"id": "e", "path": "e", "text": None},
    ]
    kept, dropped, result = run(tmp_path, rows, options("caption"))
    assert [row["id"] for row in kept] == ["a", "c", "d", "e"]
    assert dropped[0]["message"] == "100% of the words are those of a"
    assert result.uncompared == {"caption": 2}
    kept, _, _ = run(tmp_path, rows, options("caption", caption_similarity=0.3))
    assert [row["id"] for row in kept] == ["a", "d", "e"]


def test_semantic_by_column_and_by_file(tmp_path: Path) -> None:
    vectors = [[1.0, 0.0], [0.999, 0.01], [0.0, 1.0], [0.0, 2.0]]
    rows: list[Row] = [
        {"id": name, "path": name, "vector": vector}
        for name, vector in zip("abcd", vectors, strict=True)
    ]
    _, dropped, _ = run(tmp_path, rows, options("semantic", embeddings="vector"))
    assert verdicts(dropped) == {"b": ("semantic", "a"), "d": ("semantic", "c")}
    np.save(tmp_path / "v.npy", np.array(vectors, np.float16))
    by_file = options("semantic", embeddings=str(tmp_path / "v.npy"))
    _, dropped, _ = run(tmp_path, rows, by_file)
    assert verdicts(dropped) == {"b": ("semantic", "a"), "d": ("semantic", "c")}
    with pytest.raises(ConfigError, match="has 4 vectors, expected 5"):
        run(tmp_path, [*rows, {"id": "e", "path": "e"}], by_file)
    more: Row = {"id": "e", "path": "e", "vector": [1.0]}
    with pytest.raises(BatchError, match="1 numbers, expected 2"):
        run(tmp_path, [*rows, more], options("semantic", embeddings="vector"))
    np.save(tmp_path / "v.npy", np.zeros(4))
    with pytest.raises(ConfigError, match="has the shape"):
        run(tmp_path, rows, by_file)


def test_equal_embeddings_have_no_distance(tmp_path: Path) -> None:
    vectors = [[0.1, 0.2, 0.3], [1e300, 2e300, 3e300], [0.1, 0.2, 0.4]]
    rows = [{"path": f"{n}.mp4", "e": vector} for n, vector in enumerate(vectors)]
    chosen = options("semantic", embeddings="e", semantic_distance=0.0)
    kept, dropped, _ = run(tmp_path, rows, chosen)
    assert [row["path"] for row in kept] == ["0.mp4", "2.mp4"]
    assert dropped[0]["distance"] == 0.0


@pytest.mark.parametrize("count", [2, 4])
def test_a_file_of_embeddings_has_one_for_each_row(tmp_path: Path, count: int) -> None:
    np.save(tmp_path / "e.npy", np.eye(count, dtype=np.float32))
    rows = [{"path": f"{n}.mp4", "size": n} for n in range(3)]
    duplicates = options("semantic", embeddings=str(tmp_path / "e.npy")).duplicates
    chosen = replace(filter_by("size < 1"), duplicates=duplicates)
    with pytest.raises(ConfigError, match=f"has {count} vectors, expected 3"):
        run(tmp_path, rows, chosen)


@pytest.mark.parametrize("value", [[[1.0], [2.0]], [10**400, 1], {"a": 1}, 3])
def test_other_values_are_no_embeddings(tmp_path: Path, value: Any) -> None:
    with pytest.raises(BatchError, match="not a list of numbers"):
        run(tmp_path, [{"path": "a.mp4", "e": value}], options("semantic", embeddings="e"))


def test_numbers_beyond_every_float_are_numbers(tmp_path: Path) -> None:
    rows = [
        {"path": "a.mp4", "size": 1, "sha256": "x", "duration_s": 10**400},
        {"path": "b.mp4", "size": 10**400, "sha256": "x", "duration_s": -(10**400)},
    ]
    kept, _, _ = run(tmp_path, rows, options("exact", prefer="size"))
    assert [row["path"] for row in kept] == ["b.mp4"]
    table = write_rows(tmp_path / "t.jsonl", rows)
    names = ["size", "duration_s"]
    result = curate([str(table)], tmp_path / "o.csv", filter_by("size > 5"), signals=names)
    assert result.kept == 1 and len(result.signals) == 2


def test_embeddings_of_csv(tmp_path: Path) -> None:
    rows = [{"path": name, "vector": "[1, 0.5]"} for name in "ab"]
    table = write_rows(tmp_path / "t.csv", rows)
    result = curate([str(table)], tmp_path / "o.csv", options("semantic", embeddings="vector"))
    assert result.dropped == {"semantic": 1}
    rows[1]["vector"] = "one"
    write_rows(table, rows)
    with pytest.raises(BatchError, match="line 3: the column vector: not JSON"):
        curate([str(table)], tmp_path / "p.csv", options("semantic", embeddings="vector"))


@pytest.mark.parametrize(
    ("text", "duration_s", "problem"),
    [
        ("zz", 2.0, "non-hexadecimal"),
        ("00", 2.0, "not a signature"),
        (signature(5), 3.0, "expected"),
    ],
)
def test_a_wrong_signature_is_refused(
    tmp_path: Path, text: str, duration_s: float, problem: str
) -> None:
    rows: list[Row] = [{"path": "a", "signature": text, "duration_s": duration_s}]
    with pytest.raises(BatchError, match=problem) as caught:
        run(tmp_path, rows, options("near"))
    assert "seedvideo inspect" in caught.value.hint


def test_rounded_durations_are_accepted(tmp_path: Path) -> None:
    rows = [
        {**near_row("a", 100, duration_s=30.125), "duration_s": 30.1249},
        {**near_row("b", 100, duration_s=30.125), "duration_s": 30.1251},
    ]
    _, dropped, _ = run(tmp_path, rows, options("near"))
    assert verdicts(dropped) == {"b": ("near", "a")}


def test_many_equal_clips_cost_one_comparison_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def count(one: Signature, other: Signature, levels: float) -> float | None:
        compared.append(one)
        return near_distance(one, other, levels)

    monkeypatch.setattr(near, "near_distance", count)
    rows = [near_row(f"{number:04}", 40) for number in range(1_500)]
    kept, dropped, _ = run(tmp_path, rows, options("near"))
    assert len(kept) == 1
    assert {row["kept"] for row in dropped} == {"0000"}
    assert len(compared) == len(dropped)
