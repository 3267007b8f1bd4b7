"""Open questions: fractions of answers that are complete phrases, and that are marked as sure.

    python benchmarks/open_questions.py [FOLDER] [--quick] [--show] [--demo CLIP]

100 fixed questions are asked about each clip: the demo clip (`make demo` fetches it, `--demo` sets
another path), two synthetic videos of test seeds, and the videos of FOLDER, if given. This takes
about two minutes per clip on one core; `--quick` asks every tenth question.

An answer is a complete phrase if
1. it consists of words only, with at most commas between them and a full stop at the end;
2. every word is in `open_words.txt`, which lists the words that occur at least five times in the
   captions of Flickr8k's 6,000 training photos, or in `_SYNTHETIC_WORDS`, the vocabulary of the
   synthetic scenes. A rarer word counts against the answer even if it is right; fragments of words,
   such as `s` or `jttom`, are in neither;
3. it does not end in an article, a conjunction, a preposition that takes an object, an auxiliary or
   a possessive (`_INCOMPLETE_ENDS`), nor in a colour after `a ... and`, whose noun is missing;
4. no word occurs twice in a row; and
5. an answer to a request for a description has at least three words.
Correctness is not judged here: `benchmarks/answers.py` measures it on synthetic videos.
"""

import argparse
import hashlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final

import _common

import seedvideo
from seedvideo.evaluate.synthetic.dataset import TEST_SEEDS, make_case, write_video
from seedvideo.model import WEIGHTS
from seedvideo.model.backends.base import Backend, Generation, ImagePart, Part
from seedvideo.model.backends.native import NativeBackend
from seedvideo.model_tasks import QuestionAnswering
from seedvideo.pipeline import prepare

DEMO: Final = Path(__file__).parent.parent / ".venv" / "bikes.mp4"
SUFFIXES: Final = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif"})
WORDS: Final = Path(__file__).with_name("open_words.txt")

DESCRIBE: Final = (
    "What is happening?",
    "What happens?",
    "What's going on?",
    "What is going on in this video?",
    "What happens in the video?",
    "What is happening here?",
    "whats happening",
    "What takes place in this clip?",
    "Describe the video.",
    "Describe the scene.",
    "Please describe this clip.",
    "Can you describe what happens?",
    "Describe what you see in one sentence.",
    "Briefly describe the footage.",
    "Tell me what is happening.",
    "Tell me about this video.",
    "Summarize the video.",
    "Give a short description of the clip.",
    "Caption this.",
    "What is this?",
    "What's this?",
    "What is this video about?",
    "What is it?",
    "What do you see?",
    "What can you see?",
    "What can be seen in the video?",
    "What is seen?",
    "What does the video show?",
    "What is shown here?",
    "What are we looking at?",
    "What is in the video?",
    "What's in this picture?",
    "Who is in the video?",
    "Who can be seen?",
    "What kind of scene is this?",
    "What are they doing?",
    "What is the main activity?",
    "What appears in the video?",
)
"""Questions that ask for a description."""

OTHER: Final = (
    "What is the man doing?",
    "What is the woman doing?",
    "What are the children doing?",
    "What is the person doing?",
    "What is the dog doing?",
    "What does the boy do?",
    "What is the cyclist doing?",
    "What are the people doing in the background?",
    "What colour is the car?",
    "What color is the car?",
    "What colour is the sky?",
    "What colour is the ball?",
    "What colour is the man's shirt?",
    "Which colour is the house?",
    "What is the colour of the bike?",
    "What colours are the shirts?",
    "How many people are there?",
    "How many cars are there?",
    "How many dogs can you see?",
    "How many balls are there?",
    "How many different things appear?",
    "How many people are in the video?",
    "How many times does he jump?",
    "Is there a dog?",
    "Is there a man?",
    "Is there a car?",
    "Are there any people?",
    "Does a red ball appear?",
    "Does a person appear?",
    "Is the man wearing a hat?",
    "Is it day or night?",
    "Do you see a bike?",
    "What appears first?",
    "What appears last?",
    "What moves to the left?",
    "What moves?",
    "Where is the red ball?",
    "Which way does the red ball move?",
    "Where is the man?",
    "Where is this?",
    "Where does this take place?",
    "Who is the man?",
    "Who are they?",
    "What does the woman hold?",
    "What is the man wearing?",
    "What is in the background?",
    "What is on the table?",
    "What sport is played?",
    "What is the weather like?",
    "What time of day is it?",
    "What animal is this?",
    "What does the sign say?",
    "What is written on the screen?",
    "What happens first?",
    "What happens at the end?",
    "When does the man sit down?",
    "How long does it take?",
    "How does the man feel?",
    "Why is the man running?",
    "Why?",
    "What comes next?",
    "Name the main object.",
)
"""Questions about one thing; the embedded model has learned some kinds of them."""

QUESTIONS: Final = (*DESCRIBE, *OTHER)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COLOURS: Final = _words("red orange yellow green blue purple white black brown pink grey")
_SYNTHETIC_WORDS: Final = _COLOURS | _words(
    "yes no one two three four five six left right top bottom middle up down then"
    " ball square triangle star heart ring cross moon"
)
_INCOMPLETE_ENDS: Final = _words(
    "a an the and or but nor of with from to at into onto upon than as if while that which who"
    " whose his her its their my our your is are was were be been being has have"
)


@dataclass(frozen=True)
class GivenAnswer:
    """Answer to one question.

    Args:
        clip: name of the clip.
        question: the question.
        text: the answer; empty if there is none.
        is_sure: whether the model was confident.
        method: method of the answer; the error code if there is no answer.
    """

    clip: str
    question: str
    text: str
    is_sure: bool
    method: str

    @property
    def problem(self) -> str:
        """Reason why the answer is not a complete phrase; empty for a complete or missing one."""
        return find_problem(self.text, known_words(), described=self.question in DESCRIBE)


def main() -> None:
    """Ask all questions about every clip and print the table."""
    parser = argparse.ArgumentParser(
        description="Measure whether open answers are complete phrases."
    )
    parser.add_argument("folder", nargs="?", type=Path, help="more clips")
    parser.add_argument("--demo", type=Path, default=DEMO, help="path of the demo clip")
    parser.add_argument("--quick", action="store_true", help="ask every tenth question")
    parser.add_argument("--show", action="store_true", help="print every answer on stderr")
    args = parser.parse_args()
    questions = QUESTIONS[::10] if args.quick else QUESTIONS
    backend = CachingBackend.from_folder(WEIGHTS / "nano")
    with tempfile.TemporaryDirectory(prefix="seedvideo-questions-") as work:
        clips = clips_of(Path(work), args.demo, args.folder)
        answers = [one for clip in clips for one in ask_all(backend, clip, questions)]
    for one in answers:
        if args.show or one.problem:
            confidence = "sure" if one.is_sure else "not sure"
            kind = f"  INCOMPLETE PHRASE: {one.problem}" if one.problem else ""
            print(
                f"{one.clip}: {one.question} {one.text!r} ({one.method}, {confidence}){kind}",
                file=sys.stderr,
            )
    print(f"{_common.machine()}; model {backend.name} {backend.sha256[:12]}\n")
    print(table(answers))


def clips_of(work: Path, demo: Path, folder: Path | None) -> list[Path]:
    """Return the clips: the demo clip if it exists, two synthetic ones, and those of a folder."""
    clips = []
    if demo.is_file():
        clips.append(demo)
    else:
        print(f"left out: no demo clip at {demo}; make demo fetches it", file=sys.stderr)
    for seed in (TEST_SEEDS, TEST_SEEDS + 1):
        clip = work / f"made-{seed - TEST_SEEDS}.mp4"
        write_video(make_case(seed, "plain"), clip)
        clips.append(clip)
    if folder is not None:
        clips += sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return clips


class CachingBackend(NativeBackend):
    """The embedded model; descriptions of the same frames are cached."""

    _described: ClassVar[dict[bytes, Generation]] = {}

    def generate(self, parts: Sequence[Part], **options: Any) -> Generation:
        """See `Backend.generate`."""
        if options:
            return super().generate(parts, **options)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(
                part.pixels.tobytes() if isinstance(part, ImagePart) else repr(part).encode()
            )
        key = digest.digest()
        if key not in self._described:
            self._described[key] = super().generate(parts)
        return self._described[key]


def ask_all(backend: Backend, clip: Path, questions: Sequence[str]) -> list[GivenAnswer]:
    """Ask all questions about one clip."""
    answers = []
    prepared = prepare(str(clip), model=backend)
    for question in questions:
        try:
            answer: Any = QuestionAnswering.of(question).run(prepared, backend).answer
        except seedvideo.ModelError as error:
            answers.append(GivenAnswer(clip.name, question, "", False, error.code))
        else:
            answers.append(
                GivenAnswer(clip.name, question, answer.answer, answer.confident, answer.method)
            )
    return answers


def find_problem(text: str, known: frozenset[str], *, described: bool) -> str:
    """Return why an answer is not a complete phrase; empty if it is one, or if there is none.

    >>> fault_of("a dog runs", frozenset("a dog runs".split()), described=True)
    ''
    >>> fault_of("wearing a", frozenset("wearing a".split()), described=False)
    "ends in 'a'"
    """
    if not text:
        return ""
    normalized = text.casefold().removesuffix(".")
    if re.fullmatch(r"[a-z'-]+(?:,? [a-z'-]+)*", normalized) is None:
        return "other characters than words"
    words = normalized.replace(",", "").split()
    unknown = [word for word in words if word not in known]
    if unknown:
        return f"{unknown[0]!r} is not a known word"
    if words[-1] in _INCOMPLETE_ENDS:
        return f"ends in {words[-1]!r}"
    if len(words) > 3 and words[-1] in _COLOURS and words[-2] == "and" and words[-3] in _COLOURS:
        return "a colour without its noun"
    if any(one == other for one, other in pairwise(words)):
        return "a word twice in a row"
    if described and len(words) < 3:
        return "too short for a description"
    return ""


@cache
def known_words() -> frozenset[str]:
    """Return the words of human captions and of the synthetic scenes."""
    return frozenset(WORDS.read_text(encoding="utf-8").split()) | _SYNTHETIC_WORDS


def table(answers: Sequence[GivenAnswer]) -> str:
    """Render one row per clip and kind of question, with fractions of the asked questions."""
    lines = [
        "| clip | questions | asked | answered, sure | answered, not sure | no answer |"
        " incomplete phrase | of these sure |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = Counter((one.clip, one.question in DESCRIBE) for one in answers)
    for clip, is_description in [*rows, ("all", True), ("all", False)]:
        own = [
            one
            for one in answers
            if clip in (one.clip, "all") and (one.question in DESCRIBE) is is_description
        ]
        kind = "what happens" if is_description else "about one thing"
        counts = [
            sum(bool(one.text) and one.is_sure for one in own),
            sum(bool(one.text) and not one.is_sure for one in own),
            sum(not one.text for one in own),
            sum(bool(one.problem) for one in own),
            sum(bool(one.problem) and one.is_sure for one in own),
        ]
        cells = " | ".join(f"{count / len(own):.2f}" for count in counts)
        lines.append(f"| {clip} | {kind} | {len(own)} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
