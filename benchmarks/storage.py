"""What does keeping cost? Sustained ingest beside the bare drivers', the journal beside a bare write, bytes a row.

Everything is compared with its bare counterpart in one run, in turn, round after round; medians. Ingest: batches of
calls and runs through `UsageStore.add`, with rows, sums and the runs' totals, beside `executemany` of ready tuples in
SQLite and `COPY` of ready tuples in PostgreSQL, into a table with the same columns and indexes, a transaction for each
batch. The floor is the same by the bare driver with the store's own statements for sums and runs after it, their values
ready as well: what keeping sums costs whoever does it. `By processor` compares processor time, the server's included,
which hardly changes while others use the machine. Of our processor time it is said what goes into making rows and into
adding up, and how much the server takes beside it (on Linux). Journal: `Journal.append` of an encoded call beside
`os.write` of the same bytes to a file opened to append. The whole way from the journal: see `delivering`. The calls are
those of an application with 55,000 calls a day.

Run: `python -m benchmarks.storage --database sqlite postgresql --folder /var/tmp [--rounds 7]`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import JSON, Table, event

from benchmarks.databases import connected, database, insert, sqlite_file
from benchmarks.delivering import Backlog, unpriced, whole_way
from benchmarks.history import CALL_NAMES, Row, call_rows
from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import encode
from langchain_tokens.journal import Journal
from langchain_tokens.store.copying import call_rows as made_rows
from langchain_tokens.store.facts import fact_of
from langchain_tokens.store.rollups import added_sums
from langchain_tokens.store.rolluptables import ROLLUPS
from langchain_tokens.store.rows import call_from_row, fact_from_row
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import CALLS, RUNS, UtcDateTime
from langchain_tokens.store.target import parse_target

BUSY = 10_000_000
"""Calls in half a year of the application whose calls are taken."""
LARGE = 2_000
LARGER = 3_000
"""Calls that a server gets at once when the writer is behind: with their runs they are about 4,000 facts."""
BACKLOG = 3 * LARGE
"""As many as memory holds with their runs."""
SIZES = {500: 8, 1: 60, 50: 20, LARGE: 3, LARGER: 2}
"""Calls in a batch → batches in a round; the first is the usual one."""
APPENDS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The same calls as facts and as ready tuples."""

    calls: Sequence[Call]
    runs: Sequence[RunFact]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class _AsRow:
    """Values as the store reads them in a row."""

    _mapping: Mapping[str, Any]


def batches(size: int) -> Iterator[Batch]:
    """Batches of new calls, each with the facts of runs that began or ended meanwhile."""
    ended: list[Row] = []
    rows, known = call_rows(BUSY, end=datetime.now(UTC), runs=ended), set[str]()
    while chunk := list(islice(rows, size)):
        calls = [call_from_row(_read(CALLS, row)) for row in chunk]
        first = {call.run_id: call for call in reversed(calls) if call.run_id not in known}
        known.update(first)
        runs = [_begun(call) for call in first.values()] + [fact_from_row(_read(RUNS, row)) for row in ended]
        known.difference_update(row[0] for row in ended)
        ended.clear()
        yield Batch(calls=calls, runs=runs, rows=chunk)


def _begun(call: Call) -> RunFact:
    return RunFact(
        run_id=call.run_id,
        started_at=call.started_at,
        name="assistant",
        session=call.session,
        mode=call.mode,
        user=call.user,
    )


def _read(table: Table, row: Row) -> Any:
    names = [column.name for column in table.columns]
    return _AsRow({name: _value(table.c[name].type, value) for name, value in zip(names, row, strict=True)})


def _value(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, JSON):
        return json.loads(value)
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(kind, UtcDateTime) else value


Statement = tuple[str, Any, bool]
"""The text, what goes with it, and whether that is for several runs of it."""
_DERIVED = re.compile(r"\b(llm_run|usage_\w+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds for some batches."""

    ours: float
    bare: float
    floor: float
    """The bare driver, with the statements that keep sums and runs."""
    processor: float
    """Of this process, for ours."""
    server: float
    """Processor time of the server, for ours; 0 without one."""
    bare_processor: float
    """Processor time of this process and the server, for the bare driver."""
    rows: float
    """Of our processor time: making rows of calls."""
    sums: float
    """Of our processor time: adding them up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """The driver itself: a transaction that inserts rows into a table, and runs statements after it."""

    run: Callable[[str, Sequence[Row], Sequence[Statement]], None]
    server_seconds: Callable[[], float]
    """Processor time of the server so far, for the store."""
    own_server_seconds: Callable[[], float]
    """The same for the bare driver."""


class Pair:
    """Our store, and the bare driver beside it."""

    def __init__(self, store: UsageStore, bare: Bare) -> None:
        self.store = store
        self.bare = bare
        self._sources = {size: batches(size) for size in SIZES}
        self._derived: list[Statement] = []
        event.listen(store._engine(), "before_cursor_execute", self._note)  # a server's go past it, see `_noting`

    def round(self, size: int) -> Times:
        """Some batches, each by all three ways."""
        made = list(islice(self._sources[size], SIZES[size]))
        each = [self._batch(batch) for batch in made]
        return Times(**{item.name: sum(getattr(times, item.name) for times in each) for item in fields(Times)})

    def backlog(self) -> Backlog:
        """Some batches as they wait for a writer."""
        made = list(islice(self._sources[LARGE], BACKLOG // LARGE))
        facts: list[Call | RunFact] = []
        for batch in made:
            facts += [*batch.runs, *map(unpriced, batch.calls)]

        def bare() -> None:
            for batch in made:
                self.bare.run("bare_call", batch.rows, ())

        return Backlog(facts=facts, calls=BACKLOG, bare=bare)

    def _batch(self, batch: Batch) -> Times:
        self._derived.clear()
        server, processor, start = self.bare.server_seconds(), time.process_time(), time.perf_counter()
        self.store.add(batch.calls, batch.runs)
        ours, processor = time.perf_counter() - start, time.process_time() - processor
        server = self.bare.server_seconds() - server
        bare_processor, start = time.process_time() + self.bare.own_server_seconds(), time.perf_counter()
        self.bare.run("bare_call", batch.rows, ())
        bare = time.perf_counter() - start
        bare_processor = time.process_time() + self.bare.own_server_seconds() - bare_processor
        start = time.perf_counter()
        self.bare.run("floor_call", batch.rows, self._derived)
        floor = time.perf_counter() - start
        start = time.process_time()
        facts = [fact_of(row) for row in made_rows(batch.calls)[1]]
        middle = time.process_time()
        list(added_sums(facts)[1])
        rows, sums = middle - start, time.process_time() - middle
        return Times(
            ours=ours,
            bare=bare,
            floor=floor,
            processor=processor,
            server=server,
            bare_processor=bare_processor,
            rows=rows,
            sums=sums,
        )

    def _note(
        self, _: Any, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool
    ) -> None:  # the library names it so
        self.note(statement, parameters, is_many=executemany)

    def note(self, statement: str, parameters: Any, *, is_many: bool = False) -> None:
        """Keep a statement that keeps sums or runs."""
        if statement.startswith(("INSERT INTO llm_run", "INSERT INTO usage_")):
            self._derived.append((_DERIVED.sub(r"floor_\1", statement), parameters, is_many))


def sqlite_pair(store: UsageStore, url: str, stack: ExitStack) -> Pair:
    """Bare tables in a file of their own, with the store's pragmas."""
    path = sqlite_file(url)
    connection = stack.enter_context(closing(sqlite3.connect(path.with_name("bare.db"), isolation_level=None)))
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")
    with closing(sqlite3.connect(path)) as ours:
        made = ours.execute(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index')"
            " AND (tbl_name GLOB 'llm_*' OR tbl_name GLOB 'usage_*') ORDER BY type = 'index'"
        ).fetchall()
    for table, statement in made:
        for name in ("bare_call", "floor_call") if table == "llm_call" else (f"floor_{table}",):
            connection.execute(re.sub(r"\b(ix_\w+)\b", rf"{name}_\1", re.sub(rf"\b{table}\b", name, statement)))

    def run(table: str, rows: Sequence[Row], derived: Sequence[Statement]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert(table, CALL_NAMES), rows)
        for statement, parameters, is_many in derived:
            (connection.executemany if is_many else connection.execute)(statement, parameters)
        connection.execute("COMMIT")

    return Pair(store, Bare(run=run, server_seconds=lambda: 0.0, own_server_seconds=lambda: 0.0))


def postgresql_pair(store: UsageStore, url: str, stack: ExitStack) -> Pair:
    """Bare tables in the same database."""
    connection = stack.enter_context(connected(url))
    for table in (CALLS, RUNS, *(rollup.table for rollup in ROLLUPS)):
        for name in ("bare_call", "floor_call") if table is CALLS else (f"floor_{table.name}",):
            connection.execute(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL)")

    def run(table: str, rows: Sequence[Row], derived: Sequence[Statement]) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(f"COPY {table} ({', '.join(CALL_NAMES)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            for statement, parameters, _ in derived:
                cursor.execute(statement, parameters)

    with store._engine().connect() as ours:  # the store has one connection, as long as one thread uses it
        server = int(ours.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        driver: Any = ours.connection.driver_connection
    bare = Bare(
        run=run,
        server_seconds=lambda: _processor_seconds(server),
        own_server_seconds=lambda: _processor_seconds(connection.info.backend_pid),
    )
    pair = Pair(store, bare)
    driver.cursor_factory = _noting(pair)
    return pair


def _noting(pair: Pair) -> Any:
    """A cursor that tells of what it sends."""
    from psycopg import Cursor

    class Noting(Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            pair.note(query, params)
            return super().execute(query, params, **options)

    return Noting


def _processor_seconds(process: int) -> float:
    """Processor time of a process, as Linux tells it; 0 elsewhere."""
    told = Path(f"/proc/{process}/schedstat")
    return int(told.read_text().split()[0]) / 1e9 if told.exists() else 0.0


def ingest(pair: Pair, rounds: int) -> None:
    """Measure batches of every size, in turn, and print."""
    taken: dict[int, list[Times]] = {size: [] for size in SIZES}
    for number in range(rounds + 1):
        for size in SIZES:
            gc.collect()
            found = pair.round(size)
            if number > 0:  # the first warms up
                taken[size].append(found)
    print(f"{'calls in a batch':<18}{'ours, calls/s':>15}{'bare, calls/s':>15}{'of bare':>9}", end="")
    print(f"{'floor of bare':>15}{'ours of floor':>15}{'by processor':>14}", end="")
    print(f"{'processor ms: ours (rows, sums, rest), server':>50}")
    for size, times in taken.items():
        print(f"{size:<18}{_shown(times, SIZES[size], size * SIZES[size])}")


def _shown(taken: Sequence[Times], batches_each: int, calls_each: int) -> str:
    def median(of: Callable[[Times], float]) -> float:
        return statistics.median(map(of, taken))

    def milliseconds(name: str) -> float:
        return median(attrgetter(name)) * 1_000 / batches_each

    speeds = f"{calls_each / median(attrgetter('ours')):>15,.0f}{calls_each / median(attrgetter('bare')):>15,.0f}"
    shares = f"{median(lambda of: of.bare / of.ours):>9.0%}{median(lambda of: of.bare / of.floor):>15.0%}"
    ours, rows, sums = milliseconds("processor"), milliseconds("rows"), milliseconds("sums")
    parts = f"{ours:.1f} ({rows:.1f}, {sums:.1f}, {ours - rows - sums:.1f}), {milliseconds('server'):.1f}"
    work = median(lambda of: of.bare_processor / (of.processor + of.server))
    return f"{speeds}{shares}{median(lambda of: of.floor / of.ours):>15.0%}{work:>14.0%}{parts:>50}"


def hot_path(folder: Path, rounds: int) -> None:
    """Measure the journal's append beside a bare write, one after the other, and print."""
    lines = [encode(call) for batch in islice(batches(APPENDS), 1) for call in batch.calls]
    ours, bare = [], []
    for number in range(rounds):
        journal = Journal(folder / f"appends-{number}")
        descriptor = os.open(folder / "bare.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
        pairs = [(_timed(journal.append, line), _timed(os.write, descriptor, line)) for line in lines]
        os.close(descriptor)
        ours.append(statistics.quantiles([pair[0] for pair in pairs], n=100))
        bare.append(statistics.quantiles([pair[1] for pair in pairs], n=100))
    print(f"\njournal, {APPENDS:,} records a round, µs   {'ours':>10}{'bare':>10}{'ratio':>10}")
    for percentile in (50, 99):
        mine, others = ([quantiles[percentile - 1] for quantiles in column] for column in (ours, bare))
        ratio = statistics.median(one / other for one, other in zip(mine, others, strict=True))
        print(f"p{percentile:<37}{statistics.median(mine):>12.1f}{statistics.median(others):>10.1f}{ratio:>10.2f}")


def _timed(act: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    act(*arguments)
    return (time.perf_counter() - start) * 1e6


def show_size(kind: str, url: str) -> None:
    """Print how many bytes a call takes: its row, the row's indexes, and all else that is kept."""
    if kind == "sqlite":
        with closing(sqlite3.connect(sqlite_file(url))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            many = connection.execute("SELECT count(*) FROM llm_call").fetchone()[0]
        print(f"{many:,} calls, {sqlite_file(url).stat().st_size / many:,.0f} bytes of the file for each")
        return
    with connected(url) as connection:
        many = connection.execute("SELECT count(*) FROM llm_call").fetchone()[0]
        heap, indexes, whole = connection.execute(
            "SELECT pg_table_size('llm_call'), pg_indexes_size('llm_call'), sum(pg_total_relation_size(oid))"
            " FROM pg_class WHERE relkind = 'r' AND (relname LIKE 'llm%' OR relname LIKE 'usage%')"
        ).fetchone()
    print(f"{many:,} calls, bytes for each: row {heap / many:,.0f}, its indexes {indexes / many:,.0f}, ", end="")
    print(f"with runs and sums {float(whole) / many:,.0f}")


PAIRS = {"sqlite": sqlite_pair, "postgresql": postgresql_pair}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--database", nargs="+", default=["sqlite"], choices=list(PAIRS))
    options.add_argument("--folder", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    chosen = options.parse_args()
    with TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        for kind in chosen.database:
            with ExitStack() as stack:
                url, _ = stack.enter_context(database(kind, folder, "storage"))
                store = stack.enter_context(closing(UsageStore(parse_target(url))))
                store.breakdown()  # makes the schema
                print(f"\n{kind}")
                pair = PAIRS[kind](store, url, stack)
                ingest(pair, chosen.rounds)
                whole_way(store, folder, pair.backlog, pair.bare.server_seconds, rounds=chosen.rounds)
                show_size(kind, url)
        hot_path(folder, chosen.rounds)


if __name__ == "__main__":
    main()
