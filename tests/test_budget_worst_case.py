"""Is the worst case one? Bounds of requests against recorded counts, limits of answers in every client's words, rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from langchain_core.messages import AIMessage, HumanMessage

from langchain_tokens import PriceBook
from langchain_tokens.bounding import Bounding
from langchain_tokens.estimate import Estimator, Sent
from langchain_tokens.trouble import Warnings
from langchain_tokens.worstcase import Counting, Worst, output_limit, worst_case
from tests.builders import NOON, make_call

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_recordings = pytest.mark.skipif(not (SHARED / "recordings").is_dir(), reason="the recordings are not here")
UNSEEN = {"server_tools", "audio", "image_input", "structured_output", "usage_breakdown"}
"""Features of recordings whose requests do not hold all that was counted: searches, media by reference, schemas."""


@pytest.fixture(scope="module")
def means() -> Counting:
    """A catalogue's prices, and an estimator without a tokenizer's table."""
    return Counting(prices=PriceBook(), bounding=Bounding(), warnings=Warnings())


def worst(means: Counting, asked: Any = "q", parameters: Any = None, output: int = 100, **call: Any) -> Worst:
    """The worst case of a call of a hundred output tokens."""
    names = {"requested_model": "gpt-4o-mini", "provider": "openai", "started_at": NOON, **call}
    return worst_case(make_call(**names), [asked], parameters or {}, output, means)


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({}, None),
        ({"max_tokens": 50}, 50),
        ({"max_tokens": None, "max_completion_tokens": 60}, 60),
        ({"max_output_tokens": 70}, 70),
        ({"generation_config": {"max_output_tokens": 80}}, 80),
        ({"inferenceConfig": {"maxTokens": 90}}, 90),
        ({"options": {"num_predict": 40}}, 40),
        ({"num_predict": -1}, None),
        ({"max_tokens": 50, "max_completion_tokens": 60}, 60),
        ({"max_tokens": True}, None),
        ({"max_tokens": "50"}, None),
        ({"generation_config": "odd"}, None),
    ],
)
def test_limits_of_answers(parameters: dict[str, Any], limit: int | None) -> None:
    """The most that an answer may have, in the words of every client."""
    assert output_limit(parameters) == limit


@pytest.mark.parametrize(
    ("more", "least"),
    [
        ({}, 100 * 600_000),
        ({"parameters": {"n": 3}}, 300 * 600_000),
        ({"output": 200}, 200 * 600_000),
        ({"requested_model": "claude-sonnet-4-5", "provider": "anthropic"}, 100 * 15_000_000),
    ],
)
def test_the_cost_is_that_of_all_tokens(more: dict[str, Any], least: int, means: Counting) -> None:
    """Output tokens at their rate, and a bit for the input, in pico-USD."""
    found = worst(means, **more).cost

    assert found is not None
    assert least < found < least * 2


def test_the_dearest_way_counts(means: Counting) -> None:
    """What may be written to a provider's cache, or goes at a dearer tier, is taken at that rate."""
    text = "word " * 2_000
    cached = HumanMessage([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}])
    claude = {"requested_model": "claude-sonnet-4-5", "provider": "anthropic"}
    plain, written = (worst(means, asked, **claude).cost for asked in (HumanMessage(text), cached))
    usual, fast = (
        worst(means, "q", {"service_tier": tier}, requested_model="gpt-5").cost for tier in ("default", "priority")
    )

    assert plain is not None
    assert written is not None
    assert written > plain * 1.5
    assert usual is not None
    assert fast is not None
    assert fast >= usual


@pytest.mark.parametrize(
    ("model", "provider", "cost"), [("no-such", "nobody", None), (None, None, None), ("llama", "ollama", 0)]
)
def test_what_has_no_price_has_no_worst_case(model: Any, provider: Any, cost: Any, means: Counting) -> None:
    """An unknown model has no cost, and a free one costs nothing; both have tokens."""
    found = worst(means, requested_model=model, provider=provider)

    assert found.cost == cost
    assert found.tokens > 100


@given(some.text(max_size=300), some.lists(some.text(max_size=50), max_size=3))
def test_a_bound_is_no_less_than_the_bytes(text: str, more: list[str]) -> None:
    """Whatever is sent, no tokenizer can make more tokens of it than it has bytes, and that is bounded."""
    sent = Sent(messages=[HumanMessage(text), AIMessage([{"type": "text", "text": one} for one in more])])
    bound = Estimator(Warnings()).bound_input(sent, "gpt-4o", "openai")

    assert bound >= sum(len(one.encode("utf-8", "surrogatepass")) for one in (text, *more))


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "file", "base64": "A" * 5_000, "mime_type": "application/pdf"}],
        [{"type": "input_audio", "input_audio": {"data": "A" * 5_000}}],
        [{"type": "unheard-of", "payload": "A" * 5_000}],
    ],
)
def test_what_cannot_be_counted_is_bounded_by_its_bytes(content: Any) -> None:
    """Audio, files and what nobody knows have no more tokens than bytes."""
    assert Estimator(Warnings()).bound_input(Sent(messages=[HumanMessage(content)]), "gpt-4o", "openai") >= 5_000


def requests() -> list[tuple[str, Sent, str, str, int]]:
    """Recorded requests that hold all that was counted: file, what was sent, model, provider, and the true count."""
    found = []
    for entry in json.loads((SHARED / "recordings" / "index.json").read_text(encoding="utf-8"))["entries"]:
        model = entry["requested_model"] or ""
        if entry["error"] or entry["truth"]["input"] is None or UNSEEN & {*entry["features"]}:
            continue
        if entry["format"].split("-sse")[0] not in ("openai-chat", "anthropic", "cohere-v2", "bedrock-converse"):
            continue
        if any(name in entry["file"] + model for name in ("compound", "native_options", "voxtral")):
            # searches by itself; serves another model; heard a file that is not in the recording
            continue
        body = json.loads((SHARED / "recordings" / entry["file"]).read_text(encoding="utf-8"))["request_body"]
        if not isinstance(body, dict) or not body.get("messages"):
            continue
        system = body.get("system") or []
        first = [{"role": "system", "content": system}] if system else []
        tools = body.get("tools") or (body.get("toolConfig") or {}).get("tools") or ()
        sent = Sent(messages=[*first, *body["messages"]], tools=tools)
        found.append((entry["file"], sent, model, entry["provider"], entry["truth"]["input"]))
    return found


@needs_recordings
@pytest.mark.parametrize("is_loaded", [False, True])
def test_bounds_hold_for_recorded_requests(is_loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No recorded request of text and tools had more tokens than its bound; those of many tokens not many fewer."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken_cache"))
    estimator = Estimator(Warnings())
    if is_loaded:
        estimator.load("gpt-4o", "openai")
    bounds = [
        (file, estimator.bound_input(sent, model, provider), true) for file, sent, model, provider, true in requests()
    ]

    assert len(bounds) > 250
    assert [(file, bound, true) for file, bound, true in bounds if bound < true] == []
    ratios = sorted(bound / true for _, bound, true in bounds if true > 500)
    assert ratios[len(ratios) // 2] < (2.5 if is_loaded else 4)
