"""How fast does a backlog get to the database? The recorder's own way, from the journal on, beside the bare driver.

Calls that nobody has priced yet are recorded while the store takes none. Timed is what comes then, with nothing else to
do: pricing, rows, sums, transactions of as many calls as the writer takes at once, and the journal's giving up. From
memory is what this process itself had waiting, from the journal what another left that was killed. The bare driver gets
the same calls as ready rows, in transactions of 2,000, without sums; the store gets both in turn, in one run.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_tokens import PriceBook
from langchain_tokens.call import MONEY, Call, RunFact
from langchain_tokens.codec import encode
from langchain_tokens.journal import Journal
from langchain_tokens.recorder import Recorder
from langchain_tokens.said import ContentFact
from langchain_tokens.store.store import UsageStore

__all__ = ("Backlog", "unpriced", "whole_way")

_LONG = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits."""

    facts: Sequence[Call | RunFact]
    calls: int
    bare: Callable[[], None]
    """Gives the same calls to the bare driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Seconds for one backlog."""

    calls: int
    ours: float
    bare: float
    processor: float
    """Of this process, for ours."""
    server: float
    """Processor time of the server, for ours."""


class _Held:
    """A store that takes nothing until it is let go."""

    def __init__(self, store: UsageStore) -> None:
        self.target = store.target
        self.open = threading.Event()
        self._store = store

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Take facts, once it is open."""
        self.open.wait()
        self._store.add(calls, runs, contents)

    def close(self) -> None:
        """Stay as it is, for the next recorder."""

    def forget_after_fork(self) -> None:
        """Nobody forks here."""


def unpriced(call: Call) -> Call:
    """A call as it comes to the journal."""
    nothing: dict[str, Any] = dict.fromkeys((*MONEY, "price_source", "price_version", "unit_prices", "priced_provider"))
    return replace(call, **nothing, priced_model=None, price_context=None, price_flags=(), price_status="unpriced")


def _deliver(
    store: UsageStore, folder: Path, backlog: Backlog, server_seconds: Callable[[], float], *, from_journal: bool
) -> Delivered:
    """Deliver a backlog, and give it to the bare driver."""
    sink = _Held(store)
    if from_journal:
        journal = Journal(folder)
        for fact in backlog.facts:
            journal.append(encode(fact))
        journal.close()
    recorder = Recorder(sink, folder)
    price = PriceBook().price
    # The first call starts the writer, which waits in the store then; what it recovers waits there, too.
    waiting = backlog.facts[:1] if from_journal else backlog.facts
    for fact in waiting:
        recorder.record(fact, refine=price)
    server, processor, start = server_seconds(), time.process_time(), time.perf_counter()
    sink.open.set()
    if not recorder.close(_LONG):
        raise RuntimeError("the backlog was not delivered")
    ours, processor, server = time.perf_counter() - start, time.process_time() - processor, server_seconds() - server
    start = time.perf_counter()
    backlog.bare()
    bare = time.perf_counter() - start
    return Delivered(calls=backlog.calls, ours=ours, bare=bare, processor=processor, server=server)


def whole_way(
    store: UsageStore,
    folder: Path,
    backlog: Callable[[], Backlog],
    server_seconds: Callable[[], float],
    *,
    rounds: int,
) -> None:
    """Measure backlogs of new calls, from memory and from the journal in turn, and print."""
    taken: dict[str, list[Delivered]] = {"from memory": [], "from the journal": []}
    for number in range(rounds + 1):
        for name, found in taken.items():
            waiting = backlog()
            gc.collect()
            from_journal = name == "from the journal"
            times = _deliver(store, folder / "journal", waiting, server_seconds, from_journal=from_journal)
            if number > 0:  # the first warms up
                found.append(times)
    print(
        f"{'a backlog, from its start on':<30}{'calls/s':>10}{'bare':>12}{'of bare':>9}{'µs a call: ours, server':>26}"
    )
    for name, found in taken.items():
        _show(name, found)


def _show(name: str, taken: Sequence[Delivered]) -> None:
    """Print the medians of some rounds."""
    ours, bare = (statistics.median(of) for of in zip(*((each.ours, each.bare) for each in taken), strict=True))
    ratio = statistics.median(each.bare / each.ours for each in taken)
    calls = taken[0].calls
    processor, server = (
        statistics.median(of) * 1e6 / calls
        for of in zip(*((each.processor, each.server) for each in taken), strict=True)
    )
    print(f"{name:<30}{calls / ours:>10,.0f}{calls / bare:>12,.0f}{ratio:>9.0%}{f'{processor:.0f}, {server:.0f}':>26}")
