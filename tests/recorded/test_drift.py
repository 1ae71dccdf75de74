"""Does the book agree with the bills? Costs that providers reported in recorded responses against the computed ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from langchain_tokens.call import Call
from langchain_tokens.prices import PriceBook
from langchain_tokens.shapes import read
from tests.builders import make_call
from tests.recorded.recordings import RECORDINGS

BOOK = PriceBook()
EXACT = Decimal("0.000005")
"""Half of the last digit that Perplexity reports, in USD."""
REASONS = {
    "test_tools_streaming_variant": "a model of Meta behind OpenAI's client, which the catalogue does not list there",
    "claude_3_5_sonnet_20241022": "the router bills the retired model at twice the rate that the catalogue has",
    "advisor_tool": "a tool asked another model, whose tokens are billed with the call",
    "web_search_annotations": "a fee for the search, which the catalogue does not list for the router's models",
    "web_search_tool_usage": "a fee for the search, which the catalogue does not list for the router's models",
    "earch_with_xai_grok-4_3_replays_search_turns_so_th__0": "a fee for searches, which the catalogue does not list",
    "stream_error__0_0300e1": "its counts contradict each other: more reasoning than output",
    "stream_with_native_options": "the router served a model that the catalogue does not list there",
    "cache_instructions_gemini_real_api__0": "its counts contradict each other: more was cached than sent",
    "cache_instructions_gemini_real_api__1": "the catalogue's rate for cache reads is a later or another host's one",
    "thinking_false_profile_gated_model": "the router chose a dearer host than the one in the catalogue",
    "qwen-nested-model": "the router chose a dearer host than the one in the catalogue",
    "raw_cot_stream_openrouter": "the router chose a dearer host than the one in the catalogue",
    "responses_prompt_cache_e2e": "the price was cut later, and the catalogue has no earlier one for the router",
}
"""Part of a recording's name → why the book's figure is another one, or none."""


def billed() -> Iterator[tuple[str, Call]]:
    """Recorded calls to models that generate, whose provider said what they cost."""
    index = RECORDINGS / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["entries"] if index.exists() else []
    for entry in entries:
        if "embeddings" in entry["format"]:
            continue
        payloads = entry["raw_usage"] if isinstance(entry["raw_usage"], list) else [entry["raw_usage"]]
        reading = read(payloads[-1]) if payloads else None
        if reading is not None and reading.reported_cost_usd is not None:
            yield entry["file"], _call(entry, reading)


def _call(entry: dict[str, Any], reading: Any) -> Call:
    body = json.loads((RECORDINGS / entry["file"]).read_text(encoding="utf-8"))["response_body"]
    created = re.search(r'"created(?:_at)?": ?(\d{10})', body if isinstance(body, str) else json.dumps(body))
    return make_call(
        provider=entry["provider"],
        model=entry["response_model"],
        requested_model=entry["requested_model"],
        started_at=datetime.fromtimestamp(int(created[1]) if created else 1_770_000_000, UTC),
        usage=reading.usage,
        usage_flags=reading.flags,
        raw_usage=reading.raw,
        cost_usd=reading.reported_cost_usd,
        price_status="reported",
        price_source="provider",
    )


def test_reported_costs_are_reproduced_or_explained() -> None:
    """Each bill is what the book computes, to the bill's own last digit, or there is a reason by name why it is not."""
    calls = list(billed())
    if not calls:
        pytest.skip("the recordings do not lie beside the checkout")
    drifted = {}
    for name, call in calls:
        priced = BOOK.price(call)
        assert priced.cost_usd == call.cost_usd
        assert call.cost_usd is not None
        if priced.computed_cost_usd is None or abs(priced.computed_cost_usd - call.cost_usd) > _tolerance(call):
            drifted[name] = (call.model, call.cost_usd, priced.computed_cost_usd)
    unexplained = {name: drift for name, drift in drifted.items() if not any(part in name for part in REASONS)}
    assert unexplained == {}
    assert [part for part in REASONS if not any(part in name for name in drifted)] == []
    assert len(calls) - len(drifted) > 2 * len(drifted)


def _tolerance(call: Call) -> Decimal:
    """Perplexity rounds its bills; the others say all digits."""
    return EXACT if call.provider == "perplexity" else Decimal(0)
