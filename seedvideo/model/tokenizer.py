"""Text to token ids and back, for the native model.

A byte-level BPE vocabulary over lower-case text, so any text has ids; digits stand alone, so a time
is read digit by digit. Knows nothing of frames but the marks around them.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as _Tokenizer

from seedvideo.errors import ModelError
from seedvideo.model.marks import SPECIAL_TOKENS


class Tokenizer:
    """The vocabulary of one checkpoint.

    Args:
        backend: a tokenizer of the ``tokenizers`` package whose first ids are ``SPECIAL_TOKENS``.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if the special tokens are not where they belong.
    """

    def __init__(self, backend: Any):
        self._backend = backend
        found = tuple(backend.id_to_token(place) for place in range(len(SPECIAL_TOKENS)))
        if found != SPECIAL_TOKENS:
            raise ModelError(
                "model.checkpoint_invalid",
                f"the tokenizer begins with {found}, expected {SPECIAL_TOKENS}",
                hint="use the tokenizer.json that belongs to the checkpoint",
            )
        # A user's text must never be read as a mark: what looks like one is plain text.
        backend.encode_special_tokens = True

    @classmethod
    def from_file(cls, path: Path) -> "Tokenizer":
        """Read ``tokenizer.json``.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if the file is no tokenizer.
        """
        try:
            backend = _Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the package raises bare Exception for every kind of damage
            raise ModelError(
                "model.checkpoint_invalid",
                f"{path.name} is no tokenizer",
                hint="copy the checkpoint again",
            ) from error
        return cls(backend)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary."""
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``; marks inside it are read as plain text."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """The text of ``ids``, marks left out."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text.strip()
