"""Cosine similarity of pictures and a text, by a checkpoint of CLIP, SigLIP or a model like them.

The checkpoint is a folder in the layout of transformers. Weights are safetensors only, no code of
the checkpoint runs, and nothing is fetched. The model runs on the CPU or, if there is one, on the
first GPU, in float32.

Separate from `seedvideo.curation.scoring`, which takes scorers of any kind and imports no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seedvideo.environment import is_out_of_memory
from seedvideo.model.loading import (
    import_torchvision,
    loading_error,
    quiet_progress,
    quieten_transformers,
    refuse_tensors,
)
from seedvideo.model.metadata import CONFIG, checkpoint_error, read_json
from seedvideo.model.open_weights import require_transformers
from seedvideo.utils.text import printable

_BATCH_PICTURES = 16

Vectors = npt.NDArray[np.float32]


class ImageTextModel:
    """A model with one embedding for a picture and one for a text.

    Args:
        folder: folder of the checkpoint.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if it is damaged or has no such embeddings;
            ``model.not_installed`` if a package is missing.
    """

    def __init__(self, folder: Path) -> None:
        require_transformers()
        quieten_transformers()
        import_torchvision()
        from transformers import AutoModel, AutoProcessor

        if not (folder / CONFIG).is_file():
            raise checkpoint_error(folder, f"it has no {CONFIG}")
        kind = read_json(folder / CONFIG).get("model_type")
        with quiet_progress():
            try:
                self._processor: Any = AutoProcessor.from_pretrained(
                    folder, trust_remote_code=False, local_files_only=True
                )
                model, info = AutoModel.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                )
            except Exception as error:  # raised by the code of any family, for any kind of damage
                if is_out_of_memory(error):
                    raise
                raise loading_error(folder, "weights or processor", error) from error
        refuse_tensors(folder, "its weights lack", info["missing_keys"])
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise checkpoint_error(
                folder,
                f"a model of type {printable(str(kind))!r} has no embeddings of pictures and texts",
                hint="use a checkpoint of CLIP or SigLIP",
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = model.eval().to(self._device)
        self._max_tokens = int(model.config.text_config.max_position_embeddings)

    def embed(self, frames: Sequence[npt.NDArray[np.uint8]]) -> Vectors:
        """Return the embeddings of pictures, each of length 1.

        Args:
            frames: RGB pictures, ``(height_px, width_px, 3)`` each.

        Returns:
            ``(frames, size)``.
        """
        parts = []
        for start in range(0, len(frames), _BATCH_PICTURES):
            pictures = list(frames[start : start + _BATCH_PICTURES])
            inputs = self._processor(images=pictures, return_tensors="pt")
            parts.append(self._features("get_image_features", inputs))
        return np.concatenate(parts)

    def score(self, frames: Sequence[npt.NDArray[np.uint8]], text: str) -> list[float]:
        """Return the cosine similarity of each picture with a text, from -1 to 1.

        A text longer than the model reads is cut.
        """
        inputs = self._processor(
            text=[text],
            padding="max_length",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        (vector,) = self._features("get_text_features", inputs)
        scores: list[float] = (self.embed(frames) @ vector).tolist()
        return scores

    def _features(self, name: str, inputs: Any) -> Vectors:
        with torch.inference_mode():
            found = getattr(self._model, name)(**inputs.to(self._device))
            found = getattr(found, "pooler_output", found).float()
            found = found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        vectors: Vectors = found.cpu().numpy()
        return vectors
