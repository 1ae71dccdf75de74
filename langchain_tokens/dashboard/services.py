"""What do all routes share? The store, and threads in which it is asked, so that the event loop never waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from langchain_tokens.budgets import Budget
from langchain_tokens.prices import PriceBook
from langchain_tokens.repricing import usual_prices
from langchain_tokens.store.store import UsageStore

__all__ = ("Services",)

_MOST_THREADS = 8
"""Fewer than the connections that a store opens at most."""
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(_MOST_THREADS)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What routes need."""

    store: UsageStore
    is_read_only: bool
    needs_token: bool
    budgets: Sequence[Budget] | None
    """None reads the file that the environment names, each time."""
    limiter: Any = field(default_factory=_limiter)
    """The dashboard's own threads: those of an application that mounts it stay free."""

    @cached_property
    def prices(self) -> PriceBook:
        """The usual prices, loaded once; asked for in a thread, since that takes a moment."""
        return usual_prices(self.store._prices)

    async def ask(self, function: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Run what blocks in a thread."""
        return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), limiter=self.limiter)
