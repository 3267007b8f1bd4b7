"""Token costs of open-weight models without a row in `families`: their processors are asked.

Separate from `seedvideo.model`, which imports no processor.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from seedvideo.model.backends.base import ModelDetails
from seedvideo.model.families import with_family_package
from seedvideo.model.open_weights import model_sha256, with_family, with_pairs
from seedvideo.model.processing import PromptProcessor
from seedvideo.model_options import ModelOptions
from seedvideo.sampler.geometry import Geometry


@dataclass(frozen=True, eq=False)
class ProcessorCosts:
    """Token costs of an open-weight model without a row in `families`; its weights are not loaded.

    Args:
        name: name, as in ``--model``.
        folder: folder of the checkpoint.
        processor: its processor.
        details: facts for the record.
        options: how the model is loaded.
    """

    name: str
    folder: Path
    processor: PromptProcessor
    details: ModelDetails
    options: ModelOptions

    @classmethod
    def from_folder(
        cls, name: str, folder: Path, details: ModelDetails, options: ModelOptions
    ) -> "ProcessorCosts":
        """Load the processor of a checkpoint.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if it cannot be loaded.
            ConfigError: ``config.invalid`` for pairs of frames.
        """
        processor = PromptProcessor.from_folder(folder)
        details = with_family(details, processor.family)
        if options.pairs:
            details = with_pairs(name, details, processor.family)
        return cls(name, folder, processor, details, options)

    @cached_property
    def sha256(self) -> str:
        """Hash over all files of the checkpoint; see `OpenWeightsMetadata.sha256`."""
        sha256 = model_sha256(self.name, self.folder, self.details, self.options)
        return with_family_package(sha256, self.processor.family)

    @property
    def geometry(self) -> Geometry:
        """Frame sizes, levels and default budget."""
        return self.processor.geometry

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return self.processor.count_text_tokens(text)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame: its time and the markup around its visual tokens."""
        return self.processor.frame_text_tokens(pts)
