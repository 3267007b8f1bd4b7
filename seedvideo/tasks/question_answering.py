r"""Which option an answer means: one reader for answers that are shown and for benchmarks.

Models answer ``B``, ``(B) because ...``, ``The best option is B.`` or with the option's own words.
The first rule that is met decides:

1. The answer is one option's text: to the sign, else whatever the case, else whatever the marks
   around it, else as short answers are compared (`normalised`). A letter alone may be a label too,
   which has to agree.
2. A label is announced, or the answer begins with one (`labels.Firmness`). Among several announced
   ones the last counts: models correct themselves.
3. The answer begins with one option's words and a mark, and names no other option: ``No, since B``.
4. A label is stated, else mentioned, and no other is as firm.
5. The answer holds exactly one option's words, and denies nothing.

What is inside ``<answer>`` or ``\boxed{}`` is the answer; thoughts are left out. Labels that are
denied do not count. Labels named together (``A or B``), and a label with another option's text
behind it (``B. red``, where red is A), are ambiguous, and so no answer.

The question task: what is asked, openly or with options, and how the answer is read.

Knows nothing of frames, models or files. The prompts are part of how a model was trained: changing
them changes what a model says. An answer that means no option, or two, is an error: no guess.

How texts are compared: words of any script, and short answers without what does not matter.

In short answers case, punctuation at the ends of words, articles and runs of blanks do not matter;
whether a number is written in digits or in words does not either, up to twenty. Everything else
does. Regular expressions treat combining marks (vowels of Indic scripts, tones of Thai, accents in
decomposed form) as no letters: without them different words would be the same.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

from seedvideo.errors import AskError, ModelError
from seedvideo.tasks.option_labels import LETTERS, Firmness, Label, find_labels
from seedvideo.tasks.prompts import (
    fault_of,
    inside_answer_marks,
    split_thought,
    with_thinking,
    without_thinking,
)

_JOINERS: Final = "\u200c\u200d"
"""Shape the letters beside them in Indic and Arabic scripts."""

_LETTER: Final = "x"

_SMALL_NUMBERS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS: Final = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())}
_ARTICLES: Final = frozenset({"a", "an", "the"})
_WORD: Final = re.compile(r"[^\W_]+(?:['’.:/-][^\W_]+)*")


def letters_only(text: str) -> tuple[str, str]:
    """Compose a text (NFC), and make a shape of it in which marks after letters are letters.

    Returns:
        The composed text and its shape, equally long: what is found in the shape has the same place
        in the text.
    """
    if text.isascii():
        return text, text
    composed = unicodedata.normalize("NFC", text)
    shape: list[str] = []
    for character in composed:
        is_mark = character in _JOINERS or unicodedata.category(character)[0] == "M"
        shape.append(_LETTER if is_mark and shape and shape[-1].isalnum() else character)
    return composed, "".join(shape)


def normalised(answer: str, *, number_words: bool = True, articles: bool = False) -> str:
    """An answer as it is compared.

    Args:
        answer: as written.
        number_words: whether ``three`` and ``3`` are the same.
        articles: whether articles count.
    """
    composed, shape = letters_only(answer.lower())
    found = [composed[match.start() : match.end()] for match in _WORD.finditer(shape)]
    words = [word.replace("’", "'") for word in found]
    if not articles:
        # An answer that is nothing but an article is a letter or a word in itself.
        words = [word for word in words if word not in _ARTICLES] or words
    if number_words:
        words = [_NUMBERS.get(word, word) for word in words]
    return " ".join(words)


AmongEquals: TypeAlias = Literal["last", "first"]
"""Which label counts where several are announced."""

_AROUND: Final = (
    " .,;:!?*\"'`\u201c\u201d\u2018\u2019()[]{}\u3002\u3001\u300c\u300d\u300e\u300f\u3010\u3011"
)
"""What may stand around an option's text without changing it, unlike a sign such as ``-``."""

_SMALL: Final = "abcdefghijklmnopqrstuvwxyz"
_FORMS: Final = (
    {0xFF01 + step: chr(0x21 + step) for step in range(94)}  # full width
    | {0x24B6 + place: letter for place, letter in enumerate(LETTERS)}  # circled
    | {0x24D0 + place: letter for place, letter in enumerate(_SMALL)}
    | {
        first + place: LETTERS[place]
        for first in (0x1F130, 0x1F150, 0x1F170)
        for place in range(26)
    }
    | dict(zip(map(ord, "\u201c\u201d\u2018\u2019\u00b4\u02bc"), "\"\"''''", strict=True))
    | dict(zip(map(ord, "\u3010\u3014\u300c\u300e\u300a\u3008"), "(" * 6, strict=True))
    | dict(zip(map(ord, "\u3011\u3015\u300d\u300f\u300b\u3009"), ")" * 6, strict=True))
    | {0x3002: ".", 0x3001: ",", 0x3000: " ", 0xA0: " ", 0xFE0F: None, 0x200B: None}
)
_BOXED: Final = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX: Final = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|mathsf)\s*\{([^{}]*)\}")
_MATH: Final = re.compile(r"\$+\s*([A-Za-z])\s*\$+|\\\(\s*([A-Za-z])\s*\\\)")
_STRUCK: Final = re.compile(r"~~.*?~~|<(s|del|strike)>.*?</\1>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?(?:em|strong|br|span|option|choice|final)\s*/?>", re.IGNORECASE)
_PAIR: Final = re.compile(r"<([biup])>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_MARKUP: Final = re.compile(r"[*`\"]+|(?<![^\W_])['_]+|['_]+(?![^\W_])")
_JOINED: Final = re.compile(r"\b(answer|option|choice)[_-](?=[A-Za-z]\b)", re.IGNORECASE)
_SHORT_IS: Final = re.compile(
    r"\b([A-Z])'s\s+(?=(?:the\s+)?(?:correct|right|wrong|incorrect|false|best|answer)\b)"
)
_LEAD_IN: Final = re.compile(
    r"^(?:(?:so|therefore|thus),? )?"
    r"(?:(?:the )?(?:(?:final|correct|best|right) )?(?:answer|option|choice)(?: is|:| =)+ ?"
    r"|(?:答案|정답|답|答え)"
    r"(?:是|为|為|は|은|는|\uff1a|:)? ?)",
    re.IGNORECASE,
)
_DENIAL: Final = re.compile(r"\b(?:not?|nor|never|neither|none|except|cannot)\b|n['\u2019]t\b")

_BEGIN: Final = re.compile(r"(?<!\w)(?<!\w['\u2019.:/-])")
_END: Final = re.compile(r"(?!\w)(?!['\u2019.:/-]\w)")
_LABELLED: Final = re.compile(r"\W*[A-Za-z][ \t]*[.):,;\]}>\n-]")
_TAKEN: Final = "\0"
"""Stands where an option's words stood."""


def option_meant(
    text: str, options: Sequence[str], *, among_equals: AmongEquals = "last"
) -> int | None:
    """Find the option that an answer means, as its index; None if it means none, or several.

    Args:
        text: what the model wrote; a thought between ``<think>`` and ``</think>`` is left out.
        options: their texts, without letters.
        among_equals: which label counts where several are announced.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.

    >>> option_meant("It is (B), not A.", ["red", "blue"])
    1
    """
    answer = _final(text)
    whole = _equal(answer, options) or _equal(_LEAD_IN.sub("", answer), options)
    if whole:
        label = _place(_bare(answer), len(options))
        return _only(whole if label is None else whole | {label}, options)
    clean = plain(answer)
    texts = [plain(option) for option in options]
    labels = [one for one in find_labels(clean, texts) if one.firmness > Firmness.DENIED]
    firmness = max((label.firmness for label in labels), default=Firmness.DENIED)
    firmest = [label for label in labels if label.firmness == firmness]
    if firmness < Firmness.LEADS and (leading := _leading(answer, options)):
        return _only(leading, options)
    if firmest:
        return _chosen(clean, firmest, texts, among_equals)
    meant, rest = _mentioned(answer, options)
    return None if _DENIAL.search(rest) else _only(meant, options)


def plain(text: str) -> str:
    """A text without markup and quotes, its letters, brackets and quotes in ASCII forms."""
    text = _TAG.sub("", _PAIR.sub(r"\2", _STRUCK.sub(" ", text.translate(_FORMS))))
    text = _MATH.sub(lambda match: match[1] or match[2], _LATEX.sub(r"\1", text))
    text = _JOINED.sub(r"\1 ", _MARKUP.sub("", text))
    text = _SHORT_IS.sub(r"\1 is ", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def _final(text: str) -> str:
    """What the answer's own marks enclose, or all of it."""
    inside = inside_answer_marks(split_thought(text)[1])
    boxed = _BOXED.findall(inside)
    return _LATEX.sub(r"\1", boxed[-1] if boxed else inside).strip()


def _chosen(
    text: str, labels: Sequence[Label], texts: Sequence[str], among_equals: AmongEquals
) -> int | None:
    """The label that counts of equally firm ones; None if they are ambiguous."""
    is_decided = labels[0].firmness >= Firmness.LEADS
    if not is_decided and len({texts[label.place] for label in labels}) > 1:
        return None
    label = labels[0] if among_equals == "first" else labels[-1]
    if label.is_contested or _names_another(text[label.end :], label.place, texts):
        return None
    return label.place


def _names_another(after: str, place: int, texts: Sequence[str]) -> bool:
    """Whether right behind a label another option's text stands, and no more."""
    said = re.split(r"[.,;:!?\n]", after.lstrip(" )]}>.,:;-\u2013\u2014\n"), maxsplit=1)[0]
    equal = _equal(said, texts) if said else set()
    return bool(equal) and texts[place] not in {texts[other] for other in equal}


def _equal(text: str, options: Sequence[str]) -> set[int]:
    """Options that a text is, by the strictest way of comparing that finds one."""
    forms: tuple[Callable[[str], str], ...] = (str.strip, _folded, _bare, normalised)
    # A letter with a mark behind it is a label and not the article, which `normalised` drops.
    for form in forms[:-1] if _LABELLED.match(text) else forms:
        written = form(text)
        equal = {
            place for place, option in enumerate(options) if written and form(option) == written
        }
        if equal:
            # A looser form could only fit more.
            return equal
    return set()


def _leading(text: str, options: Sequence[str]) -> set[int]:
    """Options whose words begin the answer, a mark after them, and all that it names then."""
    begun = _folded(text).lstrip(_AROUND)
    led = {
        place
        for place, option in enumerate(options)
        if (words := _bare(option))
        and re.match(rf"{re.escape(words)}[*`\"')\]]* ?[.,;:!](?!\w)", begun)
    }
    return led | _mentioned(text, options)[0] if led else set()


def _mentioned(text: str, options: Sequence[str]) -> tuple[set[int], str]:
    """Options whose words occur, and the words that are left.

    Words that are part of a longer option's do not count: ``dark blue`` does not mention ``blue``.
    """
    found: set[int] = set()
    rest = _folded(text)
    # As written first, since signs may be all that tells options apart.
    for form in (_bare, normalised):
        by_words: dict[str, list[int]] = {}
        for place, option in enumerate(options):
            by_words.setdefault(form(option), []).append(place)
        if form is normalised:
            rest = f" {_TAKEN} ".join(normalised(part) for part in rest.split(_TAKEN))
        for words in sorted(by_words, key=len, reverse=True):
            # A letter alone would be found in every article.
            if not words or (form is _bare and len(words) == 1 and words.isalpha()):
                continue
            rest, count = _take(words, rest)
            if count:
                found.update(by_words[words])
    return found, rest


def _take(words: str, text: str) -> tuple[str, int]:
    """Take words out that are not part of longer ones, such as ``5`` of ``3.5``."""
    text, shape = letters_only(text)
    kept, at, count = [], 0, 0
    for match in re.finditer(re.escape(letters_only(words)[0]), text):
        if _BEGIN.match(shape, match.start()) and _END.match(shape, match.end()):
            kept += [text[at : match.start()], _TAKEN]
            at, count = match.end(), count + 1
    return "".join([*kept, text[at:]]), count


def _only(places: Collection[int], options: Sequence[str]) -> int | None:
    """The only option meant; options with the same text are one."""
    texts = {options[place].strip() for place in places}
    return min(places) if len(texts) == 1 else None


def _place(letter: str, count: int) -> int | None:
    """The index that a letter stands for, where there are so many options."""
    place = LETTERS.find(letter.upper()) if len(letter) == 1 else -1
    return place if 0 <= place < count else None


def _folded(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return " ".join(text.casefold().split())


def _bare(text: str) -> str:
    """For comparing: also without marks around."""
    return _folded(text).strip(_AROUND)


MAX_OPTIONS: Final = len(LETTERS)
"""Most options of a question: as many as there are letters."""

_OPEN_SUFFIX: Final = " Answer in a few words."

_SPACES: Final = re.compile(r"\s+")
_OPEN_LEAD_IN: Final = re.compile(
    r"^(?:(?:so|therefore|thus),? )?"
    r"(?:the )?(?:(?:final|correct|best|right) )?(?:answer|option|choice)(?: is|:| =)+ ?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that may be asked, with the options to choose from, if any. Made by `of`.

    Args:
        text: the user's words, without white space around them.
        options: none, or from 2 to `MAX_OPTIONS`, all different.
    """

    text: str
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, options: Iterable[str] = ()) -> Self:
        """Check a question.

        Raises:
            AskError: ``ask.question_empty``, ``ask.question_invalid``, ``ask.options_count``,
                ``ask.option_empty`` or ``ask.option_repeated``.
        """
        text, stripped = text.strip(), tuple(option.strip() for option in options)
        if not text:
            raise AskError(
                "ask.question_empty", "the question is empty", hint="ask something about the video"
            )
        _check(stripped)
        fault = fault_of([text, *stripped])
        if fault is not None:
            whole = "the question with its options" if stripped else "the question"
            raise AskError("ask.question_invalid", f"{whole} {fault}")
        return cls(text=text, options=stripped)

    def prompt(self, *, thinking: bool = False) -> str:
        """The user's text, last in the sequence."""
        if not self.options:
            asked = self.text + _OPEN_SUFFIX
        else:
            labelled = "; ".join(f"{a}. {b}" for a, b in zip(LETTERS, self.options, strict=False))
            asked = f"{self.text} Options: {labelled}. Answer with one of the options."
        return with_thinking(asked, thinking=thinking)


def open_question(prompt: str) -> str | None:
    """The question of a prompt that `Question.prompt` made; None where it has options.

    >>> open_question(Question.of("What is it?").prompt(thinking=True))
    'What is it?'
    """
    words = without_thinking(prompt)
    return words.removesuffix(_OPEN_SUFFIX) if words.endswith(_OPEN_SUFFIX) else None


def _check(options: Sequence[str]) -> None:
    if len(options) == 1 or len(options) > MAX_OPTIONS:
        raise AskError(
            "ask.options_count",
            f"{len(options)} option{'s are' if options[1:] else ' is'} given,"
            f" expected none or 2 to {MAX_OPTIONS}",
            hint="give fewer options" if options[1:] else "give more options, or none",
        )
    seen: dict[str, str] = {}
    for label, option in zip(LETTERS, options, strict=False):
        if not option:
            raise AskError("ask.option_empty", f"option {label} is empty")
        if _normalize(option) in seen:
            raise AskError(
                "ask.option_repeated",
                f"options {seen[_normalize(option)]} and {label} are the same: {option!r}",
                hint="give each option once",
            )
        seen[_normalize(option)] = label


def read_open(text: str) -> str:
    """Tidy an open answer: one line, without marks, quotes or words that only announce it.

    Args:
        text: the raw answer, its thought taken away.

    Raises:
        ModelError: ``model.empty_answer`` if it holds no letter or digit.

    >>> read_open('The answer is: "a red  ball."')
    'a red ball'
    """
    clean = _SPACES.sub(" ", inside_answer_marks(text)).strip()
    clean = _OPEN_LEAD_IN.sub("", clean).strip(' "“”*`')
    if clean.endswith(".") and clean.count(".") == 1:
        clean = clean[:-1]
    if not any(character.isalnum() for character in clean):
        raise ModelError(
            "model.empty_answer",
            "the model gave an empty answer",
            hint="try another --policy or a larger --budget",
        )
    return clean.strip(' "“”*`')


def read_option(text: str, options: Sequence[str]) -> int:
    """Find which option an answer means; see `seedvideo.tasks.question_answering`.

    Args:
        text: the raw answer, its thought taken away.
        options: at least two, all different.

    Returns:
        The option's place.

    Raises:
        ModelError: ``model.answer_unparsable`` if the answer means none of them, or several; the
            raw text stands in the message.

    >>> read_option("(b)", ["red", "blue"])
    1
    """
    meant = option_meant(text, options)
    if meant is not None:
        return meant
    raise ModelError(
        "model.answer_unparsable",
        f"the answer means no option, or several: {text!r}",
        hint="ask without options to read what the model has to say",
    )


def _normalize(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return _SPACES.sub(" ", text).casefold()
