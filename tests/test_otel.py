"""Metrics for a fleet's collector: what each call adds, and that each is counted once."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langchain_tokens import TokensError, TokenUsageHandler
from langchain_tokens.integrations.otel import DIMENSIONS, TokenMetrics
from tests.builders import make_call, scripted_graph
from tests.models import Reply, ScriptedChat, StreamingChat, in_turn

Points = dict[str, list[tuple[dict[str, Any], Any]]]


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    """What an application's collector would be sent."""
    reader = InMemoryMetricReader()
    yield reader
    reader.shutdown()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> MeterProvider:
    """The application's provider of meters."""
    return MeterProvider(metric_readers=[reader], shutdown_on_exit=False)


@pytest.fixture
def handler() -> Iterator[TokenUsageHandler]:
    """A handler on a store of its own."""
    handler = TokenUsageHandler("usage.db", estimate=False)
    yield handler
    handler.close()


def exported(reader: InMemoryMetricReader) -> Points:
    """The points of each instrument: attributes, and the sum of what was recorded."""
    data = reader.get_metrics_data()
    points: Points = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = point.sum if hasattr(point, "sum") else point.value
                    points.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
    return points


def tokens_of(points: Points) -> Mapping[str, int]:
    """Tokens by their type."""
    return {attributes["gen_ai.token.type"]: value for attributes, value in points["gen_ai.client.token.usage"]}


def test_graph_is_exported(handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider) -> None:
    """The tokens of a graph's calls reach the meters, by chain, and their sums are the store's."""
    TokenMetrics(handler, provider)
    gc.collect()  # nobody has to hold it
    scripted_graph().invoke({"question": "?"}, {"callbacks": [handler]})
    assert handler.flush(30)
    usage = exported(reader)["gen_ai.client.token.usage"]
    found = {(each["langchain_tokens.chain"], each["gen_ai.token.type"]): value for each, value in usage}
    expected = {("sql_generation", "input"): 10, ("sql_generation", "output"): 5}
    assert found == {**expected, ("sql_fix", "input"): 10, ("sql_fix", "output"): 5}
    total = handler.store.breakdown().total
    assert sum(found.values()) == total.total_tokens


def test_call_has_all_its_numbers(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """Tokens, seconds, the first chunk's seconds, the cost and the facts of a streamed call, with the well-known names."""
    TokenMetrics(handler, provider)
    call = make_call(
        tokens=(100, 20),
        cost="0.25",
        duration_ms=2_000.0,
        time_to_first_token_ms=500.0,
        provider="mistralai",
        model="small-2501",
        requested_model="small-latest",
        agent="Repairer",
        session="s1",
    )
    handler._capture.recorder.record(call)
    assert handler.flush(30)
    points = exported(reader)
    assert tokens_of(points) == {"input": 100, "output": 20}
    ((attributes, seconds),) = points["gen_ai.client.operation.duration"]
    assert seconds == 2
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "small-latest",
        "gen_ai.response.model": "small-2501",
        "gen_ai.agent.name": "Repairer",
    }
    assert [value for _, value in points["gen_ai.client.operation.time_to_first_chunk"]] == [0.5]
    assert [value for _, value in points["langchain_tokens.cost"]] == [0.25]
    ((facts, count),) = points["langchain_tokens.calls"]
    assert (facts["status"], facts["price_status"], facts["usage_source"], count) == ("ok", "priced", "provider", 1)


def test_unknown_numbers_are_not_exported(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """A call whose usage and price nobody knows is counted, and adds no tokens and no cost."""
    TokenMetrics(handler, provider)
    silent = ScriptedChat(script=in_turn(Reply(usage=None)))
    silent.invoke("?", {"callbacks": [handler]})
    assert handler.flush(30)
    points = exported(reader)
    assert not points.keys() & {"gen_ai.client.token.usage", "langchain_tokens.cost"}
    assert [(each["usage_source"], value) for each, value in points["langchain_tokens.calls"]] == [("missing", 1)]


def test_failed_call_says_its_error(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """A call that failed has the kind of its error at its duration."""
    TokenMetrics(handler, provider)
    failing = ScriptedChat(script=in_turn(TimeoutError("too slow")))
    with pytest.raises(TimeoutError):
        failing.invoke("?", {"callbacks": [handler]})
    assert handler.flush(30)
    ((attributes, _),) = exported(reader)["gen_ai.client.operation.duration"]
    assert attributes["error.type"] == "TimeoutError"


def test_cached_answer_is_a_call_that_used_nothing(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """An answer from LangChain's cache adds a call, and neither tokens nor seconds."""
    TokenMetrics(handler, provider)
    handler.record({"input_tokens": 5, "output_tokens": 1}, model="gpt-4o-mini", provider="openai", status="cached")
    assert handler.flush(30)
    points = exported(reader)
    assert set(points) == {"langchain_tokens.calls"}
    assert points["langchain_tokens.calls"][0][0]["status"] == "cached"


def test_correction_does_not_count_again(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """A call that comes again, or is corrected later, is one call in the metrics."""
    TokenMetrics(handler, provider)
    call = make_call(call_id="one", tokens=(100, 20))
    for again in (call, call, make_call(call_id="one", tokens=(100, 20), superseded=True, revision=1)):
        handler._capture.recorder.record(again)
        assert handler.flush(30)
    points = exported(reader)
    assert tokens_of(points) == {"input": 100, "output": 20}
    assert [value for _, value in points["langchain_tokens.calls"]] == [1]


def test_streamed_call_has_its_first_chunk(
    handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """A stream's time to its first piece is exported, a call's that was not streamed is not."""
    TokenMetrics(handler, provider)
    ScriptedChat().invoke("?", {"callbacks": [handler]})
    assert handler.flush(30)
    assert "gen_ai.client.operation.time_to_first_chunk" not in exported(reader)
    list(StreamingChat().stream("?", {"callbacks": [handler]}))
    assert handler.flush(30)
    assert len(exported(reader)["gen_ai.client.operation.time_to_first_chunk"]) == 1


@pytest.mark.parametrize("name", DIMENSIONS)
def test_dimensions_are_chosen(
    name: str, handler: TokenUsageHandler, reader: InMemoryMetricReader, provider: MeterProvider
) -> None:
    """Calls are split by the dimensions that were asked for and by no other."""
    TokenMetrics(handler, provider, dimensions=[name])
    handler._capture.recorder.record(make_call(**{each: f"the {each}" for each in DIMENSIONS}))
    assert handler.flush(30)
    ((attributes, _),) = exported(reader)["langchain_tokens.calls"]
    assert {each: value for each, value in attributes.items() if each in DIMENSIONS.values()} == {
        DIMENSIONS[name]: f"the {name}"
    }


def test_failing_exporter_harms_nothing(handler: TokenUsageHandler, caplog: pytest.LogCaptureFixture) -> None:
    """A watcher that breaks costs its own numbers, and neither a call nor the numbers of others; the log names it."""

    class Broken:
        def after_store(self, calls: Any, /) -> None:
            raise RuntimeError("no collector")

    class Counting:
        def __init__(self) -> None:
            self.calls = 0

        def after_store(self, calls: Any, /) -> None:
            self.calls += len(calls)

    others = [Counting() for _ in range(20)]  # no order is promised: some come after the broken one
    for watcher in (Broken(), *others):
        handler.watch(watcher)
    handler.record({"input_tokens": 5, "output_tokens": 1}, model="m")
    assert handler.flush(30)
    assert handler.store.breakdown().total.total_tokens == 6
    assert [other.calls for other in others] == [1] * 20
    assert "Broken failed with calls that were stored (RuntimeError: no collector)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("usage.db",), {}, "is a str; expected a TokenUsageHandler"),
        ((), {"dimensions": ["weather"]}, "unknown dimension 'weather'"),
        ((), {"dimensions": "tags"}, "unknown dimension 'tags'"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str, handler: TokenUsageHandler
) -> None:
    """What cannot be is one clear error."""
    with pytest.raises(TokensError, match=message):
        TokenMetrics(*(arguments or (handler,)), **options)
