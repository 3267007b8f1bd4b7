"""Warm fork server: for each request, forks a child that has already imported its module.

The server is a clean interpreter that imports a module once and then only forks. It has one thread,
none of the caller's code, and only one of its descriptors, a socket. So a fork is safe there, and
takes a fraction of the time that an interpreter takes to start. A child gets the descriptors of its
request, a session of its own, and no other descriptor of the server. Resource limits, user and
processors are those of the caller; if these change, another server is started.

    caller --- control socket: module name, then the descriptors of each child ---> server
    caller <-- lifeline, one per child: exit status, or the error of the fork --- server

The caller kills a child by closing its lifeline. When the caller exits, even by a crash, the
control socket closes, and the server exits with all its children. When the server dies, the kernel
kills its children, and the next request starts another server.
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
"""Report on a lifeline: its kind, then the exit status of the child or the error number."""

_MAX_DESCRIPTORS: Final = 8
_MAX_NAME_BYTES: Final = 256
_MAX_NUMBER: Final = 1 << 20
"""Upper bound of the server's descriptors: one per child, and a few more."""

_REPLY_TIMEOUT_S: Final = 10.0
"""Seconds without an answer after which a server is killed: it only forks and waits."""

_MAX_FAILURES: Final = 2
"""Maximum servers that die before they are ready; then interpreters are started instead."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15


class ServerUnavailableError(Exception):
    """A fork server cannot be used here: start a fresh interpreter instead."""


# The caller's side.


class ForkedProcess:
    """A child of the fork server, with the methods of `subprocess.Popen` that its users need.

    Attributes:
        returncode: exit status, as in `subprocess.Popen`; None until `wait` has returned.
        start_error: error of the fork, if it failed.
    """

    def __init__(self, server: "ForkServer", lifeline: socket.socket) -> None:
        self._server = server  # Keeps the server alive as long as its children.
        self._lifeline = lifeline
        self.returncode: int | None = None
        self.start_error: OSError | None = None

    def kill(self) -> None:
        """Kill the child; do nothing if it has exited. May be called from any thread."""
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the child has exited; return its exit status.

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
        """Kill the child and wait for its exit; also kill a server that does not respond."""
        self.kill()
        try:
            self.wait(_REPLY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self.returncode = -signal.SIGKILL
        self._lifeline.close()

    def abandon(self) -> None:
        """Forget the child, in a forked copy of the caller; it keeps running for the original."""
        self._lifeline.close()
        self.returncode = 0

    def _read_report(self) -> None:
        try:
            report = self._lifeline.recv(_REPORT.size)
        except ConnectionError:
            report = b""
        # The kernel killed the children of a dead server.
        kind, value = _REPORT.unpack(report) if report else (_ENDED, -signal.SIGKILL)
        if kind == _NOT_STARTED:
            self.start_error = OSError(value, os.strerror(value))
            self.returncode = 1
        else:
            self.returncode = value


class ForkServer:
    """One fork server.

    Args:
        module: module whose ``main`` the children run with the descriptors of the request. Its
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
        with contextlib.suppress(OSError):  # `wait_ready` detects a dead server.
            ours.send(module.encode("ascii"))
        _servers.add(self)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the server is running."""
        return self._end.alive and self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the server has imported its module; return whether it has.

        Raises:
            ServerUnavailableError: if it cannot run here, or has died.
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
        """Request a child that runs ``main`` with copies of the descriptors.

        Returns immediately. If the fork fails, the server closes the copies.

        Raises:
            OSError: if the server has died, or this process cannot open more files.
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
        """Kill the server and its children."""
        self._end()

    def _read_ready(self, timeout_s: float) -> bool:
        reply = b""
        # The server may have been killed in the meantime: a closed socket cannot be polled.
        with contextlib.suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            # Rounded up: a wait that ends slightly early would be followed by a wait of 0 ms.
            if not poll.poll(1000 * max(timeout_s, 0.0) + 1):
                return False
            reply = self._control.recv(len(_READY))
        self._is_ready = reply == _READY
        if not self._is_ready:
            self.kill()
            raise ServerUnavailableError(self.module)
        return True

    def abandon(self) -> None:
        """Forget the server, in a forked copy of the caller."""
        if self._end.detach() is not None:
            self._control.close()
        # Otherwise Popen warns of a running process, and waits for it later.
        self._process.returncode = 0


_servers: "weakref.WeakSet[ForkServer]" = weakref.WeakSet()
_current: dict[str, ForkServer] = {}
_failures: Counter[tuple[str, object]] = Counter()
"""Number of servers that died before they were ready, by module and state of this process."""

_lock = threading.Lock()


def fork_process(
    module: str, descriptors: Sequence[int], *, timeout_s: float
) -> ForkedProcess | None:
    """Fork a child that runs ``main(*descriptors)`` of a module; start the server if necessary.

    Args:
        module: name of a module with a ``main``, and a ``preload`` that imports what that needs.
        descriptors: descriptors to pass; they stay open in this process.
        timeout_s: maximum seconds to wait for a new server.

    Returns:
        The child; None if the server was not ready in time. The next call uses that server.

    Raises:
        ServerUnavailableError: if this system does not support it, or servers keep dying.
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
            server.kill()  # It is dead or hangs: start another one.
            if is_last:
                raise
    raise AssertionError


def start_server(module: str) -> None:
    """Start the server of a module before the first request, if this system supports it."""
    with contextlib.suppress(ServerUnavailableError, OSError), _lock:
        _server_for(module)


def servers() -> list[ForkServer]:
    """Return the running servers of this process."""
    return [server for server in list(_servers) if server.is_alive]


def end_servers() -> None:
    """Kill the servers of this process and their children, so that their usage is counted."""
    for server in servers():
        server.kill()


def is_supported() -> bool:
    """Whether this system has what a fork server needs."""
    return sys.platform == "linux"


def _server_for(module: str) -> ForkServer:
    """Return the server for the current state of this process; start it if necessary."""
    if not is_supported():
        raise ServerUnavailableError(module)
    state = _caller_state()
    server = _current.get(module)
    if server is not None and server.is_alive and server.caller_state == state:
        return server
    if _failures[module, state] >= _MAX_FAILURES:
        raise ServerUnavailableError(module)
    if server is not None and not server.is_alive:
        server.kill()  # Collects its exit status.
    _current[module] = server = ForkServer(module)
    return server


def _caller_state() -> object:
    """Return the properties of this process that a child inherits through its server."""
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
    os.chdir("/")  # Do not keep a folder of the caller busy.
    if _threads() == 1:  # Locks of a thread would stay locked in children.
        _Server(control, module).serve()


class _Server:
    """Loop of the server: fork children, and report their exits.

    Args:
        control: socket that is connected to the caller.
        module: module whose ``main`` the children run.
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
        """Handle requests until the caller closes its end."""
        gc.collect()
        gc.freeze()  # A garbage collection in a child would copy every page.
        self._control.send(_READY)
        while True:
            # In the order of registration, so that no fork happens between the exit of a child and
            # the events of its descriptor, whose number the new child could get.
            for descriptor, _ in self._poll.poll():
                if descriptor == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 512)
                    self._reap()
                elif descriptor in self._pids:
                    # The caller closed the lifeline. The child is reaped when it has exited.
                    os.kill(self._pids.pop(descriptor), signal.SIGKILL)
                    self._poll.unregister(descriptor)
                elif descriptor == self._control.fileno() and not self._take_request():
                    for pid in self._lifelines:
                        os.kill(pid, signal.SIGKILL)
                    return

    def _take_request(self) -> bool:
        """Fork one child; return False once the caller has closed its end."""
        ancillary_bytes = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, flags, _ = self._control.recvmsg(
            16, ancillary_bytes, socket.MSG_CMSG_CLOEXEC
        )
        descriptors = descriptors_of(ancillary)
        if not data:
            return False
        if not descriptors:
            return True  # The server has no free descriptor: the caller sees a closed lifeline.
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
        """Collect the exited children, and report their exit statuses to the caller."""
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
    """Close all descriptors except these and the standard ones."""
    try:
        held = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        held = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MAX_NUMBER)))
    for descriptor in held:
        if descriptor > 2 and descriptor not in descriptors:
            with contextlib.suppress(OSError):  # The listing's own, or one that is not open.
                os.close(descriptor)
