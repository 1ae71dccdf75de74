"""Does memory stay flat? The resident memory of a process that records very many calls, on SQLite.

Each way of recording is measured in a process of its own, after a warm-up, at the end, and at its highest:
calls through `record`, each a run of its own; calls through `record` in one run; calls through a LangChain model.
Nothing but recording goes on, which is faster than a database takes calls: so what waits in the journal is kept from
its bound, beyond which calls would be dropped, by a flush whenever there is very much of it.
Run: `python -m benchmarks.memory [--calls 1000000] [--model-calls 100000] [--way record]`. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.hot_path import QUESTION, USAGE, InstantModel
from langchain_tokens import TokenUsageHandler, open_store

WARM_UP = 10_000
MEGABYTE = 1_000_000
MOST_PENDING = 300_000
"""Calls and runs that may wait in the journal, far more than memory holds."""
ALLOWED = 50 * MEGABYTE
"""How much memory may grow after the warm-up."""


def by_record(handler: TokenUsageHandler) -> Callable[[int], object]:
    """Calls as data, each a run of its own, of a thousand sessions and some chains and models."""

    def record(number: int) -> object:
        return handler.record(
            USAGE,
            chain=f"chain {number % 7}",
            agent=f"agent {number % 3}",
            session=f"session {number % 1_000}",
            model=("gpt-4o-mini", "gpt-4o")[number % 2],
            provider="openai",
            duration_ms=float(number % 500),
            tags={"team": "search"},
        )

    return record


def in_one_run(handler: TokenUsageHandler) -> Callable[[int], object]:
    """Calls as data in few runs, of ten thousand calls each."""
    return lambda number: handler.record(
        USAGE, run_id=f"run {number // 10_000}", chain="work", model="gpt-4o-mini", provider="openai"
    )


def by_model(handler: TokenUsageHandler) -> Callable[[int], object]:
    """Calls of a LangChain model that takes no time."""
    model = InstantModel()
    return lambda _: model.invoke(QUESTION, config={"callbacks": [handler]})


WAYS: Mapping[str, Callable[[TokenUsageHandler], Callable[[int], object]]] = {
    "record": by_record,
    "one run": in_one_run,
    "model": by_model,
}


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def measure(way: str, calls: int, folder: Path) -> dict[str, Any]:
    """Record so many calls in this process.

    Returns:
        Bytes after the warm-up, at the end, at the highest of all; calls, those stored, and seconds.

    """
    database, highest = folder / "memory.db", 0
    with TokenUsageHandler(database) as handler:
        record = WAYS[way](handler)
        for number in range(WARM_UP):
            record(number)
        handler.flush()
        warm, start = resident(), time.perf_counter()
        for number in range(WARM_UP, calls):
            record(number)
            if number % 1_000 == 0:
                highest = max(highest, resident())
                if handler.stats().pending > MOST_PENDING:
                    handler.flush()
        recorded = time.perf_counter() - start
        handler.flush()
        stats, seconds, end = handler.stats(), time.perf_counter() - start, resident()
    return {
        "way": way,
        "calls": calls,
        "stored": open_store(database).breakdown().total.calls,
        "dropped": stats.dropped,
        "warm": warm,
        "end": end,
        "highest": max(highest, end),
        "recording": recorded,
        "storing": seconds,
        "file": database.stat().st_size,
    }


def in_a_process(way: str, calls: int) -> dict[str, Any]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.memory", "--inside", folder, "--way", way, "--calls", str(calls)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print; the exit code says whether memory stayed flat."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=1_000_000)
    options.add_argument("--model-calls", type=int, default=100_000)
    options.add_argument("--way", choices=tuple(WAYS))
    options.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside is not None:
        sys.stdout.write(json.dumps(measure(chosen.way, chosen.calls, chosen.inside)))
        return
    is_flat = True
    heads = ("way", "calls", "MB warm", "end", "highest", "grown", "s", "s all", "file MB")
    sys.stdout.write("".join(f"{head:>10}" for head in heads) + "\n")
    for way in WAYS if chosen.way is None else (chosen.way,):
        found = in_a_process(way, chosen.model_calls if way == "model" else chosen.calls)
        assert (found["stored"], found["dropped"]) == (found["calls"], 0)
        grown = found["highest"] - found["warm"]
        is_flat = is_flat and grown < ALLOWED
        memory = [found["warm"], found["end"], found["highest"], grown]
        row = [way, f"{found['calls']:,}", *(f"{value / MEGABYTE:.1f}" for value in memory)]
        row += [f"{found['recording']:.0f}", f"{found['storing']:.0f}", f"{found['file'] / MEGABYTE:.0f}"]
        sys.stdout.write("".join(f"{cell:>10}" for cell in row) + "\n")
        sys.stdout.flush()
    sys.exit(0 if is_flat else f"memory grew by more than {ALLOWED / MEGABYTE:.0f} MB")


if __name__ == "__main__":
    main()
