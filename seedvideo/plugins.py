"""Plugins: backends, policies, families, scorers and exporters of other installed packages.

A package registers them as entry points of the groups ``seedvideo.backends``,
``seedvideo.policies``, ``seedvideo.families``, ``seedvideo.scorers`` (measures of benchmarks),
``seedvideo.caption_scorers`` and ``seedvideo.exporters`` (docs/guides/extend.md). The metadata of
packages is read when a name is not a shipped one, or when names are listed; the code of a package
is imported when its plugin is used. Shipped names win.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

from seedvideo.errors import ConfigError, SeedVideoError

PluginKind: TypeAlias = Literal[
    "backend", "policy", "family", "scorer", "caption_scorer", "exporter"
]

_GROUPS: Final[dict[PluginKind, str]] = {
    "backend": "seedvideo.backends",
    "policy": "seedvideo.policies",
    "family": "seedvideo.families",
    "scorer": "seedvideo.scorers",
    "caption_scorer": "seedvideo.caption_scorers",
    "exporter": "seedvideo.exporters",
}


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed package.

    Args:
        kind: kind of the plugin.
        name: name under which it is used.
        target: object that it names, as ``module:attribute``.
        package: name of the package.
        version: version of the package.
    """

    kind: PluginKind
    name: str
    target: str
    package: str
    version: str

    @property
    def origin(self) -> str:
        """Name and version of the package."""
        return f"{self.package} {self.version}".strip()

    def load(self) -> Any:
        """Import the package and return the object: a function, except for a family.

        Raises:
            ConfigError: ``config.plugin_invalid`` if that fails for any reason.
        """
        module, _, attribute = self.target.partition(":")
        try:
            found = import_module(module)
            found = attrgetter(attribute)(found) if attribute else found
        except (Exception, SystemExit) as error:
            # The code of others may raise anything.
            raise self.error(f"cannot be loaded: {type(error).__name__}: {error}") from error
        if self.kind != "family" and not callable(found):
            raise self.error(f"is {type(found).__name__}, expected a function")
        return found

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function of the package.

        Raises:
            ConfigError: ``config.plugin_invalid`` if it fails.
            SeedVideoError: if it raises one.
        """
        try:
            return function(*arguments)
        except SeedVideoError:
            raise
        except (Exception, SystemExit) as error:
            # The code of others may raise anything.
            raise self.error(f"failed: {type(error).__name__}: {error}") from error

    def error(self, problem: str) -> ConfigError:
        """Return the error for a plugin that does not work.

        Args:
            problem: what is wrong, as the end of a sentence about the plugin.
        """
        return ConfigError(
            "config.plugin_invalid",
            f"{self.kind} {self.name!r} of the package {self.origin} {' '.join(problem.split())}",
            hint=f"update the package, or remove it with: pip uninstall {self.package}",
        )


@cache
def list_plugins(kind: PluginKind) -> tuple[Plugin, ...]:
    """List the plugins of a kind, sorted by name. No code of a package is imported.

    Raises:
        ConfigError: ``config.plugin_invalid`` if the metadata of a package is damaged.
    """
    from importlib.metadata import entry_points

    group = _GROUPS[kind]
    try:
        found = {
            Plugin(
                kind,
                entry.name,
                entry.value.partition("[")[0].strip(),
                entry.dist.name if entry.dist else "",
                entry.dist.version if entry.dist else "",
            )
            for entry in entry_points(group=group)
        }
    except Exception as error:
        # Damaged metadata raises whatever its parser meets.
        raise ConfigError(
            "config.plugin_invalid",
            f"the metadata of an installed package is damaged: {type(error).__name__}: {error}",
            hint="find the package with: pip check",
        ) from error
    return tuple(sorted(found, key=lambda each: (each.name, each.package)))


def find_plugin(kind: PluginKind, name: str) -> Plugin | None:
    """Find a plugin by its name; None if there is none.

    The caller looks for a shipped name first.

    Raises:
        ConfigError: ``config.plugin_invalid`` if two packages register the name.
    """
    found = [each for each in list_plugins(kind) if each.name == name]
    if len(found) > 1:
        raise found[0].error(f"is registered by {found[1].origin} too")
    return found[0] if found else None
