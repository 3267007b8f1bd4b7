"""Spans of time out of the free text that models write, or an error: none is made up.

Read are seconds (``4.5``, ``4.5 s``), clocks (``1:04.5``, ``1:02:03``) and ``1 min 5 s``, as ranges
(``4 - 8``, ``from 4 to 8``, ``between 4 and 8``), as pairs in brackets (``[4, 8]``) and as starts
with ends (``{"start": 4, "end": 8}``, ``starts at 4 and ends at 8``), one or several, with words
around them. The text is cut into tokens of one letter each, and the forms are patterns over these
letters. Knows no model and no prompt. Times are exact seconds.

The grounding task: when does something happen, and how an answer becomes half-open spans.

Knows the times of the frames that were shown, never a picture. The prompt is part of how a model
was trained: changing it changes what a model says. Times are exact seconds from the video's start.

A model that points says of each shown frame how likely it shows what is looked for; `weigh_spans`
turns that into spans. The free text of any other model is read by `tasks.spans`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, TypeAlias, get_args

from seedvideo.errors import GroundError, ModelError
from seedvideo.sampler.geometry import format_timestamp
from seedvideo.tasks.prompts import fault_of, inside_answer_marks, with_thinking
from seedvideo.utils.timecode import Span, seconds

Reversed: TypeAlias = Literal["refuse", "swap"]
"""What becomes of a span that ends before it starts."""

SLACK: Final = Fraction(1, 20)
"""Seconds that a told time may lie outside: half of the last digit of a frame's stamp."""


@dataclass(frozen=True)
class Moment:
    """When something happens: ``[start, end)`` in seconds; an instant where both are the same.

    Raises:
        ValueError: if it starts before zero or ends before it starts.
    """

    start: Fraction
    end: Fraction

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a moment from {self.start} s to {self.end} s runs backward")


def read_spans(text: str, *, window: Span, reverse: Reversed = "refuse") -> tuple[Moment, ...]:
    """Read when a model says that something happens.

    Args:
        text: the raw answer, its thought taken away.
        window: what was looked at; spans that reach out of it are clipped.
        reverse: whether a span that ends before it starts is refused, or turned round.

    Returns:
        The spans as they were named, each once; none where the answer is that there are none.

    Raises:
        ModelError: ``model.answer_unparsable`` if no span can be read, one is reversed or lies
            outside the window, or the answer contradicts itself; the raw text is in the message.
        ValueError: if ``reverse`` is neither.

    >>> read_spans("from 0:04 to 0:08.5", window=Span(Fraction(0), Fraction(20)))
    (Moment(start=Fraction(4, 1), end=Fraction(17, 2)),)
    """
    if reverse not in get_args(Reversed):
        raise ValueError(f"reverse is {reverse!r}, expected one of {', '.join(get_args(Reversed))}")
    answer = inside_answer_marks(text).replace("```json", "").replace("```", "").strip()
    pairs = list(dict.fromkeys(_pairs(_tokens(answer))))
    denied = _NOT_FOUND.search(answer)
    if not pairs and denied:
        return ()
    if not pairs:
        raise _unparsable("holds no span of time", text)
    if denied and denied.start() == 0:
        raise _unparsable("says that there is nothing, and when", text)
    moments = []
    for start, end in pairs:
        if end < start and reverse == "refuse":
            raise _unparsable("ends before it starts", text)
        start, end = min(start, end), max(start, end)
        if start > window.end + SLACK or end < window.start - SLACK:
            reach = f"{seconds(window.start):g} to {seconds(window.end):g} s"
            raise _unparsable(f"lies outside what was looked at, {reach}", text)
        moments.append(Moment(*(min(max(time, window.start), window.end) for time in (start, end))))
    return tuple(dict.fromkeys(moments))


def _unparsable(fault: str, text: str) -> ModelError:
    return ModelError(
        "model.answer_unparsable",
        f"the answer {fault}: {text!r}",
        hint="ask in other words, or another model",
    )


_NOT_FOUND: Final = re.compile(
    r"""
    ^\W*(?:none|no|nothing|never|null|n/?a)\W*$ | ^(?:\[\s*\]|\{\s*\})$  # nothing but this
    | "\w+"\s*:\s*\[\s*\]  # {"spans": []}
    | "(?:found|answer|result|moment|event|segment|span|interval)s?"\s*:\s*(?:false|null)
    | "start\w*"\s*:\s*null\s*,\s*"end\w*"\s*:\s*null
    | \b(?:
        no\ (?:such|matching|relevant|corresponding)\b
      | there(?:\ is|\ are|\ was|\ were|['’]s)\ (?:no|nothing)\b
      | (?:not|isn['’]t|aren['’]t|wasn['’]t)\ (?:be\ |been\ )?
        (?:found|present|visible|shown|seen|depicted|in\ the\ video)\b
      | (?:(?:does|do|did)(?:\ not|n['’]t)|never)\ (?:\w+\ )?
        (?:happen|occur|appear|take\ place|exist|contain|show)(?:s|ed|red|n)?\b
      | (?:can(?:not|['’]t|\ not)|could(?:\ not|n['’]t))\ (?:be\ )?(?:find|found|see|locate)
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class _Token:
    """A word, a mark or a number: its letter in the patterns, and the time that it tells.

    ``unit`` is what stands behind a number or is part of it; a range names it once, at its end.
    """

    letter: str
    time: Fraction = Fraction(0)
    unit: Literal["", "s", "min"] = ""


_SCAN: Final = re.compile(
    r"""
      (?P<clock>(?:\d{1,3}:\d{1,2}|\d{1,4}):\d{2}(?:\.\d{1,9}|(?<=:\d\d:\d\d),\d{3})?)(?![\d:%])
    | (?P<long>(?:(?P<h>\d{1,3})\ ?h(?:(?:ou)?rs?)?[ ,]*)?(?P<m>\d{1,4})\ ?m(?:in(?:ute)?s?)?[ ,]*
        (?:and\ )?(?P<s>\d{1,2}(?:\.\d{1,9})?)\ ?s(?:ec(?:ond)?s?)?)(?![a-z])
    | (?P<minutes>\d{1,4}(?:\.\d{1,9})?)\ ?min(?:ute)?s?(?![a-z])
    | (?P<plain>\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})(?P<unit>[ -]?(?:seconds?|secs?\.?|s)(?![a-z]))?
        (?![\w%]|[.:]\d|\ %)
    | (?P<odd>[.]?\d[\w.:]*)
    | (?P<dash>-+>|=>|[-–—~−])
    | (?P<word>[^\W\d_]\w*(?:['’]\w+)*)
    | (?P<mark>[,;:.!?|\n(\[{<)\]}>&])
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NO_WEIGHT: Final = re.compile(
    r"is|are|the|about|around|approx\w*|roughly|exactly|times?|timestamps?|s|secs?|seconds?"
)
_FRAMES: Final = re.compile(r"\bframes?\W{0,3}\d", re.IGNORECASE)
_WORDS: Final = (
    ("f", re.compile(r"until|till")),
    ("a", re.compile(r"and")),
    ("b", re.compile(r"between")),
    ("s", re.compile(r"(?:starts?|started|starting|begins?|began|beginning|onset)(?:[_t]\w*)?")),
    ("e", re.compile(r"(?:ends?|ended|ending|stops?|finish(?:es)?)(?:[_t]\w*)?")),
    ("v", re.compile(r"at|in|when|while|where|as|then|or|for|of|with|because")),
)
"""Words with a meaning of their own; ``v`` are those that may stand before or after a time."""

_MARKS: Final = {",": "c", "&": "a", **dict.fromkeys("([{<", "o"), **dict.fromkeys(")]}>", "l")}


def _tokens(text: str) -> list[_Token]:
    """Cut a text up.

    Letters beside those of `_WORDS` and `_MARKS`:

    ``t`` a time, ``n`` a bare whole number that may be one, ``x`` a number that is none, ``d`` a
    dash or "to" after a time, ``k`` a comma inside of digits, ``w`` any other word, ``;`` a stop.
    """
    counts_frames = _FRAMES.search(text) is not None
    tokens: list[_Token] = []
    is_negative = False
    for found in _SCAN.finditer(text):
        follows_time = bool(tokens) and tokens[-1].letter in "tnxl"
        letter, token = "", None
        match found.lastgroup:
            case "dash":
                letter = "d" if follows_time else ""
                is_tight = text[found.end() : found.end() + 1].isdigit()
                is_negative = not letter and found[0] in "-−" and is_tight
                if not letter:
                    continue
            case "word":
                word = found[0].casefold()
                is_count = word == "times" and follows_time  # "2 to 3 times"
                if _NO_WEIGHT.fullmatch(word) and not is_count:
                    continue
                if word in ("to", "through"):
                    letter = "d" if follows_time else "w"
                else:
                    letter = next((x for x, form in _WORDS if form.fullmatch(word)), "w")
            case "mark":
                letter = _MARKS.get(found[0], ";")
                if letter == "c" and _is_inside_digits(text, found.start()):
                    letter = "k"
                if found[0] in ":." and not follows_time:
                    continue
            case _:
                token = _number(found)
                if is_negative or (counts_frames and token.letter == "n"):
                    token = _Token("x")
                is_negative = False
        tokens.append(token or _Token(letter))
    return tokens


def _is_inside_digits(text: str, place: int) -> bool:
    return re.fullmatch(r"\d,\d", text[place - 1 : place + 2]) is not None and place > 0


def _number(found: re.Match[str]) -> _Token:
    """The letter of a number, its time and its unit."""
    if found["clock"]:
        *high, low = found["clock"].replace(",", ".").split(":")
        time = Fraction(0)
        for part in (*high, low):
            time = time * 60 + Fraction(part)
        is_clock = Fraction(low) < 60 and (len(high) == 1 or int(high[-1]) < 60)
        return _Token("t" if is_clock else "x", time, "s")
    if found["long"]:
        hours, minutes = int(found["h"] or 0), int(found["m"])
        return _Token("t", 3600 * hours + 60 * minutes + Fraction(found["s"]), "s")
    if found["minutes"]:
        return _Token("t", 60 * Fraction(found["minutes"]), "min")
    if found["plain"]:
        is_bare = found["plain"].isdigit() and found["unit"] is None
        unit: Literal["", "s"] = "s" if found["unit"] else ""
        return _Token("n" if is_bare else "t", Fraction(found["plain"]), unit)
    return _Token("x")


_T: Final = "o?[tn]l?"
_RANGE: Final = f"{_T}[df]{_T}"
_FORMS: Final = re.compile(
    rf"(?P<keyed>s[wv]{{0,3}}[tn][wvca;]{{0,6}}?(?:e[wv]{{0,3}}|[df])[tn])"
    rf"|(?P<between>b{_T}a{_T})"
    rf"|(?P<pair>o[tn][ck][tn]l)"
    # A list of ranges may be written without blanks; a range inside of a longer chain is none.
    rf"|(?P<ranges>(?<![dfkx]){_RANGE}(?:k{_RANGE})*(?!k|[df]o?[tnx]))"
    rf"|(?P<alone>^[tn][ack][tn];*$)"
)


def _pairs(tokens: list[_Token]) -> Iterator[tuple[Fraction, Fraction]]:
    """The starts and ends that stand in any of the forms, in order."""
    letters = "".join(token.letter for token in tokens)
    for found in _FORMS.finditer(letters):
        inside = tokens[found.start() : found.end()]
        is_bare = all(token.letter != "t" for token in inside)
        is_count = is_bare and letters[found.end() : found.end() + 1] == "w"
        if is_count and (found["ranges"] or found["between"]):
            continue  # "2-3 people", "between 2 and 3 people"
        times = [token for token in inside if token.letter in "tn"]
        for start, end in zip(times[::2], times[1::2], strict=True):
            names_both = end.unit == "min" and not start.unit  # "1 to 2 minutes"
            yield (60 * start.time if names_both else start.time), end.time


NOT_FOUND: Final = "not found"
"""The answer where nothing of the kind is seen."""

_SAME: Final = 0.5
"""Overlap (IoU) from which two spans are told as one, the more probable."""

_ROUNDING: Final = 1e-9
"""What floats may take from an overlap that is equal to it."""

_WORTH_TELLING: Final = 0.05
"""Share of the best span's score that another one must have to be told."""

_UNSURE: Final = 1e-4
"""No frame is held more certain than this, so that none alone decides about a span."""


def clean_query(query: str) -> str:
    """The user's words, without white space around them.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
    """
    clean = query.strip()
    if not clean:
        raise GroundError(
            "ground.query_empty", "the query is empty", hint="describe what happens in the video"
        )
    fault = fault_of([clean])
    if fault is not None:
        raise GroundError("ground.query_invalid", f"the query {fault}")
    return clean


def ground_prompt(query: str, *, duration: Fraction, thinking: bool = False) -> str:
    """The user's text, last in the sequence.

    Args:
        query: what is looked for, as `clean_query` made it.
        duration: of the whole video, in seconds; told as the stamps of frames are.
        thinking: whether the model shall think first.
    """
    asked = (
        f'The video lasts {format_timestamp(duration)} seconds. When does this happen: "{query}"?'
        f" Answer with start - end in seconds, or {NOT_FOUND}."
    )
    return with_thinking(asked, thinking=thinking)


@dataclass(frozen=True)
class Weighed:
    """What the probabilities of frames say of spans.

    Args:
        moments: that do not overlap much, the most probable first.
        scores: how probable each is: its own share and those of the spans that it stands for. They
            and ``not_found`` add up to 1 at most.
        texts: the first and the last stamp of each.
        not_found: how probable it is that no frame shows it.
    """

    moments: tuple[Moment, ...]
    scores: tuple[float, ...]
    texts: tuple[str, ...]
    not_found: float


def weigh_spans(
    times: Sequence[Fraction],
    probabilities: Sequence[float],
    *,
    bounds: Sequence[Fraction],
    top: int,
) -> Weighed:
    """Find the spans that explain best which frames show something.

    That nothing is found is as probable as that the likeliest frame shows nothing: the product over
    all frames would depend on how many were shown. The rest is shared out among all spans, from
    each frame to each later one, as frames within should show it and those without should not.

    Args:
        times: of the shown frames, strictly increasing.
        probabilities: one a frame.
        bounds: frame ``i`` stands for ``[bounds[i], bounds[i + 1])``.
        top: most spans; fewer where the others are far less probable.

    Raises:
        ValueError: if there is no frame, or not one probability and one stretch of time for each.
    """
    import numpy as np  # Not above: help and wrong usage load this file, and need no arrays.

    if not times or not len(times) == len(probabilities) == len(bounds) - 1:
        raise ValueError(
            f"{len(times)} times do not go with {len(probabilities)} probabilities and"
            f" {len(bounds)} bounds"
        )
    sure = np.clip(np.asarray(probabilities, dtype=float), _UNSURE, 1 - _UNSURE)
    sums = np.concatenate(([0.0], np.cumsum(np.log(sure) - np.log1p(-sure))))
    firsts, lasts = np.triu_indices(len(times))
    weights = np.exp((gains := sums[lasts + 1] - sums[firsts]) - gains.max())
    there = float(sure.max())
    shares = weights / weights.sum() * there
    # Floats: of a thousand frames there are half a million spans.
    edges = np.asarray([float(bound) for bound in bounds])
    starts, ends = edges[firsts], edges[lasts + 1]
    kept: list[tuple[int, int]] = []
    scores: list[float] = []
    is_left = np.ones(len(shares), dtype=bool)
    while len(kept) < top and is_left.any():
        best = int(np.where(is_left, shares, -1.0).argmax())
        both = np.minimum(ends, ends[best]) - np.maximum(starts, starts[best])
        either = np.maximum(ends, ends[best]) - np.minimum(starts, starts[best])
        is_same = is_left & (both >= (_SAME - _ROUNDING) * either)
        is_same[best] = True
        kept.append((int(firsts[best]), int(lasts[best])))
        scores.append(float(shares[is_same].sum()))
        is_left &= ~is_same
    order = sorted(range(len(kept)), key=lambda at: -scores[at])
    order = [at for at in order if scores[at] >= _WORTH_TELLING * scores[order[0]]]
    told = [kept[at] for at in order]
    return Weighed(
        moments=tuple(Moment(bounds[first], bounds[last + 1]) for first, last in told),
        scores=tuple(scores[at] for at in order),
        texts=tuple(
            f"{format_timestamp(times[first])} - {format_timestamp(times[last])}"
            for first, last in told
        ),
        not_found=1 - there,
    )
