"""How do a fleet's numbers reach its collector? As OpenTelemetry metrics, by the conventions for generative AI.

The names, units and buckets are those of "Semantic conventions for generative AI metrics" (opentelemetry.io, status:
development); what it has no name for begins with `langchain_tokens.`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from langchain_tokens.call import Call
from langchain_tokens.errors import MissingExtraError, TokensError
from langchain_tokens.handler import TokenUsageHandler

try:
    from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter_provider
except ImportError as missing:
    raise MissingExtraError(
        "langchain_tokens.integrations.otel needs OpenTelemetry: pip install 'langchain_tokens[otel]'"
    ) from missing

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ("DIMENSIONS", "TokenMetrics")

DIMENSIONS: Final[Mapping[str, str]] = {
    "chain": "langchain_tokens.chain",
    "agent": "gen_ai.agent.name",
    "mode": "langchain_tokens.mode",
    "session": "gen_ai.conversation.id",
    "user": "enduser.id",
    "path": "langchain_tokens.path",
}
"""Name of a call → attribute that carries it, for the dimensions that can be asked for."""
_PROVIDERS: Final[Mapping[str, str]] = {
    "amazon_bedrock": "aws.bedrock",
    "anthropic-bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "x-ai": "x_ai",
    "xai": "x_ai",
}
"""LangChain's names of providers → the well-known values of `gen_ai.provider.name`, where they differ."""
_UNKNOWN = "unknown"
_BUCKETS: Final[Mapping[str, Sequence[float]]] = {
    "{token}": tuple([4**power for power in range(14)]),
    "s": tuple([2**power / 100 for power in range(14)]),
}
"""Bounds of a histogram's buckets by its unit, as the conventions recommend them."""
_KEPT_IDS = 20_000


class TokenMetrics:
    """Export what a handler's store takes in this process, a moment after each call, in the background.

    Each call counts once; what a late event corrects afterwards is in the store, and not in metrics that left. Answers
    from LangChain's cache used nothing, and are counted as calls only.

    | instrument | unit | |
    | --- | --- | --- |
    | `gen_ai.client.token.usage` | `{token}` | histogram, by `gen_ai.token.type` input and output |
    | `gen_ai.client.operation.duration` | `s` | histogram, with `error.type` where a call failed |
    | `gen_ai.client.operation.time_to_first_chunk` | `s` | histogram, of streamed calls |
    | `langchain_tokens.cost` | `USD` | counter, of calls whose cost is known |
    | `langchain_tokens.calls` | `{call}` | counter, by `status`, `price_status` and `usage_source` |

    Args:
        handler: the handler; all handlers on its store are exported, so one of these for each store.
        meter_provider: where to; None is the one that the application has set.
        dimensions: which names calls are split by, beside provider and models: any of `chain agent mode session user
            path`. Each new name is a time series more, so sessions and users are not among the usual ones.

    Raises:
        TokensError: for anything else than a handler, or an unknown dimension.

    """

    def __init__(
        self,
        handler: TokenUsageHandler,
        meter_provider: MeterProvider | None = None,
        *,
        dimensions: Iterable[str] = ("chain", "agent", "mode"),
    ) -> None:
        found: object = handler
        if not isinstance(found, TokenUsageHandler):
            raise TokensError(f"handler={found!r} is a {type(found).__name__}; expected a TokenUsageHandler")
        self._dimensions = _checked(dimensions)
        self._seen: OrderedDict[str, None] = OrderedDict()
        """The newest calls that were exported."""
        self._lock = threading.Lock()
        meter = (meter_provider or get_meter_provider()).get_meter("langchain_tokens")
        self._tokens = _histogram(meter, "token.usage", "{token}", "Number of input and output tokens used.")
        self._durations = _histogram(meter, "operation.duration", "s", "GenAI operation duration.")
        first = "Time to receive the first chunk."
        self._first_chunks = _histogram(meter, "operation.time_to_first_chunk", "s", first)
        self._costs = meter.create_counter("langchain_tokens.cost", "USD", "Cost of calls, where it is known.")
        self._calls = meter.create_counter("langchain_tokens.calls", "{call}", "Calls to models.")
        handler.watch(self)

    def after_store(self, calls: Sequence[Call], /) -> None:
        """Export calls that were stored; in the writer thread."""
        for call in calls:
            if self._is_new(call.call_id):
                self._export(call)

    def _is_new(self, call_id: str) -> bool:
        with self._lock:
            if call_id in self._seen:
                return False
            self._seen[call_id] = None
            if len(self._seen) > _KEPT_IDS:
                self._seen.popitem(last=False)
            return True

    def _export(self, call: Call) -> None:
        attributes = self._attributes(call)
        facts = {"status": call.status, "price_status": call.price_status, "usage_source": call.usage_source}
        self._calls.add(1, {**attributes, **facts})
        if call.status == "cached":
            return
        if call.usage is not None:
            for kind, count in (("input", call.usage.input_tokens), ("output", call.usage.output_tokens)):
                if count is not None:
                    self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if call.duration_ms is not None:
            failed = {} if call.error_type is None else {"error.type": call.error_type}
            self._durations.record(call.duration_ms / 1000, {**attributes, **failed})
        if call.time_to_first_token_ms is not None:
            self._first_chunks.record(call.time_to_first_token_ms / 1000, attributes)
        if call.cost_usd is not None:
            self._costs.add(float(call.cost_usd), attributes)  # metrics know no exact numbers; the store does

    def _attributes(self, call: Call) -> dict[str, AttributeValue]:
        provider = call.provider or _UNKNOWN
        named: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
            "gen_ai.request.model": call.requested_model or call.model,
            "gen_ai.response.model": call.model,
            **{attribute: getattr(call, name) for name, attribute in self._dimensions.items()},
        }
        return {name: value for name, value in named.items() if value is not None}


def _histogram(meter: Meter, name: str, unit: str, description: str) -> Histogram:
    return meter.create_histogram(
        f"gen_ai.client.{name}", unit, description, explicit_bucket_boundaries_advisory=_BUCKETS[unit]
    )


def _checked(dimensions: Iterable[str]) -> Mapping[str, str]:
    asked = [dimensions] if isinstance(dimensions, str) else list(dimensions)
    for name in asked:
        if name not in DIMENSIONS:
            raise TokensError(f"unknown dimension {name!r} of metrics; allowed: {', '.join(DIMENSIONS)}")
    return {name: DIMENSIONS[name] for name in asked}
