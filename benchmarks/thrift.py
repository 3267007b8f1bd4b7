"""Tokens that suffice: what `--min-utility` spends on each video of a folder.

    python benchmarks/thrift.py VIDEOS                 a table in Markdown
    python benchmarks/thrift.py VIDEOS --sheets DIR    contact sheets too: complete budget and 0.95

The budget is the published one. Shares are of the tokens that the complete budget spends.
"""

import argparse
from pathlib import Path
from typing import Final

from PIL import Image

import seedvideo
from seedvideo.sampler.contact_sheet import contact_sheet

FRACTIONS: Final = (0.90, 0.95, 0.99)
SHEET_FRACTION: Final = 0.95
BUDGET_TOKENS: Final = 81_920
SUFFIXES: Final = (".mp4", ".mkv", ".webm", ".mov", ".gif")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, help="folder of videos")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="write contact sheets here")
    parser.add_argument("--cache", metavar="DIR", help="store analyses here")
    options = parser.parse_args()
    heads = " | ".join(f"at {fraction:g}" for fraction in FRACTIONS)
    print(f"| video | seconds | complete | {heads} |")
    print("| --- " * (3 + len(FRACTIONS)) + "|")
    for path in sorted(options.videos.iterdir()):
        if path.suffix in SUFFIXES:
            print(row(path, sheets=options.sheets, cache=options.cache), flush=True)


def row(path: Path, *, sheets: Path | None, cache: str | None) -> str:
    """Return the row of one video."""
    with seedvideo.open(path, cache=cache) as video:
        complete = seedvideo.plan(video, budget_tokens=BUDGET_TOKENS)
        plans = {
            fraction: seedvideo.plan(video, budget_tokens=BUDGET_TOKENS, min_utility=fraction)
            for fraction in FRACTIONS
        }
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            for name, plan in (("complete", complete), ("thrift", plans[SHEET_FRACTION])):
                decoded = [frame for _, frame in video.frames(plan)]
                picture = contact_sheet(decoded, plan)
                Image.fromarray(picture).save(sheets / f"{path.stem}-{name}.png")
        total = complete.totals.tokens
        cells = [
            f"{plan.totals.tokens:,} ({plan.totals.tokens / total:.0%})" for plan in plans.values()
        ]
        seconds = float(video.info.duration)
    return f"| {path.stem} | {seconds:.0f} | {total:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
