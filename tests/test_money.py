"""Is money exact whatever the host does with decimals? Its precision may be anything, and rounding may raise there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_UP, Decimal, Inexact, Rounded, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from langchain_tokens import Budget, TokenUsageHandler, UsageStore
from langchain_tokens.breakdown import aggregate
from langchain_tokens.budgetchecks import shown
from langchain_tokens.money import less, pico_of, plus, reckoned, rounded, sum_of, usd_of
from langchain_tokens.query import Query
from langchain_tokens.reports import findings, overview, patterns, profile
from langchain_tokens.reports.quantities import as_number
from tests.builders import NOON, make_call

pytest_plugins = ("tests.databases",)

COSTS = ("12345.678901234567", "0.000000000001", "8999.999999999999")
TOTAL = Decimal("21345.678901234567")


@pytest.fixture(params=["six digits", "no rounding"])
def hostile(request: pytest.FixtureRequest) -> Iterator[None]:
    """A host that computes with six digits, or lets no number be rounded."""
    traps = [Inexact, Rounded] if request.param == "no rounding" else []
    with localcontext(prec=6, rounding=ROUND_UP) as context:
        for trap in traps:
            context.traps[trap] = True
        yield


@pytest.mark.usefixtures("hostile")
def test_what_is_stored_is_what_was_paid(store: UsageStore) -> None:
    """Calls come back as they were, and their sums are exact, in memory and in every database."""
    calls = [make_call(cost=cost, chain=f"c{place % 2}", path="a") for place, cost in enumerate(COSTS)]
    store.add(calls)
    assert {call.call_id: call for call in store.calls()} == {call.call_id: call for call in calls}
    assert store.breakdown("chain").total.cost_usd == aggregate(calls, Query(by=("chain",))).total.cost_usd == TOTAL
    assert store.timeline("day", tz="Asia/Kolkata").total.cost_usd == TOTAL
    assert profile(store).to_folded("cost") == "a 21345678901234567\n"
    assert store.check().is_clean


@pytest.mark.usefixtures("hostile")
def test_a_cost_that_a_provider_reports_is_kept(tmp_path: Path) -> None:
    """Neither a call that the application records nor one that a hook hears of is lost, nor a digit of its cost."""
    usage = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13, "cost": 1234.567890123456}
    answer = AIMessage(content="done", response_metadata={"token_usage": usage, "model_name": "scripted-1"})
    with TokenUsageHandler(tmp_path / "tokens.db", journal=False) as handler:
        handler.record(usage, model="scripted-1")
        GenericFakeChatModel(messages=iter([answer])).invoke("hello", config={"callbacks": [handler]})
        assert handler.flush(timeout=30)
        costs = [call.cost_usd for call in handler.store.calls()]
        assert costs == [Decimal("1234.567890123456")] * 2
        assert handler.breakdown().total.cost_usd == Decimal("2469.135780246912")


@pytest.mark.usefixtures("hostile")
def test_a_limit_is_what_was_said() -> None:
    """A budget in US dollars is exact, and can be spoken of."""
    budget = Budget(limit_usd="12345.678901234567", per="day")
    assert budget.amount(budget.limit) == Decimal("12345.678901234567")
    assert shown("usd", Decimal("1234567.25")) == "$1,234,567.25"


@pytest.mark.usefixtures("hostile")
def test_reports_say_the_same(memory_store: UsageStore) -> None:
    """What reports add and divide is as with Python's usual digits, and the dearest row is the first."""
    calls = [
        make_call(cost=cost, chain=chain, model="m", status="error", started_at=NOON + timedelta(days=place))
        for place, (chain, cost) in enumerate([("near", "12345.674"), ("most", "12345.676"), ("most", "0.000001")])
    ]
    memory_store.add(calls)
    rows = memory_store.breakdown("chain", order="cost_usd")
    assert [row.key["chain"] for row in rows] == ["most", "near"]
    found = patterns(memory_store)
    with localcontext(prec=28):
        assert found.costly[0].cost_usd_per_call == Decimal("12345.676001") / 2
        assert sum(row.cost_usd or 0 for row in found.hours) == Decimal("24691.350001")
    assert findings(memory_store).total_wasted.usd == overview(memory_store).total.cost_usd == Decimal("24691.350001")
    memory_store.delete(until="2100-01-01")


@given(pico=st.integers(-(10**30), 10**30), other=st.integers(-(10**30), 10**30))
def test_sums_are_those_of_whole_numbers(pico: int, other: int) -> None:
    """Amounts are added, subtracted and turned to pico-USD and back as whole numbers are, with one digit as with many."""
    with localcontext(prec=1):
        one, two = usd_of(pico), usd_of(other)
        assert (pico_of(plus(one, two)), pico_of(less(one, two))) == (pico + other, pico - other)
        assert pico_of(sum_of([one, two, one])) == 2 * pico + other
        assert rounded(one) == one
        assert reckoned(lambda: Decimal(10) ** 20 + 1)() == 10**20 + 1


@pytest.mark.parametrize("value", [1e-13, 0.1, 1e15, 1e17, 1.7e308])
def test_what_statistics_find_becomes_money(value: float) -> None:
    """However large a projection is, it is an amount with twelve decimals."""
    found = as_number("cost_usd", value)
    assert isinstance(found, Decimal)
    assert found == rounded(Decimal(repr(value)))
    assert replace(make_call(), cost_usd=found).cost_usd == found
