"""What frames cost for a checkpoint, read from its configuration and vocabulary alone.

Knows no weights and imports no torch: a process that only plans and decodes stays small and starts
fast. The numbers are those of the native backend on the same folder.
"""

from dataclasses import dataclass
from pathlib import Path

from seedvideo.model.files import CONFIG, TOKENIZER, invalid, read_json, verify
from seedvideo.model.marks import MARKS_A_FRAME
from seedvideo.model.tokenizer import Tokenizer
from seedvideo.sampler.geometry import TokenGeometry


@dataclass(frozen=True, eq=False)
class CheckpointPrices:
    """Prices of one checkpoint.

    Args:
        name: short name of the model.
        sha256: hash over all files of the checkpoint.
        geometry: sizes, levels and default budget.
        tokenizer: its vocabulary.
    """

    name: str
    sha256: str
    geometry: TokenGeometry
    tokenizer: Tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> "CheckpointPrices":
        """Read a checkpoint folder, all files compared with the manifest.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if it is not sound.
        """
        sha256 = verify(folder)
        config = read_json(folder / CONFIG)
        try:
            geometry = dict(config["geometry"])
            geometry["levels_tokens"] = tuple(geometry["levels_tokens"])
            sizes = TokenGeometry(**geometry)
        except (LookupError, TypeError, ValueError) as error:
            raise invalid(folder, f"{CONFIG} does not describe a model: {error}") from error
        if not isinstance(name := config.get("name"), str):
            raise invalid(folder, f"{CONFIG} names no model")
        return cls(name, sha256, sizes, Tokenizer.from_file(folder / TOKENIZER))

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens of a frame's time and of the marks before and after its visual tokens."""
        return len(self.tokenizer.encode(time_text)) + MARKS_A_FRAME
