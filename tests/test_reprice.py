"""What stored calls would cost: asked without writing, written with revisions, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from langchain_tokens import Call, PriceBook, UsageStore
from langchain_tokens.errors import QueryError
from tests.builders import NOON, make_call, make_fact, make_usage

pytest_plugins = ("tests.databases",)


class Book(PriceBook):
    """A price book with one price for each token, and none for the model `secret`."""

    def __init__(self, rate: str) -> None:
        super().__init__()
        self.rate = Decimal(rate)
        self.asked: list[Call] = []

    def price(self, call: Call) -> Call:
        self.asked.append(call)
        if call.usage is None or call.usage.total_tokens is None or call.model == "secret":
            return call
        cost = self.rate * call.usage.total_tokens
        return replace(
            call,
            cost_usd=cost,
            input_cost_usd=cost,
            output_cost_usd=Decimal(0),
            other_cost_usd=Decimal(0),
            price_status="priced",
            price_source="book",
            price_version=str(self.rate),
            unit_prices={"total": str(self.rate)},
        )


def filled(store: UsageStore) -> UsageStore:
    """Fill a store with a priced call, an unpriced one, one that cannot be priced and one with a reported cost."""
    parts = {"input_cost_usd": Decimal(1), "output_cost_usd": Decimal(0), "other_cost_usd": Decimal(0)}
    store.add(
        [
            make_call(call_id="priced", model="m", tokens=(100, 20), cost="1", price_version="old", **parts),
            make_call(call_id="unpriced", model="m", tokens=(10, 0)),
            make_call(call_id="secret", model="secret"),
            make_call(call_id="reported", model="m", cost="7", price_status="reported", price_source="provider"),
        ],
        [make_fact()],
    )
    return store


def costs(store: UsageStore) -> dict[str, Decimal | None]:
    """The cost of each stored call."""
    return {call.call_id: call.cost_usd for call in store.calls()}


def test_repricing_writes_nothing_unless_asked(store: UsageStore) -> None:
    """A dry run says what would change and leaves every row as it was."""
    before = filled(store).calls()
    found = store.reprice(prices=Book("0.01"))
    assert store.calls() == before
    assert (found.total.calls, found.total.unpriceable_calls, found.written_calls) == (4, 1, 0)
    assert (found.total.before_usd, found.total.after_usd) == (Decimal(8), Decimal("8.2"))
    assert found.total.newly_priced_usd == Decimal("0.1")
    assert found.total.difference_usd == Decimal("0.2")
    assert not found.is_estimate


def test_writing_fills_only_what_was_unknown(store: UsageStore) -> None:
    """Without `overwrite` a known cost stays; NULL gets a cost, and the run's total follows."""
    filled(store)
    assert store.reprice(prices=Book("0.01"), write=True).written_calls == 1
    assert costs(store) == {"priced": 1, "unpriced": Decimal("0.1"), "secret": None, "reported": 7}
    assert store.revisions("unpriced") == []
    assert store.wrong_totals() == []
    assert store.breakdown().total.cost_usd == Decimal("8.1")


def test_overwriting_keeps_what_it_had_cost(store: UsageStore) -> None:
    """Each replaced cost is a revision with its rates, version, time and reason; a reported cost is never replaced."""
    filled(store)
    start = datetime.now(UTC)
    assert store.reprice(prices=Book("0.01"), write=True, overwrite=True, reason="new contract").written_calls == 2
    assert store.reprice(prices=Book("0.02"), write=True, overwrite=True).written_calls == 2
    assert costs(store)["priced"] == Decimal("2.4")
    assert costs(store)["reported"] == 7
    first, second = store.revisions("priced")
    assert (first["total_cost_usd"], first["price_version"], first["reason"]) == (1, "old", "new contract")
    assert (second["total_cost_usd"], second["number"]) == (Decimal("1.2"), 2)
    assert start <= first["replaced_at"] <= second["replaced_at"]
    assert store.wrong_totals() == []


def test_writing_twice_changes_nothing_more(store: UsageStore) -> None:
    """The same prices again find nothing to write, and make no revision."""
    filled(store)
    store.reprice(prices=Book("0.01"), write=True, overwrite=True)
    assert store.reprice(prices=Book("0.01"), write=True, overwrite=True).written_calls == 0
    assert len(store.revisions("priced")) == 1


def test_a_call_that_changed_meanwhile_is_left_alone(store: UsageStore) -> None:
    """A correction that arrives between reading and writing is not undone by an older price."""
    filled(store)
    (old,) = store.calls(order="cost_usd", model="m", limit=1)
    corrected = replace(old, revision=old.revision + 1, usage=make_usage(1, 1))
    store.add([corrected])
    assert store.change_costs([(old, replace(old, cost_usd=Decimal(5)))]) == 0
    assert corrected in store.calls()


def test_what_if_asks_the_book_for_the_other_model(store: UsageStore) -> None:
    """Another model is priced in place of the calls' own, at the calls' own times, as an estimate that is not written."""
    filled(store)
    book = Book("0.01")
    found = store.reprice(prices=book, as_model="other", as_provider="p")
    assert {(call.model, call.requested_model, call.provider) for call in book.asked} == {("other", "other", "p")}
    assert {call.started_at for call in book.asked} == {NOON}
    assert found.is_estimate
    assert [row.model for row in found.rows] == ["m", "secret"]
    assert found.rows[0].after_usd == Decimal("2.4")
    with pytest.raises(QueryError, match="only a question"):
        store.reprice(prices=book, as_model="other", write=True)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [({"at": datetime(2030, 1, 1, tzinfo=UTC)}, datetime(2030, 1, 1, tzinfo=UTC)), ({"at": "call"}, NOON)],
)
def test_calls_are_priced_at_the_time_that_is_asked_for(
    store: UsageStore, terms: dict[str, Any], expected: datetime
) -> None:
    """`at` chooses the moment whose prices count."""
    filled(store)
    book = Book("0.01")
    store.reprice(prices=book, **terms)
    assert {call.started_at for call in book.asked} == {expected}


@pytest.mark.parametrize(
    "wrong",
    [{"at": "yesterday"}, {"at": datetime(2030, 1, 1)}, {"overwrite": True}, {"unknown": "x"}],  # noqa: DTZ001
    ids=str,
)
def test_wrong_terms_are_refused(store: UsageStore, wrong: dict[str, Any]) -> None:
    """A moment without a zone, an unknown word or filter, and `overwrite` without `write` are errors that say so."""
    with pytest.raises(QueryError):
        store.reprice(**wrong)


def test_only_filtered_calls_are_priced(store: UsageStore) -> None:
    """Filters choose the calls."""
    assert filled(store).reprice(prices=Book("1"), model="secret").total.calls == 1


def test_many_batches_are_read_once_each(store: UsageStore) -> None:
    """More calls than one batch holds are each priced once."""
    store.add([make_call(model="m") for _ in range(2_345)])
    book = Book("0.5")
    assert store.reprice(prices=book, write=True).written_calls == 2_345
    assert len(book.asked) == 2_345
    assert store.breakdown().total.cost_usd == Decimal("0.5") * 120 * 2_345


def test_answer_prints_as_a_table(store: UsageStore) -> None:
    """The text has a line for each model, the total, and what was written."""
    text = str(filled(store).reprice(prices=Book("0.01"), as_model="other"))
    assert "secret" in text
    assert "8.000000" in text
    assert text.splitlines()[-1] == "nothing written; an estimate: other models count and cache differently"


# Checking what is stored


def test_clean_store_is_clean(store: UsageStore) -> None:
    """Rows whose raw usage says what they say, and whose sums are those of their parts, have no differences."""
    raw = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    store.add([make_call(raw_usage=raw), make_call()], [make_fact()])
    found = store.check()
    assert (found.calls, found.calls_without_raw, found.is_clean) == (2, 1, True)
    assert str(found) == "2 calls checked, 1 of them without raw usage: no differences"


CORRUPTIONS: dict[str, Callable[[], Call]] = {
    "input_tokens": lambda: make_call(call_id="x", raw_usage={"prompt_tokens": 99, "completion_tokens": 20}),
    "total_tokens": lambda: make_call(call_id="x", usage=make_usage(1, 2, total_tokens=4)),
    "total_cost": lambda: make_call(call_id="x", cost="1", input_cost_usd=Decimal("0.5")),
}


@pytest.mark.parametrize("column", CORRUPTIONS)
def test_differences_are_named(store: UsageStore, column: str) -> None:
    """A count that raw usage contradicts, and a sum that is not that of its parts, are named with both values."""
    store.add([CORRUPTIONS[column]()])
    found = store.check()
    assert ("x", column) in [(item.row, item.column) for item in found.differences]
    assert f"x  {column}: stored" in str(found)


def test_estimated_calls_are_not_compared_with_a_provider(store: UsageStore) -> None:
    """An estimate has no raw usage that could contradict it."""
    store.add([make_call(usage_source="estimated", estimate_basis={"sent_characters": 400})])
    assert store.check().is_clean


def test_wrong_run_total_is_found(store: UsageStore) -> None:
    """A run's row that says another total than its calls is a difference of the run."""
    filled(store)
    from sqlalchemy import update

    from langchain_tokens.store.engine import writing
    from langchain_tokens.store.tables import RUNS

    with writing(store._engine(), store.target) as connection:
        connection.execute(update(RUNS).values(total_tokens=1))
    (difference,) = store.check().differences
    assert (difference.row, difference.column, difference.stored) == ("run-1", "total_tokens", 1)
