"""What do all routes share? The store, and threads in which it is asked, so that the event loop never waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.budgets import Budget
from langchain_tokens.dashboard.answering import answer, encode
from langchain_tokens.dashboard.counts import Counts
from langchain_tokens.dashboard.kept import Kept
from langchain_tokens.dashboard.presence import Presence
from langchain_tokens.dashboard.turns import Turns
from langchain_tokens.prices import PriceBook
from langchain_tokens.repricing import usual_prices
from langchain_tokens.store.store import UsageStore

__all__ = ("SECONDS_OF_ALL", "SECONDS_OF_A_RANGE", "Services")

SECONDS_OF_A_RANGE = 1.0
"""How long an answer about a range is given again: its begin moves on."""
SECONDS_OF_ALL = 60.0
"""The same of what does not depend on the time, or hardly: prices may change."""
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
    counts: Counts = field(default_factory=Counts)
    limiter: Any = field(default_factory=_limiter)
    """The dashboard's own threads: those of an application that mounts it stay free."""

    turns: Turns = field(default_factory=Turns)
    """A slow answer that many ask for takes one of them."""

    @cached_property
    def prices(self) -> PriceBook:
        """The usual prices, loaded once; asked for in a thread, since that takes a moment."""
        return usual_prices(self.store._prices)

    @cached_property
    def presence(self) -> Presence:
        """Whether there still is something to look at."""
        return Presence(self.store.target)

    @cached_property
    def kept(self) -> Kept:
        """Answers that are still true."""
        return Kept(self.store)

    async def answer(
        self,
        request: Request,
        make: Callable[[], Any],
        *,
        seconds: float = SECONDS_OF_A_RANGE,
        write: Callable[[Any], bytes] = encode,
        content_type: str = "application/json",
    ) -> Response:
        """What is made from the database alone, or what was made before where that is still true.

        Args:
            request: who asks; its address is the question.
            make: makes the answer, in a thread.
            seconds: how long it holds while the database stays as it is: ranges count back from now.
            write: writes the answer, in that thread, too.
            content_type: what it writes.

        """
        question = f"{request.url.path}?{request.url.query}"
        is_fresh = "no-cache" in request.headers.get("cache-control", "")
        kept = self.kept
        stamp = await self.ask(kept.stamp)  # of now, so that what is made for others in the meantime is new enough
        async with self.turns.of(question):
            body = await self.ask(kept.get, question, lambda: write(make()), seconds, stamp=stamp, is_fresh=is_fresh)
        return answer(request, body, content_type)

    async def ask(self, function: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Run what asks the store in a thread.

        Raises:
            StoreError: where the database was taken away.

        """
        self.presence.check()
        return await self.go_on(function, *args, **kwargs)

    async def go_on(self, function: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Run what blocks in a thread, whatever has become of the database since it was begun."""
        return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), limiter=self.limiter)
