"""Start-up time of programs that use seedvideo, and time to open a video.

`import seedvideo` and `seedvideo --help` load neither torch nor a decoder; the import of torch is
measured for comparison. A video is opened in a decode process: forked by the fork server, whose
start is part of the first opening, or a fresh interpreter.
"""

import json
import resource
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

from _common import in_child, make_clip, print_machine, print_table, wall_s

from seedvideo.media import open_video
from seedvideo.utils import fork_server

TIMES = 7
OPENS = 40


def main() -> None:
    """Measure the start of fresh interpreters, then the opening of a video."""
    time_startup()
    with TemporaryDirectory() as folder:
        time_opening(make_clip(Path(folder) / "made.mp4", seconds=2, width_px=320, height_px=180))
    print_machine("av", "torch", "typer")


def time_startup() -> None:
    """Measure the start of fresh interpreters."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import seedvideo": [python, "-c", "import seedvideo"],
        "seedvideo --help": [python, "-m", "seedvideo", "--help"],
        "seedvideo plan --help": [python, "-m", "seedvideo", "plan", "--help"],
        "import seedvideo; seedvideo.open": [python, "-c", "import seedvideo; seedvideo.open"],
        "import torch": [python, "-c", "import torch"],
    }
    spent = {name: wall_s(command, times=TIMES) for name, command in commands.items()}
    python_s = spent["python -c pass"]
    rows = [
        (name, f"{1000 * each:.0f} ms", f"+{1000 * (each - python_s):.0f} ms")
        for name, each in spent.items()
    ]
    print_table(
        f"Wall time of a fresh process, the best of {TIMES}",
        ("command", "total", "beyond Python"),
        rows,
    )


def time_opening(clip: Path) -> None:
    """Measure the opening of a video, with and without the fork server."""
    rows = []
    for name, mode, opens in (
        ("fork server, first opening", "forked", 1),
        ("fork server, mean of many", "forked", OPENS),
        ("fresh interpreters", "fresh", OPENS // 4),
    ):
        spent = in_child(__file__, mode, clip, opens)
        rows.append((name, f"{1000 * spent['wall_s']:.0f} ms", f"{spent['processor_s']:.3f} s"))
    print_table(
        "Opening a video of 2 s and reading its facts", ("processes", "wall", "processor"), rows
    )


def measure_opening(mode: str, clip: str, opens: int) -> dict[str, float]:
    """Open a video repeatedly; return wall and processor seconds per opening."""
    processor_s, started = _processor_s(), perf_counter()
    with ExitStack() as stack:
        if mode == "fresh":
            stack.enter_context(patch.object(fork_server, "is_supported", return_value=False))
        for _ in range(opens):
            with open_video(clip) as reader:
                assert reader.info
    spent_s = perf_counter() - started
    return {"wall_s": spent_s / opens, "processor_s": (_processor_s() - processor_s) / opens}


def _processor_s() -> float:
    fork_server.end_servers()  # Processes count once they have exited.
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_opening(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
