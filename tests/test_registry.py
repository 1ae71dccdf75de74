"""Forks, budgets and the end of the process reach all, while other threads open stores and make handlers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from langchain_tokens.registry import Registry
from langchain_tokens.store import forking
from langchain_tokens.trouble import Warnings

LONG = 15.0
"""Seconds that no test takes: a limit for what must come soon."""


class Part:
    """Stands for whatever is told; another one comes each time."""

    def __init__(self, others: dict[Any, Any]) -> None:
        self._others = others
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*_: object) -> None:
            self.told.append(name)
            self._others[object()] = Part({})

        return tell


class Growing(weakref.WeakSet[Any]):
    """A weak set to which another thread adds while it is gone through for the first time."""

    is_looked_at = False

    def __iter__(self) -> Iterator[Any]:
        for part in super().__iter__():
            if not self.is_looked_at:
                self.is_looked_at = True
                self.late = Part({})
                self.data.add(weakref.ref(self.late))
            yield part


@pytest.mark.parametrize(
    ("kind", "act", "told"),
    [
        ("_recorders", "_pause", "pause"),
        ("_recorders", "_resume", "resume"),
        ("_recorders", "_forget_after_fork", "forget_after_fork"),
        ("_ledgers", "_forget_after_fork", "forget_after_fork"),
    ],
)
def test_fork_reaches_all_stores_that_are_open(kind: str, act: str, told: str) -> None:
    """A store that is opened in the middle of it changes nothing for the others."""
    registry = Registry()
    parts: dict[Any, Any] = getattr(registry, kind)
    parts.update({number: Part(parts) for number in range(3)})
    getattr(registry, act)()

    assert [parts[number].told for number in range(3)] == [[told]] * 3


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda registry: registry.refuse_call(uuid4()), "refuse_call"),
        (lambda registry: registry.drain(), "close_open_calls"),
        (lambda registry: registry._forget_after_fork(), "forget_after_fork"),
    ],
    ids=["budget", "exit", "fork"],
)
def test_handlers_are_told_while_others_are_made(act: Callable[[Registry], None], told: str) -> None:
    """A handler that is made in the middle of it keeps nobody from being told once."""
    registry: Any = Registry()
    parts = [Part({}) for _ in range(3)]
    registry._watched = Growing(parts)
    act(registry)

    assert [part.told for part in parts] == [[told]] * 3


def test_gates_are_shut_while_others_are_made() -> None:
    """A database that is opened while the process forks keeps no other from being closed before."""
    parts: list[Any] = [Part({}) for _ in range(3)]
    forking._each(Growing(parts), lambda gate: gate.shut())

    assert [part.told for part in parts] == [["shut"]] * 3


def test_warning_holds_up_no_other() -> None:
    """While one thread is in the middle of a warning others log theirs: none of them may be left waiting by a fork."""
    let_go, reached = threading.Event(), threading.Event()

    class Slow(str):
        __slots__ = ()

        def __hash__(self) -> int:
            reached.set()
            assert let_go.wait(60)
            return super().__hash__()

    warnings = Warnings()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(warnings.once, Slow("slow"), "slow")
        assert reached.wait(LONG)
        try:
            threads.submit(warnings.once, "other", "other").result(LONG)
        finally:
            let_go.set()
        slow.result(LONG)
