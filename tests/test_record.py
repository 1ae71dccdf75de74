"""What does the application say itself? Calls that are recorded without LangChain."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import anthropic.types
import openai.types
import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from openai.types.chat import ChatCompletion

from langchain_tokens import PriceBook, TokensError, TokenUsage, TokenUsageHandler, track
from langchain_tokens.breakdown import aggregate
from langchain_tokens.query import make_query
from langchain_tokens.registry import REGISTRY
from langchain_tokens.usage import COUNTS
from tests.builders import NOON, make_usage, scripted_model

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


@pytest.mark.parametrize(
    "secret",
    [
        "hf_AbCdEfGhIjKlMnOpQrStUvWx",
        "ghp_AbCdEfGhIjKlMnOpQrStUvWx",
        "AKIAABCDEFGHIJKLMNOP",
        "pplx-0123456789abcdef0123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "password=hunter22",
        "'client_secret': 'hunter22'",
        '"access_token": "hunter22"',
    ],
)
def test_secrets_of_many_kinds_are_masked(handler: TokenUsageHandler, secret: str) -> None:
    """Keys and tokens of other services, and values that are named as secrets, are not kept."""
    text = handler.record(None, status="error", error=f"403 with {secret}.").error_message or ""
    assert "***" in text
    assert not any(part in text for part in ("hunter22", "AbCdEf", "ABCDEF", "9abcdef", "eyJ"))


@pytest.mark.parametrize("text", ["hf_hub_download failed", "no model pplx-70b-online", "max_tokens: 4096", "token=ok"])
def test_what_is_no_secret_stays(handler: TokenUsageHandler, text: str) -> None:
    """Names of functions, models and settings that look a little like a key are kept."""
    assert handler.record(None, status="error", error=text).error_message == text


def test_error_of_any_text_is_stored(handler: TokenUsageHandler) -> None:
    """An error's text that no database takes, or that is endless, is kept as far as it can be."""
    call = handler.record(None, status="error", error="a\x00b\ud800c")
    assert call.error_message == "a\ufffdb\ufffdc"
    began = time.thread_time()
    assert len(handler.record(None, status="error", error="no key " * 10_000_000).error_message or "") == 2_001
    assert time.thread_time() - began < 5
    agree(handler)


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


SPANS = [(NOON + timedelta(seconds=start), length) for start, length in ((0, 1_000), (100, 5_000), (50, 1_500.5))]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_run_spans_its_calls_in_whatever_order_they_come(handler: TokenUsageHandler, order: tuple[int, ...]) -> None:
    """A run begins with its earliest call and ends with its latest, in memory and in the store."""
    for number in order:
        started_at, duration_ms = SPANS[number]
        handler.record(make_usage(), run_id="r", started_at=started_at, duration_ms=duration_ms)
    assert handler.flush(10)
    for run in (handler.run("r"), handler.store.runs(run="r")[0]):
        assert (run.started_at, run.ended_at, run.duration_ms) == (NOON, NOON + timedelta(seconds=105), 105_000.0)


@pytest.mark.parametrize("statuses", list(itertools.permutations(["ok", "error", "cached"])))
def test_run_with_a_failed_call_failed(handler: TokenUsageHandler, statuses: tuple[str, ...]) -> None:
    """A run of recorded calls failed when one of them did, in whatever order they come."""
    for status in statuses:
        handler.record(make_usage(), run_id="r", status=status)
    assert handler.flush(10)
    assert (handler.run("r").status, handler.store.runs(run="r")[0].status) == ("error", "error")


def test_recorded_call_does_not_end_a_live_run(handler: TokenUsageHandler) -> None:
    """A call recorded for a run that goes on leaves it running, and the run's own end says how it went."""
    seen: list[tuple[str, datetime | None, str]] = []

    def step(text: str, config: RunnableConfig) -> str:
        scripted_model().invoke(text, config)
        (run,) = handler.runs
        handler.record(make_usage(), run_id=run.run_id, status="error", duration_ms=5)
        assert handler.flush(10)
        seen.append((run.status, run.ended_at, handler.store.runs()[0].status))
        return text

    RunnableLambda(step).invoke("x", {"callbacks": [handler]})
    assert seen == [("running", None, "running")]
    assert handler.flush(10)
    (held,), (stored,) = handler.runs, handler.store.runs()
    assert (held.status, stored.status, held.ended_at) == ("ok", "ok", stored.ended_at)
    handler.record(make_usage(), run_id=held.run_id, started_at=NOON, duration_ms=5)
    assert handler.flush(10)
    (stored,) = handler.store.runs()
    assert (held.started_at, held.status, held.duration_ms) == (NOON, "ok", stored.duration_ms)


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
    ({"attempt": 0}, "attempt=0; expected a whole number from 1 to 2,147,483,647"),
    ({"attempt": -1}, "attempt=-1"),
    ({"attempt": 2**31}, "attempt=2147483648"),
    ({"started_at": datetime.max.replace(tzinfo=UTC), "duration_ms": 5}, "beyond the calendar"),
    ({"started_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))}, "beyond the calendar"),
    ({"started_at": datetime.min.replace(tzinfo=UTC)}, "expected a time from 1970 on"),
    ({"session": "a\x00b"}, "session='a\\x00b'"),
    ({"model": "\ud800"}, "model='\\ud800'"),
    ({"run_id": "a\x00"}, "run_id='a\\x00'"),
    ({"tags": {"a": "\x00"}}, "tags"),
]
WRONG_TYPES = [
    ({"started_at": "2026-11-20T12:00Z"}, "started_at="),
    ({"started_at": date(2026, 11, 20)}, "started_at="),
    ({"duration_ms": "5"}, "duration_ms="),
    ({"duration_ms": 1e30}, "duration_ms="),
    ({"attempt": 1.5}, "attempt="),
    ({"attempt": "2"}, "attempt="),
    ({"attempt": True}, "attempt=True"),
    ({"duration_ms": True}, "duration_ms=True"),
    ({"tags": "abc"}, "tags='abc' is a str; expected a mapping of text to text, such as {'team': 'a'}"),
    ({"tags": ["a"]}, "tags=['a'] is a list"),
    ({"tags": {1: "a"}}, "tags has the key 1, a int; expected text"),
    ({"tags": {"a": 1}}, "tags['a']=1 is a int; expected text"),
    ({"tags": {"a": None}}, "tags['a']=None is a NoneType; expected text"),
    ({"chain": 5}, "chain=5 is a int; expected text"),
    ({"agent": b"a"}, "agent=b'a' is a bytes; expected text"),
    ({"session": 5}, "session=5"),
    ({"mode": True}, "mode=True"),
    ({"model": 5}, "model=5"),
    ({"provider": ["openai"]}, "provider=['openai']"),
    ({"run_id": 5}, "run_id=5 is a int; expected a UUID or text"),
    ({"status": ["ok"]}, "status=['ok']"),
    ({"error": 5}, "error=5 is a int; expected an exception or text"),
    ({"error": ValueError}, "error="),
]


@pytest.mark.parametrize(("more", "found"), [*WRONG, *WRONG_TYPES])
def test_what_cannot_be_is_refused(handler: TokenUsageHandler, more: dict[str, Any], found: str) -> None:
    """A status, time or number that cannot be is an error that names it, and nothing is recorded."""
    with pytest.raises(TokensError) as caught:
        handler.record(make_usage(), **more)
    assert found in str(caught.value)
    assert (handler.breakdown().total.calls, handler.stats().recorded) == (0, 0)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [-5, "5", 1.5, 7.0, True, 2**63, 10**10 + 1, float("nan")])
def test_count_that_cannot_be_is_refused(handler: TokenUsageHandler, name: str, count: Any) -> None:
    """A `TokenUsage` with a number that is no count is an error, and later sums are not spoilt by it."""
    with pytest.raises(TokensError, match=f"{name}="):
        handler.record(TokenUsage(**{"input_tokens": 1, "output_tokens": 1, name: count}))
    assert (handler.breakdown().total.calls, handler.stats().recorded) == (0, 0)


def test_count_that_cannot_be_in_a_response_is_refused(handler: TokenUsageHandler) -> None:
    """A response with a count that no call has is an error, too: the store could not keep its cost."""
    with pytest.raises(TokensError, match=f"input_tokens={2**62}"):
        handler.record({"prompt_tokens": 2**62, "completion_tokens": 1}, model="gpt-4o", provider="openai")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"other_units": {"searches": float("nan")}}, "other_units['searches']=nan"),
        ({"other_units": {"searches": -1}}, "other_units['searches']=-1"),
        ({"other_units": {"searches": True}}, "other_units['searches']=True"),
        ({"other_units": {"searches": 2**63}}, "other_units['searches']=9223372036854775808"),
        ({"other_units": {1: 1}}, "other_units has the key 1"),
        ({"other_units": [1]}, "other_units=[1]"),
        ({"service_tier": 5}, "service_tier=5"),
    ],
)
def test_other_parts_of_a_usage_are_checked(handler: TokenUsageHandler, more: dict[str, Any], found: str) -> None:
    """What else a `TokenUsage` holds has to be what it says, too."""
    with pytest.raises(TokensError) as caught:
        handler.record(TokenUsage(input_tokens=1, output_tokens=1, **more))
    assert found in str(caught.value)


def test_largest_numbers_are_stored(handler: TokenUsageHandler) -> None:
    """What is not refused fits into the store: the largest counts and attempt are read back equal."""
    call = handler.record(
        make_usage(10**10, 0, other_units={"ns": 2**63 - 1}), model="gpt-4o", provider="openai", attempt=2**31 - 1
    )
    assert handler.flush(10)
    assert list(handler.store.calls()) == [call]
    assert handler.stats().refused == 0


class Colour(str, Enum):  # noqa: UP042  # `str()` of it is another text than its own
    """An application's own names, as many write them for Python before 3.11."""

    RED = "red"


def test_names_may_be_uuids_and_kinds_of_text(handler: TokenUsageHandler) -> None:
    """A UUID, and text of a type of its own, is kept as its text, in memory and in the store."""
    call = handler.record(None, session=UUID(int=7), chain=Colour.RED, tags={"c": Colour.RED})  # type: ignore[arg-type]
    assert (call.session, call.chain, call.tags) == (str(UUID(int=7)), "red", {"c": "red"})
    assert (type(call.chain), type(call.tags["c"])) == (str, str)
    agree(handler, "session", "chain", "tag:c")
    assert handler.breakdown(session=UUID(int=7), chain=Colour.RED, tags={"c": Colour.RED}).total.calls == 1


def test_empty_run_id_is_none(handler: TokenUsageHandler) -> None:
    """An empty run id names no run: the call belongs to the open `track()`."""
    with track("tokens.db") as run:
        assert handler.record(None, run_id="").run_id == run.run_id


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"tags": "abc"}, "tags='abc' is a str; expected a mapping of text to text"),
        ({"tags": {"a": 1}}, "tags['a']=1 is a int; expected text"),
        ({"session": 5}, "session=5 is a int; expected text"),
        ({"user": ["u"]}, "user=['u'] is a list; expected text"),
        ({"prices": 5}, "prices=5 is a int; expected a PriceBook"),
        ({"prices": PriceBook}, "prices="),
        ({"journal": 5}, "journal=5 is a int; expected True, False or a folder"),
        ({"journal": None}, "journal=None"),
        ({"store": 5}, "the store 5 is a int"),
    ],
)
def test_wrong_argument_of_the_handler_is_said(arguments: dict[str, Any], found: str) -> None:
    """An argument of a wrong type is an error that says what was found and what is expected; nothing is made."""
    with pytest.raises(TokensError) as caught:
        TokenUsageHandler(**{"store": "tokens.db", **arguments})
    assert found in str(caught.value)
    assert list(Path().iterdir()) == []


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


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99},
        TokenUsage(input_tokens=10, output_tokens=5, total_tokens=99),
    ],
    ids=["a response", "a TokenUsage"],
)
def test_other_sums_than_the_total_are_kept(handler: TokenUsageHandler, usage: Any) -> None:
    """Contradicting counts are kept as they were said, flagged and not priced."""
    call = handler.record(usage, model="gpt-4o-mini", provider="openai")
    assert call.usage is not None
    assert (call.usage.total_tokens, call.usage_flags, call.price_status) == (99, ("total_mismatch",), "unpriced")
    handler.flush()
    assert handler.store.check().is_clean


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


@pytest.mark.parametrize(
    ("body", "cost", "status"),
    [
        ({"usage": {"prompt_tokens": 1_000, "completion_tokens": 10, "cost": 0.0031}}, "0.0031", "reported"),
        (
            {"usage": {"prompt_tokens": 1_000, "completion_tokens": 10, "cost": 0.00149103999999999991}},
            None,
            "reported",
        ),
        ({"usage": {"prompt_tokens": 1_000, "completion_tokens": 0}, "model": "gpt-4o-2024-05-13"}, "0.005", "priced"),
        ({"usage": {"prompt_tokens": 1_000, "completion_tokens": 0}}, "0.0025", "priced"),
    ],
    ids=["reported", "reported with noise", "served by another", "as asked for"],
)
def test_what_a_response_says_of_model_and_cost_counts(
    handler: TokenUsageHandler, body: dict[str, Any], cost: str | None, status: str
) -> None:
    """A cost that the provider reports and the model that served the call win over what was asked for; memory and store
    agree to the last digit.
    """
    call = handler.record(body, model="gpt-4o", provider="openai")
    assert call.price_status == status
    assert cost is None or call.cost_usd == Decimal(cost)
    assert (call.model, call.requested_model) == (body.get("model", "gpt-4o"), "gpt-4o")
    assert handler.flush()
    assert handler.store.calls() == [call]


@pytest.mark.parametrize(
    "usage", [{"foo": 1, "deep": {"text": "content", "n": 2}}, {"total_tokens": 10}, {"foo": 0, "nan": float("nan")}]
)
def test_usage_of_no_known_shape_is_flagged_and_kept(handler: TokenUsageHandler, usage: dict[str, Any]) -> None:
    """What cannot be read is flagged, and its numbers are kept raw for a later reader; its texts are not."""
    call = handler.record(usage)
    assert (call.usage, call.usage_flags) == (None, ("unknown_shape",))
    assert call.raw_usage in ({"foo": 1, "deep": {"n": 2}}, {"total_tokens": 10}, {"foo": 0})


def test_the_handlers_store_reprices_by_the_handlers_prices(tmp_path: Path) -> None:
    """What would it cost? By the prices that the handler goes by, not by the list prices."""
    own = PriceBook([{"provider": "openai", "model": "gpt-4o", "input": "1", "output": "1"}])
    with TokenUsageHandler(tmp_path / "own.db", prices=own) as handler:
        handler.record({"prompt_tokens": 1_000_000, "completion_tokens": 0}, model="gpt-4o", provider="openai")
        found = handler.store.reprice().total
        assert (found.before_usd, found.after_usd, found.changed_calls) == (1, 1, 0)
