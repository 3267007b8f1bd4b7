"""Pages of HTML that load nothing: escaping of values, hashes for their style and script.

Jinja2 escapes every value on output. Before that, characters that are not printable are spelled
out, so a value from a file, a manifest or a model can neither add markup nor change how the page
reads.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from seedvideo.utils.text import one_line, printable, printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def make_environment(package: str) -> "Environment":
    """Return the environment of the templates in the folder ``templates`` of a package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def lines(text: str) -> Markup:
        """Escape a text and keep its line breaks."""
        return escape(printable_lines(text))

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"prose": one_line, "lines": lines}
    return environment


def _printable(value: Any) -> Any:
    """Spell out the unprintable characters of a text; leave numbers and safe markup as they are."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return printable(value)


@cache
def load_asset(package: str, name: str) -> "Markup":
    """Return a style sheet or script of a package, which is marked as safe."""
    from markupsafe import Markup

    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))


def csp_hash(text: str) -> str:
    """Return the hash by which a page's policy allows one style sheet or script."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
