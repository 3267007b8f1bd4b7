"""Open-weight models: speed against the plain recipe of transformers, and tested families.

    python benchmarks/open_models.py [--size tiny|2b] [--device cpu|cuda] [--frames N]
    python benchmarks/open_models.py --batches [--size tiny|2b] [--device cpu|cuda]
    python benchmarks/open_models.py --table [--write]

Speed: a Qwen3-VL model with random weights describes the same frames twice, by seedvideo's backend
and by the code that transformers documents (`apply_chat_template`, then `generate`), with the same
number of tokens. Printed are seconds, new tokens a second and peak memory of both, and their
ratios. The goal is that seedvideo is at most 5% slower. The sizes of 2b are those of
Qwen/Qwen3-VL-2B-Instruct, as in its published config.json.

Batches: the fraction of answers of 16 tokens that differ between a batch of four prompts and single
prompts, in float32 and in bfloat16.

Table: runs the tests of the families and of the servers, and prints two Markdown tables: which
column of which family has a passing test, and which preset was run against a real server.
``--write`` replaces them in docs/concepts/models.md and docs/guides/servers.md.
"""

import argparse
import importlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import numpy as np
from _common import print_machine

ROOT: Final = Path(__file__).parents[1]
FAMILIES_PAGE: Final = ROOT / "docs/concepts/models.md"
SERVERS_PAGE: Final = ROOT / "docs/guides/servers.md"

SIZES: Final = {
    "tiny": None,
    "2b": {
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151_936,
            "tie_word_embeddings": True,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        "vision": {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
    },
}
"""Sizes of the models; None for those of the tests."""

SLOWER_GOAL: Final = 1.05
NEW_TOKENS: Final = 64


def main() -> None:
    """Measure the speed, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", action="store_true", help="print the tables of tested models")
    parser.add_argument("--write", action="store_true", help="replace the tables in the docs")
    parser.add_argument("--batches", action="store_true", help="compare batches with single runs")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # The tiny checkpoints are those of the tests.
    if args.table or args.write:
        write_tables(replaces=args.write)
    elif args.batches:
        compare_batches(args.size, args.device)
    else:
        measure_speed(args.size, args.device, args.frames, args.repeats)


def measure_speed(size: str, device: str, frames: int, repeats: int) -> None:
    """Print a table of both ways."""
    import torch

    from seedvideo.model import load
    from seedvideo.model_options import ModelOptions
    from tests.model.tiny_checkpoints import make_qwen3_vl

    print_machine()
    dtype = "bfloat16" if device == "cuda" else "float32"
    with TemporaryDirectory() as folder:
        path = make_qwen3_vl(Path(folder) / "qwen3-vl", sizes=SIZES[size])
        model: Any = load(str(path), ModelOptions(device=device, dtype=dtype))
    rng = np.random.default_rng(0)
    sizes = [(448, 256), (640, 352), (896, 512)]
    shown = [
        (
            Fraction(number * number, 7),
            rng.integers(0, 256, (*sizes[number % 3][::-1], 3), dtype=np.uint8),
        )
        for number in range(frames)
    ]
    ways: dict[str, Callable[[], int]] = {
        "plain": lambda: plain_recipe(model, shown),
        "seedvideo": lambda: our_recipe(model, shown),
    }
    tokens = {name: way() for name, way in ways.items()}  # Also warms up.
    if len(set(tokens.values())) > 1:
        raise SystemExit(f"the prompts differ in tokens: {tokens}")
    spent_s: dict[str, list[float]] = {name: [] for name in ways}
    peak_mib: dict[str, float] = {}
    for _ in range(repeats):
        # In turn, so that both meet the same disturbances.
        for name, way in ways.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            started = perf_counter()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
                peak_mib[name] = torch.cuda.max_memory_allocated() / 2**20
            spent_s[name].append(perf_counter() - started)
    best_s = {name: min(each) for name, each in spent_s.items()}
    print(f"\n{size}, {dtype}, {device}: {frames} frames, {tokens['plain']:,} prompt tokens,")
    print(f"{NEW_TOKENS} new tokens, best of {repeats}\n")
    print("| way | seconds | new tokens a second | peak memory |")
    print("| --- | --- | --- | --- |")
    for name in ways:
        peak = f"{peak_mib[name]:,.0f} MiB" if name in peak_mib else "not measured"
        print(f"| {name} | {best_s[name]:.2f} | {NEW_TOKENS / best_s[name]:.1f} | {peak} |")
    ratio = best_s["seedvideo"] / best_s["plain"]
    print(f"\nseedvideo takes {ratio:.2f} times as long; the goal is at most {SLOWER_GOAL}")
    if ratio > SLOWER_GOAL and size != "tiny":  # of a tiny model, seconds are mostly noise
        raise SystemExit("the goal is missed")


def compare_batches(size: str, device: str, *, prompts: int = 200, batch: int = 4) -> None:
    """Print the fraction of answers that differ between batches and single prompts."""
    from seedvideo.model import load
    from seedvideo.model.backends.base import interleave
    from seedvideo.model_options import GenerationOptions, ModelOptions
    from tests.model.tiny_checkpoints import make_qwen3_vl

    print_machine()
    rng = np.random.default_rng(0)
    asked = []
    for _ in range(prompts):
        count = int(rng.integers(1, 5))
        sides = rng.integers(2, 7, (count, 2)) * 32
        shown = [
            (Fraction(place), rng.integers(0, 256, (*map(int, side), 3), dtype=np.uint8))
            for place, side in enumerate(sides)
        ]
        asked.append(interleave(shown, "Describe the video."))
    options = GenerationOptions(max_new_tokens=16)
    print("\n| number format | answers | differing |")
    print("| --- | --- | --- |")
    with TemporaryDirectory() as folder:
        path = make_qwen3_vl(Path(folder) / "qwen3-vl", sizes=SIZES[size])
        for dtype in ("float32", "bfloat16"):
            model: Any = load(str(path), ModelOptions(device=device, dtype=dtype))
            single = [model.generate(each, options=options).text for each in asked]
            together = [
                made.text
                for start in range(0, prompts, batch)
                for made in model.generate_batch(asked[start : start + batch], options=options)
            ]
            differing = sum(a != b for a, b in zip(single, together, strict=True))
            print(f"| {dtype} | {prompts} | {differing / prompts:.1%} |")


def our_recipe(model: Any, shown: list[tuple[Fraction, Any]]) -> int:
    """Generate with the backend; return the tokens of the prompt."""
    from seedvideo.model.backends.base import interleave
    from seedvideo.model_options import GenerationOptions

    made = model.generate(
        interleave(shown, "Describe the video."),
        options=GenerationOptions(max_new_tokens=NEW_TOKENS),
    )
    return int(made.usage.prompt_tokens)


def plain_recipe(model: Any, shown: list[tuple[Fraction, Any]]) -> int:
    """Generate as transformers documents it; return the tokens of the prompt."""
    import torch

    processor, net = model._processor._processor, model._model
    content: list[dict[str, Any]] = []
    for pts, pixels in shown:
        text = model._processor.family.time.text_before(pts)
        content += [{"type": "text", "text": text}, {"type": "image", "image": pixels}]
    content.append({"type": "text", "text": "Describe the video."})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"do_resize": False},
    ).to(net.device, dtype=net.dtype)
    with torch.inference_mode():
        net.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return int(inputs["input_ids"].shape[1])


def write_tables(*, replaces: bool) -> None:
    """Run the tests and print the tables, or replace them in the docs."""
    from seedvideo.model.families import FAMILIES
    from seedvideo.model.presets import PRESETS

    results = run_tests("tests/model/test_families.py", "tests/model/test_transformers.py")
    tests = importlib.import_module("tests.model.test_families")
    # Each column is a test ``test_COLUMN[FAMILY]``.
    columns, reasons = tests.COLUMNS, tests.DOES_NOT_APPLY
    names = [each.name for each in FAMILIES]
    lines = [
        "| family | " + " | ".join(column.replace("_", " ") for column in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    notes: list[str] = []
    for name in names:
        cells = []
        for column in columns:
            state = results.get(f"test_{column}[{name}]")
            if (column, name) in reasons:
                note = reasons[column, name]
                if note not in notes:
                    notes.append(note)
                cells.append(f"does not apply ({notes.index(note) + 1})")
            else:
                cells.append({None: "**no test**", True: "yes", False: "**fails**"}[state])
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]
    families = "\n".join(lines).strip()
    servers = "\n".join(
        [
            "| preset | server | usual address | key | checked |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| `{each.name}` | {each.product} | `{each.base_url}` | `{each.key_variable}` |"
                f" {'run against a real server' if each.tested else 'by documents'} |"
                for each in PRESETS
            ),
        ]
    )
    for page, table in ((FAMILIES_PAGE, families), (SERVERS_PAGE, servers)):
        print(f"{page.name}:\n\n{table}\n")
        if replaces:
            replace_table(page, table)


def run_tests(*paths: str) -> dict[str, bool]:
    """Run tests and return whether each passed, by its name with parameters."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *paths],
            cwd=ROOT,
            check=False,
            stdout=sys.stderr,
        )
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {
            str(case.get("name")): case.find("failure") is None and case.find("error") is None
            for case in cases
            if case.find("skipped") is None
        }


def replace_table(page: Path, table: str) -> None:
    """Replace the text between the marks of a page."""
    begin, end = "<!-- table: benchmarks/open_models.py --table -->", "<!-- end of table -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page} has no place for the table: {begin}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
