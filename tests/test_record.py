"""What does the application say itself? Calls that are recorded without LangChain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import anthropic.types
import openai.types
import pytest
from openai.types.chat import ChatCompletion

from langchain_tokens import TokensError, TokenUsage, TokenUsageHandler, track
from langchain_tokens.breakdown import aggregate
from langchain_tokens.query import make_query
from langchain_tokens.registry import REGISTRY
from tests.builders import NOON, make_usage

SDK_RESPONSE = {
    "id": "x",
    "choices": [],
    "created": 0,
    "model": "gpt-4o",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
}


@pytest.fixture
def handler() -> Iterator[TokenUsageHandler]:
    """A handler on a database of its own."""
    yield TokenUsageHandler("tokens.db")
    REGISTRY.drain()


def agree(handler: TokenUsageHandler, *by: str) -> None:
    """The handler's own sums are those of its store."""
    assert handler.flush(10)
    assert handler.store.breakdown(*by) == handler.breakdown(*by)


@pytest.mark.parametrize(
    "usage",
    [
        make_usage(100, 20),
        {"input_tokens": 100, "output_tokens": 20},
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        SDK_RESPONSE,
        ChatCompletion.model_validate(SDK_RESPONSE),
        openai.types.CompletionUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120),
        anthropic.types.Usage(input_tokens=100, output_tokens=20),
        SimpleNamespace(prompt_tokens=100, completion_tokens=20),
        pytest.param(TokenUsage(input_tokens=100, output_tokens=20), id="without a total"),
    ],
)
def test_usage_comes_in_any_shape(handler: TokenUsageHandler, usage: Any) -> None:
    """A `TokenUsage`, a provider's response, its usage object and a dict are all read, with the same sums."""
    call = handler.record(usage, chain="extract", model="gpt-4o", provider="openai")
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.total_tokens) == (100, 20, 120)
    assert (call.usage_source, call.price_status, call.cost_usd) == ("provider", "priced", Decimal("0.00045"))
    agree(handler, "chain")


@pytest.mark.parametrize("usage", [None, {"input_tokens": 100, "output_tokens": None}, {"output_tokens": 20}])
def test_what_is_missing_stays_unknown(handler: TokenUsageHandler, usage: Any) -> None:
    """Partial and missing usage is recorded as what it is: unknown counts are None, and no price is made up."""
    call = handler.record(usage, model="gpt-4o", provider="openai")
    counts = usage or {}
    read = call.usage or TokenUsage()
    assert (read.input_tokens, read.output_tokens) == (counts.get("input_tokens"), counts.get("output_tokens"))
    assert (read.total_tokens, call.cost_usd, call.price_status) == (None, None, "unpriced")
    assert call.usage_source == ("missing" if usage is None else "provider")
    agree(handler)


def test_batch_result_is_a_call(handler: TokenUsageHandler) -> None:
    """A result that arrived as data keeps its time, its duration and its speed."""
    call = handler.record(
        {"input_tokens": 1_000, "output_tokens": 300},
        chain="summarise",
        agent="batch",
        model="m",
        session="doc-7",
        mode="nightly",
        started_at=NOON.astimezone(timezone(timedelta(hours=2))),
        duration_ms=1_500.0,
        attempt=2,
        tags={"team": "a"},
    )
    assert (call.started_at, call.ended_at, call.duration_ms) == (NOON, NOON + timedelta(seconds=1.5), 1_500.0)
    assert (call.tokens_per_second, call.attempt, call.tags) == (200.0, 2, {"team": "a"})
    assert (call.chain, call.agent, call.session, call.mode, call.path) == (
        "summarise",
        "batch",
        "doc-7",
        "nightly",
        "summarise",
    )
    assert handler.flush(10)
    (stored,) = handler.store.calls()
    assert stored == call


def test_time_is_now_less_the_duration(handler: TokenUsageHandler) -> None:
    """Without a time the call has just ended."""
    before = datetime.now(UTC)
    call = handler.record(None, duration_ms=60_000.0)
    assert call.ended_at is not None
    assert before <= call.ended_at <= datetime.now(UTC)
    assert call.ended_at - call.started_at == timedelta(minutes=1)
    assert handler.record(None).ended_at is None


def test_error_of_a_failed_call(handler: TokenUsageHandler) -> None:
    """A failed call keeps the error's type and text, without what looks like a secret."""
    call = handler.record(None, status="error", error=ValueError("no key sk-abcdefgh12345678"))
    assert (call.status, call.error_type, call.error_message, call.attempt_error) == (
        "error",
        "ValueError",
        "no key ***",
        None,
    )
    assert handler.record(None, status="error", error="timeout").error_message == "timeout"
    assert handler.last_run is not None
    assert (handler.last_run.status, handler.breakdown().total.failed_calls) == ("error", 2)


def test_error_of_an_answered_call_is_why_it_was_made(handler: TokenUsageHandler) -> None:
    """With status ok, the error is the one that made this attempt necessary."""
    call = handler.record(make_usage(), chain="sql_fix", error="no such column", attempt=1)
    assert (call.attempt_error, call.error_message, call.status) == ("no such column", None, "ok")
    assert handler.last_run is not None
    (retry,) = handler.last_run.to_response()["sql_fix_retries"]
    assert (retry["attempt"], retry["error"]) == (1, "no such column")


def test_cached_call_is_seen_and_not_charged(handler: TokenUsageHandler) -> None:
    """A response from a cache is a call with 0 tokens and 0 cost; what it saved stands beside."""
    call = handler.record(make_usage(100, 20), model="gpt-4o", provider="openai", status="cached")
    assert (call.usage, call.saved_usage) == (
        TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0),
        make_usage(100, 20),
    )
    assert (call.cost_usd, call.price_status, call.usage_source) == (Decimal(0), "free", "provider")
    assert handler.breakdown().total.cached_calls == 1
    agree(handler)


def test_defaults_of_the_handler_apply() -> None:
    """What the call does not name comes from the handler; what it names wins."""
    handler = TokenUsageHandler("tokens.db", session="s", mode="m", agent="a", user="u", tags={"x": "1", "y": "1"})
    call = handler.record(None, mode="other", tags={"y": "2"})
    assert (call.session, call.mode, call.agent, call.user, call.tags) == ("s", "other", "a", "u", {"x": "1", "y": "2"})
    REGISTRY.drain()


def test_calls_of_one_run(handler: TokenUsageHandler) -> None:
    """Calls with the same run id are one run; a call without one is a run of its own."""
    run_id = UUID(int=7)
    calls = [handler.record(make_usage(), run_id=run_id), handler.record(make_usage(), run_id=str(run_id))]
    alone = handler.record(make_usage())
    assert [call.run_id for call in calls] == [str(run_id)] * 2
    assert [len(run.calls) for run in handler.runs] == [2, 1]
    assert list(handler.run(run_id).calls) == calls
    assert handler.run(alone.run_id).status == "ok"
    assert handler.flush(10)
    assert [run.total.calls for run in handler.store.runs(run=str(run_id))] == [2]


def test_run_is_the_same_in_memory_and_in_the_store(handler: TokenUsageHandler) -> None:
    """A run of several recorded calls begins with the first and keeps what was said once, wherever it is read."""
    handler.record(make_usage(), run_id="r", started_at=NOON, duration_ms=1_000, session="s")
    handler.record(make_usage(), run_id="r", started_at=NOON + timedelta(seconds=10), duration_ms=1_000)
    assert handler.flush(10)
    (stored,) = handler.store.runs(run="r")
    held = handler.run("r")
    assert (held.started_at, held.ended_at, held.session) == (stored.started_at, stored.ended_at, stored.session)
    assert (stored.started_at, stored.ended_at, stored.session) == (NOON, NOON + timedelta(seconds=11), "s")


def test_inside_track(handler: TokenUsageHandler) -> None:
    """A call inside a `track()` belongs to its run and has its names, unless it says otherwise."""
    with track("tokens.db", run="import", session="s", chain="extract", attempt=3, error="bad", tags={"x": "1"}) as run:
        call = handler.record(make_usage(100, 20))
        named = handler.record(make_usage(1, 1), chain="map", session="t", attempt=1)
        other = handler.record(make_usage(1, 1), run_id="own")
    assert (call.run_id, call.session, call.chain, call.attempt, call.attempt_error, call.path, call.tags) == (
        run.run_id,
        "s",
        "extract",
        3,
        "bad",
        "import/extract",
        {"x": "1"},
    )
    assert (named.run_id, named.session, named.chain, named.attempt) == (run.run_id, "t", "map", 1)
    assert (other.run_id, list(run.calls), run.status) == ("own", [call, named], "ok")
    assert handler.flush(10)
    stored = {stored.run_id: stored.status for stored in handler.store.runs()}
    assert stored == {run.run_id: "ok", "own": "ok"}


WRONG = [
    ({"status": "failed"}, "status='failed'; expected one of ok, error, cancelled, cached"),
    ({"status": None}, "status=None"),
    ({"started_at": datetime(2026, 11, 20)}, "expected an aware datetime"),  # noqa: DTZ001  # what it is about
    ({"duration_ms": -1.0}, "duration_ms=-1.0"),
    ({"duration_ms": float("nan")}, "duration_ms=nan"),
    ({"duration_ms": float("inf")}, "duration_ms=inf"),
    ({"attempt": 0}, "attempt=0; expected a whole number from 1 on"),
    ({"attempt": -1}, "attempt=-1"),
]
WRONG_TYPES = [
    ({"started_at": "2026-11-20T12:00Z"}, "started_at="),
    ({"started_at": date(2026, 11, 20)}, "started_at="),
    ({"duration_ms": "5"}, "duration_ms="),
    ({"duration_ms": 1e30}, "duration_ms="),
    ({"attempt": 1.5}, "attempt="),
    ({"attempt": "2"}, "attempt="),
]


@pytest.mark.parametrize(("more", "found"), [*WRONG, *WRONG_TYPES])
def test_what_cannot_be_is_refused(handler: TokenUsageHandler, more: dict[str, Any], found: str) -> None:
    """A status, time or number that cannot be is an error that names it, and nothing is recorded."""
    with pytest.raises(TokensError) as caught:
        handler.record(make_usage(), **more)
    assert found in str(caught.value)
    assert (handler.breakdown().total.calls, handler.stats().recorded) == (0, 0)


@pytest.mark.parametrize("count", [-5, "5", 1.5, True])
def test_count_that_cannot_be_is_refused(handler: TokenUsageHandler, count: Any) -> None:
    """A `TokenUsage` with a number that is no count is an error, and later sums are not spoilt by it."""
    with pytest.raises(TokensError, match="input_tokens"):
        handler.record(TokenUsage(input_tokens=count, output_tokens=1, total_tokens=1))


def test_names_and_tags_are_text(handler: TokenUsageHandler) -> None:
    """Names and tags of other types are kept as text, so that they are found by it in memory and in the store."""
    call = handler.record(None, session=UUID(int=7), tags={"n": 1})  # type: ignore[arg-type, dict-item]
    assert (call.session, call.tags) == (str(UUID(int=7)), {"n": "1"})
    agree(handler, "session", "tag:n")
    assert handler.breakdown(tags={"n": 1}).total.calls == 1


def test_empty_name_is_no_name(handler: TokenUsageHandler) -> None:
    """An empty name names nothing, as in LangChain's metadata."""
    assert handler.record(None, session="", chain="").session is None


@pytest.mark.parametrize("usage", ["junk", {"foo": 1}, {}, object(), [1], {"usage": {"foo": 1}}])
def test_unreadable_usage_is_recorded_without_and_said_once(
    handler: TokenUsageHandler, usage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Usage of no known shape costs no call: it is recorded without usage, with one warning for all such calls."""
    with caplog.at_level(logging.WARNING, "langchain_tokens"):
        calls = [handler.record(usage) for _ in range(3)]
    assert [(call.usage, call.usage_source) for call in calls] == [(None, "missing")] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"no usage could be read from a {type(usage).__name__}; the call is recorded without"
    ]
    assert handler.breakdown().total.calls_without_usage == 3
    agree(handler)


def test_unknown_is_not_said_to_be_unreadable(handler: TokenUsageHandler, caplog: pytest.LogCaptureFixture) -> None:
    """None is not unreadable: nothing is logged."""
    handler.record(None)
    assert caplog.records == []


def test_other_sums_than_the_total_are_kept(handler: TokenUsageHandler) -> None:
    """Contradicting counts are kept as they were said, and flagged."""
    call = handler.record({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99})
    assert call.usage is not None
    assert (call.usage.total_tokens, call.usage_flags) == (99, ("total_mismatch",))


def test_recorded_and_stored_sums_are_equal(handler: TokenUsageHandler) -> None:
    """What the handler saw and what the store holds are the same, in every dimension."""
    for number in range(12):
        handler.record(
            [make_usage(number, 2), None, {"input_tokens": number}][number % 3],
            chain=["a", None][number % 2],
            model="gpt-4o",
            provider="openai",
            status=["ok", "error", "cached", "cancelled"][number % 4],
            started_at=NOON + timedelta(hours=number),
            duration_ms=250.0 * number,
            tags={"n": str(number % 2)},
        )
    for by in ("chain", "status", "day", "hour", "model", "tag:n", "attempt"):
        agree(handler, by)
    assert aggregate(handler.store.calls(), make_query()) == handler.breakdown()
