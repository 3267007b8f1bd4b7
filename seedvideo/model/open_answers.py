"""Open questions for a small model: classify each, then use the ability trained for its kind.

Separate from the native backend because it needs only the Protocols of a backend, and no tensors.
In free text, a small model answers questions that it was not trained for with fragments of words.
Here every answer is a complete phrase by construction, or the error `model.no_answer`:

    description   caption branch: "What is happening?", "Describe the video."
    action        clause of a caption: "What is the man doing?"
    colour        constrained choice: "What colour is the car?"
    count         constrained choice: "How many dogs are there?"
    yes_or_no     constrained choice: "Is there a dog?", "Does a red ball appear?"
    place         constrained choice: "Where is the red ball?"
    direction     constrained choice: "Which way does the red ball move?"
    thing         constrained choice: "What appears first?", "What moves to the left?"

Places, directions and order work for coloured shapes only, which the model learned from synthetic
scenes. An answer that is improbable, or about something undetected, is marked as unsure. A question
about a coloured shape that no frame shows has no answer. The parser reads English.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, Protocol, TypeAlias

from seedvideo.errors import ModelError
from seedvideo.model.backends.base import (
    Backend,
    Generation,
    Note,
    Part,
    SupportsChoice,
    SupportsPointing,
    TextPart,
)
from seedvideo.tasks.prompts import CAPTION_PROMPT, SENTENCE_JOINER
from seedvideo.tasks.question_answering import Question

QuestionKind: TypeAlias = Literal[
    "description", "action", "colour", "count", "yes_or_no", "place", "direction", "thing"
]

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
"""Colours of the shapes in synthetic scenes, in the order of
`seedvideo.evaluate.synthetic.world`.
"""
SHAPES: Final = ("ball", "square", "triangle", "star", "heart", "ring", "cross", "moon")
"""Shapes in synthetic scenes, in the order of `seedvideo.evaluate.synthetic.world`."""

THINGS: Final = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
"""Every coloured shape of the synthetic scenes."""


@dataclass(frozen=True)
class ParsedQuestion:
    """Kind and parts of a question.

    Args:
        kind: kind of the question.
        subject: noun whose action, colour or number is asked for; empty if there is none.
        wording: the question in the training wording; empty to use the user's wording.
    """

    kind: QuestionKind
    subject: str = ""
    wording: str = ""


def parse_question(text: str) -> ParsedQuestion | None:
    """Classify a question; return None if it is of no supported kind.

    >>> parse_question("What's going on in this video?")
    ParsedQuestion(kind='description', subject='', wording='')
    >>> parse_question("How many dogs can you see?")
    ParsedQuestion(kind='count', subject='dogs', wording='How many dogs are there?')
    >>> parse_question("Why does the man run?")
    """
    question = _normalize(text)
    if _is_description_request(question):
        return ParsedQuestion("description")
    for kind, form, wording in _FORMS:
        found = form.fullmatch(question)
        if found is not None:
            return _parse_groups(kind, found.groupdict(), wording)
    return None


def _parse_groups(kind: QuestionKind, parts: dict[str, str | None], wording: str) -> ParsedQuestion:
    subject, phrase = parts.get("subject") or "", parts.get("phrase") or ""
    if kind == "yes_or_no" and phrase:
        words = phrase.split()
        phrase = " ".join([*words[:-1], singularize(words[-1])])
    be = "are" if parts.get("be") in ("are", "were") else "is"
    a = "an" if phrase[:1] in tuple("aeiou") else "a"
    return ParsedQuestion(kind, subject, wording.format(phrase=phrase, be=be, a=a))


def singularize(noun: str) -> str:
    """Return the singular of a noun, by rule.

    >>> [singularize(noun) for noun in ("dogs", "people", "puppies", "benches", "grass", "man's")]
    ['dog', 'person', 'puppy', 'bench', 'grass', 'man']
    """
    word = noun.removesuffix("'s")
    if word in _SINGULARS:
        return _SINGULARS[word]
    if re.search(r"(?:ss|x|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if re.search(r"[^su]s$", word) else word


_SINGULARS: Final = {"people": "person", "men": "man", "women": "woman", "children": "child"}


def find_things(text: str) -> tuple[str, ...]:
    """Return the coloured shapes that a text names, each once, in the singular.

    >>> find_things("0.2 - 0.8 two red balls; 2.4 - 3.0 blue cross moves up; 5.0 red ball left")
    ('red ball', 'blue cross')
    """
    named = (f"{colour} {shape}" for colour, shape in _THING.findall(text.casefold()))
    return tuple(dict.fromkeys(named))


def _normalize(text: str) -> str:
    """Lower-case a question; remove punctuation, contractions and leading courtesies."""
    words = text.casefold().replace("’", "'")
    words = re.sub(r"\b(what|who|where|there|it|that)'?s\b", r"\1 is", words)
    words = re.sub(r"\b(what|who)'re\b", r"\1 are", words)
    words = re.sub(r"\bcolor", "colour", words)
    words = " ".join(re.findall(r"[\w'-]+", words))
    return _COURTESY.sub("", words)


_COURTESY: Final = re.compile(
    r"^(?:(?:please|kindly|hi|hello|hey|ok|okay|so|now|well|just) )*"
    r"(?:(?:can|could|would|will) you (?:please |kindly |briefly )?(?=describe|tell|say|summ|expl)"
    r"|i(?: want|'d like| would like)(?: you)? to (?:know |see )?)?"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPENING_WORDS: Final = _words(
    "what who which describe summarize summarise explain tell say narrate caption report outline"
    " give write provide make briefly shortly in a an the short description summary overview"
)
"""First words of a request for a description."""

_DESCRIPTION_WORDS: Final = _words(
    "happen happens happened happening occur occurs occurred occurring going goes place takes took"
    " taking unfolding see seen seeing sees observe observed notice noticed watch watching visible"
    " look looks looking show shows shown showing depict depicts depicted display displays"
    " displayed contain contains feature features appear appears pictured filmed recorded captured"
    " portrayed presented describe description summarize summarise summary overview explain narrate"
    " caption report outline synopsis video clip film movie footage recording scene image picture"
    " photo photograph frame frames shot sequence animation gif screen segment this that it there"
    " here content contents doing event events action actions activity activities story topic theme"
)
"""Words that distinguish a request for a description from other questions; it has at least one."""

_FILLER_WORDS: Final = _words(
    "is are was were be being been do does did can could would should may have has had you we i one"
    " they he she people everybody everyone someone somebody anybody anyone me us all everything"
    " anything things thing else the a an these those my our your of in on at to for about from"
    " during throughout within inside by with and or so now right currently exactly briefly shortly"
    " please overall general main whole entire short brief concise detailed detail details"
    " kind type sort subject like"
    " up out words few sentence single own line"
)
"""Other words that a request for a description may contain."""


def _is_description_request(question: str) -> bool:
    words = question.split()
    return (
        bool(words)
        and words[0] in _OPENING_WORDS
        and not _DESCRIPTION_WORDS.isdisjoint(words)
        and (_DESCRIPTION_WORDS | _FILLER_WORDS | _OPENING_WORDS).issuperset(words)
    )


_THING_PHRASE: Final = rf"(?:(?:the|a|an) )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})(?:e?s)?"
_THING: Final = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?:e?s)?\b")
_BE: Final = r"(?:is|are|was|were)"
_THE: Final = r"(?:(?:the|this|that|these|those|his|her|their|its|a|an|any|some) )?"
_NOT_IN_NAMES: Final = (
    "is|are|was|were|do|does|did|has|have|can|could|will|or|and|not|no"  # of another clause
    "|than|more|less|fewer|most|enough|why|how|when|where|what|who|which|if|whether|because|to"
    "|two|three|four|five|six|seven|eight|nine|ten|\\d+"  # a comparison, a reason, a number
    "|it|he|she|they|him|them|you|we|anything|something|nothing|everything"  # names no thing
)
_WORD: Final = rf"(?!(?:{_NOT_IN_NAMES})\b)[\w'-]+"
"""A word in the name of a thing."""
_PHRASE: Final = rf"(?P<phrase>(?:{_WORD} )*?(?P<subject>{_WORD}))"
_OPTIONAL_PLACE: Final = rf"(?: (?:in|on|with|at|near|under|behind) {_WORD}(?: {_WORD})*?)?"
_WHERE_SEEN: Final = r"(?: (?:in|on) (?:the|this|that) (?:video|clip|film|scene|picture|photo))?"
_VISIBLE: Final = r"(?:there|visible|shown|seen|present|to be seen)"

_COLOUR: Final = "What colour {be} the {phrase}?"
_COUNT: Final = "How many {phrase} are there?"
_IS_THERE: Final = "Is there {a} {phrase}?"

_FORMS_OF_KINDS: Final[tuple[tuple[QuestionKind, str, str], ...]] = (
    (
        "action",
        rf"what (?:{_BE}|does|do|did) {_THE}{_PHRASE}{_OPTIONAL_PLACE} (?:doing|do|up to)",
        "",
    ),
    ("colour", rf"(?:what|which) colours? (?P<be>{_BE}) {_THE}{_PHRASE}", _COLOUR),
    ("colour", rf"(?:what|which) colours? (?P<be>does|do) {_THE}{_PHRASE} have", _COLOUR),
    ("colour", rf"what (?P<be>{_BE}) the colours? of {_THE}{_PHRASE}", _COLOUR),
    ("colour", r"(?:what|which) colour (?:comes|appears) (?:first|last)", ""),
    ("count", rf"how many {_PHRASE} are there at once|how many different things appear", ""),
    (
        "count",
        rf"how many (?!times\b){_PHRASE}(?: {_BE}(?: {_VISIBLE})?| appear| (?:do|can) you see"
        r"| can be seen)?",
        _COUNT,
    ),
    ("place", rf"where {_BE} {_THING_PHRASE}", ""),
    (
        "direction",
        rf"(?:which way|(?:in )?(?:which|what) direction|where) (?:does|do|did|{_BE})"
        rf" {_THING_PHRASE} (?:move|moving|go|going)",
        "",
    ),
    (
        "thing",
        rf"what (?:appears|comes) (?:first|last|(?:right )?(?:after|before) {_THING_PHRASE})"
        r"|what moves (?:up|down|(?:to the )?(?:left|right))",
        "",
    ),
    (
        "yes_or_no",
        rf"(?:does|do|did) {_THING_PHRASE} appear(?: (?:before|after) {_THING_PHRASE})?",
        "",
    ),
    ("yes_or_no", rf"(?:is|are) there (?:(?:a|an|any|some) )?{_PHRASE}", _IS_THERE),
    ("yes_or_no", rf"(?:does|do|did) (?:(?:a|an|any) )?{_PHRASE} appear", _IS_THERE),
    ("yes_or_no", rf"(?:is|are) (?:(?:a|an|any|the) )?{_PHRASE} {_VISIBLE}", _IS_THERE),
    (
        "yes_or_no",
        rf"(?:do|can|did|could) (?:you|we|i|one) see (?:(?:a|an|any|the|some) )?{_PHRASE}",
        _IS_THERE,
    ),
)
"""Patterns of each kind, without punctuation, and the training wording; the first match decides."""

_FORMS: Final = tuple(
    (kind, re.compile(form + _WHERE_SEEN), wording) for kind, form, wording in _FORMS_OF_KINDS
)

KNOWN_ANSWERS: Final[Mapping[QuestionKind, tuple[str, ...]]] = {
    "colour": (*COLOURS, "brown", "pink", "grey"),
    "count": ("one", "two", "three", "four", "five", "six"),
    "yes_or_no": ("yes", "no"),
    "place": ("left", "right", "top", "bottom", "middle"),
    "direction": ("left", "right", "up", "down"),
    "thing": THINGS,
}
"""All answers in the training data, by kind of question."""

MIN_SHAPE_PROBABILITY: Final = 0.7
"""Minimum probability for a coloured shape to count as detected. Of slideshows of dev photos, 1
of 36 answers and 0 of 59 reasoning texts named a shape above it. In synthetic videos of dev
seeds, 28 of 29 shapes were above it; the other one occurs in no training video.
"""

MIN_NOUN_PROBABILITY: Final = 0.5
"""Minimum probability for an everyday object to count as present: likelier than not."""

UNSURE_CODE: Final = "answer.unsure"
"""Code of the note on an unsure answer."""

_MAX_QUOTED: Final = 80
_OPEN_ENDS: Final = _words(
    "a an the and or but nor of with from to at into onto upon than as if while that which who"
    " whose his her its their my our your is are was were be been being has have"
)
"""Words that cannot end a phrase. Particles of verbs, as in "stands up", are not included."""


class OpenQuestionModel(Backend, SupportsChoice, SupportsPointing, Protocol):
    """Protocols that answering an open question may need."""


def answer_open_question(
    model: OpenQuestionModel,
    frame_parts: Sequence[Part],
    question: str,
    *,
    thinking: bool,
    thresholds: Mapping[str, float],
) -> Generation:
    """Answer an open question about the frames.

    Args:
        model: a model with all abilities.
        frame_parts: frames with their times, without the user's text.
        question: the user's text.
        thinking: whether to generate reasoning first; ignored for descriptions.
        thresholds: minimum probability of a confident answer, by kind of question.

    Raises:
        ModelError: ``model.no_answer`` if the model was not trained for such questions, or detects
            none of the shapes that the question is about.
    """
    asked = parse_question(question)
    if asked is None:
        raise _not_learned_error(model, question)
    if asked.kind in ("description", "action"):
        return _describe(model, frame_parts, asked)
    candidates = KNOWN_ANSWERS[asked.kind]
    chosen = model.choose(
        [*frame_parts, TextPart(Question.of(asked.wording or question).prompt(thinking=thinking))],
        candidates,
        task="ask",
        thinking=thinking,
        top=1,
    )
    (best,) = chosen.ranked
    text = candidates[best.index]
    doubts = _find_doubts(model, frame_parts, question, asked, text)
    if best.probability < thresholds[asked.kind]:
        doubts.append(
            f"{text!r} has a probability of {best.probability:.2f}, expected at least"
            f" {thresholds[asked.kind]:.2f}"
        )
    return Generation(
        text=text,
        confident=chosen.confident and not doubts,
        familiarity=chosen.familiarity,
        usage=chosen.usage,
        thinking=chosen.thinking,
        probability=best.probability,
        method="known_answers",
        notes=(*chosen.notes, *(Note(UNSURE_CODE, doubt) for doubt in doubts)),
    )


def detects_thing(model: OpenQuestionModel, frame_parts: Sequence[Part], thing: str) -> bool:
    """Return whether the model detects a coloured shape, such as ``red ball``, when asked about it.

    It must answer yes and point at a frame. Shapes that it names unprompted are not evidence: it
    names them in any film.
    """
    asked = Question.of(f"Does {_indefinite_article(thing)} {thing} appear?")
    pointed = model.point([*frame_parts, TextPart(asked.prompt())], task="ask")
    if max(pointed.probabilities) < MIN_SHAPE_PROBABILITY:
        return False
    return _yes_probability(model, frame_parts, asked) >= MIN_SHAPE_PROBABILITY


def _yes_probability(
    model: OpenQuestionModel, frame_parts: Sequence[Part], asked: Question
) -> float:
    """Return the probability of the answer "yes"."""
    parts = [*frame_parts, TextPart(asked.prompt())]
    ranked = model.choose(parts, KNOWN_ANSWERS["yes_or_no"], task="ask", top=2).ranked
    return next(choice.probability for choice in ranked if choice.index == 0)


def _describe(
    model: OpenQuestionModel, frame_parts: Sequence[Part], asked: ParsedQuestion
) -> Generation:
    """Return the caption, or its clause about the subject's action."""
    made = replace(model.generate([*frame_parts, TextPart(CAPTION_PROMPT)]), method="description")
    words = made.text.split()
    if not words or words[-1].casefold() in _OPEN_ENDS:
        note = Note(UNSURE_CODE, "the description is incomplete")
        made = replace(made, confident=False, notes=(*made.notes, note))
    if asked.kind == "description":
        return made
    action = find_action(made.text, asked.subject)
    if action is None:
        raise ModelError(
            "model.no_answer",
            f"the description by {model.name} has no action of the {asked.subject}: {made.text!r}",
            hint='ask "What happens?" for the description, or give answers to choose from'
            " (--options)",
        )
    return replace(made, text=action)


def find_action(description: str, subject: str) -> str | None:
    """Return the action of the subject in a description; None if the description has none.

    >>> find_action("a man in a hat is riding a bike, then two dogs run on sand", "man")
    'riding a bike'
    >>> find_action("a man is riding a bike", "dog")
    """
    who = rf"\b(?:{'|'.join(map(re.escape, _synonyms(subject.casefold())))})\b(?: [\w-]+)*?"
    scenes = description.casefold().split(SENTENCE_JOINER)
    for scene, form in product(scenes, (rf"{who} (?:is|are)", who)):
        found = re.search(rf"{form} (?P<doing>(?!{_NOT_VERBS})\w{{2,}}ing\b.*)", scene)
        if found is not None and found["doing"].split()[-1] not in _OPEN_ENDS:
            return found["doing"]
    return None


_NOT_VERBS: Final = (
    r"(?:building|clothing|railing|swimming (?:pool|trunks|suit)|something|string|ring|wing|king"
    r"|evening|morning|during|ceiling|crossing|wedding|spring|swing)\b"
)

_SYNONYMS: Final = (
    ("man", "guy", "gentleman"),
    ("woman", "lady"),
    ("child", "kid", "boy", "girl", "toddler", "baby"),
    ("children", "kids", "boys", "girls"),
    ("person", "man", "woman", "boy", "girl", "child", "guy", "lady"),
    ("cyclist", "biker", "man", "woman", "person"),
    ("dog", "puppy"),
    ("dogs", "puppies"),
)
"""Nouns that may name the first noun of their row in a caption."""


def _synonyms(subject: str) -> tuple[str, ...]:
    return next((names for names in _SYNONYMS if names[0] == subject), (subject,))


def _find_doubts(
    model: OpenQuestionModel,
    frame_parts: Sequence[Part],
    question: str,
    asked: ParsedQuestion,
    text: str,
) -> list[str]:
    """List the reasons against an answer whose question presupposes that something is visible.

    Raises:
        ModelError: ``model.no_answer`` if that is a coloured shape, and no frame shows any.
    """
    if asked.kind == "yes_or_no":
        return []
    things = find_things(f"{question} {text}" if asked.kind == "thing" else question)
    missing = [thing for thing in things if not detects_thing(model, frame_parts, thing)]
    if missing and not _detects_any_thing(model, frame_parts, other_than=missing):
        raise ModelError(
            "model.no_answer",
            f"{model.name} detects no {missing[0]} in any frame",
            hint='ask "What happens?" for a description, or give answers to choose from'
            " (--options)",
        )
    noun = singularize(asked.subject)
    if things or not noun or noun in _GENERIC_NOUNS:
        return [f"the model detects no {thing} in any frame" for thing in missing]
    if (
        asked.kind == "colour"
        and noun in SHAPES
        and detects_thing(model, frame_parts, f"{text} {noun}")
    ):
        return []
    probability = _yes_probability(
        model, frame_parts, Question.of(f"Is there {_indefinite_article(noun)} {noun}?")
    )
    if probability >= MIN_NOUN_PROBABILITY:
        return []
    return [f"the model detects no {noun}: its probability is {probability:.2f}"]


def _detects_any_thing(
    model: OpenQuestionModel, frame_parts: Sequence[Part], *, other_than: Sequence[str]
) -> bool:
    """Return whether any other coloured shape is detected: a missing one may still be there."""
    named = set()
    for question in ("What appears first?", "What appears last?"):
        parts = [*frame_parts, TextPart(Question.of(question).prompt())]
        (best,) = model.choose(parts, THINGS, task="ask", top=1).ranked
        named.add(THINGS[best.index])
    return any(
        detects_thing(model, frame_parts, thing) for thing in sorted(named - set(other_than))
    )


_GENERIC_NOUNS: Final = frozenset({"thing", "colour", "kind", "time"})


def _indefinite_article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _not_learned_error(model: OpenQuestionModel, question: str) -> ModelError:
    quoted = question if len(question) <= _MAX_QUOTED else f"{question[:_MAX_QUOTED]}..."
    hint = 'give answers to choose from (--options), or ask "What happens?" for a description'
    if re.match(r"\W*(?:when|at what time)\b", question, re.IGNORECASE):
        hint = "find when something happens with: seedvideo ground"
    elif re.match(r"\W*(?:is|are|was|were|do|does|did|has|have|can)\b", question, re.IGNORECASE):
        hint = "give answers to choose from, such as --options yes,no"
    return ModelError(
        "model.no_answer", f"{model.name} was not trained to answer {quoted!r}", hint=hint
    )
