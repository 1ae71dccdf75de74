"""An application's own rows keep the totals of a run: rows from before have defaults, and no 0 is taken for known."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, MetaData, create_engine, inspect, text
from sqlmodel import Field, Session, SQLModel, select

from langchain_tokens import TokenUsageHandler
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.totals import TokenTotals, total_columns
from tests.builders import make_call, make_fact, make_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_tokens.call import Call
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

NAMES = {"total_input_tokens", "total_output_tokens", "total_tokens", "llm_calls_count", "token_usage_breakdown"}


class StockAnalysis(TokenTotals, SQLModel, table=True):
    """An application's row, as requirement A6 has it."""

    __tablename__ = "analyses"

    id: int | None = Field(default=None, primary_key=True)
    symbol: str


METADATA = MetaData()
SQLModel.metadata.tables["analyses"].to_metadata(METADATA)


@pytest.fixture
def engine(lasting_database: Database) -> Iterator[Engine]:
    """An application's own engine."""
    made = create_engine(parse_target(lasting_database.url).url)
    yield made
    made.dispose()


def run_of(*calls: Call) -> Run:
    """A run that is over."""
    return Run(FixedRun(make_fact(), calls))


def test_totals_of_a_run() -> None:
    """Sums over all calls, and by chain calls, successes, tokens and cost; what ran again stands in a list of its own."""
    run = run_of(
        make_call(chain="sql_generation", tokens=(100, 20), cost="0.00003"),
        make_call(chain="sql_fix", tokens=(50, 10), cost="0.00001", status="error", error_message="no such table"),
        make_call(chain="sql_fix", tokens=(60, 10), cost="0.00002", attempt=2),
    )
    assert run.totals() == {
        "total_input_tokens": 210,
        "total_output_tokens": 40,
        "total_tokens": 250,
        "llm_calls_count": 3,
        "token_usage_breakdown": {
            "sql_generation": chain(1, (100, 20, 120), "0.00003", "1/1"),
            "sql_fix": chain(1, (50, 10, 60), "0.00001", "0/1"),
            "sql_fix_retries": [
                {"attempt": 2, "error": "no such table", "tokens": chain(1, (60, 10, 70), "0.00002", "1/1")}
            ],
        },
    }


def chain(calls: int, tokens: tuple[int | None, ...], cost: str | None, rate: str, **more: int) -> dict[str, Any]:
    """A chain's part of the breakdown."""
    succeeded = int(rate.partition("/")[0])
    return {
        "calls": calls,
        "successful_calls": succeeded,
        "failed_calls": calls - succeeded,
        **dict(zip(("input_tokens", "output_tokens", "total_tokens"), tokens, strict=True)),
        "cost_usd": cost,
        "success_rate": rate,
        **more,
    }


def test_calls_without_usage_are_counted() -> None:
    """Where nobody said how many, the integers are 0 and the breakdown says how many calls they do not cover."""
    totals = run_of(make_call(chain="a", tokens=None), make_call(chain="b", tokens=(3, 4))).totals()
    assert (totals["total_tokens"], totals["llm_calls_count"]) == (7, 2)
    assert totals["token_usage_breakdown"] == {
        "a": chain(1, (None, None, None), None, "1/1", calls_without_usage=1),
        "b": chain(1, (3, 4, 7), None, "1/1"),
        "calls_without_usage": 1,
    }
    nothing = run_of(make_call(chain="a", tokens=None)).totals()
    assert [nothing[name] for name in sorted(NAMES - {"token_usage_breakdown"})] == [1, 0, 0, 0]


def test_estimated_calls_are_marked() -> None:
    """Tokens that no provider told are in the sums, and the breakdown says of how many calls, by chain and over all."""
    totals = run_of(
        make_call(chain="a", tokens=(5, 1), usage_source="estimated"), make_call(chain="b", tokens=(3, 4))
    ).totals()
    assert totals["total_tokens"] == 13
    assert totals["token_usage_breakdown"] == {
        "a": chain(1, (5, 1, 6), None, "1/1", estimated_calls=1),
        "b": chain(1, (3, 4, 7), None, "1/1"),
        "estimated_calls": 1,
    }


def test_run_without_calls_has_an_empty_breakdown() -> None:
    """A run that asked no model has zeros that are known, and nothing to break down."""
    assert run_of().totals() == {**dict.fromkeys(NAMES, 0), "token_usage_breakdown": {}}


@pytest.mark.parametrize("name", ["calls_without_usage", "estimated_calls", "a_retries"])
def test_no_chain_is_lost_to_a_name_that_is_taken(name: str) -> None:
    """A chain that is called as one of the breakdown's own entries gets an underscore, whether the entry is there or not."""
    again = make_call(chain="a", attempt=2, usage=make_usage())
    breakdown = run_of(make_call(chain=name), again).totals()["token_usage_breakdown"]
    assert sorted(breakdown) == ["a_retries", f"{name}_"]


def test_breakdown_is_plain_json() -> None:
    """The breakdown holds text for money and nothing that JSON has not."""
    totals = run_of(make_call(chain=None, cost="0.000000000001"), make_call(chain="ü\n", status="cached")).totals()
    assert json.loads(json.dumps(totals, allow_nan=False)) == totals
    assert totals["token_usage_breakdown"]["(unattributed)"]["cost_usd"] == str(
        Decimal("0.000000000001").__format__("f")
    )


def test_totals_on_a_row(engine: Engine) -> None:
    """A row is made or updated from a run's totals, and reads back the same."""
    METADATA.create_all(engine)
    handler = TokenUsageHandler("sqlite://")
    handler.record({"input_tokens": 30, "output_tokens": 4}, chain="final_decision", model="gpt-4o", provider="openai")
    (run,) = handler.runs
    with Session(engine) as session:
        session.add(StockAnalysis(symbol="TCS", **run.totals()))
        later = StockAnalysis(symbol="INFY")
        later.sqlmodel_update(run.totals())
        session.add(later)
        session.commit()
    with Session(engine) as session:
        for row in session.exec(select(StockAnalysis)).all():
            assert {name: getattr(row, name) for name in NAMES} == run.totals()
            assert (row.total_tokens, row.llm_calls_count) == (34, 1)
            assert row.token_usage_breakdown["final_decision"]["success_rate"] == "1/1"
    handler.close()


def test_row_without_totals_has_the_defaults() -> None:
    """A row that no run has filled has zeros and an empty breakdown, each row its own."""
    one, other = StockAnalysis(symbol="TCS"), StockAnalysis(symbol="INFY")
    assert {name: getattr(one, name) for name in NAMES} == run_of().totals()
    assert one.token_usage_breakdown is not other.token_usage_breakdown


def test_columns_are_added_to_a_table_with_rows(engine: Engine) -> None:
    """A migration gives rows from before the defaults, makes what the mixin describes, and takes it away again."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE analyses (id INTEGER NOT NULL PRIMARY KEY, symbol VARCHAR NOT NULL)"))
        connection.execute(text("INSERT INTO analyses VALUES (1, 'TCS'), (2, 'INFY')"))
        before = connection.execute(text("SELECT * FROM analyses ORDER BY id")).all()
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        op = Operations(context)
        for column in total_columns():
            op.add_column("analyses", column)
        assert compare_metadata(context, METADATA) == []
    with Session(engine) as session:
        rows = session.exec(select(StockAnalysis).order_by(text("id"))).all()
        assert [{name: getattr(row, name) for name in NAMES} for row in rows] == [run_of().totals()] * 2
        rows[0].sqlmodel_update(run_of(make_call(tokens=(1, 2))).totals())
        session.commit()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO analyses (id, symbol) VALUES (3, 'the old program, still')"))
        assert connection.execute(text("SELECT total_tokens FROM analyses ORDER BY id")).scalars().all() == [
            3,
            0,
            0,
        ]
        op = Operations(MigrationContext.configure(connection))
        for column in total_columns():
            op.drop_column("analyses", column.name)
        assert {column["name"] for column in inspect(connection).get_columns("analyses")} == {"id", "symbol"}
        assert connection.execute(text("SELECT * FROM analyses ORDER BY id")).all()[:2] == before


def test_columns_are_new_ones_each_time() -> None:
    """A migration for several tables can ask again."""
    assert not {id(column) for column in total_columns()} & {id(column) for column in total_columns()}
    assert {column.name for column in total_columns()} == NAMES
