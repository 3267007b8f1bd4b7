"""Exact match of short answers, after what does not matter is taken away; see `normalised`."""

from seedvideo.tasks.comparing import normalised


def exact_match(
    answer: str, truth: str, *, number_words: bool = True, articles: bool = False
) -> bool:
    """Whether two answers are the same; an empty one is never right."""
    one, other = (
        normalised(text, number_words=number_words, articles=articles) for text in (answer, truth)
    )
    return bool(one) and one == other
