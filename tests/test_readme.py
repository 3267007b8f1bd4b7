"""Run README.md and the first guides: Python and commands must give what the pages show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import seedvideo
from seedvideo import api
from seedvideo.cli import main
from seedvideo.cli.console import COULD_NOT_START, INTERRUPTED, SOME_FAILED, WRONG_USAGE
from seedvideo.writers import WRITERS
from tests.doc_examples import (
    DOCS,
    README,
    ROOT,
    blocks,
    console_runs,
    documented_clip,
    run_session,
)
from tests.object_server import Server, credentials
from tests.synthetic_clips import ColourModel
from tests.tiers import slow

QUICKSTART = DOCS / "guides" / "quickstart.md"
FRAMES = DOCS / "concepts" / "frames.md"
BATCH = DOCS / "guides" / "batch.md"
CLUSTER = DOCS / "guides" / "cluster.md"
CURATE = DOCS / "guides" / "curate.md"
FORMATS = DOCS / "reference" / "formats.md"
RESULTS = DOCS / "reference" / "results.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PACKAGE = ROOT / "seedvideo"

PYTHON = [
    pytest.param(page.name, code, id=f"{page.name}-{place}")
    # Of the page on frames the first block; the other is a fragment that needs torch.
    for page, codes in (
        (README, blocks(README, "python")),
        (QUICKSTART, blocks(QUICKSTART, "python")),
        (CURATE, blocks(CURATE, "python")),
        (FRAMES, blocks(FRAMES, "python")[:1]),
    )
    for place, code in enumerate(codes)
]
SHELL = [
    console_runs(block)
    for page in (README, BATCH, CLUSTER)
    for block in blocks(page, "shell-session")
]
CONSOLE = [
    run
    for page in (README, DOCS / "guides" / "split.md", CURATE)
    for block in blocks(page, "console")
    for run in console_runs(block)
]
PAGES = [README, CONTRIBUTING, *DOCS.rglob("*.md")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documented_clip(tmp_path_factory.mktemp("readme") / "clip.mp4")


@pytest.fixture
def clip_folder(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / clip.name).symlink_to(clip)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """Variables of the environment for a real S3 server with the bucket ``jobs``."""
    with Server() as server:
        server.make_bucket("jobs")
        where = {"AWS_ENDPOINT_URL": server.endpoint, "AWS_ALLOW_HTTP": "true"}
        yield {**credentials(), **where}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ColourModel:
    """Replace every named model by one without weights."""
    loaded = ColourModel()
    # This order: the package takes its lazy name from the api, which must still have its own.
    for home in (seedvideo, api):
        monkeypatch.setattr(home, "load", lambda name="nano", options=None: loaded)
    return loaded


def test_readme_shows_a_picture_python_and_three_commands() -> None:
    (code,) = blocks(README, "python")
    assert all(f"seedvideo.{name}(" in code for name in ("open", "plan", "load", "caption"))
    assert len(CONSOLE) >= 3
    assert re.search(r"^!\[[^]]+\]\(docs/images/[\w-]+\.png\)$", README.read_text("utf-8"), re.M)


def test_batch_guide_shows_a_session() -> None:
    assert len(SHELL) == 3


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_runs(
    page: str,
    code: str,
    clip_folder: Path,
    model: ColourModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(compile(code, page, "exec"), {"__name__": "readme"})  # noqa: S102  # our own page
    assert capsys.readouterr().out


@pytest.mark.parametrize(("command", "output"), CONSOLE)
def test_commands_print_what_is_shown(
    command: str, output: str, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(command)
    assert program == "seedvideo"
    assert main(words) == 0
    printed = capsys.readouterr()
    assert (printed.out or printed.err) == output


@slow
@pytest.mark.parametrize("runs", SHELL)
def test_a_session_in_a_shell(
    runs: list[tuple[str, str]], clip_folder: Path, bucket: dict[str, str]
) -> None:
    run_session(runs, clip_folder, **bucket)


def test_the_tree_names_every_folder_and_no_other() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    lines = text.partition("<!-- tree -->")[2].partition("```text\n")[2].partition("```")[0]
    named, path = set(), ROOT
    depths: dict[int, Path] = {0: ROOT}
    for line in lines.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = depths[depth] / line.split()[0]
        depths[depth + 1] = path
        named.add(path)
        assert len(line.split()) > 1 or path == PACKAGE, f"{path} has no description"
    assert {path for path in named if not path.is_dir()} == set()
    folders = {path.parent for path in PACKAGE.rglob("__init__.py")}
    assert folders - named == set()


def test_every_format_and_exit_code_is_documented() -> None:
    text = FORMATS.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in WRITERS)
    for code in (0, SOME_FAILED, WRONG_USAGE, COULD_NOT_START, INTERRUPTED):
        assert f"| {code} |" in text


def test_every_benchmark_is_named() -> None:
    text = RESULTS.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `benchmarks/(\w+\.py)` \|", text, re.M))
    scripts = {path.name for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert named == scripts


def test_evidence_in_readme_equals_the_results() -> None:
    """README repeats one table of the page of results; its header may differ."""

    def rows(page: Path) -> list[str]:
        _, _, rest = page.read_text(encoding="utf-8").partition("| signs seen |")
        return rest.partition("\n\n")[0].splitlines()

    assert rows(README) == rows(RESULTS)


def test_every_page_is_linked_from_readme() -> None:
    text = README.read_text(encoding="utf-8")
    assert [page for page in DOCS.rglob("*.md") if f"({page.relative_to(ROOT)})" not in text] == []


def test_make_has_every_target_of_the_pages() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = {
        target
        for page in PAGES
        for code in [*blocks(page, "text"), *re.findall(r"`[^`]+`", page.read_text("utf-8"))]
        for target in re.findall(r"^`?make ([a-z][a-z-]*)", code, re.M)
    }
    assert named - targets == set()
