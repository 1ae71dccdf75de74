"""Every real client class against every recording it can be asked for: the stored call says what the provider said."""

from __future__ import annotations

import pytest

from langchain_tokens import Call

from .driving import CASES, WARNINGS, Case, Driver, by_case
from .losses import FAILS_AFTER_ANSWER
from .truth import expected, expected_flags, reported, said_cost, true_rounds, true_values

if not CASES:
    pytest.skip("no shared/recordings beside the checkout", allow_module_level=True)

pytestmark = WARNINGS

REFUSED = [case for case in CASES if case.recording.format == "error"]
FAILED = [case for case in CASES if case.key in FAILS_AFTER_ANSWER]
ANSWERED = [case for case in CASES if case.recording.format != "error" and case.key not in FAILS_AFTER_ANSWER]


def check_values(case: Case, call: Call) -> None:
    """Counts and model are the provider's, or what is named in the tables of losses, and nothing there is mended."""
    should, said = expected(case), reported(call)
    truth = true_values(case.recording)
    mended = {name for name in should.changed if said[name] == truth[name]}
    assert not mended, "no longer lost: take it out of the tables of losses"
    assert said == should.values


@by_case(ANSWERED)
def test_answer_is_stored_as_the_provider_said_it(case: Case, driver: Driver) -> None:
    """Counts, rounds beyond them and served model are the provider's; only what the client is known to drop is not."""
    call = driver.call(case)
    assert (call.status, call.error_type, call.error_message) == ("ok", None, None)
    check_values(case, call)
    should = expected(case)
    assert call.streamed is case.streams
    assert call.usage_source == ("provider" if should.has_usage or call.usage is not None else "missing")
    rounds, units = true_rounds(case.recording), dict(call.usage.other_units or {}) if call.usage else {}
    assert rounds.items() <= units.items()
    assert set(call.usage_flags) == expected_flags(case)
    assert call.price_status != "reported" or said_cost(case) is not None


@by_case(REFUSED)
def test_refused_request_is_a_failed_call(case: Case, driver: Driver) -> None:
    """A request that the provider refuses is stored as a failed call with its error and without usage."""
    raised = driver.raised(case)
    call = driver.call(case)
    assert raised is not None
    assert (call.status, call.error_type) == ("error", raised)
    assert call.error_message
    assert (call.usage, call.usage_source) == (None, "missing")
    assert call.model == case.recording.requested_model


@by_case(FAILED)
def test_client_failure_after_the_answer_is_a_failed_call(case: Case, driver: Driver) -> None:
    """An answer that the client itself fails on is a failed call; its usage is what the error holds, or is missing."""
    failure = FAILS_AFTER_ANSWER[case.key]
    assert driver.raised(case) == failure.error
    call = driver.call(case)
    assert (call.status, call.error_type) == ("error", failure.error)
    if failure.is_usage_held:
        check_values(case, call)
        assert call.usage_source == "provider"
    else:
        assert (call.usage, call.usage_source) == (None, "missing")
