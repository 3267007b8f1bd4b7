"""Evidence that samplers keep at equal measured tokens: generate videos, plan them, count.

    python benchmarks/flashbench.py --quick                  two-minute videos, a few minutes
    python benchmarks/flashbench.py --ocr OCRENV/bin/python  complete run, hours; resumable
    python benchmarks/flashbench.py --report                 write docs/ from earlier measurements
    python benchmarks/flashbench.py --split dev --only "alternating 10" corner --keep --work DIR
    python benchmarks/flashbench.py --split dev --only corner --again adaptive --keep --work DIR

`--compare WORK` adds paired differences to the results of an earlier run. The last two lines try a
change of the sampler: kept videos are planned again. Without `--ocr` legibility comes from the
cached table, or in the mixed settings from a rule. The OCR program needs a separate environment,
because it requires another OpenCV: see `_flash_read.py`. `--table` extends the table. Results are
in `--work`, one file per video. Test seeds are for the final numbers only.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

from _common import processor_s
from _flash_cases import (
    Case,
    all_cases,
    case_budgets,
    draw_item,
    generate_video,
    generator_hash,
    in_order,
    is_mixture,
    needs_by_rule,
)
from _flash_report import print_report, write_docs
from _flash_rules import ANALYSIS_RULES, RULES, Clip, ThumbnailStats, analyse
from PIL import Image

import seedvideo
from seedvideo.evaluate.flashbench import (
    BenchmarkItem,
    DifficultyConfig,
    Event,
    GopCache,
    SelectedFrame,
    generate,
    oracle,
    seeds,
)
from seedvideo.evaluate.flashbench.codes import CONTRASTS
from seedvideo.evaluate.flashbench.quick import level_tokens
from seedvideo.evaluate.flashbench.render import GeneratedVideo, middle
from seedvideo.media.types import Target
from seedvideo.sampler.geometry import FRAME_TEXT_TOKENS, SEED
from seedvideo.sampler.policies import POLICIES

ROOT: Final = Path(__file__).parent.parent
TABLE: Final = ROOT / "seedvideo/evaluate/flashbench/legibility.json"
OUR_POLICIES: Final = tuple(
    name for name in ("seed1.5", "uniform", "keyframes", "adaptive") if name in POLICIES
)
TABLE_HEIGHTS_PX: Final = (10, 11, 12, 13, 14, 16, 18, 22, 26, 30)
TABLE_CODES: Final = 8

ABOUT_TABLE: Final = "codes read by rapidocr-onnxruntime 1.4.4, frames resized as for the model"

Read = Callable[[list[Path]], list[list[str]]]
"""Function from pictures to the texts on each."""


def main() -> None:
    """Run the selected steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short videos, one per case")
    parser.add_argument("--split", choices=("dev", "test"), default=None)
    parser.add_argument("--seeds", type=int, help="maximum number of videos per case")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases to run")
    parser.add_argument("--ocr", type=Path, metavar="PYTHON", help="Python of the OCR environment")
    parser.add_argument("--work", type=Path, default=ROOT / "build/flashbench")
    parser.add_argument("--keep", action="store_true", help="keep videos for later runs")
    parser.add_argument(
        "--analyses", action="store_true", help="use analyses of earlier runs; their time is 0"
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="POLICY", help="leave out")
    parser.add_argument(
        "--again",
        nargs="+",
        default=[],
        metavar="POLICY",
        help="measure again where the sampler's source has changed",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="measure without printing a report"
    )
    parser.add_argument("--report", action="store_true", help="only report earlier measurements")
    parser.add_argument(
        "--compare", type=Path, metavar="WORK", help="also report the gains over another --work"
    )
    parser.add_argument("--table", action="store_true", help="make the table of legibility")
    options = parser.parse_args()
    if options.table:
        if options.ocr is None:
            parser.error("--table needs --ocr")
        with reading(options.ocr) as read:
            make_table(read)
        return
    split = options.split or ("dev" if options.quick else "test")
    work = options.work / ("quick" if options.quick else "full") / split
    known = all_cases(quick=options.quick)
    if unknown := {*(options.only or [])} - {case.name for case in known}:
        parser.error(
            f"unknown cases {', '.join(sorted(unknown))}; there are:"
            f" {', '.join(case.name for case in known)}"
        )
    chosen = [case for case in known if options.only is None or case.name in options.only]
    if not options.report:
        run(chosen, work=work, options=options, first_seed=seeds(split, 1)[0])
    if options.no_report:
        return
    before = options.compare and options.compare / work.relative_to(options.work)
    print_report(work, chosen, quick=options.quick, before=before)
    if not options.quick and split == "test" and options.only is None:
        write_docs(work, chosen, ROOT / "docs", before=before)


def run(
    chosen: Sequence[Case], *, work: Path, options: argparse.Namespace, first_seed: int
) -> None:
    """Generate and plan every video without a result, and add missing policies."""
    gop_cache = GopCache()
    source = source_hash()
    with reading(options.ocr) if options.ocr else _no_reader() as read:
        for case, seed in in_order(chosen, first_seed, options.seeds):
            folder = work / case.name.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            name = folder / f"{seed}.json"
            result = json.loads(name.read_text()) if name.exists() else {}
            if result.get("generator") not in (None, generator_hash(case)):
                result = {}  # Of another generator: not comparable.
            selected_policies = policies_of_case(case) - {*options.without}
            for policy in options.again:
                if result.get("source", {}).get(policy) != source:
                    result.get("choices", {}).pop(policy, None)
            missing = sorted(selected_policies - set(result.get("choices", {})))
            reader = None if is_mixture(case) else read
            if result and not missing and (reader is None or result["needs_by"] == "ocr"):
                continue
            started = perf_counter()
            made = _find_kept_video(case, seed, folder, result)
            if made is None:
                made = generate_video(case, seed, folder, gop_cache)
                result["made_s"] = perf_counter() - started
            result = measure(
                case,
                made,
                result,
                missing,
                reader,
                spent=case_budgets(case, quick=options.quick),
                cache=work / "analyses" if options.analyses else None,
            )
            result |= {"case": case.name, "generator": generator_hash(case)}
            result["source"] = result.get("source", {}) | dict.fromkeys(missing, source)
            result["attempt"] = made.attempts - 1
            scratch = name.with_suffix(".part")
            scratch.write_text(json.dumps(result))
            scratch.rename(name)
            if not options.keep:
                made.path.unlink()
            print(f"{case.name} {seed}: {perf_counter() - started:.0f} s", flush=True)


def _find_kept_video(
    case: Case, seed: int, folder: Path, result: dict[str, Any]
) -> GeneratedVideo | None:
    """Return the video of an earlier run, if it was kept and the generator would make the same."""
    if "attempt" not in result:
        return None
    item, _ = draw_item(case, seed, result["attempt"])
    path = folder / f"{item.name}.mp4"
    if not path.exists() or path.stat().st_size != result["bytes"]:
        return None
    return GeneratedVideo(item, path, result["attempt"] + 1)


def source_hash() -> str:
    """Name the source of the sampler and of the reader, on which plans depend."""
    package = Path(seedvideo.__file__).parent
    hashed = hashlib.sha256()
    for pattern in ("*.py", "sampler/**/*.py", "media/**/*.py"):
        for path in sorted(package.glob(pattern)):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def policies_of_case(case: Case) -> set[str]:
    """Return the names of the policies and rules that a case compares."""
    if is_mixture(case):
        return {"adaptive", "uniform", *RULES} - {"random phase"}
    return {*OUR_POLICIES, *RULES, *ANALYSIS_RULES}


def measure(
    case: Case,
    made: GeneratedVideo,
    result: dict[str, Any],
    policies: Sequence[str],
    read: Read | None,
    *,
    spent: Sequence[int],
    cache: Path | None,
) -> dict[str, Any]:
    """Select frames of one video by every rule and policy, and measure the needs of its events."""
    item, path = made.item, made.path
    choices = result.get("choices", {})
    seconds = result.get("seconds", {})
    difficulty = item.difficulty
    tokens_of_level = level_tokens(difficulty)
    with seedvideo.open(path) as video:
        times = video.times
        frame_index = {time: number for number, time in enumerate(times)}

        def store_selection(policy: str, budget: int, selected: Sequence[SelectedFrame]) -> None:
            cost = sum(frame.tokens + frame.text_tokens for frame in selected)
            if cost > budget:
                raise RuntimeError(f"{policy} spends {cost} of {budget} tokens on {item.name}")
            columns = [
                [frame_index[frame.pts] for frame in selected],
                [frame.tokens for frame in selected],
                [frame.text_tokens for frame in selected],
            ]
            choices.setdefault(policy, {})[str(budget)] = columns

        if read is not None and result.get("needs_by") != "ocr":
            result |= needs_by_ocr(item, video, read)
        elif "needs" not in result:
            table, rule_name = needs_by_rule(case, item)
            result |= {"needs": [table.get(e) for e in item.events], "needs_by": rule_name}
        needs = dict(zip(item.events, result["needs"], strict=True))
        stats: ThumbnailStats | None = None
        if not ANALYSIS_RULES.keys().isdisjoint(policies):
            started = perf_counter()
            stats = analyse(path, video.info.duration)
            seconds["looks"] = perf_counter() - started
        duration = video.info.duration
        clip = Clip(times, duration, difficulty.width_px, difficulty.height_px, stats, item.seed)
        for name, rule in {**RULES, **ANALYSIS_RULES}.items():
            if name in policies:
                for budget in spent:
                    store_selection(name, budget, rule(clip, budget))
        for budget in spent:
            upper_bound = oracle(
                item,
                needs,
                times=times,
                tokens=list(tokens_of_level.values()),
                text_tokens=FRAME_TEXT_TOKENS,
                budget_tokens=budget,
            )
            store_selection("oracle", budget, upper_bound)
    for policy in (name for name in policies if name in OUR_POLICIES):
        planned, seconds[policy], seconds[f"{policy} cpu"] = plan_all(path, policy, spent, cache)
        for budget, selected in planned.items():
            store_selection(policy, budget, selected)
    truth = {"item": item.to_json(), "bytes": path.stat().st_size}
    return result | truth | {"choices": choices, "seconds": seconds}


def plan_all(
    path: Path, policy: str, spent: Sequence[int], cache: Path | None
) -> tuple[dict[int, list[SelectedFrame]], float, float]:
    """Plan a video at each budget.

    Returns:
        The frames by budget; the wall seconds from opening the file to the first plan; and the
        processor seconds of all plans, with those of the decode process.
    """
    before = processor_s()
    started = perf_counter()
    first_s = 0.0
    found = {}
    with seedvideo.open(path, cache=cache) as video:
        for budget in spent:
            plan = seedvideo.plan(video, policy=policy, budget_tokens=budget)
            found[budget] = [SelectedFrame(f.pts, f.tokens, f.text_tokens) for f in plan.frames]
            first_s = first_s or perf_counter() - started
    return found, first_s, processor_s() - before


@contextmanager
def reading(python: Path) -> Iterator[Read]:
    """Start the OCR program in its own environment; yield a function that calls it."""
    script = Path(__file__).with_name("_flash_read.py")
    with subprocess.Popen(
        [str(python), str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None

        def read(paths: list[Path]) -> list[list[str]]:
            texts = []
            for path in paths:
                child.stdin.write(f"{path}\n")
                child.stdin.flush()
                texts.append(json.loads(child.stdout.readline()))
            return texts

        yield read
        child.stdin.close()


@contextmanager
def _no_reader() -> Iterator[None]:
    yield None


def needs_by_ocr(item: BenchmarkItem, video: seedvideo.Video, read: Read) -> dict[str, Any]:
    """Find the minimum tokens at which the OCR program reads each code, from the lowest level up.

    One frame in the middle of an event represents it; events with the same code at the same
    position are read once. A frame one second before each event is read at the highest level too: a
    code that is read there would be a leak.
    """
    asked: dict[tuple[str, object], Event] = {}
    for event in item.events:
        if event.cap_height_px is not None:
            asked.setdefault((event.answer, event.box), event)
    needs: dict[tuple[str, object], int | None] = dict.fromkeys(asked)
    left = dict(asked)
    for level in sorted(SEED.levels_tokens):
        for key, texts in _texts(video, {k: middle(e) for k, e in left.items()}, level, read):
            if asked[key].answer in texts:
                needs[key] = level_tokens(item.difficulty)[level]
                del left[key]
    before = {
        key: event.start - 1
        for key, event in asked.items()
        if event.kind == "code" and event.start > 1
    }
    found = _texts(video, before, SEED.levels_tokens[0], read) if item.task in ("T1", "T3") else []
    return {
        "needs": [needs.get((event.answer, event.box)) for event in item.events],
        "needs_by": "ocr",
        "leaks": [sum(key[0] in texts for key, texts in found), len(found)],
    }


def _texts(
    video: seedvideo.Video, moments: dict[Any, Fraction], level: int, read: Read
) -> list[tuple[Any, list[str]]]:
    """Return the texts read at each moment at a level, without blanks."""
    width, height = SEED.size(
        width_px=video.info.width_px, height_px=video.info.height_px, level_tokens=level
    )
    ordered = sorted(moments.items(), key=lambda pair: pair[1])
    targets = [Target(pts=moment, width_px=width, height_px=height) for _, moment in ordered]
    with TemporaryDirectory() as folder:
        paths = []
        for number, frame in enumerate(video.reader.frames(targets)):
            paths.append(Path(folder) / f"{number}.png")
            Image.fromarray(frame.pixels).save(paths[-1])
        texts = read(paths)
    clean = [[text.replace(" ", "").upper() for text in found] for found in texts]
    return [(key, found) for (key, _), found in zip(ordered, clean, strict=True)]


def make_table(read: Read) -> None:
    """Count how often codes are read, by contrast, cap height and level; on dev seeds.

    Adds the missing rows of the table; delete the file to start again.
    """
    rows = json.loads(TABLE.read_text())["rows"] if TABLE.exists() else []
    existing = {(row["contrast"], row["cap_height_px"]) for row in rows}
    for contrast in CONTRASTS:
        for height in TABLE_HEIGHTS_PX:
            if (contrast, height) in existing:
                continue
            difficulty = DifficultyConfig(
                duration_s=8 * TABLE_CODES,
                events=TABLE_CODES,
                cap_heights_px=(height,),
                contrast=contrast,
                gop_frames=25,  # Short GOPs: little decoding before each code.
            )
            with TemporaryDirectory() as folder:
                made = generate(
                    "T3", seeds("dev", 900)[-1] - height, Path(folder), difficulty=difficulty
                )
                with seedvideo.open(made.path) as video:
                    moments = {event: middle(event) for event in made.item.events}
                    count = len(moments)
                    for level in SEED.levels_tokens:
                        if count:  # A code that is not read at a level is not read at a lower one.
                            found = _texts(video, moments, level, read)
                            count = sum(event.answer in texts for event, texts in found)
                        rows.append(
                            {
                                "contrast": contrast,
                                "cap_height_px": height,
                                "level_tokens": level,
                                "read": count,
                                "shown": len(moments),
                            }
                        )
            print([row["read"] for row in rows[-6:]], contrast, height, flush=True)
            rows.sort(key=lambda row: (row["contrast"], row["cap_height_px"], -row["level_tokens"]))
            lines = ",\n".join(json.dumps(row) for row in rows)
            scratch = TABLE.with_suffix(".part")
            scratch.write_text(f'{{"about": {json.dumps(ABOUT_TABLE)}, "rows": [\n{lines}\n]}}\n')
            scratch.rename(TABLE)


if __name__ == "__main__":
    main()
