"""Curation of a made table: time and memory of filters, duplicates, balance and report together.

    python benchmarks/curation.py --rows 100000 [--check]

Writes a table as `seedvideo inspect` does, with signals, hashes, signatures, captions and domains;
no video exists. A tenth of the rows repeats an earlier one: its bytes, its packets, its pictures
(other noise), or its caption. Then `seedvideo curate` runs in a process of its own, with a filter,
all rules for duplicates but the semantic one, a cap by domain, the report and the table of dropped
rows. Columns: wall and processor seconds, peak memory of the process, size of the table.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import print_machine, print_table

from seedvideo.batch.similarity import Signature

MAX_WALL_S, MAX_MB = 60.0, 500.0
"""Limits for 100,000 rows."""

OPTIONS = (
    *("--keep", "motion_mean > 0.05 and (aspect < 3 or width_px > 1000)", "--preset", "size"),
    *("--drop-duplicates", "--drop-same-caption", "--balance", "cap:400", "--by", "domain"),
)
VALUES = 384
"""Values of one exposure of a signature."""


def main() -> None:
    """Make the table, curate it in a child, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--form", choices=("jsonl", "csv", "parquet"), default="jsonl")
    parser.add_argument("--check", action="store_true", help="exit with 1 above the limits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "table.jsonl"
        with table.open("w") as file:
            for row in make_rows(args.rows):
                file.write(json.dumps(row) + "\n")
        if args.form != "jsonl":
            other = folder / f"table.{args.form}"
            run_curate([table, "-o", other, "-q"])
            table = other
        output = folder / f"out.{args.form}"
        more = ["--report", folder / "r.html", "--dropped", folder / "dropped.csv"]
        wall_s, used_s, peak_mb = run_curate([table, "-o", output, *OPTIONS, *more])
        size_mb = table.stat().st_size / 1e6
    print_table(
        f"seedvideo curate, {args.rows:,} rows of {args.form}",
        ["wall", "processor", "peak memory", "table"],
        [[f"{wall_s:.1f} s", f"{used_s:.1f} s", f"{peak_mb:.0f} MB", f"{size_mb:.0f} MB"]],
    )
    print_machine("numpy", "pyarrow")
    if args.check and (wall_s > MAX_WALL_S or peak_mb > MAX_MB):
        sys.exit(f"above the limits of {MAX_WALL_S:g} s and {MAX_MB:g} MB")


def run_curate(words: list[object]) -> tuple[float, float, float]:
    """Run the command in a child; return wall and processor seconds, and its peak memory in MB."""
    program = (
        "import resource, sys; from seedvideo.cli import main; code = main(sys.argv[1:]);"
        " used = resource.getrusage(resource.RUSAGE_SELF);"
        " print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3); sys.exit(code)"
    )
    began = time.perf_counter()
    command = [sys.executable, "-c", program, "curate", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - began
    used_s, peak_mb = map(float, done.stdout.split()[-2:])
    return wall_s, used_s, peak_mb


def make_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, the same in every run."""
    rng = np.random.default_rng(5)
    words = [f"word{number}" for number in range(4_000)]
    recent: list[tuple[dict[str, Any], Signature]] = []
    for number in range(count):
        signature = make_signature(rng)
        row = {
            "path": f"clips/{number % 1000:03}/{number:08}.mp4",
            "id": f"{number:08}",
            "duration_s": signature.duration_s,
            "width_px": int(rng.choice([320, 640, 1280, 1920])),
            "height_px": int(rng.choice([180, 360, 720, 1080])),
            "aspect": round(float(rng.uniform(0.4, 3.2)), 5),
            "fps": 25.0,
            "bits_per_px": round(float(rng.gamma(2, 0.05)), 6),
            "motion_mean": round(float(rng.gamma(1, 2)), 4),
            "motion_max": round(float(rng.gamma(2, 5)), 4),
            "detail_mean": round(float(rng.gamma(3, 2)), 4),
            "novelty_max": round(float(rng.gamma(2, 4)), 4),
            "events": int(rng.poisson(0.5)),
            "shots": 1 + int(rng.poisson(0.3)),
            "black_share": 0.0,
            "still_share": round(float(rng.beta(0.2, 2)), 4),
            "letterbox_share": 0.0,
            "flashes": 0,
            "brightness": round(float(rng.beta(4, 4)), 4),
            "colour": round(float(rng.gamma(4, 10)), 3),
            "domain": f"domain{min(199, int(rng.zipf(1.3)))}",
            "caption": " ".join(rng.choice(words, int(rng.integers(6, 30)))),
            "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
            "packets_sha256": hashlib.sha256(b"p%d" % number).hexdigest(),
            "error": None,
        }
        if recent and number % 10 == 0:
            other, shown = recent[int(rng.integers(len(recent)))]
            kind = ("sha256", "packets_sha256", "caption", "signature")[number // 10 % 4]
            if kind == "signature":
                noise = rng.integers(-2, 3, shown.values.shape)
                values = (shown.values + noise).clip(0, 255).astype(np.uint8)
                signature = Signature(shown.duration_s, values)
                row["duration_s"] = shown.duration_s
            else:
                row[kind] = other[kind]
        recent.append((row, signature))
        del recent[:-1_000]
        yield {**row, "signature": signature.to_bytes().hex()}


def make_signature(rng: np.random.Generator) -> Signature:
    """Make the signature of a clip with soft regions, some of which change."""
    duration_s = float(rng.choice([2.0, 3.0, 4.0, 6.5, 10.0]))
    exposures = 1 + int((duration_s - 0.125) / 0.125)
    coarse = rng.normal(110, 45, (4, 4)).repeat(4, 0).repeat(4, 1)
    cells = np.full(VALUES, 128.0)
    cells[:256] = (coarse + rng.normal(0, 12, (16, 16))).reshape(-1)
    moves = rng.integers(-1, 2, (exposures, VALUES)) * (rng.random(VALUES) < 0.3)
    values = cells + np.cumsum(moves, axis=0)
    return Signature(duration_s, values.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
