"""What `doctor` says is missing, and what it says to do."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_tokens import PriceBook
from langchain_tokens.call import Call
from langchain_tokens.doctor import diagnose
from tests.builders import make_call
from tests.made_usage import store_of

NAMED: dict[str, Any] = {"chain": "sql_fix", "agent": "sql_agent", "cost": "0.1"}


@pytest.mark.parametrize(
    ("fields", "kind", "fix"),
    [
        ({"tokens": None, "streamed": True}, "without_usage", "stream_usage=True"),
        ({"tokens": None, "streamed": False}, "without_usage", "integration package"),
        ({"usage_source": "estimated", "streamed": True}, "without_usage", "stream_usage=True"),
        ({"cost": None, "model": "m"}, "unpriced", "free_providers"),
        ({"cost": None, "model": "m"}, "unpriced", "for what is stored: store.reprice(prices=book, write=True)"),
        ({"cost": None}, "unpriced", "model='…'"),
        ({"cost": None, "model": "m", "usage_flags": ("total_mismatch",)}, "unpriced", "call.raw_usage"),
        (
            {"run_id": "unseen", "parent_run_id": "unseen", "node": "plan"},
            "partial",
            "config={'callbacks': [handler]}",
        ),
        ({"chain": None}, "unattributed", "with_config(run_name="),
        ({"agent": None, "node": "plan"}, "unnamed_agent", "graph.compile(name="),
    ],
)
def test_each_gap_is_found_with_what_mends_it(fields: dict[str, Any], kind: str, fix: str) -> None:
    """A call that lacks something gives a finding of that kind, whose fix names the line to write."""
    found = [finding for finding in diagnose([make_call(**NAMED | fields)]) if finding.kind == kind]
    assert [finding.calls for finding in found] == [1]
    assert fix in found[0].fix


def test_a_complete_call_lacks_nothing() -> None:
    """Where every call has usage, price and names, the doctor says so."""
    diagnosis = diagnose([make_call(**NAMED)])
    assert (len(diagnosis), str(diagnosis)) == (0, "1 call, nothing missing")


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_usage_of_a_call_that_ended_badly_is_nobodys_to_supply(status: Any) -> None:
    """A failed or cancelled call without usage is no finding: no setting would have brought it."""
    ended = make_call(**NAMED | {"tokens": None, "cost": None, "status": status})
    assert str(diagnose([ended, make_call(**NAMED)])) == (
        "2 calls, nothing missing\n1 failed or cancelled call without usage: nothing to supply"
    )
    gap = diagnose([ended, ended, make_call(**NAMED | {"chain": None})])
    assert (len(gap), gap.unanswered_calls) == (1, 2)
    assert str(gap).endswith("\n2 failed or cancelled calls without usage: nothing to supply")


def test_a_failed_call_that_told_its_usage_can_be_priced() -> None:
    """What it used is known, so that a price is missing as for any other call."""
    found = diagnose([make_call(**NAMED | {"status": "error", "cost": None, "model": "m"})])
    assert ([finding.kind for finding in found], found.unanswered_calls) == (["unpriced"], 0)


def test_equal_gaps_are_counted_together_largest_first() -> None:
    """Gaps of one kind and model are one finding; the one with most calls stands first."""
    calls: list[Call] = [make_call(**NAMED | {"cost": None, "model": "a"})]
    calls += [make_call(**NAMED | {"cost": None, "model": "b"}) for _ in range(3)]
    assert [finding.calls for finding in diagnose(calls)] == [3, 1]
    assert str(diagnose(calls)).startswith("3 of 4 calls have no price")


def test_calls_without_a_chain_are_counted_together() -> None:
    """All calls without a chain are one finding, whatever their model, under the label they are shown with."""
    calls = [make_call(**NAMED | {"chain": None, "model": name}) for name in "ab"] + [make_call(**NAMED)]
    (finding,) = [finding for finding in diagnose(calls) if finding.kind == "unattributed"]
    assert (finding.calls, "(unattributed)" in finding.what) == (2, True)
    assert str(diagnose(calls)).splitlines() == [f"2 of 3 calls {finding.what}", f"  {finding.fix}"]


def test_names_cannot_forge_the_text() -> None:
    """A model's name with control characters is shown escaped."""
    assert "\x1b" not in str(diagnose([make_call(**NAMED | {"cost": None, "model": "\x1b[2Jgone"})]))


def test_a_named_chain_with_the_handler_outermost_lacks_nothing() -> None:
    """A call right below its run's root is what an ordinary chain looks like, and no reason for a finding."""
    call = make_call(**{**NAMED, "node": None, "run_id": "root", "parent_run_id": "root"})
    assert str(diagnose([call])) == "1 call, nothing missing"


@pytest.mark.parametrize(
    "book",
    [
        PriceBook([{"model": "house", "input": "1", "output": "2"}]),
        PriceBook(free_providers={"vllm"}),
    ],
    ids=["a price", "free"],
)
def test_a_price_that_was_named_is_missed_no_more(book: PriceBook) -> None:
    """Whoever follows the advice, for what is stored too, is not told again."""
    with store_of([make_call(**NAMED | {"cost": None, "model": "house", "provider": "vllm"})]) as store:
        assert len(diagnose(store.calls())) == 1
        store.reprice(prices=book, write=True)
        assert str(diagnose(store.calls())) == "1 call, nothing missing"
