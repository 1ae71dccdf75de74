"""What does the host feel of a PostgreSQL server that is away? Its calls, timed while the server is there or not.

One process makes calls in turn, by `TokenUsageHandler.record` and by a chat model with the handler and without one, at
a steady pace, while a server of its own is healthy, stopped as by a crash, back, frozen, and back again. It prints the
median microseconds of a call in each of these times, their ratio to the healthy ones, and whether all was stored once.
Run: `python -m benchmarks.outage [--seconds 60] [--healthy 15] [--pace 0.002]`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.hot_path import QUESTION, InstantModel
from langchain_tokens import TokenUsage, TokenUsageHandler, open_store
from tests.servers import Server, started_server

_USAGE = TokenUsage(input_tokens=1200, output_tokens=340, total_tokens=1540)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in which the server is in one state."""

    name: str
    seconds: float
    state: Callable[[Server], Any]


def phases(seconds: float, healthy: float) -> list[Phase]:
    """What happens to the server, one after the other."""
    return [
        Phase(name="healthy", seconds=healthy, state=_let_be),
        Phase(name="away", seconds=seconds, state=Server.away),
        Phase(name="back", seconds=healthy, state=_let_be),
        Phase(name="frozen", seconds=seconds, state=Server.frozen),
        Phase(name="back again", seconds=healthy, state=_let_be),
    ]


@contextlib.contextmanager
def _let_be(_: Server) -> Iterator[None]:
    yield


def ways(handler: TokenUsageHandler) -> Mapping[str, Callable[[], object]]:
    """What the host does, in turn."""
    model = InstantModel()
    return {
        "record": lambda: handler.record(_USAGE, chain="bench", model="gpt-4o-mini", provider="openai"),
        "invoke": lambda: model.invoke(QUESTION, config={"callbacks": [handler]}),
        "no handler": lambda: model.invoke(QUESTION),
    }


def measure(seconds: float, pace: float, calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Microseconds of each call, for so many seconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e6)
            time.sleep(pace)
    return times


def delivered(handler: TokenUsageHandler) -> float:
    """Wait until all is stored, without hurrying anything; how many seconds that took."""
    start = time.monotonic()
    while handler.stats().pending:
        time.sleep(0.05)
    return time.monotonic() - start


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="how long the server is away, and how long frozen")
    options.add_argument("--healthy", type=float, default=15.0, help="how long each time between is")
    options.add_argument("--pace", type=float, default=0.002, help="seconds between two calls")
    chosen = options.parse_args()
    with started_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        run(server, chosen.seconds, chosen.healthy, chosen.pace)


def run(server: Server, seconds: float, healthy: float, pace: float) -> None:
    """All phases on one server, with one handler."""
    with TokenUsageHandler(server.url()) as handler:
        calls = ways(handler)
        measure(2.0, pace, calls)  # imports, first connection, schema
        handler.flush()
        results: dict[str, dict[str, list[float]]] = {}
        waited: dict[str, float] = {}
        for phase in phases(seconds, healthy):
            with phase.state(server):
                results[phase.name] = measure(phase.seconds, pace, calls)
            if phase.state is not _let_be:
                waited[phase.name] = delivered(handler)
        delivered(handler)
        print_times(results, waited)
        print_stored(server, handler)


def print_times(results: Mapping[str, Mapping[str, list[float]]], waited: Mapping[str, float]) -> None:
    """A line for each time and way; the ratio is of the medians, to those of the healthy server."""
    sys.stdout.write(f"{'server':<12}{'call':<12}{'number':>8}{'p50 µs':>9}{'p99':>9}{'max':>9}{'ratio':>7}\n")
    for name, ways_of in results.items():
        for way, times in ways_of.items():
            ratio = statistics.median(times) / statistics.median(results["healthy"][way])
            p99 = statistics.quantiles(times, n=100)[-1]
            sys.stdout.write(
                f"{name:<12}{way:<12}{len(times):>8}{statistics.median(times):>9.0f}{p99:>9.0f}{max(times):>9.0f}{ratio:>7.2f}\n"
            )
    for name, seconds in waited.items():
        sys.stdout.write(f"after {name}: all stored {seconds:.1f} s later\n")


def print_stored(server: Server, handler: TokenUsageHandler) -> None:
    """What arrived."""
    stats = handler.stats()
    with contextlib.closing(open_store(server.url())) as store:
        calls = store.breakdown().total.calls
    ((rows, ids),) = server.execute("SELECT count(*), count(DISTINCT call_id) FROM llm_call")
    sys.stdout.write(
        f"recorded {stats.recorded} facts, stored {stats.stored}, dropped {stats.dropped}, refused {stats.refused}; "
        f"{rows} rows of {ids} calls, sums over {calls}\n"
    )


if __name__ == "__main__":
    main()
