"""Which part of a job a machine does: the same split everywhere, whatever the order of the rows."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from seedvideo.errors import ConfigError

_WRITTEN: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``of``, counted from 1.

    Raises:
        ConfigError: ``config.invalid`` if there is no such part.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.of:
            raise ConfigError(
                "config.invalid",
                f"shard {self.index}/{self.of} does not exist",
                hint="3/16 is the third of sixteen parts; the first is 1/16",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``3/16``.

        Raises:
            ConfigError: ``config.invalid`` if it is no shard.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ConfigError(
                "config.invalid", f"{text[:40]!r} is no shard", hint="write it as 3/16"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def belongs(item_id: str, shard: Shard) -> bool:
    """Whether an item is of this part: each is of exactly one."""
    digest = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shard.of == shard.index - 1
