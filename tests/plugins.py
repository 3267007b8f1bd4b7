"""Install packages with plugins into a folder, without a network, and use them in a child."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

ROOT: Final = Path(__file__).parent.parent
EXAMPLE: Final = Path(__file__).parent / "plugin_package"


def install_example(
    site: Path, *, version: str = "1.0", replaced: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Install the example package, as an installer would.

    Args:
        site: folder of installed packages.
        version: version that its metadata states.
        replaced: texts of its module that differ.
    """
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    source = (EXAMPLE / "seedvideo_example.py").read_text()
    for old, new in replaced.items():
        assert old in source
        source = source.replace(old, new)
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    (site / "seedvideo_example.py").write_text(source)
    install(site, project["name"], version, project["entry-points"])


def install(site: Path, name: str, version: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a package with entry points."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")


def in_child(
    site: Path,
    *words: object,
    program: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of seedvideo, or a program, with the packages of a folder installed.

    Args:
        site: folder of installed packages, before those of this process.
        words: arguments.
        program: Python to run instead of seedvideo.
        environment: further variables.
    """
    start = ["-m", "seedvideo"] if program is None else ["-c", program]
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *start, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(paths)},
    )
