"""What happens at both ends of a block? Names begin and end there, and a run that is the block's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import replace
from datetime import timedelta
from typing import Any

from langchain_tokens.names import CURRENT_SCOPE, Scope
from langchain_tokens.registry import REGISTRY
from langchain_tokens.roots import run_status
from langchain_tokens.runlog import RunLog

__all__ = ("ended", "entered", "seen")


@contextmanager
def entered(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Set a variable for the block."""
    before = variable.get()
    token: Token[Any] = variable.set(value)
    try:
        yield
    finally:
        try:
            variable.reset(token)
        except ValueError:  # the block ends in another context than it began in, as in an asynchronous generator
            variable.set(before)


@contextmanager
def seen(scope: Scope, log: RunLog) -> Iterator[None]:
    """Warn of a block that nothing was in, as of a dependency of FastAPI that yields: each part of it runs in a thread
    with a context of its own, and what is between them in neither.
    """
    yield
    if CURRENT_SCOPE.get() is scope or log.count or _is_on_a_loop():
        return  # an asynchronous generator may be finished elsewhere, and what it did was in its block
    REGISTRY.warnings.once(
        "block",
        "a track() block was left in another context than it was entered in, and saw no call: what ran meanwhile was "
        "not in it. A dependency of FastAPI that yields has to be `async def` (docs/fastapi.md)",
    )


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def ended(log: RunLog, clock: float) -> Iterator[None]:
    """Note how the block ended, begun at that time of the monotonic clock, and tell the stores that took its calls."""
    error: BaseException | None = None
    began = log.fact.started_at
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        status = run_status(error)
        failed = error is not None and status == "error"
        text = REGISTRY.failures.text(error, log.lately or ()) if failed and error is not None else None
        log.lately = None
        log.fact = replace(
            log.fact,
            ended_at=began + timedelta(seconds=time.perf_counter() - clock),  # the wall clock may have been set
            status=status,
            error_type=type(error).__name__ if failed else None,
            error_message=text,
        )
        for recorder in tuple(log.recorders):
            recorder.record(log.fact)
