"""What does it cost? `PriceBook`: the bundled catalogue of genai-prices, asked for the call's own start time.

Never over the network, never raising. A price that is not known, or known to be wrong, is None and `unpriced`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from langchain_tokens.call import Call
from langchain_tokens.usage import TokenUsage

__all__ = ("PriceBook",)

_PROVIDERS = {
    "openai": "openai",
    "azure": "azure",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "anthropic-bedrock": "aws",
    "anthropic-mantle": "aws",
    "amazon_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "openai-mantle": "aws",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistral": "mistral",
    "mistralai": "mistral",
    "xai": "x-ai",
    "groq": "groq",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "fireworks": "fireworks",
    "openrouter": "openrouter",
    "together": "together",
    "cerebras": "cerebras",
    "moonshot": "moonshot",
}
"""LangChain's name of a provider → the catalogue's."""
_NOT_TRUSTED = {
    ("deepseek", "deepseek-chat"): "the catalogue keeps the rates from before 2025-09-29",
    ("deepseek", "deepseek-reasoner"): "the catalogue keeps the rates from before 2025-09-29",
    ("mistral", "mistral-large-latest"): "the alias moved to Large 3, the catalogue's entry did not",
    ("openai", "gpt-4o-audio-preview"): "the catalogue has no audio rates",
    ("openai", "gpt-4o-mini-audio-preview"): "the catalogue has no audio rates",
}
"""Catalogue entries that are known to be wrong: no number is better than a wrong one."""
_COUNTS = {
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "audio_input_tokens": "input_audio_tokens",
    "audio_output_tokens": "output_audio_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
_AUDIO_RATES = {"audio_input_tokens": "input_audio_mtok", "audio_output_tokens": "output_audio_mtok"}
"""Counts that cost much more than text: without a rate of their own there is no price."""
_WEEKEND = (5, 6)
_BEIJING = timezone(timedelta(hours=8))
_DEEPSEEK_PEAKS = ((1, 4), (6, 10))
"""Hours in UTC."""
_DEEPSEEK_PEAKS_FROM = datetime(2026, 8, 17, tzinfo=UTC)
_DEEPSEEK_WEEKENDS_FROM = datetime(2026, 8, 23, tzinfo=_BEIJING)
_UNPRICEABLE_FLAGS = ("rounds_above_usage", "cache_outside_input", "total_mismatch", "detail_above_total", "nonsense")
_CONTEXTS = {"batch": {"processing": "batch"}}
_STANDARD_TIERS = (None, "auto", "default", "on_demand", "standard")
_PICO = Decimal("1e-12")


class PriceBook:
    """What calls cost. Thread-safe; loads the catalogue when the first call is priced.

    Args:
        free_providers: providers whose calls cost nothing because the user says so, such as models on own machines.

    """

    def __init__(self, *, free_providers: Iterable[str] = ("ollama",)) -> None:
        self._free = frozenset(free_providers)
        self._lock = threading.Lock()
        self._catalogue: Any = None

    def price(self, call: Call) -> Call:
        """The call with its cost; a call that has a cost already, or cannot be priced, comes back as it is."""
        if call.price_status != "unpriced":
            return call
        if call.status == "cached" or (call.provider is not None and call.provider in self._free):
            return replace(call, cost_usd=Decimal(0), price_status="free", price_source="declared")
        usage = call.usage
        if usage is None or not usage.input_tokens or usage.output_tokens is None or _contradicts(call):
            return call
        for provider, model in _candidates(call):
            found = self._look_up(call, usage, provider, model)
            if found is not None:
                return _priced(call, found) if _is_trusted(call, usage, model, found) else call
        return call

    def _look_up(self, call: Call, usage: TokenUsage, provider: str | None, model: str) -> Any:
        calc = self.load().calc
        try:
            counts = _catalogue_usage(usage)
            found = calc(counts, model, provider, None, call.started_at, None)
            if usage.service_tier in _STANDARD_TIERS:
                return found
            context = _CONTEXTS.get(usage.service_tier, {"service_tier": usage.service_tier})
            tiered = calc(counts, model, provider, None, call.started_at, context)
        except (LookupError, ValueError, TypeError):
            return None  # unknown model, or counts that the model's rates do not cover
        return None if tiered.model_price == found.model_price else tiered  # no rates for the tier: no price

    def load(self) -> Any:
        """Load the catalogue, if that was not done yet; a snapshot of our own: the other is the application's."""
        with self._lock:
            if self._catalogue is None:
                from genai_prices.data import providers
                from genai_prices.data_snapshot import DataSnapshot

                self._catalogue = DataSnapshot(providers=providers, from_auto_update=False)
            return self._catalogue


def _candidates(call: Call) -> Iterator[tuple[str | None, str]]:
    """What to look for: the served model first. A provider that the catalogue does not know is never guessed."""
    provider = _PROVIDERS.get(call.provider) if call.provider is not None else None
    if call.provider is not None and provider is None:
        return
    for model in dict.fromkeys((call.model, call.requested_model)):
        if model:
            yield provider, model
            yield from ((provider, model.removeprefix(prefix)) for prefix in ("models/",) if model.startswith(prefix))


def _is_trusted(call: Call, usage: TokenUsage, asked: str, found: Any) -> bool:
    """Tell whether the catalogue's entry, however it was found, is known to be right for this call."""
    if any((found.provider.id, name) in _NOT_TRUSTED for name in (asked.lower(), found.model.id)):
        return False
    if any(
        getattr(usage, count) and getattr(found.model_price, rate, None) is None for count, rate in _AUDIO_RATES.items()
    ):
        return False
    return not (found.provider.id == "deepseek" and _is_wrong_peak(call.started_at.astimezone(UTC)))


def _is_wrong_peak(moment: datetime) -> bool:
    """The catalogue's peaks have no first day, and no weekends, at which there have been none for a while."""
    if not any(start <= moment.hour < end for start, end in _DEEPSEEK_PEAKS):
        return False
    local = moment.astimezone(_BEIJING)
    return local < _DEEPSEEK_PEAKS_FROM or (local >= _DEEPSEEK_WEEKENDS_FROM and local.weekday() in _WEEKEND)


def _contradicts(call: Call) -> bool:
    return any(flag.startswith(_UNPRICEABLE_FLAGS) for flag in call.usage_flags)


def _catalogue_usage(usage: TokenUsage) -> Any:
    from genai_prices import Usage

    counts = {name: getattr(usage, field) for field, name in _COUNTS.items() if getattr(usage, field) is not None}
    if usage.cache_write_tokens is not None and usage.cache_write_1h_tokens is None:
        counts.pop("cache_write_5m_tokens", None)  # then all of it is of the usual kind
    if "input_audio_tokens" in counts and "cache_read_tokens" in counts:
        # how many cached tokens were audio nobody says; the least there can be
        shared = counts["input_audio_tokens"] + counts["cache_read_tokens"] - (usage.input_tokens or 0)
        counts["cache_audio_read_tokens"] = max(0, shared)
        counts["cache_audio_write_tokens"] = 0
    searches = (usage.other_units or {}).get("web_search_requests")
    if searches:
        counts["web_searches"] = searches
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, **counts)


def _priced(call: Call, found: Any) -> Call:
    from genai_prices import __version__

    if found.total_price == 0 and not str(call.model).endswith(":free"):
        return call  # an entry without rates says nothing, least of all that the model is free
    total = Decimal(found.total_price).quantize(_PICO)
    given = Decimal(found.input_price).quantize(_PICO)
    answered = Decimal(found.output_price).quantize(_PICO)
    return replace(
        call,
        cost_usd=total,
        input_cost_usd=given,
        output_cost_usd=answered,
        other_cost_usd=total - given - answered,
        price_status="priced",
        price_source="genai-prices",
        price_version=__version__,
        unit_prices=_rates(found.model_price),
    )


def _rates(price: Any) -> dict[str, str]:
    """The rates by name, as text: `2.5`, or `1.25, above 200000: 2.5` where they depend on the input's size."""
    return {name: _rate(rate) for name, rate in vars(price).items() if rate is not None and not name.startswith("_")}


def _rate(rate: Any) -> str:
    tiers = [f"above {tier.start}: {tier.price}" for tier in getattr(rate, "tiers", ())]
    return ", ".join([str(getattr(rate, "base", rate)), *tiers])
