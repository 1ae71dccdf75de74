"""What was used meanwhile? Every call of the process is seen, in whatever thread or task it is made."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from langchain_core.tracers.context import register_configure_hook

from langchain_tokens.call import Call, RunFact
from langchain_tokens.handler import TokenUsageHandler
from langchain_tokens.registry import REGISTRY
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog
from langchain_tokens.said import ContentFact
from langchain_tokens.scope import register_once
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.testing.limits import hold, make_limits

__all__ = ("ObservedRun", "observe")


class ObservedRun(Run):
    """All calls of a while as one live run: each read shows what is known then."""

    __slots__ = ()

    def assert_usage(self, **limits: Any) -> None:
        """Fail where more was used so far than may be; `limits` as of `langchain_tokens.testing.assert_usage`.

        Raises:
            AssertionError: where a limit does not hold.
            TokensError: for limits that cannot be.

        """
        __tracebackhide__ = True
        hold(self, make_limits(limits))


class _Nowhere(UsageStore):
    """A store that keeps nothing: whoever observes holds the calls already."""

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Take a batch, and forget it."""


class _Catcher:
    """Stands for a context variable in LangChain's list of them, and is the same in every thread, task and context.

    It holds the handler for calls that no other handler of ours catches.
    """

    def __init__(self) -> None:
        self._handler = TokenUsageHandler(_Nowhere(parse_target("sqlite://")), journal=False)

    def get(self) -> TokenUsageHandler | None:
        """The handler that LangChain is to add; None while nobody observes."""
        return self._handler if REGISTRY.observers else None


@contextmanager
def observe(name: str | None = None) -> Iterator[ObservedRun]:
    """See every call that the process makes in the block, and change nothing about it.

    Unlike `track()` it names nothing, makes no run of several, and does not depend on the context: calls in plain
    threads, in event loops that run already, and those that handlers of the code under test catch or record are seen
    once each. Nothing is stored by it; calls that nobody else catches are kept in memory.

    Args:
        name: the run's name.

    """
    _catch_all()
    log = RunLog(RunFact(run_id=str(uuid4()), name=name, started_at=datetime.now(UTC)))
    REGISTRY.observe(log)
    try:
        yield ObservedRun(log)
    finally:
        REGISTRY.observe_no_more(log)
        log.fact = replace(log.fact, ended_at=datetime.now(UTC), status="ok")


@functools.cache
def _catch_all() -> None:
    """One hook for the process, after that of `track()`, whose stores come first."""
    register_once()
    register_configure_hook(cast("ContextVar[Any]", _Catcher()), inheritable=True, handle_class=TokenUsageHandler)
