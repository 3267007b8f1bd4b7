"""HTML for notebooks: self-contained pictures, tables and cards.

Jupyter shows what an object's ``_repr_html_`` returns. Text comes from files and models, so every
string is escaped here, and pictures are embedded as data.
"""

import base64
import io
import unicodedata
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_ROWS: Final = 40
"""Maximum rows of a table; a last line counts the others."""

_CELL: Final = "text-align:left;padding:1px 12px 1px 0"


def text(value: object) -> str:
    """Return a value as HTML text; characters that change the reading direction become ``?``."""
    cleaned = "".join(
        "?" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in str(value)
    )
    return escape(cleaned)


def picture(pixels: "npt.NDArray[np.uint8]", *, alt: str) -> str:
    """Return an ``img`` of RGB pixels ``(height_px, width_px, 3)``, embedded as WebP."""
    from PIL import Image  # Heavy, and only notebooks need it here.

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=85, method=2)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    style = "max-width:100%;height:auto"
    return f'<img src="data:image/webp;base64,{data}" alt="{text(alt)}" style="{style}">'


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of at most `MAX_ROWS` rows."""
    head = "".join(f'<th style="{_CELL}">{text(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{text(cell)}</td>' for cell in row) + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    more = len(rows) - MAX_ROWS
    rest = f"<div>and {more:,} more</div>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def card(title: str, facts: Sequence[str], *parts: str) -> str:
    """Return a title, a line of facts and parts in HTML, one below the other."""
    line = " &middot; ".join(text(fact) for fact in facts)
    return f"<div><strong>{text(title)}</strong><div>{line}</div>{''.join(parts)}</div>"
