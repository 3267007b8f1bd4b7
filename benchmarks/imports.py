"""How long it takes until a program that uses seedvideo can begin, and until a video is open.

`import seedvideo` and `seedvideo --help` load neither torch nor a decoder; importing torch stands
beside them for comparison. A video is opened in a process of its own: forked by the fork server,
whose start the first video pays, or a fresh interpreter where there is no fork server.
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
    """Time fresh interpreters, then the opening of a video."""
    start_up()
    with TemporaryDirectory() as folder:
        opening(make_clip(Path(folder) / "made.mp4", seconds=2, width_px=320, height_px=180))
    print_machine("av", "torch", "typer")


def start_up() -> None:
    """Time fresh interpreters."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import seedvideo": [python, "-c", "import seedvideo"],
        "seedvideo --help": [python, "-m", "seedvideo", "--help"],
        "seedvideo plan --help": [python, "-m", "seedvideo", "plan", "--help"],
        "import seedvideo; seedvideo.open": [python, "-c", "import seedvideo; seedvideo.open"],
        "import torch": [python, "-c", "import torch"],
    }
    spent = {name: wall_s(words, times=TIMES) for name, words in commands.items()}
    nothing_s = spent["python -c pass"]
    rows = [
        (name, f"{1000 * each:.0f} ms", f"+{1000 * (each - nothing_s):.0f} ms")
        for name, each in spent.items()
    ]
    print_table(
        f"Wall time of a fresh process, the best of {TIMES}",
        ("what", "in all", "more than Python"),
        rows,
    )


def opening(clip: Path) -> None:
    """Time the opening of a video, with and without the fork server."""
    rows = []
    for name, way, opens in (
        ("fork server, the first", "forked", 1),
        ("fork server, the mean of many", "forked", OPENS),
        ("fresh interpreters", "fresh", OPENS // 4),
    ):
        spent = in_child(__file__, way, clip, opens)
        rows.append((name, f"{1000 * spent['wall_s']:.0f} ms", f"{spent['processor_s']:.3f} s"))
    print_table(
        "Opening a video of 2 s and reading its facts", ("processes", "wall", "processor"), rows
    )


def measure_opening(way: str, clip: str, opens: int) -> dict[str, float]:
    """Open a video so many times; seconds of one opening, of its processes too."""
    processor_s, began_s = _processor_s(), perf_counter()
    with ExitStack() as stack:
        if way == "fresh":
            stack.enter_context(patch.object(fork_server, "is_supported", return_value=False))
        for _ in range(opens):
            with open_video(clip) as reader:
                assert reader.info
    spent_s = perf_counter() - began_s
    return {"wall_s": spent_s / opens, "processor_s": (_processor_s() - processor_s) / opens}


def _processor_s() -> float:
    fork_server.end_servers()  # Processes count once they have ended.
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_opening(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
