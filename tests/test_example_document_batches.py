"""The document batches example: what it prints and stores is what the processor's own books say, on each database."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest
from sqlalchemy import Engine, Float, Integer, inspect, text
from sqlmodel import Session, col, select

from examples import document_batches
from examples.document_batches.application import METRICS, Response, open_database
from examples.document_batches.documents import CONFIGURATIONS, DAYS, FIRST_DAY, LONG_DAY, MODELS, TASKS
from examples.document_batches.main import main, run
from examples.document_batches.migration import make_old_database, migrate, roll_back, snapshot
from examples.document_batches.poller import Client, call_id_of, store_batch
from examples.document_batches.processor import Booked, Processor, asking, scripted_answer, serving_processor
from examples.document_batches.report import alert_unusual
from examples.scripted import Ledger, LedgerModel, is_exact
from langchain_tokens import PriceBook, TokenUsage, UsageStore, open_store
from langchain_tokens.errors import SchemaError
from langchain_tokens.reports import compare, trend
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.ours import TABLES
from langchain_tokens.store.target import parse_target
from tests.printed import expect_shown

pytest_plugins = ("tests.databases",)

README = Path(document_batches.__file__).parent / "README.md"
END = FIRST_DAY + timedelta(days=DAYS)
OLD = ("id", "result_id", "batch_id", "document", "prompt", "response", "status", "error_message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Four weeks of batches in a database, what the processor booked of them, and what was printed."""

    url: str
    engine: Engine
    store: UsageStore
    processor: Processor
    printed: str

    @property
    def calls(self) -> Sequence[Booked]:
        """The booked results that can be calls."""
        return [booked for booked in self.processor.books if not booked.is_nonsense]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database of each kind."""
    folder = tmp_path_factory.mktemp("documents")
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'documents.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE documents")
        yield server.get_uri(database="documents")
        connection.execute("DROP DATABASE documents WITH (FORCE)")


@pytest.fixture(scope="module")
def done(url: str) -> Iterator[Done]:
    """The program, run once."""
    engine, processor, out = open_database(url), Processor(scripted_answer), io.StringIO()
    with redirect_stdout(out):
        run(url, engine, processor, DAYS)
    store = open_store(url)
    yield Done(url=url, engine=engine, store=store, processor=processor, printed=out.getvalue())
    store.close()
    engine.dispose()


def known(values: Sequence[int | float | None]) -> int | float | None:
    """The sum of what is known; None where nothing is."""
    said = [value for value in values if value is not None]
    return sum(said) if said else None


def speed(books: Sequence[Booked]) -> float:
    """Output tokens for each second, of the results that say both."""
    both = [(one.output_tokens, one.seconds) for one in books if one.output_tokens is not None and one.seconds]
    return sum(tokens for tokens, _ in both) / sum(seconds for _, seconds in both)


DIMENSIONS: dict[str, Callable[[Booked], str]] = {
    "provider": lambda booked: booked.provider,
    "model": lambda booked: booked.model,
    "chain": lambda booked: booked.task,
    "tag:configuration": lambda booked: booked.configuration,
    "session": lambda booked: booked.batch,
}


@pytest.mark.parametrize("by", DIMENSIONS)
def test_store_has_what_the_processor_booked(done: Done, by: str) -> None:
    """E1, E2: by each name results, failures, tokens and speed are those of the processor's own books."""
    rows = done.store.breakdown(by)
    groups = {
        name: [one for one in done.calls if DIMENSIONS[by](one) == name] for name in map(DIMENSIONS[by], done.calls)
    }
    assert {row.key[by] for row in rows} == set(groups)
    for row in rows:
        books = groups[str(row.key[by])]
        assert (row.calls, row.failed_calls) == (len(books), sum(one.is_failed for one in books))
        assert row.input_tokens == known([one.input_tokens for one in books])
        assert row.output_tokens == known([one.output_tokens for one in books])
        assert row.tokens_per_second == pytest.approx(speed(books))
        assert row.calls_without_usage >= sum(one.output_tokens is None for one in books)
    assert done.store.check().is_clean


@pytest.mark.parametrize("heading", ["Provider and model", "Task"])
def test_printed_table_is_the_books(done: Done, heading: str) -> None:
    """Each printed row, the total too, has the numbers of the processor's own books."""
    table = done.printed.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    printed = {" ".join(line.split()[:-8]): line.replace(",", "").split()[-8:] for line in table}
    assert len(printed) == 4
    for name, (results, failed, _, given, written, per_second, _, _) in printed.items():
        books = [one for one in done.calls if name in ("total", one.task, f"{one.provider} {one.model}")]
        assert (int(results), int(failed)) == (len(books), sum(one.is_failed for one in books)), name
        assert int(given) == known([one.input_tokens for one in books])
        assert int(written) == known([one.output_tokens for one in books])
        assert float(per_second) == pytest.approx(speed(books), abs=0.051)


def test_results_are_stored_once(done: Done) -> None:
    """E4: every batch was fetched twice; each result is one call and one row, what can be no call a row alone."""
    books = done.processor.books
    batches = {one.batch for one in books}
    assert sorted(done.processor.fetched) == sorted([*batches, *batches])
    with Session(done.engine) as session:
        rows = session.exec(select(Response).where(col(Response.batch_id) != "batch-old")).all()
    assert (len(rows), sum(row.call_id is not None for row in rows)) == (len(books), len(done.calls))
    stored = {call.call_id for call in done.store.calls(limit=10_000)}
    assert stored == {row.call_id for row in rows if row.call_id is not None}
    refused = len(books) - len(done.calls)
    first = f"First poll: 56 batches, {len(books)} results: {len(done.calls)} calls stored, 0 there, {refused} refused;"
    assert first in done.printed
    assert f"Again: 56 batches, {len(books)} results: 0 calls stored, {len(done.calls)} there" in done.printed


def test_what_is_missing_stays_null(done: Done) -> None:
    """E1, E2: rows and calls have what was said and NULL for the rest; a speed is measured, whatever was claimed."""
    with Session(done.engine) as session:
        rows = session.exec(
            select(Response).where(col(Response.batch_id) != "batch-old").order_by(col(Response.id))
        ).all()
    calls = {call.call_id: call for call in done.store.calls(limit=10_000)}
    for row, booked in zip(rows, done.processor.books, strict=True):
        if booked.is_nonsense:
            assert [getattr(row, name) for name in METRICS] == [None] * 4
            continue
        call, is_whole = calls[str(row.call_id)], None not in (booked.output_tokens, booked.seconds)
        assert (row.input_tokens, row.output_tokens) == (booked.input_tokens, booked.output_tokens)
        assert row.time_taken_seconds == (None if booked.seconds is None else pytest.approx(booked.seconds))
        assert row.tokens_per_second == (pytest.approx(speed([booked])) if is_whole else None)
        assert row.tokens_per_second == call.tokens_per_second
        assert (call.status == "error") is booked.is_failed is (row.error_message is not None)
    unknown = [row for row in rows if None in (row.input_tokens, row.output_tokens)]
    assert len(unknown) > 30
    odd = [call for call in calls.values() if "total_mismatch" in call.usage_flags]
    assert odd
    assert {call.price_status for call in odd} == {"unpriced"}


def test_cost_is_by_the_providers_prices(done: Done) -> None:
    """E5: each provider's cost is that of its model's price for what its complete results used."""
    prices, odd = PriceBook(), {call.call_id for call in done.store.calls(limit=10_000) if call.usage_flags}
    whole = [call for call in done.store.calls(limit=10_000, status="ok") if call.call_id not in odd]
    for row in done.store.breakdown("provider"):
        said = [call.usage for call in whole if call.provider == row.key["provider"] and call.usage]
        counts = [(one.input_tokens, one.output_tokens) for one in said if one.input_tokens and one.output_tokens]
        used = TokenUsage(
            input_tokens=sum(one or 0 for one, _ in counts), output_tokens=sum(one or 0 for _, one in counts)
        )
        (model,) = (name.split(":")[1] for name in MODELS if name.startswith(f"{row.key['provider']}:"))
        assert row.cost_usd == prices.cost(used, model=model, provider=str(row.key["provider"])).total_usd


def test_trend_and_unusual_day(done: Done) -> None:
    """E5: the trend's days are the books' days; the day with the long notes is told, with the books' tokens and why."""
    told: list[str] = []
    days = [
        sum((one.input_tokens or 0) + (one.output_tokens or 0) for one in day_of(done, day) if is_counted(one))
        for day in range(DAYS)
    ]
    found = trend(done.store, now=END, measure="input")
    assert [point.used for point in found.points] == [
        known([one.input_tokens for one in day_of(done, day)]) for day in range(DAYS)
    ]
    assert max(range(DAYS), key=days.__getitem__) == LONG_DAY
    assert alert_unusual(done.store, END, told.append) == len(told) >= 1
    assert all(text.startswith(f"{FIRST_DAY + timedelta(days=LONG_DAY):%Y-%m-%d} chain ") for text in told)
    assert any("onger inputs: " in text for text in told)
    assert done.printed.rstrip().endswith(told[-1])


def day_of(done: Done, day: int) -> list[Booked]:
    """The booked calls of a day."""
    return [one for one in done.calls if one.batch.startswith(f"batch-{day:02}-")]


def is_counted(booked: Booked) -> bool:
    """Whether a result says how many tokens it took in all."""
    return booked.input_tokens is not None and booked.output_tokens is not None


def test_configurations_are_compared(done: Done) -> None:
    """E5: a run is a document in a configuration; showing less of it uses fewer tokens, which is more than chance."""
    found = compare(done.store, "tag:configuration", measures=("tokens",))
    assert [variant.label for variant in found.variants] == sorted(CONFIGURATIONS)
    for variant in found.variants:
        assert variant.calls == sum(one.configuration == variant.label for one in done.calls)
        assert variant.units == 2 * 110 // len(CONFIGURATIONS)
    assert found.differences[0].verdict.startswith("whole uses ")
    assert "more tokens than excerpt" in found.differences[0].verdict


def test_columns_are_the_same_everywhere(done: Done) -> None:
    """E3: integers and reals that may be NULL, and our tables as they should be, on either database."""
    with done.engine.connect() as connection:
        columns = {column["name"]: column for column in inspect(connection).get_columns("responses")}
        names = set(inspect(connection).get_table_names())
    kinds = (Integer, Integer, Float, Float)
    assert tuple(columns) == (*OLD, "call_id", *METRICS)
    assert all(isinstance(columns[name]["type"], kind) for name, kind in zip(METRICS, kinds, strict=True))
    assert all(columns[name]["nullable"] for name in METRICS)
    assert set(TABLES) <= names
    assert inspect_store(parse_target(done.url)).is_right


@pytest.mark.skipif(not is_exact(), reason="tiktoken's table, by which the README counts, is not on this machine")
def test_readme_shows_the_real_output(done: Done) -> None:
    """The output in the README is what the program prints, on either database."""
    expect_shown(README, "## What it prints", done.printed, str)


def test_rollback_leaves_what_was_there(done: Done) -> None:
    """E3: exactly what was added goes; migrated again, the next poll fills the rows that have lost their metrics."""
    with done.engine.connect() as connection:
        before = snapshot(connection)
    undone = roll_back(done.engine)
    assert undone is not None
    assert (undone.rows, set(undone.columns)) == (before.rows, {"call_id", *METRICS})
    with done.engine.connect() as connection:
        assert snapshot(connection) == before
        assert {column["name"] for column in inspect(connection).get_columns("responses")} == set(OLD)
        assert set(inspect(connection).get_table_names()) == {"alembic_version", "responses"}
    assert roll_back(done.engine) is None
    again = migrate(done.engine, done.url)
    assert again is not None
    assert set(again.columns) == {"call_id", *METRICS}
    batch = done.processor.results("batch-03-whole")
    assert batch is not None
    with closing(open_store(done.url)) as store:
        polled = store_batch(batch, store, done.engine)
    assert polled.calls == polled.rows == len(batch["results"]) - len(polled.refused)


@pytest.fixture
def old(lasting_database: Any) -> Iterator[tuple[str, Engine]]:
    """A database as the application has had it."""
    engine = open_database(lasting_database.url)
    make_old_database(engine)
    yield lasting_database.url, engine
    engine.dispose()


def test_migration_that_fails_changes_nothing(old: tuple[str, Engine]) -> None:
    """E3: where a table of our name is somebody else's, the columns are not added either."""
    url, engine = old
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE llm_call (id INTEGER)"))
    with pytest.raises(SchemaError, match="llm_call"):
        migrate(engine, url)
    with engine.connect() as connection:
        assert {column["name"] for column in inspect(connection).get_columns("responses")} == set(OLD)
        assert snapshot(connection).rows == 6


def test_rows_are_written_after_a_crash_between(old: tuple[str, Engine]) -> None:
    """E4: where the calls were stored and the rows were not, the next fetch writes the rows, and no call again."""
    url, engine = old
    migrate(engine, url)
    result = {"id": "b/n/t", "document": "n", "task": "t", "prompt": "p", "status": "completed", "output_tokens": 3}
    batch = {"batch": "b", "configuration": "whole", "model": MODELS[0], "results": [result]}
    with closing(open_store(url)) as store:
        store.import_results([{**result, "call_id": call_id_of("b/n/t")}], session="b")
        polled = store_batch(batch, store, engine)
        assert (polled.calls, polled.there, polled.rows) == (0, 1, 1)
        assert store.breakdown().total.calls == 1


def test_processor_asks_a_real_model() -> None:
    """With a provider's model the results say what it reported, and why there is none; no such batch is a 404."""
    ledger = Ledger()
    model = LedgerModel(["Yes.", TimeoutError("too late"), "No."], ledger=ledger)
    processor = Processor(asking(model), has_gaps=False)
    batch = {"batch": "b", "configuration": "whole", "model": MODELS[0], "submitted_at": FIRST_DAY.isoformat()}
    with serving_processor(processor) as url:
        client = Client(url=url)
        client._ask("/batches", {**batch, "documents": {"n": "one\ntwo"}})
        assert client.finished(after=0) == ["b"]
        results = client.batch("b")["results"]
        with pytest.raises(HTTPError, match="404") as missing:
            client.batch("c")
        missing.value.close()
    assert [result["task"] for result in results] == list(TASKS)
    assert [result.get("error_message") for result in results] == [None, "TimeoutError: too late", None]
    assert [entry.is_failed for entry in ledger.entries] == [False, True, False]
    for entry, result in zip(ledger.entries, results, strict=True):
        counts = (None, None) if entry.is_failed else (entry.input_tokens, entry.output_tokens)
        assert counts == (result.get("input_tokens"), result.get("output_tokens"))


def test_program_says_what_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that cannot be used is one line."""
    assert main(["--model", "no_such_provider:model"]) == 2
    assert capsys.readouterr().err.startswith("document_batches: model no_such_provider:model: ")
