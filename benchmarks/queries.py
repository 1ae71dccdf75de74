"""How long does an answer take, and how much longer after ten times as many calls? Every question that reports ask.

For each database and each number of calls it fills a new database (see `benchmarks.databases`), asks every question
several times, and prints the median of each, the longest of the largest database, and how the largest compares with
the one before. What takes over 100 ms, or over twice as long as with fewer calls, is marked. Ranges count back from
now, so none of them begins with an hour or a day.

Run: `python -m benchmarks.queries --rows 100000 1000000 --database sqlite postgresql --folder /var/tmp [--keep]`.
With `--keep` databases stay and are used again; they should be younger than a day, since ranges count back from now.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.databases import database, fill
from langchain_tokens.reports import findings
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

Ask = Callable[[UsageStore], object]
LIMIT_MS = 100.0
LIMIT_RATIO = 2.0
SMALL_MS = 5.0
"""Below this, a ratio is noise."""
ROUNDS = 5
PATIENCE_SECONDS = 20.0
"""For the rounds of one question; what takes longer is asked fewer times."""
RANGES: Mapping[str, dict[str, Any]] = {
    "7d": {"since": "7d"},
    "168h": {"since": "168h"},
    "30d": {"since": "30d"},
    "720h": {"since": "720h"},
    "all": {},
}
"""Those of hours begin with a moment: rows are read of what is left of its hour, more or less of them by the clock."""
DIMENSIONS = ("chain", "agent", "model", "mode", "provider", "path", "status", "attempt")
MANY = ("user", "session", "run")
FILTERS: Mapping[str, dict[str, Any]] = {"chain": {"chain": "write_sql"}, "model": {"model": "gemini-2.5-flash"}}
TIMELINES = (("day", "7d"), ("day", "30d"), ("day", "all"), ("hour", "7d"), ("week", "all"), ("month", "all"))
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one question, in milliseconds."""

    median: float
    longest: float


def questions(store: UsageStore) -> Iterator[tuple[str, Ask]]:
    """Every question, with its name."""
    yield from _breakdowns()
    yield from _timelines()
    yield from _lists(store)


def _breakdowns() -> Iterator[tuple[str, Ask]]:
    for span, filters in RANGES.items():
        yield _breakdown("total", span, (), filters)
        for name in DIMENSIONS:
            yield _breakdown(name, span, (name,), filters)
        for name in MANY:
            yield _breakdown(f"{name}, largest 50", span, (name,), {"limit": 50, **filters})
        yield _breakdown("agent by model", span, ("agent", "model"), filters)
        for name, chosen in FILTERS.items():
            yield _breakdown(f"agent by model of a {name}", span, ("agent", "model"), {**chosen, **filters})
        yield _breakdown("chain of a model", span, ("chain",), {**FILTERS["model"], **filters})


def _breakdown(what: str, span: str, by: tuple[str, ...], filters: Mapping[str, Any]) -> tuple[str, Ask]:
    return f"breakdown {what}, {span}", lambda store: store.breakdown(*by, **filters)


def _timelines() -> Iterator[tuple[str, Ask]]:
    for every, span in TIMELINES:
        yield _timeline(every, span, None)
    for span in ("30d", "all"):
        yield _timeline("day", span, "model")
        yield _timeline("month", span, "chain")
    for zone in ZONES:
        for span in ("30d", "all"):
            yield _timeline("day", span, None, zone)
            yield _timeline("day", span, "model", zone)
        yield _timeline("week", "all", "model", zone)
        yield _timeline("month", "all", "model", zone)


def _timeline(every: str, span: str, by: str | None, zone: str = "UTC") -> tuple[str, Ask]:
    what = every if by is None else f"{every} by {by}"
    where = "" if zone == "UTC" else f" in {zone}"
    return f"timeline {what}{where}, {span}", lambda store: store.timeline(every, by=by, tz=zone, **RANGES[span])


def _lists(store: UsageStore) -> Iterator[tuple[str, Ask]]:
    known = next(call for call in store.calls(limit=1_000) if call.user is not None and call.agent is not None)
    filters: Mapping[str, dict[str, Any]] = {
        "": {},
        " since 7d": {"since": "7d"},
        " of an agent": {"agent": "critic"},
        " of a chain": {"chain": "make_chart"},
        " of a model": FILTERS["model"],
        " of a rare chain and model": {"chain": "(unattributed)", "model": "gemini-2.5-pro"},
        " of a mode": {"mode": "evaluation"},
        " of a session": {"session": known.session},
        " of a user": {"user": known.user},
        " of a run": {"run": known.run_id},
        " with an error": {"status": "error"},
        " with an error of a chain": {"status": "error", "chain": "make_chart"},
        " of a chain that is not there": {"chain": "no such"},
        " of a model that is not there": {"model": "no such"},
        " of a model in another's name": {"model": "gpt-4.1-2025-04-14", "provider": "google"},
    }
    for what, chosen in filters.items():
        yield f"latest 50 calls{what}", _latest_calls(chosen)
    yield "oldest 50 calls", _latest_calls({"order": "started_at"})
    yield "latest 50 calls, 20th page", _latest_calls({"offset": 950})
    few = (" of an agent", " of a chain", " of a rare chain and model", " of a session", " of a user")
    for what in ("", " since 7d", *few, " of a model that is not there"):
        yield f"latest 50 runs{what}", _latest_runs(filters[what])
    yield "latest 50 runs without a chain", _latest_runs({"chain": "(unattributed)"})
    yield "latest 50 runs with an error", _latest_runs({"status": "error"})
    for span, chosen in RANGES.items():
        for order in ("-cost_usd", "-total_tokens", "-duration_ms", "duration_ms"):
            yield f"50 calls by {order}, {span}", _latest_calls({"order": order, **chosen})
        yield f"runs by cost_usd, largest 50, {span}", _runs_by_cost(chosen)
        yield f"findings, {span}", _findings(chosen)


def _latest_calls(filters: Mapping[str, Any]) -> Ask:
    return lambda store: store.calls(limit=50, **filters)


def _latest_runs(filters: Mapping[str, Any]) -> Ask:
    return lambda store: store.runs(limit=50, **filters)


def _runs_by_cost(filters: Mapping[str, Any]) -> Ask:
    return lambda store: store.breakdown("run", limit=50, order="cost_usd", **filters)


def _findings(filters: Mapping[str, Any]) -> Ask:
    return lambda store: findings(store, **filters)


def measure(ask: Ask, store: UsageStore) -> Times:
    """Ask once to warm up, then several times."""
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) <= ROUNDS and (not taken[1:] or time.perf_counter() - begun < PATIENCE_SECONDS):
        start = time.perf_counter()
        ask(store)
        taken.append((time.perf_counter() - start) * 1_000)
    return Times(median=statistics.median(taken[1:]), longest=max(taken[1:]))


def measure_all(url: str, chosen: str) -> dict[str, Times]:
    """Every question whose name has a text in it."""
    store = UsageStore(parse_target(url))
    found = {name: measure(ask, store) for name, ask in questions(store) if chosen in name}
    store.close()
    return found


def show(kind: str, results: Mapping[int, Mapping[str, Times]]) -> None:
    """Print the table of one kind of database."""
    sizes = sorted(results)
    print(f"\n{kind}, ms (median of {ROUNDS}; longest at {sizes[-1]:,} calls; ratio to {sizes[-2:][0]:,} calls)")
    print(f"{'question':<52}" + "".join(f"{size:>12,}" for size in sizes) + f"{'longest':>10}{'ratio':>8}")
    for name, last in results[sizes[-1]].items():
        medians = [results[size][name].median for size in sizes]
        ratio = medians[-1] / medians[-2:][0]
        marks = " SLOW" * (last.median > LIMIT_MS) + " GROWS" * (ratio > LIMIT_RATIO and last.median > SMALL_MS)
        columns = "".join(f"{median:>12.1f}" for median in medians)
        print(f"{name:<52}{columns}{last.longest:>10.1f}{ratio:>8.1f}{marks}")


def main() -> None:
    """Fill, measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    options.add_argument("--database", nargs="+", default=["sqlite"], choices=["sqlite", "postgresql"])
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--only", default="", help="a text that a question's name has")
    options.add_argument("--keep", action="store_true")
    chosen = options.parse_args()
    for kind in chosen.database:
        results: dict[int, dict[str, Times]] = {}
        for size in sorted(chosen.rows):
            with database(kind, chosen.folder, f"history_{size}", keep=chosen.keep) as (url, is_new):
                if is_new:
                    print(f"{kind}, {size:,} calls: {fill(url, size)}", file=sys.stderr)
                results[size] = measure_all(url, chosen.only)
        show(kind, results)


if __name__ == "__main__":
    main()
