"""Connection to a cluster of Ray, or a small one of our own on this machine.

A cluster of our own uses the loopback interface, a token that only this process and its children
know, no dashboard, and the smallest object store: no pixels pass through it. Another cluster is
never shut down.

Separate from `seedvideo.batch.ray_engine`, which hands out parts.
"""

import importlib
import math
import os
import secrets
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from seedvideo.errors import BatchError, ConfigError
from seedvideo.utils.text import printable

CONTROL_SILENT_S: Final = 20.0
"""Seconds without the control process after which a run ends. Ray itself ends the driver, without
a message, after 60."""

_CONNECT_TIMEOUT_S: Final = 10.0
_CHECK_INTERVAL_S: Final = 2.0
_OBJECT_STORE_BYTES: Final = 80 << 20
"""Ray refuses less than 75 MiB."""


class RayCluster:
    """A cluster that this process is connected to; use it in a ``with`` statement.

    Args:
        address: ``HOST:PORT`` of its control process, or ``auto`` for one on this machine; None to
            start one.
        cpus: number of CPUs that a cluster of our own has at least.

    Attributes:
        ray: the package.

    Raises:
        ConfigError: ``config.package_missing`` or ``config.invalid``.
        BatchError: ``batch.cluster_unreachable``, ``batch.cluster_token`` or
            ``batch.cluster_differs``.
    """

    def __init__(self, address: str | None, *, cpus: int) -> None:
        if address is not None:
            _check_address(address)
        elif not any(name.startswith("RAY_AUTH_") for name in os.environ):
            # Without these, Ray writes a token to the home directory.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        self.ray = _import_ray()
        self.is_ours = address is None
        options: dict[str, Any] = {"address": address}
        if address is None:
            options = {
                "address": "local",
                "num_cpus": max(cpus, os.cpu_count() or 1),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }
        with _translated(self.ray, address), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.ray.init(log_to_driver=False, logging_level="error", **options)
            host, _, port = self.ray.get_runtime_context().gcs_address.rpartition(":")
        self._control = (host.strip("[]"), int(port))
        self._answered_s = self._checked_s = time.monotonic()
        self._is_lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, which ends our actors; a cluster of our own ends, too."""
        if not self._is_lost:
            self.ray.shutdown()

    def room(self, *, cpus: int, gpus: float) -> int:
        """Return how many runners the machines have room for when they are idle.

        Raises:
            BatchError: ``batch.cluster_full`` if no machine has room for one.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        found = sum(_fits(node, cpus, gpus) for node in nodes)
        if found:
            return found
        most_gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
        most_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
        if most_gpus < gpus:
            raise BatchError(
                "batch.cluster_full",
                f"a runner needs {gpus:g} GPUs, and no machine of the cluster has more than"
                f" {most_gpus:g}",
                hint="start a machine with a GPU, or run without one: --gpus-per-runner 0",
            )
        raise BatchError(
            "batch.cluster_full",
            f"a runner needs {cpus} CPUs, one and one for each of --workers, and no machine of the"
            f" cluster has more than {most_cpus:g} with its GPUs",
            hint=f"use fewer decode processes: --workers {max(1, int(most_cpus) - 1)}",
        )

    def count_gpus(self) -> float:
        """Return the number of GPUs in the cluster."""
        return float(self.ray.cluster_resources().get("GPU", 0.0))

    def check_control(self) -> None:
        """Check now and then that the control process answers.

        Raises:
            BatchError: ``batch.cluster_lost`` if it has not for `CONTROL_SILENT_S`.
        """
        if time.monotonic() - self._checked_s < _CHECK_INTERVAL_S:
            return
        try:
            with socket.create_connection(self._control, timeout=_CHECK_INTERVAL_S):
                self._answered_s = time.monotonic()
        except OSError as error:
            silent_s = time.monotonic() - self._answered_s
            if silent_s > CONTROL_SILENT_S:
                # Disconnecting would wait for it.
                self._is_lost = True
                raise BatchError(
                    "batch.cluster_lost",
                    f"the control process of the cluster has not answered for {silent_s:.0f} s",
                    hint="start the cluster and the same command again: committed parts are kept",
                    retryable=True,
                ) from error
        self._checked_s = time.monotonic()


def _fits(node: dict[str, float], cpus: int, gpus: float) -> int:
    by_cpus = math.floor(node.get("CPU", 0.0) / cpus)
    return by_cpus if not gpus else min(by_cpus, math.floor(node.get("GPU", 0.0) / gpus + 1e-9))


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The later behaviour, without a warning in each process.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "config.package_missing",
            "--engine ray needs the package ray",
            hint="pip install 'seedvideo[ray]'",
        ) from error


def _check_address(address: str) -> None:
    """Check an address without Ray, which would wait and retry.

    Raises:
        ConfigError: ``config.invalid``.
        BatchError: ``batch.cluster_unreachable``.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536 or "://" in address:
        raise ConfigError(
            "config.invalid",
            f"--address {printable(address[:100])!r} is not the address of a cluster, expected"
            " HOST:PORT or auto",
            hint="run the command on a machine of the cluster: --address auto",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _unreachable_error(address, error.strerror or str(error)) from error


def _unreachable_error(address: str | None, why: str) -> BatchError:
    name = "a cluster on this machine" if address is None else printable(address)
    return BatchError(
        "batch.cluster_unreachable",
        f"{name} cannot be reached: {printable(why[:300])}",
        hint="see whether it runs: ray status --address HOST:PORT; without --address, a cluster"
        " is started on this machine",
        retryable=True,
    )


@contextmanager
def _translated(ray: Any, address: str | None) -> Iterator[None]:
    """Translate the errors of a connection."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())
        causes = " ".join(map(str, _causes(error)))
        if isinstance(error, ray.exceptions.AuthenticationError) or "AuthToken" in causes:
            raise BatchError(
                "batch.cluster_token",
                "the cluster wants a token, and this process has none or a wrong one",
                hint="copy the token file of the cluster's first machine, ~/.ray/auth_token, and"
                " name it: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE",
            ) from error
        if "Version mismatch" in text:
            raise differs_error(text[:200]) from error
        raise _unreachable_error(address, text) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def differs_error(what: str) -> BatchError:
    """Return the error of a cluster with other versions."""
    return BatchError(
        "batch.cluster_differs",
        f"the machines of the cluster differ: {printable(what)}",
        hint="install the same versions of Python, ray and seedvideo on all machines",
    )
