"""What the provider says beside the tokens, through every client: its own price, and what else it counted."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from .driving import CASES, WARNINGS, Case, Driver, by_case
from .losses import FAILS_AFTER_ANSWER
from .losses_beside import COST_LOST, UNITS_LOST
from .oddities import COUNTED_FROM_CONTENT
from .truth import rows_for, said_cost

if not CASES:
    pytest.skip("no shared/recordings beside the checkout", allow_module_level=True)

pytestmark = WARNINGS

# The digits of a dollar that the store keeps.
DIGITS = Decimal("1e-12")
RENAMED = {"web_search_calls": "web_search_requests"}
"""xAI's name for what the others call by another one."""


def said_units(case: Case) -> dict[str, int]:
    """What else the provider counted that costs money: searches, and calls of tools on its side."""
    usage: Mapping[str, Any] = case.recording.raw_usage or {}
    sections = ("server_tool_use", "server_tool_use_details", "server_side_tool_usage_details")
    units: dict[str, int] = {}
    for section in sections:
        units |= {RENAMED.get(name, name): count for name, count in (usage.get(section) or {}).items() if count}
    return units


def cases_with(said: Any) -> list[Case]:
    """The cases of answers of which something is said."""
    return [case for case in CASES if said(case) and case.recording.format != "error"]


def is_cut_off(case: Case) -> bool:
    """Whether the client fails on the answer with nothing of it in its error."""
    failure = FAILS_AFTER_ANSWER.get(case.key)
    return failure is not None and not failure.is_usage_held


@by_case([case for case in CASES if said_cost(case) is not None])
def test_cost_is_the_one_that_the_provider_says(case: Case, driver: Driver) -> None:
    """A price in the answer is the call's price, to the last digit that the store keeps, unless the client drops it."""
    call = driver.call(case)
    is_lost = bool(rows_for(case, COST_LOST)) or is_cut_off(case)
    is_reported = call.price_status == "reported"
    assert not (is_lost and is_reported), "no longer lost: take it out of the table of losses"
    assert is_reported is not is_lost
    if is_reported:
        said = said_cost(case)
        assert said is not None
        assert call.cost_usd == said.quantize(DIGITS)
        assert call.price_source == "provider"


@by_case(cases_with(said_units))
def test_other_units_are_those_that_the_provider_counted(case: Case, driver: Driver) -> None:
    """Searches and tools on the provider's side stand in the other units, unless the client drops them."""
    usage = driver.call(case).usage
    units = dict((usage.other_units if usage else None) or {})
    should = said_units(case)
    if rows_for(case, UNITS_LOST):
        assert not should.keys() & units.keys(), "no longer lost: take it out of the table of losses"
    else:
        assert should.items() <= units.items()


@by_case([case for case in CASES if case.recording.stem in COUNTED_FROM_CONTENT])
def test_tools_without_a_count_are_counted_from_the_answer(case: Case, driver: Driver) -> None:
    """Searches and tools that only the blocks of an answer show are counted from them, and flagged as such."""
    call = driver.call(case)
    units = dict((call.usage.other_units if call.usage else None) or {})
    assert COUNTED_FROM_CONTENT[case.recording.stem].items() <= units.items()
