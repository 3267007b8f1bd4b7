"""Open questions to a small model: each kind is answered by the ability that learned it.

    description, action                     the branch that describes; an action is a clause of it
    colour, count, yes_or_no, place,        the likeliest of the answers that there are, with its
    direction, thing                        probability
    anything else                           `model.no_answer`

Left to write freely, such a model answers what it never learned with pieces of words. Here an
answer is a whole phrase by its making. What remains is whether it is right: an answer whose
probability is low, or that is about something the model does not see, is told as unsure; one about
a coloured shape that the model finds in no frame is none (made scenes taught it to name them).

Knows words and abilities of a model; no tensors, no files.

Which kind of open question a text is, for a model that learned some kinds and not others.

    description   what happens, what is seen: "What is happening?", "Describe the video."
    action        what somebody does: "What is the man doing?"
    colour        "What colour is the car?"
    count         "How many dogs are there?"
    yes_or_no     "Is there a dog?", "Does a red ball appear?"
    place         where a coloured shape is: "Where is the red ball?"
    direction     which way a coloured shape moves: "Which way does the red ball move?"
    thing         which coloured shape: "What appears first?", "What moves to the left?"

Coloured shapes are what the made scenes show that the embedded model learned from: it learned
places, directions and the order of events of them alone. Reads English; knows nothing of models.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, Protocol, TypeAlias

from seedvideo.errors import ModelError
from seedvideo.model.backends.base import (
    Backend,
    Chooser,
    Generation,
    Note,
    Part,
    Pointer,
    TextPart,
)
from seedvideo.tasks.prompts import CAPTION_PROMPT, THEN
from seedvideo.tasks.question_answering import Question

QuestionKind: TypeAlias = Literal[
    "description", "action", "colour", "count", "yes_or_no", "place", "direction", "thing"
]

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
"""Colours of the shapes in made scenes, in the order of `seedvideo.evaluate.synthetic.world`."""

SHAPES: Final = ("ball", "square", "triangle", "star", "heart", "ring", "cross", "moon")
"""Shapes in made scenes, likewise."""

THINGS: Final = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
"""Every coloured shape that a made scene can show."""


@dataclass(frozen=True)
class Asked:
    """What a question asks for.

    Args:
        kind: of the question.
        subject: the noun whose action, colour or number is asked for; empty where there is none.
        wording: the question as training put it; empty where that is as the user does.
    """

    kind: QuestionKind
    subject: str = ""
    wording: str = ""


def read_question(text: str) -> Asked | None:
    """Find out what a question asks for; None where it is of no kind above.

    >>> read_question("What's going on in this video?")
    Asked(kind='description', subject='', wording='')
    >>> read_question("How many dogs can you see?")
    Asked(kind='count', subject='dogs', wording='How many dogs are there?')
    >>> read_question("Why does the man run?")
    """
    question = _plain(text)
    if _asks_for_a_description(question):
        return Asked("description")
    for kind, form, wording in _FORMS:
        found = form.fullmatch(question)
        if found is not None:
            return _asked(kind, found.groupdict(), wording)
    return None


def _asked(kind: QuestionKind, parts: dict[str, str | None], wording: str) -> Asked:
    subject, phrase = parts.get("subject") or "", parts.get("phrase") or ""
    if kind == "yes_or_no" and phrase:
        words = phrase.split()
        phrase = " ".join([*words[:-1], singular(words[-1])])
    be = "are" if parts.get("be") in ("are", "were") else "is"
    a = "an" if phrase[:1] in tuple("aeiou") else "a"
    return Asked(kind, subject, wording.format(phrase=phrase, be=be, a=a))


def singular(noun: str) -> str:
    """One of several, by rule.

    >>> [singular(noun) for noun in ("dogs", "people", "puppies", "benches", "grass", "man's")]
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


def things_in(text: str) -> tuple[str, ...]:
    """The coloured shapes that a text names, each once, in the singular.

    >>> things_in("0.2 - 0.8 two red balls; 2.4 - 3.0 blue cross moves up; 5.0 red ball left")
    ('red ball', 'blue cross')
    """
    named = (f"{colour} {shape}" for colour, shape in _THING.findall(text.casefold()))
    return tuple(dict.fromkeys(named))


def _plain(text: str) -> str:
    """Lower case, single spaces, no punctuation, no contractions, no courtesies in front."""
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


_OPENING: Final = _words(
    "what who which describe summarize summarise explain tell say narrate caption report outline"
    " give write provide make briefly shortly in a an the short description summary overview"
)
"""What a wish for a description begins with."""

_ASKS_FOR_IT: Final = _words(
    "happen happens happened happening occur occurs occurred occurring going goes place takes took"
    " taking unfolding see seen seeing sees observe observed notice noticed watch watching visible"
    " look looks looking show shows shown showing depict depicts depicted display displays"
    " displayed contain contains feature features appear appears pictured filmed recorded captured"
    " portrayed presented describe description summarize summarise summary overview explain narrate"
    " caption report outline synopsis video clip film movie footage recording scene image picture"
    " photo photograph frame frames shot sequence animation gif screen segment this that it there"
    " here content contents doing event events action actions activity activities story topic theme"
)
"""Words that tell a wish for a description from other questions; one at least is there."""

_BESIDE_IT: Final = _words(
    "is are was were be being been do does did can could would should may have has had you we i one"
    " they he she people everybody everyone someone somebody anybody anyone me us all everything"
    " anything things thing else the a an these those my our your of in on at to for about from"
    " during throughout within inside by with and or so now right currently exactly briefly shortly"
    " please overall general main whole entire short brief concise detailed detail details"
    " kind type sort subject like"
    " up out words few sentence single own line"
)
"""Words that may stand beside them and change nothing."""


def _asks_for_a_description(question: str) -> bool:
    words = question.split()
    return (
        bool(words)
        and words[0] in _OPENING
        and not _ASKS_FOR_IT.isdisjoint(words)
        and (_ASKS_FOR_IT | _BESIDE_IT | _OPENING).issuperset(words)
    )


_A_THING: Final = (
    rf"(?:(?:the|a|an) )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})(?:e?s)?"  # one or several
)
_THING: Final = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?:e?s)?\b")
_BE: Final = r"(?:is|are|was|were)"
_THE: Final = r"(?:(?:the|this|that|these|those|his|her|their|its|a|an|any|some) )?"
_NO_PARTS: Final = (
    "is|are|was|were|do|does|did|has|have|can|could|will|or|and|not|no"  # of another clause
    "|than|more|less|fewer|most|enough|why|how|when|where|what|who|which|if|whether|because|to"
    "|two|three|four|five|six|seven|eight|nine|ten|\\d+"  # a comparison, a reason, a number
    "|it|he|she|they|him|them|you|we|anything|something|nothing|everything"  # names no thing
)
_WORD: Final = rf"(?!(?:{_NO_PARTS})\b)[\w'-]+"
"""A word of the name of a thing."""
_PHRASE: Final = rf"(?P<phrase>(?:{_WORD} )*?(?P<subject>{_WORD}))"
_MORE: Final = rf"(?: (?:in|on|with|at|near|under|behind) {_WORD}(?: {_WORD})*?)?"
_WHERE_SEEN: Final = r"(?: (?:in|on) (?:the|this|that) (?:video|clip|film|scene|picture|photo))?"
_SEEN: Final = r"(?:there|visible|shown|seen|present|to be seen)"

_COLOUR: Final = "What colour {be} the {phrase}?"
_COUNT: Final = "How many {phrase} are there?"
_IS_THERE: Final = "Is there {a} {phrase}?"

_FORMS_OF_KINDS: Final[tuple[tuple[QuestionKind, str, str], ...]] = (
    ("action", rf"what (?:{_BE}|does|do|did) {_THE}{_PHRASE}{_MORE} (?:doing|do|up to)", ""),
    ("colour", rf"(?:what|which) colours? (?P<be>{_BE}) {_THE}{_PHRASE}", _COLOUR),
    ("colour", rf"(?:what|which) colours? (?P<be>does|do) {_THE}{_PHRASE} have", _COLOUR),
    ("colour", rf"what (?P<be>{_BE}) the colours? of {_THE}{_PHRASE}", _COLOUR),
    ("colour", r"(?:what|which) colour (?:comes|appears) (?:first|last)", ""),
    ("count", rf"how many {_PHRASE} are there at once|how many different things appear", ""),
    (
        "count",
        rf"how many (?!times\b){_PHRASE}(?: {_BE}(?: {_SEEN})?| appear| (?:do|can) you see"
        r"| can be seen)?",
        _COUNT,
    ),
    ("place", rf"where {_BE} {_A_THING}", ""),
    (
        "direction",
        rf"(?:which way|(?:in )?(?:which|what) direction|where) (?:does|do|did|{_BE}) {_A_THING}"
        r" (?:move|moving|go|going)",
        "",
    ),
    (
        "thing",
        rf"what (?:appears|comes) (?:first|last|(?:right )?(?:after|before) {_A_THING})"
        r"|what moves (?:up|down|(?:to the )?(?:left|right))",
        "",
    ),
    ("yes_or_no", rf"(?:does|do|did) {_A_THING} appear(?: (?:before|after) {_A_THING})?", ""),
    ("yes_or_no", rf"(?:is|are) there (?:(?:a|an|any|some) )?{_PHRASE}", _IS_THERE),
    ("yes_or_no", rf"(?:does|do|did) (?:(?:a|an|any) )?{_PHRASE} appear", _IS_THERE),
    ("yes_or_no", rf"(?:is|are) (?:(?:a|an|any|the) )?{_PHRASE} {_SEEN}", _IS_THERE),
    (
        "yes_or_no",
        rf"(?:do|can|did|could) (?:you|we|i|one) see (?:(?:a|an|any|the|some) )?{_PHRASE}",
        _IS_THERE,
    ),
)
"""What questions of each kind look like, without punctuation, and how training put them; the first
that fits decides."""

_FORMS: Final = tuple(
    (kind, re.compile(form + _WHERE_SEEN), wording) for kind, form, wording in _FORMS_OF_KINDS
)


ANSWERS: Final[Mapping[QuestionKind, tuple[str, ...]]] = {
    "colour": (
        *("red", "orange", "yellow", "green", "blue", "purple", "white", "black"),
        *("brown", "pink", "grey"),
    ),
    "count": ("one", "two", "three", "four", "five", "six"),
    "yes_or_no": ("yes", "no"),
    "place": ("left", "right", "top", "bottom", "middle"),
    "direction": ("left", "right", "up", "down"),
    "thing": THINGS,
}
"""All answers to a kind of question that training gave."""

FOUND: Final = 0.7
"""Least probability of a coloured shape that counts as seen. Of slideshows of dev photos, 1 of 36
answers and none of 59 thoughts named one above it; all shapes but one of 29 in made videos of dev
seeds were above it, and that one no training video showed."""

THERE: Final = 0.5
"""Least probability of a thing of everyday that counts as there."""

UNSURE: Final = "answer.unsure"

_SHOWN_CHARACTERS: Final = 80
_OPEN_WORDS: Final = (
    "a an the and or but nor of with from to at into onto upon than as if while that which who"
    " whose his her its their my our your is are was were be been being has have"
)
_OPEN_ENDS: Final = frozenset(_OPEN_WORDS.split())
"""Words that no phrase ends in. Those that may be part of a verb, as in "stands up", can."""


class Answerer(Backend, Chooser, Pointer, Protocol):
    """What an open question may need of a model."""


def answer_openly(
    model: Answerer,
    pictures: Sequence[Part],
    question: str,
    *,
    thinking: bool,
    sure: Mapping[str, float],
) -> Generation:
    """Answer an open question about what is shown.

    Args:
        model: with all abilities.
        pictures: frames with their times, without words behind them.
        question: the user's words.
        thinking: whether to think first; a description takes no thought.
        sure: by kind of question, the least probability of an answer that is told as sure.

    Raises:
        ModelError: ``model.no_answer`` if the model did not learn such questions, or the answer
            would be about what it does not see.
    """
    asked = read_question(question)
    if asked is None:
        raise _not_learned(model, question)
    if asked.kind in ("description", "action"):
        return _describe(model, pictures, asked)
    candidates = ANSWERS[asked.kind]
    chosen = model.choose(
        [*pictures, TextPart(Question.of(asked.wording or question).prompt(thinking=thinking))],
        candidates,
        skill="ask",
        thinking=thinking,
        top=1,
    )
    (best,) = chosen.ranked
    text = candidates[best.index]
    doubts = _doubts(model, pictures, question, asked, text)
    if best.probability < sure[asked.kind]:
        doubts.append(
            f"{text!r} has a probability of {best.probability:.2f}, expected at least"
            f" {sure[asked.kind]:.2f}"
        )
    return Generation(
        text=text,
        confident=chosen.confident and not doubts,
        familiarity=chosen.familiarity,
        usage=chosen.usage,
        thinking=chosen.thinking,
        probability=best.probability,
        method="known_answers",
        notes=(*chosen.notes, *(Note(UNSURE, doubt) for doubt in doubts)),
    )


def finds(model: Answerer, pictures: Sequence[Part], thing: str) -> bool:
    """Whether a model sees a coloured shape, such as ``red ball``, when it is asked about it.

    It has to say yes and to point at a frame: what it names unasked it names of any film.
    """
    asked = Question.of(f"Does {_article(thing)} {thing} appear?")
    pointed = model.point([*pictures, TextPart(asked.prompt())], skill="ask")
    if max(pointed.probabilities) < FOUND:
        return False
    return _yes(model, pictures, asked) >= FOUND


def _yes(model: Answerer, pictures: Sequence[Part], asked: Question) -> float:
    """Probability of yes."""
    parts = [*pictures, TextPart(asked.prompt())]
    ranked = model.choose(parts, ANSWERS["yes_or_no"], skill="ask", top=2).ranked
    return next(choice.probability for choice in ranked if choice.index == 0)


def _describe(model: Answerer, pictures: Sequence[Part], asked: Asked) -> Generation:
    """The description, or what it says that somebody does."""
    made = replace(model.generate([*pictures, TextPart(CAPTION_PROMPT)]), method="description")
    words = made.text.split()
    if not words or words[-1].casefold() in _OPEN_ENDS:
        note = Note(UNSURE, "the description breaks off")
        made = replace(made, confident=False, notes=(*made.notes, note))
    if asked.kind == "description":
        return made
    action = action_in(made.text, asked.subject)
    if action is None:
        raise ModelError(
            "model.no_answer",
            f"the description by {model.name} does not say what the {asked.subject} does:"
            f" {made.text!r}",
            hint='ask "What happens?" for the description, or give answers to choose from'
            " (--options)",
        )
    return replace(made, text=action)


def action_in(description: str, subject: str) -> str | None:
    """What a description says that somebody does; None where it does not say.

    >>> action_in("a man in a hat is riding a bike, then two dogs run on sand", "man")
    'riding a bike'
    >>> action_in("a man is riding a bike", "dog")
    """
    who = rf"\b(?:{'|'.join(map(re.escape, _names_of(subject.casefold())))})\b(?: [\w-]+)*?"
    scenes = description.casefold().split(THEN)
    for scene, form in product(scenes, (rf"{who} (?:is|are)", who)):
        found = re.search(rf"{form} (?P<doing>(?!{_NO_VERBS})\w{{2,}}ing\b.*)", scene)
        if found is not None and found["doing"].split()[-1] not in _OPEN_ENDS:
            return found["doing"]
    return None


_NO_VERBS: Final = (
    r"(?:building|clothing|railing|swimming (?:pool|trunks|suit)|something|string|ring|wing|king"
    r"|evening|morning|during|ceiling|crossing|wedding|spring|swing)\b"
)


_SAME: Final = (
    ("man", "guy", "gentleman"),
    ("woman", "lady"),
    ("child", "kid", "boy", "girl", "toddler", "baby"),
    ("children", "kids", "boys", "girls"),
    ("person", "man", "woman", "boy", "girl", "child", "guy", "lady"),
    ("cyclist", "biker", "man", "woman", "person"),
    ("dog", "puppy"),
    ("dogs", "puppies"),
)
"""The first word of each row is also called by the others."""


def _names_of(subject: str) -> tuple[str, ...]:
    return next((names for names in _SAME if names[0] == subject), (subject,))


def _doubts(
    model: Answerer, pictures: Sequence[Part], question: str, asked: Asked, text: str
) -> list[str]:
    """What speaks against an answer, where the question takes for granted that something is there.

    Raises:
        ModelError: ``model.no_answer`` if it is a coloured shape, and no frame shows any.
    """
    if asked.kind == "yes_or_no":
        return []
    things = things_in(f"{question} {text}" if asked.kind == "thing" else question)
    missing = [thing for thing in things if not finds(model, pictures, thing)]
    if missing and not _shows_things(model, pictures, other_than=missing):
        raise ModelError(
            "model.no_answer",
            f"{model.name} finds no {missing[0]} in any frame",
            hint='ask "What happens?" for a description, or give answers to choose from'
            " (--options)",
        )
    noun = singular(asked.subject)
    if things or not noun or noun in _NO_NOUNS:
        return [f"the model finds no {thing} in any frame" for thing in missing]
    if asked.kind == "colour" and noun in SHAPES and finds(model, pictures, f"{text} {noun}"):
        return []
    probability = _yes(model, pictures, Question.of(f"Is there {_article(noun)} {noun}?"))
    if probability >= THERE:
        return []
    return [f"the model sees no {noun}: the probability that there is one is {probability:.2f}"]


def _shows_things(model: Answerer, pictures: Sequence[Part], *, other_than: Sequence[str]) -> bool:
    """Whether coloured shapes are seen at all: then one that is not found may be there as well."""
    named = set()
    for question in ("What appears first?", "What appears last?"):
        parts = [*pictures, TextPart(Question.of(question).prompt())]
        (best,) = model.choose(parts, THINGS, skill="ask", top=1).ranked
        named.add(THINGS[best.index])
    return any(finds(model, pictures, thing) for thing in sorted(named - set(other_than)))


_NO_NOUNS: Final = frozenset({"thing", "colour", "kind", "time"})


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _not_learned(model: Answerer, question: str) -> ModelError:
    shown = question if len(question) <= _SHOWN_CHARACTERS else f"{question[:_SHOWN_CHARACTERS]}..."
    hint = 'give answers to choose from (--options), or ask "What happens?" for a description'
    if re.match(r"\W*(?:when|at what time)\b", question, re.IGNORECASE):
        hint = "seedvideo ground finds when something happens"
    elif re.match(r"\W*(?:is|are|was|were|do|does|did|has|have|can)\b", question, re.IGNORECASE):
        hint = "give answers to choose from, such as --options yes,no"
    return ModelError(
        "model.no_answer", f"{model.name} did not learn to answer {shown!r}", hint=hint
    )
