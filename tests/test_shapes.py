"""How does each provider say it? The table of shapes, its oddities, and payloads that mean harm."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_tokens.shapes import KNOWN, SHAPES, Reading, read, read_answer
from langchain_tokens.usage import COUNTS, TokenUsage

ANTHROPIC = {
    "input_tokens": 10,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 15},
    "server_tool_use": {"web_search_requests": 4},
    "service_tier": "standard",
}
ANTHROPIC_COUNTS = {
    "input_tokens": 100,
    "output_tokens": 40,
    "total_tokens": 140,
    "cache_read_tokens": 60,
    "cache_write_tokens": 30,
    "cache_write_5m_tokens": 20,
    "cache_write_1h_tokens": 10,
    "reasoning_tokens": 15,
}
LANGCHAIN_FROM_ANTHROPIC = {
    "input_tokens": 100,
    "output_tokens": 40,
    "total_tokens": 140,
    "input_token_details": {
        "cache_read": 60,
        "cache_creation": 0,
        "ephemeral_5m_input_tokens": 20,
        "ephemeral_1h_input_tokens": 10,
    },
    "output_token_details": {"reasoning": 15},
}
OPENAI_CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5, "cache_write_tokens": 7},
    "completion_tokens_details": {"reasoning_tokens": 25, "audio_tokens": 6, "accepted_prediction_tokens": 3},
}


def answer(**parts: Any) -> Reading:
    """Read an answer of which only the given parts are there."""
    nothing = dict.fromkeys(("usage_metadata", "response_metadata", "llm_output", "generation_info"))
    return read_answer(**{**nothing, **parts})


def said(usage: TokenUsage | None) -> dict[str, Any]:
    """The fields of a usage that are not None."""
    return {
        name: value for name in (*COUNTS, "other_units", "service_tier") if (value := getattr(usage, name)) is not None
    }


def counted(input_tokens: int, output_tokens: int, **details: Any) -> dict[str, Any]:
    """LangChain's usage metadata of these counts."""
    total = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total, **details}


@pytest.mark.parametrize(
    ("payload", "shape", "expected"),
    [
        pytest.param(
            OPENAI_CHAT,
            "openai_chat",
            {
                "input_tokens": 100,
                "output_tokens": 40,
                "total_tokens": 140,
                "cache_read_tokens": 60,
                "cache_write_tokens": 7,
                "audio_input_tokens": 5,
                "reasoning_tokens": 25,
                "audio_output_tokens": 6,
            },
            id="openai chat",
        ),
        pytest.param(
            {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4, "prompt_tokens_details": None},
            "openai_chat",
            {"input_tokens": 4, "output_tokens": 0, "total_tokens": 4},
            id="openai chat with null details",
        ),
        pytest.param(
            {"prompt_tokens": 64, "completion_tokens": 6, "total_tokens": 70, "num_cached_tokens": 32},
            "openai_chat",
            {"input_tokens": 64, "output_tokens": 6, "total_tokens": 70, "cache_read_tokens": 32},
            id="openai chat with cached tokens at the top",
        ),
        pytest.param(
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 1},
                "output_tokens": 40,
                "output_tokens_details": {"reasoning_tokens": 25},
                "total_tokens": 140,
            },
            "openai_responses",
            {
                "input_tokens": 100,
                "output_tokens": 40,
                "total_tokens": 140,
                "cache_read_tokens": 60,
                "cache_write_tokens": 1,
                "reasoning_tokens": 25,
            },
            id="openai responses",
        ),
        pytest.param(
            ANTHROPIC,
            "anthropic",
            {**ANTHROPIC_COUNTS, "other_units": {"web_search_requests": 4}, "service_tier": "standard"},
            id="anthropic leaves the cache out of its input",
        ),
        pytest.param(
            {"input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 5}, "output_tokens": 1},
            "anthropic",
            {
                "input_tokens": 15,
                "output_tokens": 1,
                "total_tokens": 16,
                "cache_write_tokens": 5,
                "cache_write_1h_tokens": 5,
            },
            id="anthropic with nothing but the split",
        ),
        pytest.param(
            {"input_tokens": 19, "output_tokens": 22},
            "input_output",
            {"input_tokens": 19, "output_tokens": 22, "total_tokens": 41},
            id="a bare pair",
        ),
        pytest.param(
            LANGCHAIN_FROM_ANTHROPIC, "langchain", ANTHROPIC_COUNTS, id="langchain with a split by time to live"
        ),
        pytest.param(
            counted(100, 40, input_token_details={"cache_creation": 30, "cache_read": 0}),
            "langchain",
            {
                "input_tokens": 100,
                "output_tokens": 40,
                "total_tokens": 140,
                "cache_read_tokens": 0,
                "cache_write_tokens": 30,
            },
            id="langchain without a split",
        ),
        pytest.param(
            counted(
                100,
                40,
                input_token_details={"audio": 3, "flex_cache_read": 60, "flex_cache_creation": 5, "flex": 40},
                output_token_details={"audio": 2, "flex_reasoning": 25, "flex": 15},
            ),
            "langchain",
            {
                "input_tokens": 100,
                "output_tokens": 40,
                "total_tokens": 140,
                "cache_read_tokens": 60,
                "cache_write_tokens": 5,
                "audio_input_tokens": 3,
                "audio_output_tokens": 2,
                "reasoning_tokens": 25,
                "service_tier": "flex",
            },
            id="langchain under the flex tier",
        ),
        pytest.param(
            counted(53, 9, input_token_details={"priority_cache_read": 0, "priority": 53}),
            "langchain",
            {
                "input_tokens": 53,
                "output_tokens": 9,
                "total_tokens": 62,
                "cache_read_tokens": 0,
                "service_tier": "priority",
            },
            id="langchain under the priority tier",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 40,
                "total_tokens": 140,
                "prompt_cache_hit_tokens": 60,
                "prompt_cache_miss_tokens": 40,
            },
            "openai_chat",
            {"input_tokens": 100, "output_tokens": 40, "total_tokens": 140, "cache_read_tokens": 60},
            id="deepseek",
        ),
        pytest.param(
            {"prompt_tokens": 8, "total_tokens": 8},
            "openai_chat",
            {"input_tokens": 8, "output_tokens": 0, "total_tokens": 8},
            id="openai embeddings",
        ),
        pytest.param(
            {
                "prompt_tokens": 579,
                "completion_tokens": 41,
                "total_tokens": 620,
                "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 30},
                "server_tool_use_details": {"web_search_requests": 2, "tool_calls_executed": 2},
            },
            "openai_chat",
            {
                "input_tokens": 579,
                "output_tokens": 41,
                "total_tokens": 620,
                "reasoning_tokens": 0,
                "other_units": {"image_output_tokens": 30, "web_search_requests": 2, "tool_calls_executed": 2},
            },
            id="openrouter",
        ),
        pytest.param(
            {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13, "search_context_size": "low"},
            "openai_chat",
            {
                "input_tokens": 8,
                "output_tokens": 5,
                "total_tokens": 13,
                "other_units": {"requests_with_search_context_low": 1},
            },
            id="perplexity",
        ),
        pytest.param(
            {
                "inputTokens": 10,
                "outputTokens": 4,
                "totalTokens": 7_365,
                "cacheReadInputTokens": 0,
                "cacheReadInputTokenCount": 0,
                "cacheWriteInputTokens": 7_351,
                "cacheWriteInputTokenCount": 7_351,
                "cacheDetails": [{"inputTokens": 7_000, "ttl": "5m"}, {"inputTokens": 351, "ttl": "1h"}],
                "serverToolUsage": {},
            },
            "bedrock_converse",
            {
                "input_tokens": 7_361,
                "output_tokens": 4,
                "total_tokens": 7_365,
                "cache_read_tokens": 0,
                "cache_write_tokens": 7_351,
                "cache_write_5m_tokens": 7_000,
                "cache_write_1h_tokens": 351,
            },
            id="bedrock converse leaves the cache out of its input",
        ),
        pytest.param(
            {"inputTokenCount": 702, "outputTokenCount": 98},
            "bedrock_metrics",
            {"input_tokens": 702, "output_tokens": 98, "total_tokens": 800},
            id="bedrock's own count",
        ),
        pytest.param(
            {
                "promptTokenCount": 17,
                "toolUsePromptTokenCount": 102,
                "candidatesTokenCount": 241,
                "thoughtsTokenCount": 412,
                "cachedContentTokenCount": 5,
                "totalTokenCount": 772,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 7}],
                "candidatesTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 200},
                    {"modality": "AUDIO", "tokenCount": 41},
                ],
                "trafficType": "ON_DEMAND_FLEX",
            },
            "gemini",
            {
                "input_tokens": 119,
                "output_tokens": 653,
                "total_tokens": 772,
                "cache_read_tokens": 5,
                "reasoning_tokens": 412,
                "audio_input_tokens": 7,
                "audio_output_tokens": 41,
                "other_units": {"image_output_tokens": 200},
                "service_tier": "flex",
            },
            id="gemini counts thoughts and tool results beside",
        ),
        pytest.param(
            {
                "prompt_token_count": 15,
                "thoughts_token_count": 2,
                "candidates_token_count": None,
                "total_token_count": 17,
                "prompt_tokens_details": [{"modality": 4, "token_count": 15}],
            },
            "gemini_sdk",
            {
                "input_tokens": 15,
                "output_tokens": 2,
                "total_tokens": 17,
                "reasoning_tokens": 2,
                "audio_input_tokens": 15,
            },
            id="gemini's objects, all output thought",
        ),
        pytest.param(
            {
                "total_input_tokens": 9,
                "total_output_tokens": 13,
                "total_thought_tokens": 207,
                "total_cached_tokens": 0,
                "total_tool_use_tokens": 0,
                "total_tokens": 229,
                "input_tokens_by_modality": [{"modality": "audio", "tokens": 9}],
            },
            "gemini_interactions",
            {
                "input_tokens": 9,
                "output_tokens": 220,
                "total_tokens": 229,
                "cache_read_tokens": 0,
                "reasoning_tokens": 207,
                "audio_input_tokens": 9,
            },
            id="gemini interactions",
        ),
        pytest.param(
            {
                "billed_units": {"input_tokens": 65, "output_tokens": 63},
                "tokens": {"input_tokens": 508, "output_tokens": 86, "reasoning_tokens": 28},
                "cached_tokens": 144,
            },
            "cohere",
            {
                "input_tokens": 508,
                "output_tokens": 86,
                "total_tokens": 594,
                "cache_read_tokens": 144,
                "reasoning_tokens": 28,
                "other_units": {"billed_input_tokens": 65, "billed_output_tokens": 63},
            },
            id="cohere bills less than it counts",
        ),
        pytest.param(
            {"billed_units": {"search_units": 1}},
            "cohere",
            {"other_units": {"billed_search_units": 1}},
            id="cohere rerank",
        ),
        pytest.param(
            {"prompt_eval_count": 21, "eval_count": 889},
            "ollama",
            {"input_tokens": 21, "output_tokens": 889, "total_tokens": 910},
            id="ollama",
        ),
        pytest.param({"eval_count": 79}, "ollama", {"output_tokens": 79}, id="ollama with a prompt it had at hand"),
        pytest.param(
            {"input_token_count": 7, "generated_token_count": 2},
            "watsonx",
            {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9},
            id="watsonx",
        ),
        pytest.param(
            {"prompt_token_count": 6, "generation_token_count": 18},
            "bedrock_llama",
            {"input_tokens": 6, "output_tokens": 18, "total_tokens": 24},
            id="llama on bedrock",
        ),
        pytest.param({"generated_tokens": 20}, "huggingface", {"output_tokens": 20}, id="text generation inference"),
    ],
)
def test_each_shape_is_read(payload: dict[str, Any], shape: str, expected: dict[str, Any]) -> None:
    """Each row of the table gives inclusive counts, without a flag, and keeps the payload as it was."""
    reading = read(payload)
    assert (reading.shape, said(reading.usage), reading.flags) == (shape, expected, ())
    assert reading.raw == payload


def test_names_of_the_rows_are_unique() -> None:
    """Every row of the table has its own name."""
    assert len(set(KNOWN)) == len(SHAPES)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x", "usage": ANTHROPIC},
        {"type": "message_start", "message": {"usage": ANTHROPIC}},
        {"type": "response.completed", "response": {"usage": ANTHROPIC}},
        {"token_usage": ANTHROPIC},
        {"usage": None, "message": {"usage": ANTHROPIC}},
        {"metadata": {"usage": ANTHROPIC}},
        {"usageMetadata": ANTHROPIC},
        SimpleNamespace(usage=SimpleNamespace(**ANTHROPIC)),
    ],
    ids=[
        "body",
        "message event",
        "response event",
        "llm output",
        "null first",
        "metadata event",
        "camel case",
        "object",
    ],
)
def test_usage_is_found_inside_a_body(body: object) -> None:
    """A whole response, or an event of a stream, is searched for the usage it carries."""
    reading = read(body)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.cache_write_1h_tokens, reading.shape) == (100, 10, "anthropic")
    assert reading.raw == ANTHROPIC


def test_body_names_the_service_tier() -> None:
    """The tier that stands beside the usage in a response body is taken."""
    usage = read({"service_tier": "flex", "usage": OPENAI_CHAT}).usage
    assert usage is not None
    assert usage.service_tier == "flex"


def test_objects_are_read_like_dicts() -> None:
    """A pydantic object, a dataclass, a plain object and a LangChain message are read as their dict would be."""

    class Pydantic(BaseModel):
        prompt_tokens: int = 3
        completion_tokens: int = 4

    @dataclass(slots=True)
    class Slotted:
        prompt_tokens: int = 3
        completion_tokens: int = 4

    message = AIMessage("hi", usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
    plain = SimpleNamespace(prompt_tokens=3, completion_tokens=4)
    for payload in (Pydantic(), Slotted(), plain, message, SimpleNamespace(usage=Pydantic())):
        assert said(read(payload).usage) == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


BEYOND = 2**63


@pytest.mark.parametrize(
    "nonsense", [-1, True, False, math.nan, math.inf, 1.5, "12", [3], {"a": 1}, BEYOND, -0.5, b"1"]
)
def test_nonsense_is_left_out_and_named(nonsense: object) -> None:
    """A value that cannot be a count becomes None under a flag with the field's name; the rest is kept."""
    reading = read({"prompt_tokens": nonsense, "completion_tokens": 4, "total_tokens": 9})
    assert said(reading.usage) == {"output_tokens": 4, "total_tokens": 9}
    assert reading.flags == ("nonsense:input_tokens",)
    json.dumps(reading.raw, allow_nan=False)


def test_integral_floats_are_counts() -> None:
    """12.0 is 12, and the count that is stored is an int."""
    usage = read({"prompt_tokens": 12.0, "completion_tokens": 0.0}).usage
    assert usage == TokenUsage(input_tokens=12, output_tokens=0, total_tokens=12)
    assert type(usage.input_tokens) is int


@pytest.mark.parametrize(
    ("payload", "kept", "flags"),
    [
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99},
            {"total_tokens": 99},
            ("total_mismatch",),
            id="total",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
            {"output_tokens": 5, "reasoning_tokens": 6},
            ("detail_above_total:reasoning_tokens",),
            id="reasoning",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 213, "prompt_tokens_details": {"cached_tokens": 161}},
            {"input_tokens": 10, "cache_read_tokens": 161, "total_tokens": 223},
            ("cache_outside_input", "detail_above_total:cache_read_tokens"),
            id="cache beside the input",
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            {"input_tokens": 14, "total_tokens": 19},
            ("cache_added_to_input",),
            id="cache in the total only",
        ),
        pytest.param(
            {**ANTHROPIC, "cache_creation_input_tokens": 3},
            {"cache_write_tokens": 3, "cache_write_5m_tokens": 20, "cache_write_1h_tokens": 10},
            ("detail_above_total:cache_write_1h_tokens", "detail_above_total:cache_write_5m_tokens"),
            id="split above the writes",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": [1]},
            {"input_tokens": 10},
            ("nonsense:prompt_tokens_details",),
            id="details of no shape",
        ),
        pytest.param(
            {"input_tokens": 2**63 - 1, "output_tokens": 1, "cache_read_input_tokens": 5},
            {"input_tokens": None, "cache_read_tokens": 5, "output_tokens": 1, "total_tokens": None},
            ("nonsense:input_tokens",),
            id="sum above 63 bits",
        ),
    ],
)
def test_contradictions_are_named(payload: object, kept: dict[str, Any], flags: tuple[str, ...]) -> None:
    """What a provider says against itself is kept as said, never clamped, unless the total proves it; a flag says so."""
    reading = read(payload)
    assert reading.flags == flags
    assert {name: getattr(reading.usage, name) for name in kept} == kept


def test_rounds_that_exceed_the_usage_are_kept_as_units() -> None:
    """Where a call's rounds consumed more than its usage says, both sums are kept and a flag says so."""
    rounds = [
        {"input_tokens": 100, "cache_read_input_tokens": 55_096, "output_tokens": 83},
        {"input_tokens": 181, "output_tokens": 8},
    ]
    reading = read({"input_tokens": 181, "output_tokens": 8, "iterations": rounds})
    assert reading.flags == ("rounds_above_usage",)
    assert said(reading.usage) == {
        "input_tokens": 181,
        "output_tokens": 8,
        "total_tokens": 189,
        "other_units": {"rounds_input_tokens": 55_377, "rounds_output_tokens": 91},
    }
    assert read({"input_tokens": 181, "output_tokens": 8, "iterations": rounds[1:]}).flags == ()


@pytest.mark.parametrize("payload", [None, {}, [], "text", 5, object(), {"usage": None}, {"usage": {}}, {"id": "x"}])
def test_nothing_said_is_no_usage(payload: object) -> None:
    """Where there is nothing to read, there is no usage, no flag and no raw payload."""
    assert read(payload) == Reading(usage=None, flags=(), raw=None, shape=None)


def test_unknown_shape_is_kept_for_later() -> None:
    """A payload that stands where usage stands, but has no known shape, is kept raw under a flag."""
    expected = Reading(usage=None, flags=("unknown_shape",), raw={"tokens_in": 5}, shape=None)
    assert read({"usage": {"tokens_in": 5}}) == expected
    assert answer(llm_output={"token_usage": {"tokens_in": 5}}) == expected


def test_usage_of_nonsense_only_is_no_usage() -> None:
    """A payload with no count that makes sense gives no usage, and says why."""
    reading = read({"prompt_tokens": -1, "completion_tokens": None})
    assert (reading.usage, reading.flags, reading.shape) == (None, ("nonsense:input_tokens",), "openai_chat")


def test_raw_is_detached() -> None:
    """A change of the source after reading does not reach the raw payload."""
    source = copy.deepcopy(ANTHROPIC)
    reading = read(source)
    source["cache_creation"]["ephemeral_5m_input_tokens"] = 999  # type: ignore[index]
    assert reading.raw == ANTHROPIC


@pytest.mark.parametrize(
    "extra",
    [BEYOND * 9, "\ud800", {("a", 1): 2}, math.nan, {1, 2}, object(), b"x", {"deep": SimpleNamespace(a=BEYOND * 9)}],
    ids=["big", "surrogate", "tuple key", "nan", "set", "object", "bytes", "nested"],
)
def test_raw_is_json_whatever_it_holds(extra: object) -> None:
    """The raw payload can be written as JSON, whatever else the source held."""
    reading = read({"prompt_tokens": 5, "completion_tokens": 1, "extra": extra})
    assert reading.raw is not None
    assert reading.raw["prompt_tokens"] == 5
    json.dumps(reading.raw, allow_nan=False).encode()


def test_circles_end() -> None:
    """A payload that contains itself is read, and its copy ends somewhere."""
    payload: dict[str, Any] = {"prompt_tokens": 5, "completion_tokens": 1}
    payload["list"] = [payload] * 50
    reading = read(payload)
    assert reading.usage == TokenUsage(input_tokens=5, output_tokens=1, total_tokens=6)
    assert len(json.dumps(reading.raw)) < 100_000


# What LangChain hands over


@pytest.mark.parametrize(
    "parts",
    [
        {"usage_metadata": counted(100, 40), "llm_output": {"token_usage": {"prompt_tokens": 1}}},
        {
            "llm_output": {"token_usage": {"prompt_tokens": 100, "completion_tokens": 40}},
            "response_metadata": {"token_usage": {"prompt_tokens": 1}},
        },
        {
            "llm_output": {"usage": {"input_tokens": 100, "output_tokens": 40}},
            "response_metadata": {"usage": {"input_tokens": 1}},
        },
        {
            "response_metadata": {"token_usage": {"prompt_tokens": 100, "completion_tokens": 40}, "usage": {}},
            "generation_info": {"usage": {"input_tokens": 1}},
        },
        {"response_metadata": {"usage": {"input_tokens": 100, "output_tokens": 40}}},
        {"response_metadata": {"usage_metadata": {"input_tokens": 100, "output_tokens": 40}}},
        {"response_metadata": {"body": {"usage": {"prompt_tokens": 100, "completion_tokens": 40}}}},
        {"generation_info": {"usage": {"prompt_tokens": 100, "completion_tokens": 40}}},
        {"generation_info": {"prompt_tokens": 100, "completion_tokens": 40}},
        {"usage_metadata": {"total_cost": 0}, "response_metadata": {"token_usage": counted(100, 40)}},
        {"usage_metadata": {}, "llm_output": {"token_usage": {}}, "generation_info": {"usage": counted(100, 40)}},
        {"usage_metadata": counted(100, 40), "llm_output": "text", "response_metadata": [1], "generation_info": 5},
    ],
)
def test_order_of_the_sources(parts: dict[str, Any]) -> None:
    """The order is usage_metadata, llm_output, response_metadata, generation_info; the first that says counts wins."""
    assert said(answer(**parts).usage) == {"input_tokens": 100, "output_tokens": 40, "total_tokens": 140}


def test_details_are_filled_from_the_provider() -> None:
    """What usage_metadata leaves unsaid comes from the provider's own payload; what it says is never replaced."""
    usage_metadata = counted(100, 40, input_token_details={"cache_read": 61})
    reading = answer(usage_metadata=usage_metadata, response_metadata={"usage": ANTHROPIC})
    expected = {**ANTHROPIC_COUNTS, "cache_read_tokens": 61}
    assert said(reading.usage) == {**expected, "other_units": {"web_search_requests": 4}, "service_tier": "standard"}
    assert (reading.raw, reading.shape, reading.flags) == (ANTHROPIC, "langchain", ())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"response_metadata": {"service_tier": "flex"}}, "flex"),
        ({"llm_output": {"service_tier": "flex"}}, "flex"),
        ({"response_metadata": {"service_tier": "defaultdefault"}}, "default"),
        ({"response_metadata": {"usage": {**ANTHROPIC, "service_tier": "standard" * 5}}}, "standard"),
        ({"response_metadata": {"usage": ANTHROPIC}}, "standard"),
        ({"response_metadata": {"service_tier": "priority", "usage": ANTHROPIC}}, "priority"),
        ({"response_metadata": {"service_tier": 5}}, None),
        ({}, None),
    ],
)
def test_service_tier_of_an_answer(parts: dict[str, Any], expected: str | None) -> None:
    """The tier named beside the usage wins over the one in the usage."""
    usage = answer(usage_metadata=counted(5, 1), **parts).usage
    assert usage is not None
    assert usage.service_tier == expected


def test_a_made_up_input_of_0_is_missing() -> None:
    """An input of 0 with output and an empty section of details was said by nobody: None and a flag, nor a total."""
    reading = answer(usage_metadata=counted(0, 201, input_token_details={}))
    assert (said(reading.usage), reading.flags) == ({"output_tokens": 201}, ("input_missing",))


@pytest.mark.parametrize(
    "parts",
    [
        {"usage_metadata": counted(0, 201)},
        {"usage_metadata": counted(0, 201, input_token_details={"cache_read": 0})},
        {
            "usage_metadata": counted(0, 201, input_token_details={}),
            "llm_output": {"token_usage": {"prompt_tokens": 0, "completion_tokens": 201}},
        },
        {"usage_metadata": counted(0, 0, input_token_details={})},
    ],
    ids=["no such section", "said in details", "said by the provider", "no output"],
)
def test_a_true_0_stays(parts: dict[str, Any]) -> None:
    """An input of 0 stays where there is no such section, where details or the provider say so, or without output."""
    reading = answer(**parts)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.flags) == (0, ())


def test_a_missing_input_is_taken_from_the_provider() -> None:
    """The provider's own payload gives the input that the client made up to be 0, and the total follows."""
    raw = {"input_tokens": 4, "cache_creation_input_tokens": 1165, "output_tokens": 201}
    reading = answer(usage_metadata=counted(0, 201, input_token_details={}), response_metadata={"usage": raw})
    expected = {"input_tokens": 1169, "output_tokens": 201, "total_tokens": 1370, "cache_write_tokens": 1165}
    assert (said(reading.usage), reading.flags) == (expected, ())


def test_cost_of_a_cached_answer_is_no_count() -> None:
    """The `total_cost` that LangChain adds to an answer from its cache is not a count, alone or beside counts."""
    assert answer(usage_metadata={"total_cost": 0}).usage is None
    usage = answer(usage_metadata={**counted(5, 1), "total_cost": 0}).usage
    assert said(usage) == {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}


# Payloads that mean harm


class Trap(Mapping[str, Any]):
    """A mapping that raises wherever it is touched."""

    def __getitem__(self, key: str) -> Any:
        """Raise."""
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        """Raise."""
        raise RuntimeError("iter")

    def __len__(self) -> int:
        """Look as if something was in it."""
        return 3


def test_a_payload_that_raises_is_unreadable() -> None:
    """A payload that raises when it is looked at gives a flag, never an error."""
    assert read(Trap()).flags == ("unreadable",)
    assert answer(usage_metadata=Trap()).flags == ("unreadable",)


KEYS = sorted({key for shape in SHAPES for names in shape.says.values() for key in names})
SECTIONS = sorted(
    {key for shape in SHAPES for key in (*shape.says, *shape.units, "iterations", "service_tier", "usage")}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-5, max_value=50)
    | st.integers()
    | st.sampled_from([2**63 - 1, 2**63, 2**64, 1e300])
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
)
PAYLOADS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.sampled_from(SECTIONS), inner, max_size=8)
        | st.dictionaries(
            SCALARS.filter(lambda key: not (isinstance(key, float) and math.isnan(key))), inner, max_size=2
        )
    ),
    max_leaves=25,
)


def assert_sound(reading: Reading) -> None:
    """Check what holds for every reading: counts are None or whole and not negative, flags sorted, raw is JSON."""
    assert list(reading.flags) == sorted(set(reading.flags))
    json.dumps(reading.raw, allow_nan=False).encode()
    if reading.usage is not None:
        for name in COUNTS:
            value = getattr(reading.usage, name)
            assert value is None or (type(value) is int and 0 <= value < 2**63)
        for number in (reading.usage.other_units or {}).values():
            assert type(number) in (int, float)
            assert 0 <= number < math.inf


@settings(deadline=None, max_examples=300)
@given(payload=PAYLOADS)
def test_no_payload_harms_read(payload: object) -> None:
    """Whatever the payload is, reading it does not raise and gives sound counts."""
    assert_sound(read(payload))
    assert_sound(read({"usage": payload}))


@settings(deadline=None, max_examples=300)
@given(usage_metadata=PAYLOADS, usage=PAYLOADS, metadata=PAYLOADS)
def test_no_payload_harms_read_answer(usage_metadata: Any, usage: Any, metadata: Any) -> None:
    """Whatever LangChain hands over, reading it does not raise and gives sound counts."""
    metadata = {**metadata, "usage": usage} if isinstance(metadata, dict) else {"usage": usage}
    reading = answer(usage_metadata=usage_metadata, response_metadata=metadata, llm_output={"token_usage": metadata})
    assert "unreadable" not in reading.flags
    assert_sound(reading)
