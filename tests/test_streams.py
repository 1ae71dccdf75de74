"""How do the frames of a stream add up? Raw events, LangChain's pieces, and servers that say running totals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_tokens.reading.running import RunningUsage
from langchain_tokens.shapes import Reading, read
from langchain_tokens.usage import COUNTS


def said(reading: Reading) -> dict[str, Any]:
    """The counts of a reading that are not None."""
    return {name: value for name in COUNTS if (value := getattr(reading.usage, name)) is not None}


def counts(input_tokens: int, output_tokens: int, **details: int) -> dict[str, int]:
    """The counts of a usage with their total."""
    total = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total, **details}


def metadata(input_tokens: int, output_tokens: int, **details: Any) -> dict[str, Any]:
    """LangChain's usage metadata."""
    return {**counts(input_tokens, output_tokens), **details}


def chat(prompt: int, completion: int) -> dict[str, Any]:
    """One of OpenAI's chunks with usage."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [{"delta": {"content": "x"}}], "usage": usage}


def gemini(prompt: int, answer: int, thoughts: int | None) -> dict[str, Any]:
    """One of Gemini's chunks."""
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": answer, "totalTokenCount": prompt + answer}
    if thoughts is not None:
        usage = {**usage, "thoughtsTokenCount": thoughts, "totalTokenCount": prompt + answer + thoughts}
    return {"candidates": [], "usageMetadata": usage}


START = {
    "type": "message_start",
    "message": {
        "usage": {
            "input_tokens": 7,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 1,
        }
    },
}
STARTED = {
    "cache_read_tokens": 60,
    "cache_write_tokens": 30,
    "cache_write_5m_tokens": 20,
    "cache_write_1h_tokens": 10,
}
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 97, "outputTokenCount": 11}}


def delta(**usage: Any) -> dict[str, Any]:
    """Anthropic's last event with usage."""
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


@pytest.mark.parametrize(
    ("frames", "shape", "expected"),
    [
        pytest.param([START, delta(output_tokens=12)], "anthropic", counts(97, 12, **STARTED), id="anthropic"),
        pytest.param(
            [START, delta(input_tokens=9, output_tokens=12)],
            "anthropic",
            counts(99, 12, **STARTED),
            id="anthropic whose input grew by a search",
        ),
        pytest.param(
            [START, delta(input_tokens=0, cache_read_input_tokens=0, output_tokens=12)],
            "anthropic",
            counts(97, 12, **STARTED),
            id="a gateway that does not count the input again",
        ),
        pytest.param(
            [START, delta(output_tokens=12), {"type": "message_stop", **METRICS}],
            "anthropic",
            counts(97, 12, **STARTED),
            id="anthropic on bedrock: the model's own count",
        ),
        pytest.param([{"type": "x"}, METRICS], "bedrock_metrics", counts(97, 11), id="only bedrock's count"),
        pytest.param(
            [METRICS, {"generation": "x", "prompt_token_count": 96, "generation_token_count": 10}],
            "bedrock_llama",
            counts(96, 10),
            id="bedrock's count first",
        ),
        pytest.param(
            [
                {"generation": "a", "prompt_token_count": 9, "generation_token_count": 1},
                {"generation": "b", "prompt_token_count": None, "generation_token_count": 5},
            ],
            "bedrock_llama",
            counts(9, 5),
            id="llama on bedrock",
        ),
        pytest.param(
            [{"chunk": {"bytes": json.dumps(frame).encode()}} for frame in (START, delta(output_tokens=12))],
            "anthropic",
            counts(97, 12, **STARTED),
            id="bedrock's bytes",
        ),
        pytest.param(
            [
                {"contentBlockDelta": {"delta": {"text": "x"}}},
                {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}}},
            ],
            "bedrock_converse",
            counts(5, 3),
            id="converse",
        ),
        pytest.param(
            [gemini(102, 9, 51), gemini(79, 12, None)],
            "gemini",
            counts(79, 12),
            id="gemini: the last frame, also where totals shrink",
        ),
        pytest.param([chat(8, 1), chat(8, 3), chat(8, 5)], "openai_chat", counts(8, 5), id="running totals"),
        pytest.param(
            [{"choices": [], "usage": None}, chat(8, 5), {"choices": []}], "openai_chat", counts(8, 5), id="one chunk"
        ),
        pytest.param(
            [
                {"type": "response.created", "response": {"usage": None}},
                {
                    "type": "response.completed",
                    "response": {
                        "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 3}
                    },
                },
            ],
            "openai_responses",
            counts(5, 3, cache_read_tokens=2),
            id="responses",
        ),
        pytest.param(
            [{"message": {"content": "x"}}, {"done": True, "prompt_eval_count": 5, "eval_count": 3}],
            "ollama",
            counts(5, 3),
            id="ollama",
        ),
        pytest.param(
            [{"choices": [], "x_groq": {"usage": chat(5, 3)["usage"]}}], "openai_chat", counts(5, 3), id="groq"
        ),
    ],
)
def test_each_wire_format_folds(frames: list[Any], shape: str, expected: dict[str, int]) -> None:
    """The events of a stream give one usage: the sum, the last, or what each event says anew."""
    reading = read(frames)
    assert (said(reading), reading.shape, reading.flags) == (expected, shape, ())


def test_frames_are_not_changed() -> None:
    """The caller's frames stay as they were."""
    frames = [START, delta(output_tokens=12)]
    before = json.dumps(frames)
    read(frames)
    assert json.dumps(frames) == before


def test_tier_of_a_stream_is_the_last_one_said() -> None:
    """The tier that the answer was served on replaces the one that was asked for."""
    frames = [
        {"response": {"service_tier": "auto", "usage": None}},
        {"response": {"service_tier": "flex", "usage": {"input_tokens": 5, "output_tokens": 3}}},
    ]
    usage = read(frames).usage
    assert usage is not None
    assert usage.service_tier == "flex"


def test_breakdown_that_repeats_the_whole_is_not_added() -> None:
    """In a stream each model's part repeats the whole: it names several models, and its numbers are left out."""
    usage = chat(5, 3)["usage"]
    models = [{"model": name, "usage": usage} for name in ("one", "two")]
    reading = read([{"x_groq": {"usage": usage, "usage_breakdown": {"models": models}}}])
    assert reading.usage is not None
    assert (said(reading), reading.usage.other_units, reading.flags) == (counts(5, 3), None, ("several_models",))


def pieces(*usages: dict[str, Any] | None) -> list[Any]:
    """LangChain's pieces of one stream, with these usages."""
    return [AIMessageChunk(content="x", usage_metadata=usage) for usage in usages]  # type: ignore[arg-type]


RUNNING = [
    pytest.param([metadata(10, 1), metadata(10, 2), metadata(10, 3)], id="a running total in each piece"),
    pytest.param([metadata(10, 0), metadata(10, 3)], id="two pieces"),
    pytest.param([metadata(9, 1), metadata(10, 2), metadata(10, 3)], id="an input that grew once"),
    pytest.param([metadata(0, 0), metadata(10, 1), metadata(10, 2), metadata(10, 3)], id="zeros first"),
]
PARTS = [
    pytest.param([metadata(10, 0), metadata(0, 3)], id="anthropic: input first, output last"),
    pytest.param(
        [metadata(10, 1, input_token_details={}), metadata(0, 2, input_token_details={})],
        id="gemini: what came on top since the last piece",
    ),
    pytest.param([metadata(2, 1), metadata(8, 2)], id="parts of the input, each larger than the one before"),
    pytest.param([metadata(8, 1), metadata(2, 2)], id="a smaller part"),
    pytest.param([metadata(5, 2), metadata(5, 1)], id="output that falls"),
    pytest.param([metadata(10, 3)], id="one piece"),
    pytest.param([metadata(0, 0), metadata(10, 3), metadata(0, 0)], id="one piece among zeros"),
    pytest.param([metadata(0, 1), metadata(0, 2), metadata(10, 0)], id="input last"),
]


@pytest.mark.parametrize("usages", RUNNING)
def test_running_totals_are_told(usages: list[dict[str, Any]]) -> None:
    """A stream that says the same input again and again says running totals: the last piece's usage is the call's."""
    running = RunningUsage()
    for usage in usages:
        running.note(usage)
        running.note(None)
    assert running.verdict() == usages[-1] == metadata(10, 3)
    assert running.verdict() is not usages[-1]


@pytest.mark.parametrize("usages", PARTS)
def test_parts_are_left_to_be_added(usages: list[dict[str, Any]]) -> None:
    """A stream whose pieces are parts is none of running totals."""
    running = RunningUsage()
    for usage in usages:
        running.note(usage)
    assert running.verdict() is None


@pytest.mark.parametrize("nonsense", [{"input_tokens": None}, {"input_tokens": True, "output_tokens": 1}, {"a": 1}])
def test_running_totals_of_nonsense_are_none(nonsense: dict[str, Any]) -> None:
    """A piece whose usage is no pair of counts leaves the stream as it is, whatever the others say."""
    running = RunningUsage()
    for usage in (metadata(10, 1), nonsense, metadata(10, 2)):
        running.note(usage)
    assert running.verdict() is None


@pytest.mark.parametrize("usages", RUNNING)
def test_pieces_with_running_totals_give_the_last(usages: list[dict[str, Any]]) -> None:
    """A list of LangChain's pieces with running totals gives the last one, under a flag."""
    reading = read(pieces(None, *usages))
    assert (said(reading), reading.flags) == (counts(10, 3), ("cumulative_chunks",))


@pytest.mark.parametrize("usages", PARTS)
def test_pieces_with_parts_are_added(usages: list[dict[str, Any]]) -> None:
    """A list of LangChain's pieces with parts gives their sum, as LangChain's own merging does."""
    reading = read(pieces(*usages, None))
    expected = counts(sum(usage["input_tokens"] for usage in usages), sum(usage["output_tokens"] for usage in usages))
    assert (said(reading) | expected, reading.flags) == (said(reading), ())


def test_messages_of_a_conversation_are_added() -> None:
    """Whole messages are several calls, which are added even where the input repeats."""
    messages = [AIMessage("a", usage_metadata=metadata(10, 1)), AIMessage("b", usage_metadata=metadata(10, 3))]
    assert said(read(messages)) == counts(20, 4)


def test_pieces_of_several_messages_are_told_apart() -> None:
    """Pieces of several answers, as a graph streams them, are each added up or taken as running totals by itself."""
    said_in_turn = [("1", metadata(10, 5)), ("2", metadata(10, 1)), ("3", metadata(10, 6)), ("2", metadata(10, 2))]
    parts: list[Any] = [AIMessageChunk(content="x", id=name, usage_metadata=usage) for name, usage in said_in_turn]  # type: ignore[arg-type]
    reading = read([parts[0], parts[2]])
    assert (said(reading), reading.flags) == (counts(20, 11), ())
    reading = read(parts)
    assert (said(reading), reading.flags) == (counts(30, 13), ("cumulative_chunks",))
