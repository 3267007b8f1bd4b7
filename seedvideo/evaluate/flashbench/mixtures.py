"""Mixed settings of flashbench: brief codes where calm and crowd mix, or a part never rests.

Each setting has videos of four minutes with 12 codes of 0.4 s unless its name says otherwise.
Print has a cap height of 14 px in the video. A code counts as read if its cap height is 5 px or
more in a selected frame: the table of legibility has no row for this size. In half of the draws of
an alternating setting the crowd appears in the calm room, in the others the crowd is elsewhere.

The seed decides everything. Times are exact seconds.

Separate from `tasks`, whose videos have GOPs of one backdrop each; `benchmarks/flashbench.py` uses
both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from seedvideo.evaluate.flashbench.codes import REFERENCE_HEIGHT_PX, draw_text_plate, random_code
from seedvideo.evaluate.flashbench.mixture_scenes import LOOP_FRAMES, Box, restless_boxes
from seedvideo.evaluate.flashbench.scenes import (
    BackdropLoop,
    MixedScene,
    Overlay,
    Script,
    ShotList,
    frame_times,
)
from seedvideo.evaluate.flashbench.spec import BenchmarkItem, DifficultyConfig, Event, MixedStyle
from seedvideo.sampler.geometry import SEED

MIN_CAP_PX: Final = 5
"""Minimum cap height in a selected frame at which a code counts as read."""

_CAP_PX: Final = 14
"""Cap height of the codes in the video."""
_BORDER_S: Final = Fraction(3, 10)
"""Minimum time between an event and a change of the backdrop."""
_APART_S: Final = Fraction(1)
"""Minimum time between two events."""
_MAX_TRIES: Final = 4000
_SLOW_CYCLE: Final = 8
"""Loops of a slow pan or a slow zoom."""

Run = tuple[int, MixedScene, bool]
"""Number of frames, backdrop, and whether it is a crowd."""

Part = Literal["any", "calm", "crowd"]
"""Where an event may happen."""

Runs = Callable[[np.random.Generator, int, int], list[Run]]
"""From rng, seed of the backdrops and number of frames to the backdrops of a video."""


@dataclass(frozen=True)
class Setting:
    """One mixed setting.

    Args:
        name: name of the case.
        runs: function that draws the backdrops.
        difficulty: settings of the videos; ``events`` counts those outside a crowd.
        anywhere: whether events may happen in a crowd too.
        crowd_events: number of further events in the crowd.
    """

    name: str
    runs: Runs
    difficulty: DifficultyConfig
    anywhere: bool = False
    crowd_events: int = 0


def make_mixture(setting: Setting, seed: int, *, attempt: int = 0) -> tuple[BenchmarkItem, Script]:
    """Make the ground truth and the script of one video of a setting.

    Args:
        setting: the setting.
        seed: seed of backdrops and events.
        attempt: number of the draw; another one gives other events on the same backdrops.

    Raises:
        ValueError: if the events do not fit into the video.
    """
    difficulty = setting.difficulty
    frames = round(difficulty.duration_s * difficulty.fps)
    # Settings of one name family share backdrops within a seed, and so their encoded GOPs.
    runs = setting.runs(np.random.default_rng([seed, 11]), 100 * seed, frames)
    loops = _cut_into_loops(runs, 1 / difficulty.fps)
    times = frame_times(loops)
    starts = [0, *np.cumsum([length for length, _, _ in runs]).tolist()]
    spans = [
        (times[start], times[stop], run[2])
        for (start, stop), run in zip(pairwise(starts), runs, strict=True)
    ]
    layout = _CodeLayout(
        setting, np.random.default_rng([seed, 12, attempt]), times, spans, runs[0][1]
    )
    busy = tuple((start, end) for start, end, is_busy in spans if is_busy)
    for number in range(difficulty.events):
        length = difficulty.event_s[number % len(difficulty.event_s)]
        layout.add_code(length, part="any" if setting.anywhere else "calm", group=number)
    for number in range(setting.crowd_events):
        layout.add_code(difficulty.event_s[0], part="crowd", group=difficulty.events + number)
    events = tuple(sorted(layout.events, key=lambda event: event.start))
    item = BenchmarkItem(
        task="T1",
        seed=seed,
        difficulty=difficulty,
        events=events,
        busy=busy,
        cuts=tuple(start for start, _, _ in spans[1:]),
        question="Which codes are shown on the plates? List them in order.",
        answers=tuple(event.answer for event in events),
    )
    return item, Script(loops, tuple(layout.overlays), times)


def tokens_for_cap_height(item: BenchmarkItem) -> dict[Event, int | None]:
    """Return the visual tokens from which on each code has the minimum cap height; None if never.

    Args:
        item: the ground truth.
    """
    found: dict[Event, int | None] = {}
    for event in item.events:
        assert event.cap_height_px is not None
        found[event] = next(
            (
                SEED.tokens(width_px=width, height_px=height)
                for width, height in _sizes(item.difficulty)
                if event.cap_height_px * height >= MIN_CAP_PX * REFERENCE_HEIGHT_PX
            ),
            None,
        )
    return found


def _sizes(difficulty: DifficultyConfig) -> list[tuple[int, int]]:
    """Return the sizes of a frame at every cap of tokens, from the smallest one up."""
    return [
        SEED.size(width_px=difficulty.width_px, height_px=difficulty.height_px, level_tokens=tokens)
        for tokens in range(SEED.min_frame_tokens, SEED.levels_tokens[0] + 1)
    ]


def _cut_into_loops(runs: list[Run], step: Fraction) -> tuple[BackdropLoop, ...]:
    """Cut backdrops into GOPs of one loop each, wherever their borders lie."""
    loops: list[BackdropLoop] = []
    shots: list[tuple[int, MixedScene]] = []
    first = now = 0
    total = sum(length for length, _, _ in runs)
    for length, scene, _ in runs:
        left = length
        while left:
            taken = min(left, first + LOOP_FRAMES - now)
            shots.append((taken, scene))
            now, left = now + taken, left - taken
            if now - first == LOOP_FRAMES or now == total:
                variant = len(loops) % max(scene.cycle for _, scene in shots)
                loops.append(
                    BackdropLoop(ShotList(tuple(shots)), variant, first, now - first, step)
                )
                shots, first = [], now
    return tuple(loops)


class _CodeLayout:
    """Codes of one video, none at the same time or over a part that never rests."""

    def __init__(
        self,
        setting: Setting,
        rng: np.random.Generator,
        times: tuple[Fraction, ...],
        spans: list[tuple[Fraction, Fraction, bool]],
        scene: MixedScene,
    ) -> None:
        self.events: list[Event] = []
        self.overlays: list[Overlay] = []
        self._difficulty = setting.difficulty
        self._rng = rng
        self._times = times
        self._spans = spans
        size = setting.difficulty.width_px, setting.difficulty.height_px
        self._restless = restless_boxes(scene.style, scene.seed, *size)

    def add_code(self, length: Fraction, *, part: Part, group: int) -> None:
        """Show a code at a random time in a part of the video."""
        frames = round(length * self._difficulty.fps)
        first = self._free_frame(frames, part)
        cap_height_px = self._difficulty.cap_heights_px[0]
        plate = draw_text_plate(
            random_code(self._rng),
            cap_height_px=cap_height_px,
            picture_height_px=self._difficulty.height_px,
        )
        box = self._free_box(plate.luma.shape[1], plate.luma.shape[0])
        self.overlays.append(Overlay(first, first + frames, box[0], box[1], plate.luma))
        self.events.append(
            Event(
                kind="code",
                start=self._times[first],
                end=self._times[first + frames],
                answer=plate.code,
                box=box,
                cap_height_px=cap_height_px,
                group=group,
            )
        )

    def _free_frame(self, frames: int, part: Part) -> int:
        for _ in range(_MAX_TRIES):
            first = int(self._rng.integers(1, len(self._times) - 1 - frames))
            start, end = self._times[first], self._times[first + frames]
            fits = any(
                low + _BORDER_S <= start
                and end <= high - _BORDER_S
                and part in ("any", "crowd" if is_busy else "calm")
                for low, high, is_busy in self._spans
            )
            if fits and all(
                end + _APART_S <= event.start or event.end + _APART_S <= start
                for event in self.events
            ):
                return first
        raise ValueError(
            f"no room for {len(self.events) + 1} events in {float(self._times[-1]):g} s of video"
        )

    def _free_box(self, wide: int, high: int) -> Box:
        rooms = self._difficulty.width_px - wide, self._difficulty.height_px - high
        if min(rooms) < 4:
            raise ValueError(f"{wide}x{high} px do not fit into the picture")
        for _ in range(_MAX_TRIES):
            left, top = (int(self._rng.integers(1, room // 2)) * 2 for room in rooms)
            if all(
                left + wide <= x or x + w <= left or top + high <= y or y + h <= top
                for x, y, w, h in self._restless
            ):
                return left, top, wide, high
        raise ValueError(f"no room for {wide}x{high} px beside what never rests")


def _all_the_time(style: MixedStyle, *, cycle: int = 3) -> Runs:
    def runs(rng: np.random.Generator, seed: int, frames: int) -> list[Run]:
        del rng
        scene = MixedScene(style, seed, cycle or -(-frames // LOOP_FRAMES))
        return [(frames, scene, style == "crowd")]

    return runs


def _crowd_scene(seed: int) -> MixedScene:
    """Return a crowd in the calm room, or elsewhere for odd seeds."""
    return MixedScene("crowd", seed + (99 if seed // 100 % 2 else 0))


def _alternating(period_s: int) -> Runs:
    """Let calm and crowd take turns, each for some seconds; the first turn is cut short."""

    def runs(rng: np.random.Generator, seed: int, frames: int) -> list[Run]:
        length = 25 * period_s
        found: list[Run] = []
        left, is_busy = frames, bool(rng.integers(2))
        turn = int(rng.integers(length // 5, length))
        while left:
            turn = min(turn, left)
            scene = _crowd_scene(seed) if is_busy else MixedScene("calm", seed)
            found.append((turn, scene, is_busy))
            left, is_busy, turn = left - turn, not is_busy, length
        return found

    return runs


def _random_turns(low_s: float, high_s: float) -> Runs:
    """Let calm and crowd take turns of random lengths, each for half of the time in all."""

    def runs(rng: np.random.Generator, seed: int, frames: int) -> list[Run]:
        pairs = max(1, round(frames / 25 / (low_s + high_s)))
        lengths = np.exp(rng.uniform(np.log(low_s), np.log(high_s), (2, pairs)))
        ends = np.rint(np.cumsum(lengths, axis=1) / lengths.sum(axis=1)[:, None] * frames / 2)
        turns = np.diff(ends, axis=1, prepend=0).astype(int)
        turns[1, -1] += frames - int(turns.sum())
        scenes = (MixedScene("calm", seed), _crowd_scene(seed))
        starts_busy = int(rng.integers(2))
        return [
            (int(turns[kind, i]), scenes[kind], bool(kind))
            for i in range(pairs)
            for kind in (starts_busy, 1 - starts_busy)
        ]

    return runs


def _cuts(every_s: int, cameras: int) -> Runs:
    """Cut between still cameras at even times."""

    def runs(rng: np.random.Generator, seed: int, frames: int) -> list[Run]:
        found: list[Run] = []
        left, camera = frames, 0
        while left:
            camera = (camera + int(rng.integers(1, cameras))) % cameras
            length = min(25 * every_s, left)
            found.append((length, MixedScene("calm", seed + 10 + camera), False))
            left -= length
        return found

    return runs


def _two_cameras(rng: np.random.Generator, seed: int, frames: int) -> list[Run]:
    """Cut between a clean and a grainy camera at random times."""
    scenes = MixedScene("calm", seed), MixedScene("grain", seed + 30)
    found: list[Run] = []
    left = frames
    while left:
        length = min(int(rng.integers(25 * 6, 25 * 25)), left)
        found.append((length, scenes[len(found) % 2], False))
        left -= length
    return found


_BASE: Final = DifficultyConfig(
    duration_s=240,
    cap_heights_px=(_CAP_PX * REFERENCE_HEIGHT_PX // 540,),
    gop_frames=LOOP_FRAMES,
)
_SHORT: Final = replace(_BASE, event_s=(Fraction(1, 5),))
_LONG: Final = replace(_BASE, event_s=(Fraction(2),))
_TEN_MINUTES: Final = replace(
    _BASE,
    duration_s=600,
    width_px=1280,
    height_px=720,
    cap_heights_px=(_CAP_PX * REFERENCE_HEIGHT_PX // 720,),
)

_ALL: Final = (
    Setting("calm", _all_the_time("calm"), _BASE),
    Setting("calm 0.2 s", _all_the_time("calm"), _SHORT),
    Setting("calm 2 s", _all_the_time("calm"), _LONG),
    Setting("alternating 5", _alternating(5), _BASE),
    Setting("alternating 10", _alternating(10), _BASE),
    Setting("alternating 30", _alternating(30), _BASE),
    Setting("alternating random", _random_turns(3, 40), _BASE),
    Setting("alternating 10 anywhere", _alternating(10), _BASE, anywhere=True),
    Setting("alternating 10 0.2 s", _alternating(10), _SHORT),
    Setting("alternating 10 2 s", _alternating(10), _LONG),
    Setting("half busy 600", _random_turns(8, 50), _TEN_MINUTES, crowd_events=4),
    Setting("corner", _all_the_time("corner"), _BASE),
    Setting("band", _all_the_time("band"), _BASE),
    Setting("ticker", _all_the_time("ticker"), _BASE),
    Setting("screen", _all_the_time("screen"), _BASE),
    Setting("pan", _all_the_time("slow pan", cycle=_SLOW_CYCLE), _BASE),
    Setting("zoom", _all_the_time("zoom", cycle=_SLOW_CYCLE), _BASE),
    Setting("flicker", _all_the_time("flicker"), _BASE),
    Setting("grain", _all_the_time("grain"), _BASE),
    Setting("cuts 3", _cuts(3, 8), _BASE),
    Setting("two cameras", _two_cameras, _BASE),
    Setting("day to night", _all_the_time("dusk", cycle=0), _BASE),
    Setting("crowd", _all_the_time("crowd"), _BASE, anywhere=True),
)

SETTINGS: Final[Mapping[str, Setting]] = {setting.name: setting for setting in _ALL}
"""The mixed settings by name."""
