"""What calls would have cost on cheaper models of the same provider, and that money adds up to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import PriceBook, UsageStore
from langchain_tokens.errors import QueryError
from langchain_tokens.store.engine import writing
from tests.builders import make_call, make_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MANY = 100_000
SPREAD = 10_000_019
"""Costs that go up to 10 dollars, with twelve digits behind the point: their sum has more digits than a float."""


def filled(store: UsageStore) -> UsageStore:
    """Fill a store with ten priced calls of one model, and calls that nothing can be compared with."""
    book = PriceBook()
    usage = make_usage(1_000_000, 100_000)
    mine = {"model": "gpt-4o", "provider": "openai", "usage": usage}
    calls = [book.price(make_call(**mine)) for _ in range(10)]
    others: list[dict[str, Any]] = [
        {"model": "mystery", "provider": "openai"},
        {"model": "gpt-4o", "provider": "openai", "tokens": None},
        {"model": None, "provider": None},
    ]
    store.add([*calls, *(make_call(**other) for other in others)])
    return store


def test_savings_are_those_of_each_call(store: UsageStore) -> None:
    """Ten calls of 1M and 0.1M tokens: $35 on gpt-4o (2.50 and 10), and what the other's own rates say."""
    found = filled(store).savings(top=1_000, prices=PriceBook(corrections=False))  # whatever can be had by now
    mini = next(row for row in found.rows if row.other_model == "gpt-4o-mini")
    assert (mini.model, mini.calls, mini.cost_usd) == ("gpt-4o", 10, 35)
    assert mini.other_cost_usd == 10 * (Decimal("0.15") + Decimal("0.06"))
    assert mini.saving_usd == Decimal("32.9")
    assert mini.share == pytest.approx(0.94)
    assert found.is_estimate


def test_largest_saving_comes_first_and_only_savings_come(store: UsageStore) -> None:
    """As many other models as asked for, each cheaper, in the order of what they save."""
    rows = filled(store).savings().rows
    assert len(rows) == 3
    assert [row.saving_usd for row in rows] == sorted((row.saving_usd for row in rows), reverse=True)
    assert all(row.saving_usd > 0 for row in rows)
    assert "an estimate" in str(store.savings())


def test_models_that_cannot_be_had_are_not_recommended(store: UsageStore) -> None:
    """Open weights that OpenAI does not serve, and models that are gone, are in no answer, however cheap they are."""
    others = {row.other_model for row in filled(store).savings(top=1_000).rows}
    assert others
    assert not others & {"gpt-oss-20b", "gpt-oss-120b", "gpt-3.5-0301", "gpt-4.1-nano", "o1-mini"}


def test_nothing_to_save_is_said(store: UsageStore) -> None:
    """Without priced calls there is nothing to recommend, and the text says so."""
    assert store.savings().rows == ()
    assert "no cheaper model" in str(store.savings())


@pytest.mark.parametrize("wrong", [{"top": 0}, {"top": True}, {"top": "3"}, {"prices": 5}, {"nonsense": 1}], ids=str)
def test_wrong_arguments_are_refused(store: UsageStore, wrong: dict[str, Any]) -> None:
    """A number of models that is none, and an unknown filter, are errors."""
    with pytest.raises(QueryError):
        store.savings(**wrong)


def test_many_costs_add_up_to_the_last_digit(database: Database, make_store: Callable[[Database], UsageStore]) -> None:
    """The sum over a hundred thousand calls of odd costs is the same on every database, and what whole numbers say."""
    store = make_store(database)
    store.add([make_call(call_id="seed", cost="0.000000000001")])
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most)"
        if store._dialect == "sqlite"
        else "WITH n(i) AS (SELECT generate_series(1, :most))"
    )
    statement = (
        "INSERT INTO llm_call (call_id, run_id, attempt, started_at, price_status, status, usage_source, revision, "
        f"total_cost) {numbers} SELECT 'c' || i, 'r', 1, '2026-11-20 12:00:00', 'priced', 'ok', 'provider', 0, "
        f"(CAST(i AS BIGINT) * 7919) % 1000003 * {SPREAD} FROM n"
    )
    with writing(store._engine(), store.target) as connection:
        connection.execute(text(statement), {"most": MANY})
    expected = 1 + sum(i * 7919 % 1_000_003 * SPREAD for i in range(1, MANY + 1))
    total = store.breakdown("run").total  # from the rows: they came past the sums that are kept
    assert (total.calls, total.cost_usd) == (MANY + 1, Decimal(expected).scaleb(-12))
    assert float(expected) != expected
