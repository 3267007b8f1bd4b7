"""Ways to make decoding cheaper: each one alone, compared with decoding everything.

    python benchmarks/tricks.py [CLIP]

Without a clip, 24 s of 720p H.264 with twelve kinds of content are generated. Every row decodes the
same file with PyAV without scaling; "wall" and "CPU" are medians of three rounds, relative to one
thread that decodes everything. The last column states what the pictures lack.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import av
from _common import print_machine, print_table
from _sampling_files import files, make
from av.stream import Discard

ROUNDS = 3


@dataclass(frozen=True)
class Trick:
    """A way to decode a file.

    Args:
        name: name of the row.
        missing: what its pictures lack.
        prepare: configures a stream.
        inspect: called with each picture.
    """

    name: str
    missing: str
    prepare: Callable[[Any], None]
    inspect: Callable[[Any], object] = lambda frame: None


def options(**values: str) -> Callable[[Any], None]:
    """Set options of a decoder with one thread."""

    def prepare(stream: Any) -> None:
        stream.codec_context.thread_count = 1
        stream.codec_context.options = values

    return prepare


def threads(kind: str) -> Callable[[Any], None]:
    """Make FFmpeg use one thread per core."""

    def prepare(stream: Any) -> None:
        stream.codec_context.thread_type = kind
        stream.codec_context.thread_count = 0

    return prepare


def only_keyframes(stream: Any) -> None:
    """Make the demuxer skip all other packets."""
    stream.codec_context.thread_count = 1
    stream.discard = Discard.nonkey


def read_vectors(frame: Any) -> object:
    """Read the motion vectors as an array."""
    vectors = frame.side_data.get("MOTION_VECTORS")
    return None if vectors is None else vectors.to_ndarray()


TRICKS: Sequence[Trick] = (
    Trick("one thread, all", "", options()),
    Trick("frame threads", "", threads("FRAME")),
    Trick("slice threads", "", threads("SLICE")),
    Trick("motion vectors read", "", options(flags2="+export_mvs"), read_vectors),
    Trick("half resolution", "not in H.264: full size", options(lowres="1")),
    Trick("luma only", "not compiled in: has colours", options(flags="+gray")),
    Trick("no loop filter", "drifts", options(skip_loop_filter="all")),
    Trick("reference frames only", "the others", options(skip_frame="noref")),
    Trick("no B-frames", "the others", options(skip_frame="bidir")),
    Trick("keyframes only", "the others", only_keyframes),
)


def main() -> None:
    """Print the table."""
    with TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            clip = Path(sys.argv[1])
        else:
            spec = next(each for each in files(is_quick=True) if each.name == "mixed-g250")
            clip = make(spec, Path(folder))
        spent: dict[str, list[tuple[float, float, int]]] = {trick.name: [] for trick in TRICKS}
        for _ in range(ROUNDS):
            for trick in TRICKS:
                spent[trick.name].append(decode(clip, trick))
    rows = []
    base = [median(column) for column in zip(*spent[TRICKS[0].name], strict=True)]
    for trick in TRICKS:
        wall_s, cpu_s, pictures = (median(c) for c in zip(*spent[trick.name], strict=True))
        rows.append(
            (
                trick.name,
                f"{wall_s:.2f} s",
                f"{wall_s / base[0]:.2f}",
                f"{cpu_s:.2f} s",
                f"{cpu_s / base[1]:.2f}",
                f"{pictures:.0f}",
                trick.missing,
            )
        )
    header = ("decoding", "wall", "ratio", "CPU", "ratio", "pictures", "missing")
    print_table("Cost of decoding in each way", header, rows)
    print_machine("av")


def decode(clip: Path, trick: Trick) -> tuple[float, float, int]:
    """Return wall and processor seconds, and the number of pictures."""
    started, processor_s, pictures = perf_counter(), process_time(), 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        trick.prepare(stream)
        for frame in container.decode(stream):
            trick.inspect(frame)
            pictures += 1
    return perf_counter() - started, process_time() - processor_s, pictures


if __name__ == "__main__":
    main()
