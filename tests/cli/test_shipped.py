"""The command line with the model that is shipped, on a real clip: once as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from seedvideo.model import load
from tests.cli.conftest import Run
from tests.tiers import slow


def run_process(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """One ``seedvideo`` command in a fresh process."""
    return subprocess.run(
        [sys.executable, "-m", "seedvideo", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@slow
def test_dense_captions_of_a_real_clip(clips: Path) -> None:
    done = run_process("caption", clips / "two.mp4", "--dense", "-f", "json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "done"
    assert len(record["text"].split()) > 2
    spans = [(event["start_s"], event["end_s"]) for event in record["events"]]
    assert spans == [(0.0, 2.0), (2.0, 4.0)]
    assert (record["model"]["name"], record["model"]["source"]) == ("nano", "shipped")
    assert record["model"]["sha256"] == load("nano").sha256
    assert record["usage"]["visual_tokens"] > 0
    is_sure = record["confident"] and all(event["confident"] for event in record["events"])
    assert ("not sure" in done.stderr) != is_sure


def test_a_plan_for_the_model_is_what_it_reads(clips: Path, run: Run) -> None:
    planned = run("plan", clips / "two.mp4", "--model", "nano", "--json")
    captioned = run("caption", clips / "two.mp4", "--json")
    plan, record = json.loads(planned.out), json.loads(captioned.out)
    assert plan["policy"] == record["plan"]["policy"] == "adaptive"
    assert plan["geometry"]["name"] == "nano"
    assert plan["charged_tokens"] <= plan["budget_tokens"] == 384
    assert record["usage"]["visual_tokens"] == plan["totals"]["visual_tokens"]


def test_an_answer_about_a_real_clip(clips: Path, run: Run) -> None:
    done = run("ask", clips / "two.mp4", "What is seen?", "-f", "json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["task"], record["status"]) == ("ask", "done")
    assert record["text"] == record["answer"]["answer"] != ""


def test_models_and_doctor_know_it(run: Run) -> None:
    models = run("models")
    assert models.code == 0 and "nano" in models.out
    doctor = run("doctor")
    assert doctor.code == 0, doctor.out + doctor.err
