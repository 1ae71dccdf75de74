"""What do all routes share? The store, and threads in which it is asked, so that the event loop never waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from langchain_tokens.store.store import UsageStore

__all__ = ("Services",)

_MOST_THREADS = 8
"""Fewer than the connections that a store opens at most."""
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(_MOST_THREADS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What routes need."""

    store: UsageStore
    is_read_only: bool
    needs_token: bool
    limiter: Any = field(default_factory=_limiter)
    """The dashboard's own threads: those of an application that mounts it stay free."""

    async def ask(self, function: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Run what blocks in a thread."""
        return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), limiter=self.limiter)
