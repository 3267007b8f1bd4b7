r"""Questions: their prompts, and the parser that finds which option an answer means.

One parser serves answers shown to users and benchmark scores. Models answer ``B``, ``(B) because
...``, ``The best option is B.`` or with the option's own words. The first matching rule decides:

1. The answer is one option's text: exactly, ignoring case, ignoring surrounding punctuation, or
after normalization (`normalize_answer`). A single letter may also be a label, which must then
agree.
2. A label is announced, or the answer begins with one (`option_labels.Firmness`). Of several
announced labels the last counts: models correct themselves.
3. The answer begins with one option's words and punctuation, and names no other option: ``No, since
B``.
4. A label is stated, else mentioned, and no other label is as firm.
5. The answer contains exactly one option's words and no negation.

Text inside ``<answer>`` or ``\boxed{}`` is the answer; reasoning is left out. Denied labels do not
count. Labels named together (``A or B``), and a label followed by another option's text (``B.
red``, where red is A), are ambiguous and give no answer. An answer that means no option, or
several, is an error: the parser does not guess.

Short answers are compared without case, punctuation at word ends, articles and extra white space.
Numbers up to twenty equal their words. Python's regular expressions do not treat combining marks
(vowels of Indic scripts, tones of Thai, accents in decomposed form) as letters, so texts are
matched through a shape in which marks are letters. Otherwise different words would compare equal.

The prompts are part of how a model was trained: a changed word changes its output.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

from seedvideo.errors import AskError, ModelError
from seedvideo.tasks.option_labels import OPTION_LABELS, Firmness, Label, find_labels
from seedvideo.tasks.prompts import (
    add_think_suffix,
    remove_think_suffix,
    split_reasoning,
    strip_answer_tags,
)
from seedvideo.utils.text import find_problem

_JOINER_CHARACTERS: Final = "\u200c\u200d"
"""Zero-width characters that shape neighbouring letters in Indic and Arabic scripts."""

_PLACEHOLDER_LETTER: Final = "x"

_SMALL_NUMBERS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS: Final = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())}
_ARTICLES: Final = frozenset({"a", "an", "the"})
_WORD: Final = re.compile(r"[^\W_]+(?:['’.:/-][^\W_]+)*")


def compose_with_shape(text: str) -> tuple[str, str]:
    """Compose a text (NFC), and make a shape of it in which combining marks are letters.

    Returns:
        The composed text and its shape, equally long: a match in the shape has the same position in
        the text.
    """
    if text.isascii():
        return text, text
    composed = unicodedata.normalize("NFC", text)
    shape: list[str] = []
    for character in composed:
        is_mark = character in _JOINER_CHARACTERS or unicodedata.category(character)[0] == "M"
        shape.append(
            _PLACEHOLDER_LETTER if is_mark and shape and shape[-1].isalnum() else character
        )
    return composed, "".join(shape)


def normalize_answer(answer: str, *, number_words: bool = True, articles: bool = False) -> str:
    """Normalize a short answer for comparison.

    Args:
        answer: the raw text.
        number_words: whether ``three`` and ``3`` compare equal.
        articles: whether to keep articles.
    """
    composed, shape = compose_with_shape(answer.lower())
    found = [composed[match.start() : match.end()] for match in _WORD.finditer(shape)]
    words = [word.replace("’", "'") for word in found]
    if not articles:
        # An answer that is only an article is a letter or a word in itself.
        words = [word for word in words if word not in _ARTICLES] or words
    if number_words:
        words = [_NUMBERS.get(word, word) for word in words]
    return " ".join(words)


TieBreak: TypeAlias = Literal["last", "first"]
"""Which label counts if several are announced."""

_SURROUNDING: Final = (
    " .,;:!?*\"'`\u201c\u201d\u2018\u2019()[]{}\u3002\u3001\u300c\u300d\u300e\u300f\u3010\u3011"
)
"""Characters that may surround an option's text without changing it, unlike a sign such as
``-``.
"""

_LOWERCASE: Final = "abcdefghijklmnopqrstuvwxyz"
_CHARACTER_FORMS: Final = (
    {0xFF01 + step: chr(0x21 + step) for step in range(94)}  # full width
    | {0x24B6 + index: letter for index, letter in enumerate(OPTION_LABELS)}  # circled
    | {0x24D0 + index: letter for index, letter in enumerate(_LOWERCASE)}
    | {
        first + index: OPTION_LABELS[index]
        for first in (0x1F130, 0x1F150, 0x1F170)
        for index in range(26)
    }
    | dict(zip(map(ord, "\u201c\u201d\u2018\u2019\u00b4\u02bc"), "\"\"''''", strict=True))
    | dict(zip(map(ord, "\u3010\u3014\u300c\u300e\u300a\u3008"), "(" * 6, strict=True))
    | dict(zip(map(ord, "\u3011\u3015\u300d\u300f\u300b\u3009"), ")" * 6, strict=True))
    | {0x3002: ".", 0x3001: ",", 0x3000: " ", 0xA0: " ", 0xFE0F: None, 0x200B: None}
)
_BOXED: Final = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX: Final = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|mathsf)\s*\{([^{}]*)\}")
_MATH: Final = re.compile(r"\$+\s*([A-Za-z])\s*\$+|\\\(\s*([A-Za-z])\s*\\\)")
_STRIKETHROUGH: Final = re.compile(r"~~.*?~~|<(s|del|strike)>.*?</\1>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?(?:em|strong|br|span|option|choice|final)\s*/?>", re.IGNORECASE)
_PAIR: Final = re.compile(r"<([biup])>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_MARKUP: Final = re.compile(r"[*`\"]+|(?<![^\W_])['_]+|['_]+(?![^\W_])")
_HYPHENATED_LABEL: Final = re.compile(r"\b(answer|option|choice)[_-](?=[A-Za-z]\b)", re.IGNORECASE)
_CONTRACTED_IS: Final = re.compile(
    r"\b([A-Z])'s\s+(?=(?:the\s+)?(?:correct|right|wrong|incorrect|false|best|answer)\b)"
)
_ANSWER_PREFIX: Final = re.compile(
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
_REMOVED: Final = "\0"
"""Placeholder for an option's words that were removed."""


def parse_choice(text: str, options: Sequence[str], *, tie_break: TieBreak = "last") -> int | None:
    """Find the option that an answer means, as its index; None if it means none, or several.

    Args:
        text: the raw answer; reasoning between ``<think>`` and ``</think>`` is left out.
        options: their texts, without labels.
        tie_break: which label counts if several are announced.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.

    >>> parse_choice("It is (B), not A.", ["red", "blue"])
    1
    """
    answer = _extract_answer(text)
    whole = _match_exact(answer, options) or _match_exact(_ANSWER_PREFIX.sub("", answer), options)
    if whole:
        label = _index_of_letter(_strip_punctuation(answer), len(options))
        return _single_option(whole if label is None else whole | {label}, options)
    clean = strip_markup(answer)
    texts = [strip_markup(option) for option in options]
    labels = [one for one in find_labels(clean, texts) if one.firmness > Firmness.DENIED]
    firmness = max((label.firmness for label in labels), default=Firmness.DENIED)
    firmest = [label for label in labels if label.firmness == firmness]
    if firmness < Firmness.LEADS and (leading := _match_leading(answer, options)):
        return _single_option(leading, options)
    if firmest:
        return _pick_label(clean, firmest, texts, tie_break)
    meant, rest = _match_mentioned(answer, options)
    return None if _DENIAL.search(rest) else _single_option(meant, options)


def strip_markup(text: str) -> str:
    """Remove markup and quotes; convert letters, brackets and quotes to ASCII forms."""
    text = _TAG.sub("", _PAIR.sub(r"\2", _STRIKETHROUGH.sub(" ", text.translate(_CHARACTER_FORMS))))
    text = _MATH.sub(lambda match: match[1] or match[2], _LATEX.sub(r"\1", text))
    text = _HYPHENATED_LABEL.sub(r"\1 ", _MARKUP.sub("", text))
    text = _CONTRACTED_IS.sub(r"\1 is ", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def _extract_answer(text: str) -> str:
    """Return the text inside the answer's own tags, or all of it."""
    inside = strip_answer_tags(split_reasoning(text)[1])
    boxed = _BOXED.findall(inside)
    return _LATEX.sub(r"\1", boxed[-1] if boxed else inside).strip()


def _pick_label(
    text: str, labels: Sequence[Label], texts: Sequence[str], tie_break: TieBreak
) -> int | None:
    """Pick one of equally firm labels; None if they are ambiguous."""
    is_decided = labels[0].firmness >= Firmness.LEADS
    if not is_decided and len({texts[label.option_index] for label in labels}) > 1:
        return None
    label = labels[0] if tie_break == "first" else labels[-1]
    if label.is_contested or _names_another_option(text[label.end :], label.option_index, texts):
        return None
    return label.option_index


def _names_another_option(after: str, index: int, texts: Sequence[str]) -> bool:
    """Return whether another option's text, and nothing else, directly follows a label."""
    following = re.split(r"[.,;:!?\n]", after.lstrip(" )]}>.,:;-\u2013\u2014\n"), maxsplit=1)[0]
    equal = _match_exact(following, texts) if following else set()
    return bool(equal) and texts[index] not in {texts[other] for other in equal}


def _match_exact(text: str, options: Sequence[str]) -> set[int]:
    """Return the options that equal a text, by the strictest comparison that finds one."""
    forms: tuple[Callable[[str], str], ...] = (
        str.strip,
        _casefold_spaces,
        _strip_punctuation,
        normalize_answer,
    )
    # A letter before punctuation is a label, not the article that `normalize_answer` drops.
    for form in forms[:-1] if _LABELLED.match(text) else forms:
        written = form(text)
        equal = {
            index for index, option in enumerate(options) if written and form(option) == written
        }
        if equal:
            # A looser form could only match more options.
            return equal
    return set()


def _match_leading(text: str, options: Sequence[str]) -> set[int]:
    """Return the options whose words begin the answer before punctuation, and all it mentions."""
    begun = _casefold_spaces(text).lstrip(_SURROUNDING)
    led = {
        index
        for index, option in enumerate(options)
        if (words := _strip_punctuation(option))
        and re.match(rf"{re.escape(words)}[*`\"')\]]* ?[.,;:!](?!\w)", begun)
    }
    return led | _match_mentioned(text, options)[0] if led else set()


def _match_mentioned(text: str, options: Sequence[str]) -> tuple[set[int], str]:
    """Return the options whose words occur, and the remaining text.

    Words inside a longer option's text do not count: ``dark blue`` does not mention ``blue``.
    """
    found: set[int] = set()
    rest = _casefold_spaces(text)
    # As written first: signs may be the only difference between options.
    for form in (_strip_punctuation, normalize_answer):
        by_words: dict[str, list[int]] = {}
        for index, option in enumerate(options):
            by_words.setdefault(form(option), []).append(index)
        if form is normalize_answer:
            rest = f" {_REMOVED} ".join(normalize_answer(part) for part in rest.split(_REMOVED))
        for words in sorted(by_words, key=len, reverse=True):
            # A single letter would match every article.
            if not words or (form is _strip_punctuation and len(words) == 1 and words.isalpha()):
                continue
            rest, count = _remove_phrase(words, rest)
            if count:
                found.update(by_words[words])
    return found, rest


def _remove_phrase(words: str, text: str) -> tuple[str, int]:
    """Remove a phrase that is not part of a longer one, as ``5`` is in ``3.5``; count removals."""
    text, shape = compose_with_shape(text)
    kept, at, count = [], 0, 0
    for match in re.finditer(re.escape(compose_with_shape(words)[0]), text):
        if _BEGIN.match(shape, match.start()) and _END.match(shape, match.end()):
            kept += [text[at : match.start()], _REMOVED]
            at, count = match.end(), count + 1
    return "".join([*kept, text[at:]]), count


def _single_option(places: Collection[int], options: Sequence[str]) -> int | None:
    """Return the only option meant; options with equal texts count as one."""
    texts = {options[index].strip() for index in places}
    return min(places) if len(texts) == 1 else None


def _index_of_letter(letter: str, count: int) -> int | None:
    """Return the option index of a letter; None if there are fewer options."""
    index = OPTION_LABELS.find(letter.upper()) if len(letter) == 1 else -1
    return index if 0 <= index < count else None


def _casefold_spaces(text: str) -> str:
    """Fold case and collapse white space, for comparison."""
    return " ".join(text.casefold().split())


def _strip_punctuation(text: str) -> str:
    """Fold case, collapse white space and strip surrounding punctuation, for comparison."""
    return _casefold_spaces(text).strip(_SURROUNDING)


MAX_OPTIONS: Final = len(OPTION_LABELS)
"""Maximum number of options: one per letter."""

_OPEN_SUFFIX: Final = " Answer in a few words."

_SPACES: Final = re.compile(r"\s+")
_OPEN_ANSWER_PREFIX: Final = re.compile(
    r"^(?:(?:so|therefore|thus),? )?"
    r"(?:the )?(?:(?:final|correct|best|right) )?(?:answer|option|choice)(?: is|:| =)+ ?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A valid question, with the options to choose from, if any. Made by `of`.

    Args:
        text: the user's text, stripped.
        options: none, or 2 to `MAX_OPTIONS` different texts.
    """

    text: str
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, options: Iterable[str] = ()) -> Self:
        """Check and build a question.

        Raises:
            AskError: ``ask.question_empty``, ``ask.question_invalid``, ``ask.options_count``,
                ``ask.option_empty`` or ``ask.option_repeated``.
        """
        text, stripped = text.strip(), tuple(option.strip() for option in options)
        if not text:
            raise AskError(
                "ask.question_empty", "the question is empty", hint="ask something about the video"
            )
        _check_options(stripped)
        problem = find_problem([text, *stripped])
        if problem is not None:
            subject = "the question with its options" if stripped else "the question"
            raise AskError("ask.question_invalid", f"{subject} {problem}")
        return cls(text=text, options=stripped)

    def prompt(self, *, thinking: bool = False) -> str:
        """Return the prompt."""
        if not self.options:
            prompt = self.text + _OPEN_SUFFIX
        else:
            labelled = "; ".join(
                f"{a}. {b}" for a, b in zip(OPTION_LABELS, self.options, strict=False)
            )
            prompt = f"{self.text} Options: {labelled}. Answer with one of the options."
        return add_think_suffix(prompt, thinking=thinking)


def open_question(prompt: str) -> str | None:
    """Return the question of a prompt made by `Question.prompt`; None if it has options.

    >>> open_question(Question.of("What is it?").prompt(thinking=True))
    'What is it?'
    """
    words = remove_think_suffix(prompt)
    return words.removesuffix(_OPEN_SUFFIX) if words.endswith(_OPEN_SUFFIX) else None


def _check_options(options: Sequence[str]) -> None:
    if len(options) == 1 or len(options) > MAX_OPTIONS:
        raise AskError(
            "ask.options_count",
            f"{len(options)} option{'s are' if options[1:] else ' is'} given,"
            f" expected none or 2 to {MAX_OPTIONS}",
            hint="give fewer options" if options[1:] else "give more options, or none",
        )
    seen: dict[str, str] = {}
    for label, option in zip(OPTION_LABELS, options, strict=False):
        if not option:
            raise AskError("ask.option_empty", f"option {label} is empty")
        if _normalize(option) in seen:
            raise AskError(
                "ask.option_repeated",
                f"options {seen[_normalize(option)]} and {label} are the same: {option!r}",
                hint="give each option once",
            )
        seen[_normalize(option)] = label


def parse_open_answer(text: str) -> str:
    """Clean an open answer: one line, without tags, quotes or introductory words.

    Args:
        text: the raw answer, without reasoning.

    Raises:
        ModelError: ``model.empty_answer`` if it has no letter or digit.

    >>> parse_open_answer('The answer is: "a red  ball."')
    'a red ball'
    """
    clean = _SPACES.sub(" ", strip_answer_tags(text)).strip()
    clean = _OPEN_ANSWER_PREFIX.sub("", clean).strip(' "“”*`')
    if clean.endswith(".") and clean.count(".") == 1:
        clean = clean[:-1]
    if not any(character.isalnum() for character in clean):
        raise ModelError(
            "model.empty_answer",
            "the model returned an empty answer",
            hint="try another --policy or a larger --budget",
        )
    return clean.strip(' "“”*`')


def require_choice(text: str, options: Sequence[str]) -> int:
    """Find which option an answer means, or raise an error; see `parse_choice`.

    Args:
        text: the raw answer, without reasoning.
        options: at least two, all different.

    Returns:
        The index of the option.

    Raises:
        ModelError: ``model.answer_unparsable`` if the answer means none of them, or several; the
            message quotes the raw text.

    >>> require_choice("(b)", ["red", "blue"])
    1
    """
    meant = parse_choice(text, options)
    if meant is not None:
        return meant
    raise ModelError(
        "model.answer_unparsable",
        f"the answer matches no option, or several: {text!r}",
        hint="ask without options to get the model's free-text answer",
    )


def _normalize(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return _SPACES.sub(" ", text).casefold()
