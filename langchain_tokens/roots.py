"""What is known of a whole run? One `Root` for each root run: its facts, and the counters of everything below it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from weakref import WeakSet

from langchain_tokens.call import RunFact, RunStatus, bounded_fact
from langchain_tokens.making import maker
from langchain_tokens.runlog import KEPT_SAID, RunLog

__all__ = ("Root", "is_interrupt", "run_status")

_make_fact = maker(RunFact)
_INTERRUPTS = frozenset({"GraphInterrupt", "NodeInterrupt"})
_NOT_FAILURES = _INTERRUPTS | {"ParentCommand", "GraphBubbleUp", "GraphDrained"}
_CANCELLATIONS = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})


def run_status(error: BaseException | None) -> RunStatus:
    """The status of a run that ended with this error: handoffs and interrupts are control flow, not failures."""
    kind = type(error).__name__
    if error is None or kind in _NOT_FAILURES:
        return "ok"
    return "cancelled" if kind in _CANCELLATIONS else "error"


def is_interrupt(error: BaseException | None) -> bool:
    """Tell whether a graph stopped here to ask somebody."""
    return type(error).__name__ in _INTERRUPTS


class Root:
    """One root run: its facts, and the counters of everything below it."""

    __slots__ = (
        "clock",
        "counters",
        "end",
        "followers",
        "is_announced",
        "is_interrupted",
        "is_over",
        "is_partial",
        "lately",
        "log",
        "mode",
        "name",
        "origin",
        "over_since",
        "run_id",
        "seen",
        "session",
        "started_at",
        "tags",
        "user",
    )

    def __init__(
        self,
        run_id: str,
        name: str | None,
        started_at: datetime,
        clock: float,
        *,
        log: RunLog | None = None,
        is_partial: bool = False,
    ) -> None:
        self.run_id = run_id
        self.name = name
        self.started_at = started_at
        self.log = log
        """The run that a `track()` opened, and will end; several LangChain roots may lie in it."""
        self.is_partial = is_partial
        """Its own start was never seen, and its end never will be."""
        self.clock = clock
        """When it started, in the monotonic clock's seconds."""
        self.seen = clock
        """When something last began in it, in the monotonic clock's seconds; so `over_since`."""
        self.is_over = False
        self.over_since: float | None = None
        """When it was first found to be over."""
        self.is_interrupted = False
        self.is_announced = False
        """The run's fact went out with its first call."""
        self.session: str | None = None
        self.mode: str | None = None
        self.user: str | None = None
        self.tags: Mapping[str, str] = {}
        self.counters: dict[tuple[Any, ...], int] = {}
        self.lately: deque[Any] | None = None if is_partial or log is not None else deque(maxlen=KEPT_SAID)
        """What its newest calls sent and were answered, by reference and while it goes on."""
        self.end: RunFact | None = None
        """How it ended, once that was seen."""
        self.origin: Root | None = None
        """What another handler on the same store has of it, which saw it begin and will see its end."""
        self.followers: WeakSet[Any] | None = None
        """Whoever has adopted this run."""

    def followed_by(self, follower: Any) -> Root:
        """The same run for another handler, which is told of its end; nothing is counted in it yet."""
        self.followers = WeakSet() if self.followers is None else self.followers
        self.followers.add(follower)
        root = Root(self.run_id, self.name, self.started_at, self.clock, log=self.log)
        root.session, root.mode, root.user, root.tags = self.session, self.mode, self.user, self.tags
        root.origin, root.lately = self, None  # its failures are told by whoever sees it end
        return root

    @property
    def base_path(self) -> tuple[str, ...]:
        """The names above its first run: a `track()`'s own name."""
        return (self.name,) if self.log is not None and self.name is not None else ()

    def is_over_for(self, seconds: float, clock: float) -> bool:
        """Tell whether this run has been over for so long, as far as this was asked before."""
        if not self.is_over and (self.log is None or self.log.fact.status == "running"):
            return False
        if self.over_since is None:
            self.over_since = clock
        return clock - self.over_since > seconds

    def is_idle_for(self, seconds: float, clock: float) -> bool:
        """Tell whether nothing has begun in this run for so long."""
        return clock - self.seen > seconds

    @property
    def said(self) -> deque[Any] | None:
        """What its newest calls, or those of its `track()`, sent and were answered; None once that has ended."""
        return self.lately if self.log is None else self.log.lately

    def fact(
        self,
        status: RunStatus = "running",
        ended_at: datetime | None = None,
        error: BaseException | None = None,
        text: str | None = None,
    ) -> RunFact:
        """What is known of this run now; `text` is the error's, as it may be stored."""
        fact = _make_fact(
            run_id=self.run_id,
            name=self.name,
            session=self.session,
            mode=self.mode,
            user=self.user,
            tags=self.tags,
            started_at=self.started_at,
            ended_at=ended_at,
            status=status,
            error_type=type(error).__name__ if status == "error" else None,
            error_message=text if status == "error" else None,
        )
        return bounded_fact(fact)

    def ended(self, at: datetime | None, error: BaseException | None, text: str | None) -> RunFact:
        """The fact that this run ended; `text` is the error's, as it may be stored."""
        status = run_status(error)
        return self.fact("interrupted" if status == "ok" and self.is_interrupted else status, at, error, text)
