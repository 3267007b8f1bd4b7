"""Columns of a dataset, their types, and their forms in Arrow and on the Hugging Face Hub.

The columns are data: a type is the name of a scalar, a list with the type of its elements, or a
dictionary of the fields of a struct. A map from strings to strings is `TEXT_MAP`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Final

from seedvideo.errors import ConfigError

SCHEMA_VERSION: Final = 1
"""Version of the columns. It rises if old readers would misread a dataset, not for added ones."""

TEXT_MAP: Final = "map<string, string>"
"""Type of a column whose names differ between rows."""

EXTRA: Final = "extra"
"""Column with the other columns of the user's list."""

VIDEO: Final = "video"
"""Column with the bytes of a clip, in a dataset that holds them."""

_TIMED_TEXT: Final = {
    "start_s": "double",
    "end_s": "double",
    "text": "string",
    "confident": "bool",
}

QUALITY: Final[Mapping[str, str]] = dict.fromkeys(
    (
        *("duration_s", "width_px", "height_px", "aspect", "fps", "bits_per_px"),
        *("motion_mean", "motion_max", "detail_mean", "novelty_max", "events", "shots"),
        *("black_share", "still_share", "letterbox_share", "flashes", "brightness", "colour"),
    ),
    "double",
)
"""Measurements of a clip, as `seedvideo inspect` names them."""

COLUMNS: Final[Mapping[str, Any]] = {
    "id": "string",
    "state": "string",
    "source": "string",
    "source_sha256": "string",
    "source_size": "int64",
    "start_s": "double",
    "end_s": "double",
    "start_frac": "string",
    "end_frac": "string",
    "task": "string",
    "caption": "string",
    "captions": [_TIMED_TEXT],
    "question": "string",
    "answer": "string",
    "options": ["string"],
    "option_probabilities": ["double"],
    "query": "string",
    "spans": [{"start_s": "double", "end_s": "double", "score": "double"}],
    "confident": "bool",
    "model": "string",
    "model_sha256": "string",
    "prompt_sha256": "string",
    "fingerprint": "string",
    "schema_version": "int32",
    "duration_s": "double",
    "width_px": "int32",
    "height_px": "int32",
    "fps_avg": "double",
    "is_vfr": "bool",
    "codec": "string",
    "rotation_deg": "int32",
    "visual_tokens": "int32",
    "frames": "int32",
    "policy": "string",
    "budget_tokens": "int32",
    "quality": QUALITY,
    "signature": "binary",
    "duplicate_of": "string",
    "duplicate_distance": "double",
    "domain": "string",
    "concepts": ["string"],
    "repeats": "int32",
    "keep_reason": "string",
    "error": {
        "code": "string",
        "stage": "string",
        "message": "string",
        "hint": "string",
        "retryable": "bool",
        "tries": "int32",
    },
    "filtered": {"rule": "string", "message": "string"},
    "warnings": [{"code": "string", "message": "string"}],
    EXTRA: TEXT_MAP,
    "seedvideo_version": "string",
}
"""Columns of a dataset in order, with their types; every value may be null."""

_VIDEO_TYPE: Final = {"bytes": "binary", "path": "string"}


def schema_sha256(columns: Mapping[str, Any] = COLUMNS) -> str:
    """Return a hash of names and types of columns, in their order."""
    text = json.dumps(columns, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def import_arrow(name: str = "pyarrow") -> Any:  # pyarrow has no annotations
    """Import pyarrow, or a module of it.

    Raises:
        ConfigError: ``config.package_missing`` without it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "config.package_missing",
            "writing parquet needs the package pyarrow",
            hint="pip install 'seedvideo[parquet]', or export with -f webdataset",
        ) from error


def arrow_schema(columns: Mapping[str, Any] = COLUMNS) -> Any:
    """Return columns as a pyarrow schema.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    arrow = import_arrow()
    fields = [(name, _arrow_type(arrow, kind)) for name, kind in columns.items()]
    metadata = {"seedvideo.schema_version": str(SCHEMA_VERSION)}
    return arrow.schema(fields, metadata=metadata)


def _arrow_type(arrow: Any, kind: Any) -> Any:
    if isinstance(kind, list):
        return arrow.list_(_arrow_type(arrow, kind[0]))
    if isinstance(kind, Mapping):
        return arrow.struct([(name, _arrow_type(arrow, each)) for name, each in kind.items()])
    if kind == TEXT_MAP:
        return arrow.map_(arrow.string(), arrow.string())
    return {
        "string": arrow.string(),
        "binary": arrow.binary(),
        "bool": arrow.bool_(),
        "int32": arrow.int32(),
        "int64": arrow.int64(),
        "double": arrow.float64(),
    }[kind]


def hub_columns(filled: Collection[str], extra_names: Collection[str]) -> dict[str, Any]:
    """Return the columns of a dataset for the Hub: videos first, then all that have a value.

    The Hub has no maps: `EXTRA` is a struct there, with one text for each column of the list.

    Args:
        filled: names of columns that have a value in any row.
        extra_names: names of the other columns of the user's list.
    """
    columns: dict[str, Any] = {VIDEO: _VIDEO_TYPE}
    for name, kind in COLUMNS.items():
        if name == EXTRA and extra_names:
            columns[name] = dict.fromkeys(sorted(extra_names), "string")
        elif name in filled and name != EXTRA:
            columns[name] = kind
    return columns


def hub_schema(columns: Mapping[str, Any]) -> Any:
    """Return the pyarrow schema of such columns; its metadata marks the column of videos.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    schema = arrow_schema(columns)
    features = {"info": {"features": {VIDEO: {"_type": "Video"}}}}
    marked = {**schema.metadata, b"huggingface": json.dumps(features).encode("ascii")}
    return schema.with_metadata(marked)
