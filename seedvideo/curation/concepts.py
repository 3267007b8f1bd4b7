"""Concepts of clips: words and phrases of a list that occur in their captions.

A list has one word or phrase on each line; empty lines and those that begin with ``#`` are skipped.
Words match as a whole: ``car`` is not in ``cars`` (`seedvideo.curation.words`).

Separate from `seedvideo.curation.balance`, which takes domains of any origin.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from seedvideo.curation.words import split_words
from seedvideo.errors import ConfigError, InputError
from seedvideo.utils.text import printable

_MAX_FILE_BYTES: Final = 64 << 20


class ConceptList:
    """Words and phrases to find in captions.

    Args:
        entries: words and phrases, of which each is named by its first spelling.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        known: set[tuple[str, ...]] = set()
        for entry in entries:
            words = tuple(split_words(entry))
            if words and words not in known:
                known.add(words)
                self._phrases.setdefault(words[0], []).append((words, entry.strip()))

    def __len__(self) -> int:
        return sum(map(len, self._phrases.values()))

    @classmethod
    def read(cls, path: Path) -> "ConceptList":
        """Read a list from a file.

        Raises:
            InputError: ``input.not_found`` or ``input.unreadable``.
            ConfigError: ``config.invalid`` if it has no entry.
        """
        name = printable(str(path))
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise InputError(
                    "input.unreadable",
                    f"{name}: larger than {_MAX_FILE_BYTES >> 20} MiB, expected a list of words",
                )
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise InputError(
                "input.not_found", f"{name}: no such file", hint="check the name and the folder"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("input.unreadable", f"{name}: {error}") from error
        found = cls(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        if not len(found):
            raise ConfigError(
                "config.invalid",
                f"--concepts {name} has no word",
                hint="write one word or phrase on each line",
            )
        return found

    def find(self, caption: str) -> list[str]:
        """Return the entries that occur in a caption, each once, in their order there."""
        words = split_words(caption)
        found: dict[str, None] = {}
        for start, word in enumerate(words):
            for phrase, entry in self._phrases.get(word, ()):
                if tuple(words[start : start + len(phrase)]) == phrase:
                    found[entry] = None
        return list(found)
