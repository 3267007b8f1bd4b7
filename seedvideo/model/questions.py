"""Which kind of open question a text is, for a model that learned some kinds and not others.

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
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

QuestionKind: TypeAlias = Literal[
    "description", "action", "colour", "count", "yes_or_no", "place", "direction", "thing"
]

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
"""Colours of the shapes in made scenes, in the order of `seedvideo.evaluate.synthetic.things`."""

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
