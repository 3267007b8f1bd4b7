"""Warm fork server: forks a child that has imported its module already, for each request.

The server is a clean interpreter that imports a module once and then does nothing but fork. It has
one thread, none of the caller's code, and none of its descriptors but one socket; so a fork is
sound there, and costs a fraction of the start of an interpreter. A child gets the descriptors that
came with its request, its own session, and no other descriptor of the server. Resource limits, user
and processors are those of the caller: a server that was started with others is not used.

    caller --- control socket: module name, then four-odd descriptors a child ---> server
    caller <-- lifeline, one for each child: how it ended, or why it was not started --- server

The caller ends a child by closing its lifeline. When the caller ends, in whatever way, the control
socket closes and the server ends with all its children; when the server dies, the kernel kills its
children and the next request starts another server.
"""

import array
import contextlib
import ctypes
import errno
import gc
import importlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from seedvideo.utils.ipc import descriptors_of, module_path, start_interpreter

_READY: Final = b"ready"
_ENDED, _NOT_STARTED = 0, 1
_REPORT: Final = struct.Struct("=ii")
"""Sent over a lifeline: kind, then the status of the child or the number of the error."""

_MAX_DESCRIPTORS: Final = 8
_MAX_NAME_BYTES: Final = 256
_MAX_NUMBER: Final = 1 << 20
"""Descriptors of the server are below: it holds one for each child, and a few more."""

_REPLY_TIMEOUT_S: Final = 10.0
"""A server that takes or sends nothing for so long is killed: it only forks and waits."""

_MAX_FAILURES: Final = 2
"""Servers that may die before they are ready; after that, interpreters are started instead."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15


class ServerUnavailableError(Exception):
    """No fork server can be used here: start a fresh interpreter instead."""


# The caller's side.


class ForkedProcess:
    """A child of the fork server, with the methods of `subprocess.Popen` that its users need.

    Attributes:
        returncode: as of `subprocess.Popen`; None until `wait` has returned.
        start_error: why it was not started, if it was not.
    """

    def __init__(self, server: "ForkServer", lifeline: socket.socket) -> None:
        self._server = server  # Which lives as long as its children.
        self._lifeline = lifeline
        self.returncode: int | None = None
        self.start_error: OSError | None = None

    def kill(self) -> None:
        """End it at once. Harmless if it has ended; from any thread."""
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its status.

        Raises:
            subprocess.TimeoutExpired: if it still runs after ``timeout`` seconds.
        """
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._lifeline, select.POLLIN)
            if not poll.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("a child of the fork server", timeout or 0.0)
            self._read_report()
        assert self.returncode is not None
        return self.returncode

    def end(self) -> None:
        """Kill it, and wait until it has ended. A server that does not obey is killed too."""
        self.kill()
        try:
            self.wait(_REPLY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self.returncode = -signal.SIGKILL
        self._lifeline.close()

    def abandon(self) -> None:
        """Forget it, in a forked copy of its caller: it goes on for the original."""
        self._lifeline.close()
        self.returncode = 0

    def _read_report(self) -> None:
        try:
            report = self._lifeline.recv(_REPORT.size)
        except ConnectionError:
            report = b""
        # A server that died has taken its children with it.
        kind, value = _REPORT.unpack(report) if report else (_ENDED, -signal.SIGKILL)
        if kind == _NOT_STARTED:
            self.start_error = OSError(value, os.strerror(value))
            self.returncode = 1
        else:
            self.returncode = value


class ForkServer:
    """One fork server.

    Args:
        module: whose ``main`` its children run, with the descriptors of the request; its
            ``preload`` imports what they need.

    Raises:
        OSError: if the system cannot start another process.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.caller_state = _caller_state()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with its:
                self._process = start_interpreter(__name__, [its.fileno()])
        except BaseException:
            ours.close()
            raise
        ours.settimeout(_REPLY_TIMEOUT_S)
        self._control = ours
        self._is_ready = False
        self._ready_lock = threading.Lock()
        self._end = weakref.finalize(self, _end_server, ours, self._process)
        with contextlib.suppress(OSError):  # `wait_ready` finds a dead one.
            ours.send(module.encode("ascii"))
        _servers.add(self)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._end.alive and self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until it has imported its module; return whether it has.

        Raises:
            ServerUnavailableError: if it cannot serve here, or has died.
        """
        if self._is_ready:
            return True
        began_s = time.monotonic()
        if not self._ready_lock.acquire(timeout=max(timeout_s, 0.0)):
            return False
        try:
            return self._is_ready or self._read_ready(timeout_s - (time.monotonic() - began_s))
        finally:
            self._ready_lock.release()

    def fork(self, descriptors: Sequence[int]) -> ForkedProcess:
        """Have a child forked that runs ``main(*descriptors)``, with numbers of its own.

        Returns at once; the child closes the descriptors if it cannot be started.

        Raises:
            OSError: if the server has died, or this process may open no more files.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            content = array.array("i", [its.fileno(), *descriptors])
            try:
                self._control.sendmsg(
                    [b"fork"],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, content)],
                    socket.MSG_NOSIGNAL,
                )
            except BaseException:
                ours.close()
                raise
        return ForkedProcess(self, ours)

    def kill(self) -> None:
        """End it and its children at once."""
        self._end()

    def _read_ready(self, timeout_s: float) -> bool:
        reply = b""
        # A closed socket, of a server that was killed meanwhile, cannot be polled.
        with contextlib.suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            # Rounded up: a wait that ends a little early would be followed by one of no time.
            if not poll.poll(1000 * max(timeout_s, 0.0) + 1):
                return False
            reply = self._control.recv(len(_READY))
        self._is_ready = reply == _READY
        if not self._is_ready:
            self.kill()
            raise ServerUnavailableError(self.module)
        return True

    def abandon(self) -> None:
        """Forget it, in a forked copy of its caller."""
        if self._end.detach() is not None:
            self._control.close()
        # Else Popen warns of a process that still runs, and waits for it later.
        self._process.returncode = 0


_servers: "weakref.WeakSet[ForkServer]" = weakref.WeakSet()
_current: dict[str, ForkServer] = {}
_failures: Counter[tuple[str, object]] = Counter()
"""How many servers died early, by module and state of this process."""

_lock = threading.Lock()


def fork_process(
    module: str, descriptors: Sequence[int], *, timeout_s: float
) -> ForkedProcess | None:
    """Fork a child that runs ``main(*descriptors)`` of a module; start the server if need be.

    Args:
        module: with a ``main``, and a ``preload`` that imports what it needs.
        descriptors: of this process; it keeps its own.
        timeout_s: time to wait for a new server.

    Returns:
        The child; None if the server was not ready in time. It is used by the next call.

    Raises:
        ServerUnavailableError: if none can be used in this system, or in this process's state.
        OSError: if the system has no processes or descriptors left.
    """
    deadline_s = time.monotonic() + timeout_s
    for is_last in (False, True):
        with _lock:
            server = _server_for(module)
        try:
            if not server.wait_ready(deadline_s - time.monotonic()):
                return None
        except ServerUnavailableError:
            _failures[module, server.caller_state] += 1
            raise
        _failures.pop((module, server.caller_state), None)
        try:
            return server.fork(descriptors)
        except (ConnectionError, TimeoutError):
            server.kill()  # It has died, or hangs: another one is started.
            if is_last:
                raise
    raise AssertionError


def start_server(module: str) -> None:
    """Start the server for a module, if it can be used here, before the first request."""
    with contextlib.suppress(ServerUnavailableError, OSError), _lock:
        _server_for(module)


def servers() -> list[ForkServer]:
    """Return the servers of this process that run."""
    return [server for server in list(_servers) if server.is_alive]


def end_servers() -> None:
    """End the servers of this process, and their children: their use of resources counts then."""
    for server in servers():
        server.kill()


def is_supported() -> bool:
    """Whether this system has what a fork server needs."""
    return sys.platform == "linux"


def _server_for(module: str) -> ForkServer:
    """Return the server for this process as it is now."""
    if not is_supported():
        raise ServerUnavailableError(module)
    state = _caller_state()
    server = _current.get(module)
    if server is not None and server.is_alive and server.caller_state == state:
        return server
    if _failures[module, state] >= _MAX_FAILURES:
        raise ServerUnavailableError(module)
    if server is not None and not server.is_alive:
        server.kill()  # Collects its status.
    _current[module] = server = ForkServer(module)
    return server


def _caller_state() -> object:
    """Return what a child takes over from this process through its server."""
    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    return (
        (sys.executable, *module_path()),
        tuple(resource.getrlimit(getattr(resource, name)) for name in names),
        (os.getresuid(), os.getresgid(), tuple(os.getgroups())),
        tuple(sorted(os.sched_getaffinity(0))),
        os.getpriority(os.PRIO_PROCESS, 0),
    )


def _end_server(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    control.close()
    process.kill()
    process.wait()


def _forget_servers() -> None:
    """Leave the servers to the parent, in a forked process."""
    global _lock
    _lock = threading.Lock()
    _current.clear()
    for server in list(_servers):
        server.abandon()


os.register_at_fork(after_in_child=_forget_servers)


# The server's side.


def main(descriptor: int) -> None:
    """Serve the caller until it closes the control socket."""
    control = socket.socket(fileno=descriptor)
    module = importlib.import_module(control.recv(_MAX_NAME_BYTES).decode("ascii"))
    module.preload()
    os.chdir("/")  # So that no folder of the caller is kept busy.
    if _threads() == 1:  # A thread would hold its locks for ever in a child.
        _Server(control, module).serve()


class _Server:
    """Forks children, and reports how they end.

    Args:
        control: to the caller.
        module: whose ``main`` children run.
    """

    def __init__(self, control: socket.socket, module: Any) -> None:
        self._control = control
        self._main = module.main
        self._pid = os.getpid()
        self._libc = ctypes.CDLL(None)
        self._libc.prctl(_PR_SET_NAME, b"seedvideo-fork", 0, 0, 0)
        self._lifelines: dict[int, socket.socket] = {}
        self._pids: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Also if the caller ignored it.

    def serve(self) -> None:
        """Serve until the caller closes its end."""
        gc.collect()
        gc.freeze()  # A collection in a child would copy every page.
        self._control.send(_READY)
        while True:
            # In the order of registration: no child is forked between the end of another, whose
            # descriptor it could get, and the events of the latter.
            for descriptor, _ in self._poll.poll():
                if descriptor == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 512)
                    self._reap()
                elif descriptor in self._pids:
                    # The caller has closed it. Its child is reaped when it has ended.
                    os.kill(self._pids.pop(descriptor), signal.SIGKILL)
                    self._poll.unregister(descriptor)
                elif descriptor == self._control.fileno() and not self._take_request():
                    for pid in self._lifelines:
                        os.kill(pid, signal.SIGKILL)
                    return

    def _take_request(self) -> bool:
        """Fork one child; return False once the caller is gone."""
        ancillary_bytes = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, flags, _ = self._control.recvmsg(
            16, ancillary_bytes, socket.MSG_CMSG_CLOEXEC
        )
        descriptors = descriptors_of(ancillary)
        if not data:
            return False
        if not descriptors:
            return True  # No descriptor is left for the lifeline: the caller sees it closed.
        lifeline, *passed = descriptors
        try:
            if flags & socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, "")
            pid = os.fork()
        except OSError as error:
            with socket.socket(fileno=lifeline) as end, contextlib.suppress(OSError):
                end.send(_REPORT.pack(_NOT_STARTED, error.errno or 0))
        else:
            if pid == 0:
                self._run_child(passed)
            end = socket.socket(fileno=lifeline)
            self._lifelines[pid], self._pids[lifeline] = end, pid
            self._poll.register(lifeline, select.POLLIN)
        for descriptor in passed:
            os.close(descriptor)
        return True

    def _run_child(self, descriptors: Sequence[int]) -> NoReturn:
        """Run the module in a new child, which never returns to the server."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == self._pid:
                _close_all_but(descriptors)
                self._main(*descriptors)
                status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Collect the children that have ended, and report to the caller how."""
        while self._lifelines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            lifeline = self._lifelines.pop(pid)
            if self._pids.pop(lifeline.fileno(), None) is not None:
                self._poll.unregister(lifeline)
            with lifeline, contextlib.suppress(OSError):
                lifeline.send(_REPORT.pack(_ENDED, os.waitstatus_to_exitcode(status)))


def _threads() -> int:
    """Count the threads, including those of C libraries where the system lists them."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _close_all_but(descriptors: Sequence[int]) -> None:
    """Close every descriptor but these and the standard ones."""
    try:
        held = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        held = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MAX_NUMBER)))
    for descriptor in held:
        if descriptor > 2 and descriptor not in descriptors:
            with contextlib.suppress(OSError):  # That of the folder, or one that is not held.
                os.close(descriptor)
