"""What is remembered of work that may have to be done again? Its calls, within bounds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from langchain_tokens import redo


def done_by(calls: int) -> redo.MadeCalls:
    """What a run has done that made so many calls."""
    work = redo.Work()
    for _ in range(calls):
        work.add("path", SimpleNamespace(record=None, is_superseded=False))
    return work.release()


@pytest.mark.parametrize(
    ("calls", "held"), [((5,), [4]), ((3, 1), [3, 1]), ((3, 2), [3, 0]), ((3, 0, 1), [3, None, 1])]
)
def test_of_too_many_calls_only_the_number_is_known(
    monkeypatch: pytest.MonkeyPatch, calls: tuple[int, ...], held: list[int | None]
) -> None:
    """Calls are held for each run up to a bound, and up to the same for all in it that failed; others are counted."""
    monkeypatch.setattr(redo, "_KEPT_CALLS", 4)
    around = redo.Work()
    for key, count in enumerate(calls):
        around.note_failed(key, done_by(count))
    failed = [around.take_failed(key) for key in range(len(calls))]
    assert [None if made is None else len(made["path"].calls) for made in failed] == held
    assert [0 if made is None else made["path"].count for made in failed] == list(calls)
    around.note_failed(0, done_by(4))
    taken = around.take_failed(0)
    assert taken is not None
    assert len(taken["path"].calls) == 4
