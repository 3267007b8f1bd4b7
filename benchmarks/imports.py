"""How long it takes until a program that uses seedvideo can begin.

`import seedvideo` and `seedvideo --help` load neither torch nor a decoder; importing torch stands
beside them for comparison.
"""

import sys

from _common import print_machine, print_table, wall_s

TIMES = 7


def main() -> None:
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
    print_machine("torch", "typer")


if __name__ == "__main__":
    main()
