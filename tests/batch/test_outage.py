"""Outages of a server: a busy server blames no clip, a failing one blames what it fails on."""

from seedvideo.batch.outage import MAX_FAILURES, Outage


def outage() -> Outage:
    now_s = iter(range(0, 10_000, 100))
    return Outage(clock=lambda: float(next(now_s)))


def test_a_clip_that_fails_while_others_are_answered_is_to_blame() -> None:
    state = outage()
    assert not state.record_failure("a", "model.server_error")
    state.record_answer("b")
    assert state.record_failure("a", "model.server_error")


def test_a_limit_of_the_rate_blames_no_clip() -> None:
    state = outage()
    for _ in range(MAX_FAILURES - 1):
        assert not state.record_failure("a", "model.server_busy")
        state.record_answer("b")
    # Something must be wrong with it after all.
    assert state.record_failure("a", "model.server_busy")


def test_an_answer_clears_the_failures_of_a_clip() -> None:
    state = outage()
    for _ in range(3 * MAX_FAILURES):
        assert not state.record_failure("a", "model.server_busy")
        state.record_answer("a")
