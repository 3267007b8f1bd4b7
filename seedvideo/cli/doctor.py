"""Commands ``seedvideo doctor``, which checks the installation, and ``seedvideo models``.

The output of ``doctor`` is meant for bug reports. Each check uses the part it is about and returns
a line of facts, or raises; version numbers alone prove nothing.
"""

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Final, Literal

import typer

from seedvideo import __version__
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, Console
from seedvideo.cli.option_values import EXPORT_FORMATS
from seedvideo.cli.options import (
    AsJson,
    Output,
    Overwrite,
    Quiet,
    TextOrJson,
    Verbose,
    resolve_format,
)
from seedvideo.cli.output import open_result
from seedvideo.config import SHIPPED_POLICIES
from seedvideo.errors import ConfigError, SeedVideoError
from seedvideo.plugins import PluginKind, find_plugin, list_plugins
from seedvideo.utils.text import printable


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Args:
        name: name of the check.
        state: ``ok``, ``absent`` for an optional part that is not installed, or ``broken``.
        fact: one line of text.
        code: code of a `SeedVideoError`; None for other errors.
    """

    name: str
    state: Literal["ok", "absent", "broken"]
    fact: str
    code: str | None = None

    def format_line(self) -> str:
        """Format the result as one line of text."""
        code = f" [{self.code}]" if self.code else ""
        return f"{self.state:<7} {self.name:<12} {printable(self.fact + code)}\n"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Also print the paths of Python and the package."),
    ] = False,
) -> None:
    """Check this installation. Exit code 1 if a required part is broken."""
    console = Console(quiet=quiet, verbose=verbose)
    with console.exit_on_error(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
    findings = []
    with console.exit_on_error(SOME_FAILED), sink:
        for name, check in CHECKS.items():
            findings.append(_run_check(name, check))
            if not as_json:
                sink.write(0, findings[-1].format_line())
        if as_json:
            sink.write(0, json.dumps(_report(findings), allow_nan=False) + "\n")
        elif verbose:
            sink.write(0, f"        {'executable':<12} {printable(sys.executable)}\n")
            sink.write(0, f"        {'package':<12} {printable(os.path.dirname(__file__))}\n")
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(SOME_FAILED)


def _run_check(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except NotInstalledError as error:
        return Finding(name, "absent", str(error))
    except Exception as error:  # noqa: BLE001
        # A broken part must not hide the results of the others.
        code = error.code if isinstance(error, SeedVideoError) else None
        return Finding(name, "broken", f"{type(error).__name__}: {error}", code)


def _report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as JSON values; docs/reference/formats.md lists the keys."""
    states = {finding.name: finding.state for finding in findings}
    return {
        "schema_version": 1,
        "ok": "broken" not in states.values(),
        "versions": {
            "seedvideo": __version__,
            "python": platform.python_version(),
            "ffmpeg": _ffmpeg_version() if states["av"] == "ok" else None,
            **{name: _package_version(package) for name, package in _PACKAGES.items()},
        },
        "system": {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "executable": sys.executable,
            "package": os.path.dirname(os.path.dirname(__file__)),
        },
        "decoders": {
            "pyav": states["av"] == states["decoding"] == "ok",
            "decord": states["decord"] == "ok",
        },
        "memory": read_memory(),
        "checks": [asdict(finding) for finding in findings],
    }


_PACKAGES: Final = {
    "torch": "torch",
    "av": "av",
    "numpy": "numpy",
    "pillow": "pillow",
    "scenedetect": "scenedetect-headless",
    "opencv": "opencv-python-headless",
    "decord": "decord",
    "pyarrow": "pyarrow",
    "transformers": "transformers",
    "torchvision": "torchvision",
    "openai": "openai",
}
"""Packages whose versions are reported, by their key."""


class NotInstalledError(Exception):
    """An optional part is not installed, which is not a problem."""


def _python() -> str:
    return f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs"


def _seedvideo() -> str:
    return __version__


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {device}"


def _av() -> str:
    import av

    return f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _decoding() -> str:
    """Write a small clip and decode it in the decode worker."""
    import av
    import numpy as np

    from seedvideo import api
    from seedvideo.media.types import Target

    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "check.mp4")
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            grey = np.full((64, 64, 3), 128, np.uint8)
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        with api.open(path) as video:
            targets = [Target(pts=time, width_px=28, height_px=28) for time in video.times]
            decoded = sum(1 for _ in video.reader.frames(targets))
    if decoded != 5:
        raise RuntimeError(f"{decoded} of 5 frames of a test clip were decoded, expected all")
    return f"decoded a clip of 5 frames in {perf_counter() - started:.1f} s"


def _ffmpeg_version() -> str:
    import av

    return str(av.ffmpeg_version_info)


def _package_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_memory() -> dict[str, int | None]:
    """Return total and available memory and the limit of this process, in bytes.

    A value is None if the system does not report it, or if there is no limit.
    """
    total = None
    with contextlib.suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = None
    with contextlib.suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace")
        if found := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
            available = int(found[1]) * 1024
    limit = None
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        limit = None if limit == resource.RLIM_INFINITY else limit
    return {"total_bytes": total, "available_bytes": available, "limit_bytes": limit}


def _memory() -> str:
    sizes = {
        name.removesuffix("_bytes"): size
        for name, size in read_memory().items()
        if size is not None
    }
    return ", ".join(f"{size / 2**30:.1f} GiB {name}" for name, size in sizes.items()) or "unknown"


def _scenedetect() -> str:
    import scenedetect

    return str(scenedetect.__version__)


def _decord() -> str:
    try:
        return version("decord")
    except PackageNotFoundError:
        raise NotInstalledError("optional second decoder (--decoder decord)") from None


def _transformers() -> str:
    facts = _optional("transformers", "torchvision", purpose="open-weight models")
    # Operators of another build of torch fail when torchvision is imported.
    import torchvision  # noqa: F401  # the import is the check

    return facts


def _openai() -> str:
    return _optional("openai", purpose="models on servers")


def _obstore() -> str:
    return _optional("obstore", purpose="object stores (s3://, gs://, az://)")


def _optional(*packages: str, purpose: str) -> str:
    """Return the versions of the packages of an extra."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in packages)
    except PackageNotFoundError as error:
        raise NotInstalledError(f"{purpose}: {error.name} is not installed") from None


def _plugins() -> str:
    """Import all plugins of other packages; those that cannot be used are errors."""
    from seedvideo.curation.scoring import SHIPPED as SHIPPED_CAPTION_SCORER
    from seedvideo.evaluate.scoring import MEASURES
    from seedvideo.model import available
    from seedvideo.model.families import FAMILIES, find_named_family
    from seedvideo.model.presets import PRESETS

    shipped: dict[PluginKind, Iterable[str]] = {
        "backend": [*(each.name for each in available()), *(each.name for each in PRESETS)],
        "policy": SHIPPED_POLICIES,
        "family": [family.name for family in FAMILIES],
        "scorer": [measure.name for measures in MEASURES.values() for measure in measures],
        "caption_scorer": [SHIPPED_CAPTION_SCORER],
        "exporter": EXPORT_FORMATS,
    }
    found, broken = [], []
    for kind, own in shipped.items():
        for plugin in list_plugins(kind):
            try:
                if plugin.name in own:
                    raise plugin.error(f"is never used: seedvideo ships a {kind} of this name")
                find_plugin(kind, plugin.name)
                plugin.load()
                if kind == "family":
                    find_named_family(plugin.name)
            except ConfigError as error:
                broken.append(str(error))
            else:
                found.append(f"{kind} {plugin.name} ({plugin.origin})")
    if broken:
        raise ConfigError("config.plugin_invalid", "; ".join(broken))
    return ", ".join(found) or "none"


def _weights() -> str:
    from seedvideo import api

    started = perf_counter()
    backend = api.load("nano")
    return f"{backend.name} {backend.sha256[:12]}, loaded in {perf_counter() - started:.1f} s"


CHECKS: Final[dict[str, Callable[[], str]]] = {
    "python": _python,
    "memory": _memory,
    "seedvideo": _seedvideo,
    "torch": _torch,
    "av": _av,
    "scenedetect": _scenedetect,
    "decord": _decord,
    "transformers": _transformers,
    "openai": _openai,
    "obstore": _obstore,
    "plugins": _plugins,
    "decoding": _decoding,
    "weights": _weights,
}
"""All checks, in the order of the report."""


def models(
    output_format: TextOrJson = None,
    as_json: AsJson = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the models of the package, families of open-weight models, and kinds of servers.

    The files of the models are verified. -f json writes one object per line; its key `kind` is
    model, family or server.
    """
    format_name = resolve_format(output_format, as_json=as_json)
    console = Console(quiet=quiet, verbose=verbose)
    with console.exit_on_error(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
        from seedvideo.model import available
        from seedvideo.model.metadata import verify_files

        listed = [(model, verify_files(model.folder)) for model in available()]
    if not listed:
        console.info("this package contains no model")
    texts = []
    for model, sha256 in listed:
        if format_name == "json":
            facts = {
                "kind": "model",
                "name": model.name,
                "description": model.description,
                "licence": model.licence,
                "size_bytes": model.size_bytes,
                "sha256": sha256,
            }
            texts.append(f"{json.dumps(facts)}\n")
        else:
            texts.append(
                f"{model.name}  {model.size_bytes / 2**20:.1f} MiB  {model.licence}\n"
                f"  {model.description}\n"
                f"  sha256 {sha256}\n"
            )
    describe = _others_as_json if format_name == "json" else _others_as_text
    with console.exit_on_error(SOME_FAILED), sink:
        sink.write(0, "".join([*texts, *describe()]))


def _others_as_json() -> Iterator[str]:
    """Yield one line for each family and each kind of server."""
    from seedvideo.model.families import FAMILIES, published_geometry
    from seedvideo.model.presets import PRESETS
    from seedvideo.sampler.serialization import geometry_to_json

    for family in FAMILIES:
        facts = {
            "kind": "family",
            "name": family.name,
            "model_types": list(family.model_types),
            "time_format": family.time.example,
            "merges_pairs": family.merges_pairs,
            "geometry": geometry_to_json(published_geometry(family.name)),
        }
        yield f"{json.dumps(facts)}\n"
    for preset in PRESETS:
        facts = {
            "kind": "server",
            "name": preset.name,
            "product": preset.product,
            "base_url": preset.base_url,
            "key_variable": preset.key_variable,
            "needs_key": preset.needs_key,
            "tested": preset.tested,
        }
        yield f"{json.dumps(facts)}\n"


def _others_as_text() -> Iterator[str]:
    """Yield two tables: families of open-weight models and kinds of servers."""
    from seedvideo.model.families import FAMILIES, published_geometry
    from seedvideo.model.presets import PRESETS

    yield "\nopen-weight families: --model FOLDER or OWNER/NAME; a plan takes --geometry NAME\n"
    for family in FAMILIES:
        levels = published_geometry(family.name).levels_tokens
        cost = f"{levels[0]}" if len(levels) == 1 else f"{levels[-1]} to {levels[0]}"
        yield f"  {family.name:<16}{cost + ' tokens':<20}{family.time.example.strip()}\n"
    yield "  any other model for images and text of transformers: its processor is asked\n"
    yield "\nservers: --model PRESET:NAME, or PRESET:ADDRESS#NAME for another address\n"
    for preset in PRESETS:
        tested = "run against a real server" if preset.tested else "by documents"
        yield f"  {preset.name:<16}{preset.base_url:<58}{tested}\n"
