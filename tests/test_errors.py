import pickle

import pytest

from seedvideo import errors
from seedvideo.errors import InputError, MediaError, SeedVideoError

KINDS = sorted(SeedVideoError.__subclasses__(), key=lambda kind: kind.__name__)


def test_the_tree_is_the_one_drawn_at_the_top() -> None:
    drawn = {
        line.split()[1]: line.split()[-1].removesuffix(".*")
        for line in (errors.__doc__ or "").splitlines()
        if "--" in line
    }
    assert drawn == {kind.__name__: kind.stage for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_stage_accepts_only_its_own_codes(kind: type[SeedVideoError]) -> None:
    assert kind(f"{kind.stage}.something", "what").code == f"{kind.stage}.something"
    with pytest.raises(ValueError, match="does not belong to stage"):
        kind("other.something", "what")
    with pytest.raises(ValueError, match="does not belong to stage"):
        kind(f"{kind.stage}s.something", "what")


def test_text_is_the_message_and_the_hint() -> None:
    assert str(InputError("input.empty", "a.mp4 is empty")) == "a.mp4 is empty"
    assert str(InputError("input.empty", "a.mp4 is empty", hint="copy it again")) == (
        "a.mp4 is empty (copy it again)"
    )


def test_errors_are_not_retryable_by_default() -> None:
    assert not MediaError("media.corrupt", "what").retryable


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_borders_unchanged(kind: type[SeedVideoError]) -> None:
    error = kind(f"{kind.stage}.something", "what", hint="next", retryable=True)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.code, copy.message, copy.hint, copy.retryable) == (
        error.code,
        "what",
        "next",
        True,
    )
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("adaptve", "did you mean 'adaptive'?"),
        ("Unifrom", "did you mean 'uniform'?"),
        ("SEED1.5", "did you mean 'seed1.5'?"),
        ("seed", "did you mean 'seed1.5'?"),
        ("key", "did you mean 'keyframes'?"),
        ("", ""),
        ("k", ""),
        ("none", ""),
        (None, ""),
        (5, ""),
        ("adaptive" * 100_000, ""),
    ],
)
def test_the_nearest_choice(given: object, hint: str) -> None:
    assert errors.suggestion(given, ["seed1.5", "uniform", "keyframes", "adaptive"]) == hint
