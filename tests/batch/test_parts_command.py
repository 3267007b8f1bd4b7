"""Jobs of parts by the command: two processes, one killed, on a folder and on a real S3 server."""

import json
import random
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.stores import open_store
from seedvideo.cli import main
from seedvideo.errors import OutputError
from seedvideo.utils.files import temporary_folder
from tests.batch.command import events, finish, start
from tests.batch.jobs import Make
from tests.batch.part_kills import KillReport, exported, kill_once, plan
from tests.object_server import Proxy, Server
from tests.tiers import quick_first, slow


@pytest.fixture
def clips(tmp_path: Path, made: Make) -> Path:
    """A folder with six clips of several outcomes."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for item in made("a-red", "b-two", "bug-red", "c-blue", "poison-green", "d-white"):
        Path(item.source).rename(folder / Path(item.source).name)
    return folder


def local(clips: Path, folder: Path) -> list[bytes]:
    code, _, err = finish(clips, "-o", folder / "local")
    assert code == 1, err
    return exported(folder, folder / "local")


@slow
@pytest.mark.parametrize("kind", quick_first(["s3", "folder"]))
@pytest.mark.parametrize("kills", quick_first([("runner", "decode"), ("model", "runner")]))
def test_kills(tmp_path: Path, clips: Path, s3: Server, kind: str, kills: tuple[str, ...]) -> None:
    truth, report = local(clips, tmp_path), KillReport()
    is_folder = kind == "folder"
    kill_once(
        clips,
        tmp_path,
        str(tmp_path / "job") if is_folder else f"s3://jobs/{secrets.token_hex(8)}",
        truth,
        random.Random(3),
        report,
        took_s=6,
        kinds=kills,
        words=() if is_folder else ("--store-endpoint", s3.endpoint),
        endpoint=None if is_folder else s3.endpoint,
    )
    assert (report.lost, report.twice) == (0, 0)


@slow
def test_the_store_is_cut_off_in_a_commit(tmp_path: Path, clips: Path, s3: Server) -> None:
    address = f"s3://jobs/{secrets.token_hex(8)}"
    plan(clips, address, "--store-endpoint", s3.endpoint)
    seen: set[str] = set()

    def cuts(line: str) -> bool:
        is_first = line.startswith("PUT") and "/commits/" in line and line not in seen
        seen.add(line)
        return is_first

    truth = local(clips, tmp_path)
    with Proxy(s3.port, cuts) as proxy:
        code, _, err = finish(
            *("--job", address, "--store-endpoint", proxy.endpoint, "--json-events"),
            *("--scratch", tmp_path / "s"),
        )
    parts = [each for each in events(err) if each["event"] == "part"]
    assert code == 1, err
    assert len(proxy.cut) == 3
    assert [each["outcome"] for each in parts] == ["committed"] * 3
    assert exported(tmp_path, "--job", address, "--store-endpoint", s3.endpoint) == truth
    names = list(open_store(address, endpoint=s3.endpoint).list_names("parts/"))
    assert len(names) == 3


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_job_of_one_kind_given_as_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.sqlite").write_bytes(b"")
    job, out = tmp_path / "job", tmp_path / "out"
    for command in ("status", "list", "retry", "doctor", "export"):
        words = ("-f", "jsonl") if command == "export" else ()
        said = " ".join((command, *words))
        code, _, err = run(capsys, "batch", command, job, *words)
        assert code == (1 if command == "export" else 3)
        assert f"[batch.other_kind]\n  hint: seedvideo batch {said} --job {job}\n" in err
        code, _, err = run(capsys, "batch", command, "--job", out, *words)
        assert f"[batch.other_kind]\n  hint: seedvideo batch {said} {out}\n" in err
    code, _, err = run(capsys, "batch", "run", "v.mp4", "-o", job)
    assert code == 3 and f"hint: seedvideo batch run --job {job}" in err
    code, _, err = run(capsys, "batch", "run", "--job", out)
    assert code == 3 and f"hint: seedvideo batch run -o {out}" in err
    code, _, err = run(capsys, "batch", "status", "s3://bucket/job")
    assert code == 3 and "--job s3://bucket/job" in err
    code, _, err = run(capsys, "batch", "status", "s3://key:SECRET@bucket/job")
    assert code == 3 and "--job s3://bucket/job" in err and "SECRET" not in err
    for before in ("status", "status --job", "run v.mp4 -o"):
        code, _, err = run(capsys, "batch", *before.split(), "long" * 100)
        assert code == 3 and "internal.error" not in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("status", "name one job"),
        ("status out --job job", "not both"),
        ("export -f jsonl", "name one job"),
        ("status out --watch", "--watch is for --job"),
        ("retry out --damaged", "--damaged is for --job"),
        ("run v.mp4 --job job", "INPUT cannot be used"),
        ("run --job job -o out", "-o cannot be used"),
        ("run --job job --limit 3", "--limit cannot be used"),
        ("run --job job --json", "--json cannot be used"),
        ("run --job job --price 0", "--price cannot be used"),
        ("status out --store-endpoint http://host", "--store-endpoint is for --job"),
        ("run --job job --budget 8k --fps 2", "fixed these settings: budget-tokens, fps"),
        ("run v.mp4 -o out --metrics 127.0.0.1:1", "--metrics can only be used with --job"),
        ("run v.mp4 -o out --scratch x", "--scratch can only be used with --job"),
        ("plan v.mp4 --job job --drop-near", "duplicates cannot be left out"),
        ("plan v.mp4 --job job --drop-duplicates", "run the job in one folder"),
        ("plan v.mp4 --job job --shard 1/2", "--shard cannot be used with --job"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], words: str, problem: str) -> None:
    code, out, err = run(capsys, "batch", *words.split())
    assert (code, out) == (2, "")
    assert problem in err.replace("\n  hint:", "")


@slow
def test_plan_status_watch_and_metrics(tmp_path: Path, clips: Path) -> None:
    job = str(tmp_path / "job")
    plan(clips, job)
    code, out, _ = finish("--job", job, "--json", command="status")
    assert json.loads(out)["parts"] == {"total": 3, "committed": 0, "open": 0, "repeated": 0}
    with start("--job", job, "--watch", "--json", command="status") as watching:
        code, _, err = finish("--job", job, "--scratch", tmp_path / "s", "--metrics", "127.0.0.1:0")
        assert code == 1
        assert "part 1 committed" in err and "list them with: seedvideo batch status --job" in err
        looks, _ = watching.communicate(timeout=60)
    found: list[dict[str, Any]] = [json.loads(line) for line in looks.splitlines()]
    assert found[0]["parts"]["committed"] < found[-1]["parts"]["committed"] == 3
    assert found[-1]["counts"]["done"] == 4
    code, out, _ = finish("--job", job, "--failed", command="status")
    assert "6: 4 done, 1 failed, 1 quarantined" in out and "[internal.error]" in out
    code, out, _ = finish("--job", job, "--code", "internal.error", command="list")
    assert out.count("\n") == 1
    code, out, err = finish("--job", job, command="retry")
    assert (code, out) == (0, "2 clips to retry\n") and f"batch run --job {job}" in err
    code, out, _ = finish("--job", job, command="doctor")
    assert code == 0 and "3 committed parts are intact" in out


def test_no_space_for_temporary_files(
    tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text(f"{made('a-red')[0].source}\n" * 200)
    words = (tmp_path / "list.txt", "--job", tmp_path / "job")
    code, _, err = finish(*words, command="plan", file_bytes=4096)
    assert code == 3 and "[output.disk_full]" in err, err
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="TMPDIR") as caught, temporary_folder("x-"):
        pass
    assert caught.value.code == "output.unwritable"


@slow
def test_ctrl_c_stops_after_the_clip_and_the_part_resumes(tmp_path: Path, made: Make) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for item in made(*(f"slow{n}-red" for n in range(6))):
        Path(item.source).rename(folder / Path(item.source).name)
    job = str(tmp_path / "job")
    code, _, err = finish(folder, "--job", job, command="plan")
    assert code == 0 and "6 clips in 1 part:" in err
    with start("--job", job, "--json-events", "--scratch", tmp_path / "s") as process:
        assert process.stderr is not None
        while '"state": "done"' not in process.stderr.readline():
            pass
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "job" / "ends" / "000001.001.json").exists()
    code, _, err = finish("--job", job, "--json-events", "--scratch", tmp_path / "s")
    assert code == 0
    assert sum(each["event"] == "item" for each in events(err)) < 6


@slow
def test_nothing_secret_is_written(tmp_path: Path, clips: Path, s3: Server) -> None:
    address = f"s3://jobs/{secrets.token_hex(8)}"
    plan(clips, address, "--store-endpoint", s3.endpoint)
    store = open_store(address, endpoint=s3.endpoint)
    for name in store.list_names(""):
        assert b"not-to-be-shown" not in (store.read(name) or b"")


@slow
def test_the_benchmark_of_parts_runs(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    words = ["--rows", "20000", "--commits", "400", "--quick"]
    made = subprocess.run(
        [sys.executable, root / "benchmarks" / "batch_parts.py", *words],
        capture_output=True, text=True, timeout=300, check=False,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


@slow
def test_clips_in_a_bucket(tmp_path: Path, made: Make, s3: Server) -> None:
    """Windows of clips in a bucket, as a job of parts in another one, equal the job in a folder."""
    rows = []
    for item in made("a-red", "b-two", "c-blue"):
        name = Path(item.source).name
        s3.put("clips", name, Path(item.source).read_bytes())
        rows += [
            {"id": f"{item.id}-{n}", "path": f"s3://clips/{name}", "start": n / 4, "end": n / 4 + 1}
            for n in range(2)
        ]
    rows.append({"id": "none", "path": "s3://clips/none.mp4"})
    clips = tmp_path / "clips.jsonl"
    clips.write_text("".join(json.dumps(row) + "\n" for row in rows))
    remote = ("--store-endpoint", s3.endpoint, "--spool", str(tmp_path))
    code, _, err = finish(clips, "-o", tmp_path / "local", *remote)
    assert code == 1 and "1 failed with input.not_found" in err, err
    job = f"s3://jobs/{secrets.token_hex(8)}"
    plan(clips, job, *remote)
    settings = open_store(job, endpoint=s3.endpoint).read("job.json") or b""
    assert str(tmp_path / "local").encode() not in settings and b"spool" not in settings
    code, _, err = finish("--job", job, "--scratch", tmp_path / "s", *remote)
    assert code == 1 and "1 failed with input.not_found" in err, err
    # What is proposed reaches the same server.
    assert f"batch status --job {job} --store-endpoint {s3.endpoint} --failed" in err
    code, _, err = finish(clips, "--job", tmp_path / "folder", *remote, command="plan")
    assert code == 0 and f"run --job {tmp_path / 'folder'}\n" in err
    at_store = ("--store-endpoint", s3.endpoint)
    found = exported(tmp_path, "--job", job, *at_store)
    assert len(found) == 7 and found == exported(tmp_path, tmp_path / "local")


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.mp4?X-Amz-Signature=SECRET",
        "https://example.org/watch?v=SECRET",
        "https://me:SECRET@example.org/a.mp4",
    ],
)
def test_a_signed_address_is_not_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    clips = tmp_path / "clips.txt"
    clips.write_text(f"{address}\n")
    code, out, err = run(capsys, "batch", "plan", clips, "--job", tmp_path / "job")
    assert (code, out) == (2, "") and "[config.invalid]" in err
    assert "has a query or a password" in err and "SECRET" not in err
    assert not (tmp_path / "job" / "job.json").exists()
