"""What all tests share: few threads, bytecode that is kept, and how hypothesis draws examples."""

import os

# Before torch is imported, here and in every process that a test starts. The models of the tests
# are small, and a core may run another test: threads would wait for each other, busily.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Commands that tests start would otherwise compile every module of the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures import Clips
from tests.tiers import QUICK

# The same examples in every run, so that a green run stays green; no deadline, since a busy
# machine is slow without being wrong.
settings.register_profile("seedvideo", derandomize=True, deadline=None)
settings.register_profile(QUICK, settings.get_profile("seedvideo"), max_examples=25)
settings.load_profile("seedvideo")


@pytest.fixture(scope="session")
def coded_clips(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Coded clips, kept in pytest's cache; without a cache in a folder of the session."""
    if (cache := getattr(request.config, "cache", None)) is not None:
        return Clips(cache.mkdir("clips"))
    folder: Path = tmp_path_factory.getbasetemp() / "clips"
    return Clips(folder)


@pytest.fixture(scope="session")
def clips(coded_clips: Clips) -> Clips:
    """The same; folders with clips of their own have another fixture of this name."""
    return coded_clips
