"""Grounding: queries, spans from frame probabilities, and spans parsed from free text.

A model that points gives each frame a probability of showing the query; `spans_from_probabilities`
converts these to half-open spans. The free text of any other model is parsed by `parse_spans`,
which raises an error instead of guessing.

The parser reads seconds (``4.5``, ``4.5 s``), clock times (``1:04.5``, ``1:02:03``) and ``1 min 5
s``. It accepts ranges (``4 - 8``, ``from 4 to 8``, ``between 4 and 8``), pairs in brackets (``[4,
8]``) and starts with ends (``{"start": 4, "end": 8}``, ``starts at 4 and ends at 8``), one or
several, with words around them. The text is cut into tokens of one letter each, and the forms are
regular expressions over these letters.

Times are exact seconds from the start of the video. The prompt is part of how a model was trained:
a changed word changes its output.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, TypeAlias, get_args

from seedvideo.errors import GroundError, ModelError
from seedvideo.tasks.prompts import add_think_suffix, strip_answer_tags
from seedvideo.utils.text import find_problem
from seedvideo.utils.timecode import Span, format_timestamp, seconds

ReversalPolicy: TypeAlias = Literal["refuse", "swap"]
"""How to treat a span that ends before it starts."""

TOLERANCE_S: Final = Fraction(1, 20)
"""Seconds by which a time may lie outside the window: half of the last digit of a frame's stamp."""


@dataclass(frozen=True)
class TimeSpan:
    """A span ``[start, end)`` in seconds; an instant if both are equal, unlike `Span`.

    Raises:
        ValueError: if it starts before zero or ends before it starts.
    """

    start: Fraction
    end: Fraction

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a span from {self.start} s to {self.end} s runs backward")


def parse_spans(
    text: str, *, window: Span, reverse: ReversalPolicy = "refuse"
) -> tuple[TimeSpan, ...]:
    """Parse the spans that a model's free text names.

    Args:
        text: the raw answer, without reasoning.
        window: the time range of the frames; spans are clipped to it.
        reverse: whether a span that ends before it starts is refused or swapped.

    Returns:
        The spans in their order, without duplicates; none if the answer is that there are none.

    Raises:
        ModelError: ``model.answer_unparsable`` if no span can be parsed, one is reversed or outside
            the window, or the answer contradicts itself; the message quotes the raw text.
        ValueError: if ``reverse`` has another value.

    >>> parse_spans("from 0:04 to 0:08.5", window=Span(Fraction(0), Fraction(20)))
    (TimeSpan(start=Fraction(4, 1), end=Fraction(17, 2)),)
    """
    if reverse not in get_args(ReversalPolicy):
        raise ValueError(
            f"reverse is {reverse!r}, expected one of {', '.join(get_args(ReversalPolicy))}"
        )
    answer = strip_answer_tags(text).replace("```json", "").replace("```", "").strip()
    pairs = list(dict.fromkeys(_iter_pairs(_tokenize(answer))))
    denied = _NOT_FOUND_PATTERN.search(answer)
    if not pairs and denied:
        return ()
    if not pairs:
        raise _unparsable_error("contains no time span", text)
    if denied and denied.start() == 0:
        raise _unparsable_error("both denies and names a time span", text)
    spans = []
    for start, end in pairs:
        if end < start and reverse == "refuse":
            raise _unparsable_error("ends before it starts", text)
        start, end = min(start, end), max(start, end)
        if start > window.end + TOLERANCE_S or end < window.start - TOLERANCE_S:
            reach = f"{seconds(window.start):g} to {seconds(window.end):g} s"
            raise _unparsable_error(f"lies outside the analysed window, {reach}", text)
        spans.append(TimeSpan(*(min(max(time, window.start), window.end) for time in (start, end))))
    return tuple(dict.fromkeys(spans))


def _unparsable_error(problem: str, text: str) -> ModelError:
    return ModelError(
        "model.answer_unparsable",
        f"the answer {problem}: {text!r}",
        hint="rephrase the query, or try another model",
    )


_NOT_FOUND_PATTERN: Final = re.compile(
    r"""
    ^\W*(?:none|no|nothing|never|null|n/?a)\W*$ | ^(?:\[\s*\]|\{\s*\})$  # the whole answer
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
    """A word, punctuation character or number: its letter in the patterns, and its time.

    ``unit`` follows a number or is part of it; a range may name it once, at its end.
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
_IGNORED_WORDS: Final = re.compile(
    r"is|are|the|about|around|approx\w*|roughly|exactly|times?|timestamps?|s|secs?|seconds?"
)
_FRAME_NUMBER: Final = re.compile(r"\bframes?\W{0,3}\d", re.IGNORECASE)
_WORD_LETTERS: Final = (
    ("f", re.compile(r"until|till")),
    ("a", re.compile(r"and")),
    ("b", re.compile(r"between")),
    ("s", re.compile(r"(?:starts?|started|starting|begins?|began|beginning|onset)(?:[_t]\w*)?")),
    ("e", re.compile(r"(?:ends?|ended|ending|stops?|finish(?:es)?)(?:[_t]\w*)?")),
    ("v", re.compile(r"at|in|when|while|where|as|then|or|for|of|with|because")),
)
"""Words with a letter of their own; ``v`` are those that may precede or follow a time."""

_PUNCTUATION_LETTERS: Final = {
    ",": "c",
    "&": "a",
    **dict.fromkeys("([{<", "o"),
    **dict.fromkeys(")]}>", "l"),
}


def _tokenize(text: str) -> list[_Token]:
    """Split a text into tokens.

    Letters besides those of `_WORD_LETTERS` and `_PUNCTUATION_LETTERS`:

    ``t`` a time, ``n`` a bare whole number that may be a time, ``x`` a number that is not a time,
    ``d`` a dash or "to" after a time, ``k`` a comma inside digits, ``w`` any other word, ``;`` a
    stop.
    """
    counts_frames = _FRAME_NUMBER.search(text) is not None
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
                if _IGNORED_WORDS.fullmatch(word) and not is_count:
                    continue
                if word in ("to", "through"):
                    letter = "d" if follows_time else "w"
                else:
                    letter = next((x for x, form in _WORD_LETTERS if form.fullmatch(word)), "w")
            case "mark":
                letter = _PUNCTUATION_LETTERS.get(found[0], ";")
                if letter == "c" and _is_inside_digits(text, found.start()):
                    letter = "k"
                if found[0] in ":." and not follows_time:
                    continue
            case _:
                token = _parse_number(found)
                if is_negative or (counts_frames and token.letter == "n"):
                    token = _Token("x")
                is_negative = False
        tokens.append(token or _Token(letter))
    return tokens


def _is_inside_digits(text: str, index: int) -> bool:
    """Return whether the comma at ``index`` is directly between two digits."""
    return re.fullmatch(r"\d,\d", text[index - 1 : index + 2]) is not None and index > 0


def _parse_number(found: re.Match[str]) -> _Token:
    """Return the token of a number: its letter, time and unit."""
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


_TIME: Final = "o?[tn]l?"
_RANGE: Final = f"{_TIME}[df]{_TIME}"
_FORMS: Final = re.compile(
    rf"(?P<keyed>s[wv]{{0,3}}[tn][wvca;]{{0,6}}?(?:e[wv]{{0,3}}|[df])[tn])"
    rf"|(?P<between>b{_TIME}a{_TIME})"
    rf"|(?P<pair>o[tn][ck][tn]l)"
    # A list of ranges may have no spaces; a range inside a longer chain does not count.
    rf"|(?P<ranges>(?<![dfkx]){_RANGE}(?:k{_RANGE})*(?!k|[df]o?[tnx]))"
    rf"|(?P<alone>^[tn][ack][tn];*$)"
)


def _iter_pairs(tokens: list[_Token]) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield the starts and ends that match any of the forms, in order."""
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
"""The answer if no frame shows the query."""

_MIN_MERGE_IOU: Final = 0.5
"""Overlapping spans with at least this IoU are reported as one, the more probable."""

_IOU_TOLERANCE: Final = 1e-9
"""Tolerance for rounding errors of an overlap that equals the limit."""

_MIN_RELATIVE_SCORE: Final = 0.05
"""Spans with less than this fraction of the best score are not reported."""

_MIN_UNCERTAINTY: Final = 1e-4
"""Probabilities are clipped this far from 0 and 1, so that no single frame decides about a span."""


def clean_query(query: str) -> str:
    """Strip and check a user's query.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
    """
    clean = query.strip()
    if not clean:
        raise GroundError(
            "ground.query_empty", "the query is empty", hint="describe what happens in the video"
        )
    problem = find_problem([clean])
    if problem is not None:
        raise GroundError("ground.query_invalid", f"the query {problem}")
    return clean


def ground_prompt(query: str, *, duration: Fraction, thinking: bool = False) -> str:
    """Return the prompt for a query.

    Args:
        query: text from `clean_query`.
        duration: duration of the whole video in seconds, written like the frames' stamps.
        thinking: whether to request reasoning.
    """
    prompt = (
        f'The video lasts {format_timestamp(duration)} seconds. When does this happen: "{query}"?'
        f" Answer with start - end in seconds, or {NOT_FOUND}."
    )
    return add_think_suffix(prompt, thinking=thinking)


@dataclass(frozen=True)
class ScoredSpans:
    """Spans with probabilities.

    Args:
        spans: spans with little overlap, the most probable first.
        scores: probability of each, including the overlapping spans merged into it. They and
            ``not_found_probability`` sum to at most 1.
        texts: first and last frame stamp of each span.
        not_found_probability: probability that no frame shows the query.
    """

    spans: tuple[TimeSpan, ...]
    scores: tuple[float, ...]
    texts: tuple[str, ...]
    not_found_probability: float


def spans_from_probabilities(
    times: Sequence[Fraction],
    probabilities: Sequence[float],
    *,
    bounds: Sequence[Fraction],
    top: int,
) -> ScoredSpans:
    """Find the spans that best explain which frames show the query.

    The probability that nothing is found is that of the likeliest frame showing nothing; the
    product over all frames would depend on their number. The rest is distributed over all spans,
    from each frame to each later one, by the odds of the frames inside.

    Args:
        times: frame times, strictly increasing.
        probabilities: one per frame.
        bounds: frame ``i`` represents ``[bounds[i], bounds[i + 1])``.
        top: maximum number of spans; fewer if the others are far less probable.

    Raises:
        ValueError: if there are no frames, or the lengths do not match.
    """
    import numpy as np  # imported late: --help loads this module and needs no arrays

    if not times or not len(times) == len(probabilities) == len(bounds) - 1:
        raise ValueError(
            f"{len(times)} times do not match {len(probabilities)} probabilities and"
            f" {len(bounds)} bounds"
        )
    clipped = np.clip(
        np.asarray(probabilities, dtype=float), _MIN_UNCERTAINTY, 1 - _MIN_UNCERTAINTY
    )
    sums = np.concatenate(([0.0], np.cumsum(np.log(clipped) - np.log1p(-clipped))))
    firsts, lasts = np.triu_indices(len(times))
    weights = np.exp((gains := sums[lasts + 1] - sums[firsts]) - gains.max())
    found_probability = float(clipped.max())
    span_probabilities = weights / weights.sum() * found_probability
    # Floats for speed: a thousand frames have half a million spans.
    edges = np.asarray([float(bound) for bound in bounds])
    starts, ends = edges[firsts], edges[lasts + 1]
    kept: list[tuple[int, int]] = []
    scores: list[float] = []
    remaining = np.ones(len(span_probabilities), dtype=bool)
    while len(kept) < top and remaining.any():
        best = int(np.where(remaining, span_probabilities, -1.0).argmax())
        both = np.minimum(ends, ends[best]) - np.maximum(starts, starts[best])
        either = np.maximum(ends, ends[best]) - np.minimum(starts, starts[best])
        is_same = remaining & (both >= (_MIN_MERGE_IOU - _IOU_TOLERANCE) * either)
        is_same[best] = True
        kept.append((int(firsts[best]), int(lasts[best])))
        scores.append(float(span_probabilities[is_same].sum()))
        remaining &= ~is_same
    order = sorted(range(len(kept)), key=lambda at: -scores[at])
    order = [at for at in order if scores[at] >= _MIN_RELATIVE_SCORE * scores[order[0]]]
    ordered = [kept[at] for at in order]
    return ScoredSpans(
        spans=tuple(TimeSpan(bounds[first], bounds[last + 1]) for first, last in ordered),
        scores=tuple(scores[at] for at in order),
        texts=tuple(
            f"{format_timestamp(times[first])} - {format_timestamp(times[last])}"
            for first, last in ordered
        ),
        not_found_probability=1 - found_probability,
    )
