"""Jobs of parts on a real cluster of Ray with two machines, of which everything is killed once."""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.parts import read_job
from seedvideo.batch.stores import open_store
from tests.batch.command import ROOT, events, finish, start
from tests.batch.jobs import Make
from tests.batch.part_kills import exported, plan

# Read by Ray once, when it is imported.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
pytest.importorskip("ray", reason="the extra seedvideo[ray] is not installed")

from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow

_AGENT_PORTS = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
LIMIT_S = 240


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with room for one runner each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        found: Any = Cluster()
        add_machine(found)
        add_machine(found)
        yield found
        found.shutdown()


def add_machine(cluster: Any) -> None:
    """Add a machine with room for one runner.

    Its ports are chosen here: Ray waits at most 15 s for ports that its agents choose.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _AGENT_PORTS]
        for each in sockets:
            each.bind(("", 0))
        ports = [each.getsockname()[1] for each in sockets]
    named = dict(zip(_AGENT_PORTS, ports, strict=True))
    cluster.add_node(num_cpus=2, object_store_memory=80 << 20, **named)


class Job:
    """A job of parts, and its drivers."""

    def __init__(self, clips: Path, folder: Path, cluster: Any) -> None:
        self.address, self.folder = str(folder / "job"), folder
        self.words = (
            *("--job", self.address, "--engine", "ray", "--address", cluster.address),
            *("--gpus-per-runner", "0", "--workers", "1", "--json-events"),
            *("--scratch", str(folder / "scratch")),
        )
        plan(clips, self.address)
        self.store = open_store(self.address)
        self.parts = read_job(self.store).parts

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return start(*self.words, *words)

    def finish(self, *words: str) -> tuple[int, str]:
        code, _, err = finish(*self.words, *words, timeout_s=LIMIT_S)
        return code, err

    def runners(self) -> dict[int, int]:
        """Processes that began a part without a commit, by part."""
        found = {}
        committed = {name[-11:-5] for name in self.store.list_names("commits/")}
        for name in self.store.list_names("starts/"):
            part = name.removeprefix("starts/")[:6]
            data = self.store.read(name)
            if data and part not in committed:
                found[int(part)] = int(json.loads(data)["pid"])
        return found

    def check(self, truth: list[bytes], errs: list[str]) -> dict[str, int]:
        """Check the rows; counts for the guide."""
        found = exported(self.folder, "--job", self.address)
        assert found == truth
        done = Counter(e["id"] for err in errs for e in events(err) if e["event"] == "item")
        ids = [json.loads(line)["id"] for line in found]
        return {
            "executed": sum(done.values()),
            "repeated": sum(count - 1 for count in done.values()),
            "twice": len(ids) - len(set(ids)),
            "lost": len(truth) - len(ids),
        }


def slow_clips(made: Make, folder: Path, count: int = 8) -> Path:
    """Clips that take the model a while each."""
    clips = folder / "clips"
    clips.mkdir()
    for item in made(*(f"slow{n}-red" for n in range(count))):
        Path(item.source).rename(clips / Path(item.source).name)
    return clips


def truth_of(clips: Path, folder: Path) -> list[bytes]:
    code, _, err = finish(clips, "-o", folder / "local")
    assert code in (0, 1), err
    return exported(folder, folder / "local")


def until(check: Callable[[], Any]) -> Any:
    """Return the first true value."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        if value := check():
            return value
        time.sleep(0.05)
    pytest.fail("it did not happen")


def note(name: str, counts: dict[str, int]) -> None:
    # Shown with --log-cli-level=INFO: the numbers of the guide.
    logging.getLogger(__name__).info("%s: %s", name, counts)
    assert (counts["twice"], counts["lost"]) == (0, 0)


def test_rows_are_those_of_a_local_run(tmp_path: Path, made: Make, cluster: Any) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for item in made("a-red", "b-two", "bug-red", "c-blue", "poison-green", "d-white"):
        Path(item.source).rename(clips / Path(item.source).name)
    job, truth = Job(clips, tmp_path, cluster), truth_of(clips, tmp_path)
    code, err = job.finish("--runners", "2")
    assert code == 1, err
    counts = job.check(truth, [err])
    assert counts == {"executed": 6, "repeated": 0, "twice": 0, "lost": 0}
    kinds = Counter(event["event"] for event in events(err))
    assert (kinds["part"], kinds["started"], kinds["finished"]) == (3, 1, 1)
    assert kinds["restarted"] == 2
    # Nothing is left to do, so that no runner starts.
    code, err = job.finish()
    assert code == 0 and "all parts are committed; 0 with" in err
    assert not any(event["event"] == "runner" for event in events(err))


@pytest.mark.parametrize("victim", ["runner", "driver", "raylet"])
def test_kills(tmp_path: Path, made: Make, cluster: Any, victim: str) -> None:
    clips = slow_clips(made, tmp_path)
    truth, job = truth_of(clips, tmp_path), Job(clips, tmp_path, cluster)
    errs = []
    with job.start("--runners", "2") as driver:
        runners = until(job.runners)
        time.sleep(1)  # Into the middle of a part.
        if victim == "driver":
            driver.kill()
        elif victim == "runner":
            os.kill(next(iter(runners.values())), signal.SIGKILL)
        else:
            node = next(iter(cluster.worker_nodes))
            os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        _, err = driver.communicate(timeout=LIMIT_S)
        errs.append(err)
    if victim == "driver":
        # The runners, and what is below them, end with it.
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in runners.values()))
        code, err = job.finish("--runners", "2")
        assert code == 0, err
        errs.append(err)
    else:
        assert driver.returncode == 0, err
    if victim == "raylet":
        cluster.remove_node(node, allow_graceful=False)
        add_machine(cluster)
    if victim == "runner":
        assert [e["how"] for e in events(err) if e["event"] == "runner"].count("died") == 1
    note(victim, job.check(truth, errs))


def test_two_drivers_at_once(tmp_path: Path, made: Make, cluster: Any) -> None:
    clips = slow_clips(made, tmp_path)
    truth, job = truth_of(clips, tmp_path), Job(clips, tmp_path, cluster)
    with job.start("--runners", "1") as one, job.start("--runners", "1") as two:
        errs = [each.communicate(timeout=LIMIT_S)[1] for each in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), errs
    note("two drivers", job.check(truth, errs))


def test_ctrl_c_ends_after_the_clip(tmp_path: Path, made: Make, cluster: Any) -> None:
    clips = slow_clips(made, tmp_path)
    truth, job = truth_of(clips, tmp_path), Job(clips, tmp_path, cluster)
    with job.start("--runners", "2") as driver:
        until(job.runners)
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 130 and "stopped; resume with" in err, err
    # An attempt that was stopped is nobody's death.
    assert len(list(job.store.list_names("ends/"))) == len(job.runners())
    code, again = job.finish("--runners", "2")
    assert code == 0, again
    note("ctrl-c", job.check(truth, [err, again]))


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        (("--gpus-per-runner", "1"), {}, "batch.cluster_full"),
        (("--workers", "9"), {}, "--workers 1"),
        (("--address", "127.0.0.1:9"), {}, "batch.cluster_unreachable"),
        (("--address", "ray://127.0.0.1:9"), {}, "config.invalid"),
        ((), {"RAY_AUTH_TOKEN": "0" * 64}, "batch.cluster_token"),
    ],
)
def test_clusters_that_cannot_be_used(
    tmp_path: Path, made: Make, cluster: Any, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], variables: dict[str, str], expected: str,
) -> None:  # fmt: skip
    job = Job(slow_clips(made, tmp_path, 1), tmp_path, cluster)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, err = job.finish(*words)
    assert code in (2, 3) and expected in err and "Traceback" not in err, err


def test_the_control_process_is_killed(tmp_path: Path, made: Make, cluster: Any) -> None:
    # The last test: the cluster does not survive it. The job is longer than the driver's patience.
    clips = slow_clips(made, tmp_path, 60)
    truth, job = truth_of(clips, tmp_path), Job(clips, tmp_path, cluster)
    with job.start("--runners", "1") as driver:
        until(job.runners)
        cluster.head_node.kill_gcs_server()
        _, err = driver.communicate(timeout=LIMIT_S)
    code = driver.returncode
    assert code == 3 and "[batch.cluster_lost]" in err and "Traceback" not in err, err
    again = finish(*job.words[:2], "--json-events", "--scratch", tmp_path / "other")
    assert again[0] == 0, again[2]
    note(f"control process, exit code {code}", job.check(truth, [err, again[2]]))


def test_it_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, seedvideo.cli; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
