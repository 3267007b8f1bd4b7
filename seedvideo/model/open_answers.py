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
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Final, Protocol

from seedvideo.errors import ModelError
from seedvideo.model.backends import Backend, Chooser, Generation, Note, Pointer
from seedvideo.model.packing import Part, TextPart
from seedvideo.model.questions import (
    SHAPES,
    THINGS,
    Asked,
    QuestionKind,
    read_question,
    singular,
    things_in,
)
from seedvideo.tasks.ask import Question
from seedvideo.tasks.caption import CAPTION_PROMPT, THEN

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
