"""Every recorded response, of every provider, through our own reader alone: the counts are the provider's truth."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens.shapes import Reading, read

# The recordings are not part of the project: they lie beside its checkout.
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
INDEX = RECORDINGS / "index.json"

if not INDEX.exists():
    pytest.skip("no shared/recordings beside the checkout", allow_module_level=True)

FIELDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "total": "total_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "audio_input_tokens",
    "output_audio": "audio_output_tokens",
}
UNITS = {
    "billed_input": "billed_input_tokens",
    "billed_output": "billed_output_tokens",
    "billed_input_iterations": "rounds_input_tokens",
    "billed_output_iterations": "rounds_output_tokens",
}
"""What the index counts beside the tokens → our name for it."""

_GROK = "hosted by Azure, Grok counts cached tokens of a prompt of its own that is no part of the caller's"
CONTRADICTORY: Mapping[str, str] = {
    **{
        f"azure-ai__openai-chat{name}": _GROK
        for name in (
            "-sse__chat_streaming_responses_azure_grok-4-1-fast-non-reasoning_s__0_e7a470",
            "__chat_function_calling_azure_grok-4-1-fast-non-reasoning_can___1_a71d76",
            "__chat_string_tool_results_azure_grok-4-1-fast-non-reasoning_p__0_a46a78",
            "__chat_string_tool_results_azure_grok-4-1-fast-non-reasoning_p__1_82e424",
            "__chat_tool_attachments_azure_grok-4-1-fast-non-reasoning_retu__0_eb6475",
            "__chat_tool_attachments_azure_grok-4-1-fast-non-reasoning_retu__1_4ad3b1",
            "__chat_with_params_azure_grok-4-1-fast-non-reasoning_supports___0_6fd3c6",
            "__chat_with_schema_with_azure_grok-4-1-fast-non-reasoning_allo__0_77e181",
            "__chat_with_schema_with_azure_grok-4-1-fast-non-reasoning_allo__1_761d44",
        )
    },
    "google-genai__openai-chat__test_compatible_api_with_tool_calls_without_id__0_0d9b98": (
        "Gemini's OpenAI form counts thoughts in the total and names them nowhere"
    ),
    "google-genai__openai-chat__test_compatible_api_with_tool_calls_without_id__1_07fca1": (
        "Gemini's OpenAI form counts thoughts in the total and names them nowhere"
    ),
    "openrouter__openai-chat-sse__test_openrouter_stream_error__0_0300e1": (
        "OpenRouter counts 11 tokens of reasoning in an output of 10 that broke off"
    ),
    "openrouter__openai-chat__test_openrouter_cache_instructions_gemini_real_api__0_e263b8": (
        "OpenRouter says for Gemini that the same tokens were read from the cache and written to it"
    ),
}
"""Recordings that contradict themselves, with the provider's reason; they are kept as said, under a flag."""


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """Return the index, read once."""
    return tuple(json.loads(INDEX.read_text(encoding="utf-8"))["entries"])


def stem(entry: Mapping[str, Any]) -> str:
    """Name a recording."""
    return Path(entry["file"]).stem


def body_of(entry: Mapping[str, Any]) -> bytes:
    """Return a recorded response's body."""
    recording = json.loads((RECORDINGS / entry["file"]).read_bytes())
    if "response_body_base64" in recording:
        return base64.b64decode(recording["response_body_base64"])
    return str(recording["response_body"]).encode()


def event_frames(body: bytes) -> Iterator[dict[str, Any]]:
    """Cut an AWS event stream into what Bedrock's client yields for it."""
    position = 0
    while position < len(body):
        length, header_length = struct.unpack(">II", body[position : position + 8])
        headers = body[position + 12 : position + 12 + header_length]
        payload = json.loads(body[position + 12 + header_length : position + length - 4])
        position += length
        start = headers.index(b":event-type") + len(b":event-type") + 3
        kind = headers[start : start + headers[start - 1]].decode()
        yield {kind: {**payload, "bytes": base64.b64decode(payload["bytes"])} if "bytes" in payload else payload}


def line_frames(text: str) -> Iterator[dict[str, Any]]:
    """Cut server-sent events, or one JSON object to a line, into objects."""
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if data.startswith("{"):
            yield json.loads(data)


@cache
def reading_of(number: int) -> Reading:
    """Read a recording as its caller would: a body, or the list of a stream's frames."""
    entry = entries()[number]
    body = body_of(entry)
    if entry["format"].endswith("eventstream"):
        return read(list(event_frames(body)))
    text = body.decode("utf-8", "replace")
    if entry["stream"] and not text.lstrip().startswith("["):
        return read(list(line_frames(text)))
    try:
        return read(json.loads(text))
    except ValueError:
        return read(None)  # an error page, or nothing at all


def truth(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give the truth under our names; the total is the sum of input and output where the provider says none."""
    counts = {name: entry["truth"].get(key) for key, name in FIELDS.items()}
    if counts["total_tokens"] is None and None not in (counts["input_tokens"], counts["output_tokens"]):
        counts["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
    return counts


def counted(reading: Reading) -> dict[str, Any]:
    """Give what was read, under the same names."""
    return {name: getattr(reading.usage, name, None) for name in FIELDS.values()}


NUMBERED = list(enumerate(entries()))
FORMATS = sorted({(entry["provider"], entry["format"]) for entry in entries()})


def of_format(provider: str, wire_format: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the recordings of one provider's wire format, with their numbers."""
    return [pair for pair in NUMBERED if (pair[1]["provider"], pair[1]["format"]) == (provider, wire_format)]


@pytest.mark.parametrize(("provider", "wire_format"), FORMATS, ids=[" ".join(pair) for pair in FORMATS])
def test_counts_are_the_truth(provider: str, wire_format: str) -> None:
    """Every count of every recording is what the provider meant, and what it does not say is None."""
    wrong = {
        stem(entry): (counted(reading_of(number)), truth(entry))
        for number, entry in of_format(provider, wire_format)
        if counted(reading_of(number)) != truth(entry)
    }
    assert wrong == {}


@pytest.mark.parametrize(("provider", "wire_format"), FORMATS, ids=[" ".join(pair) for pair in FORMATS])
def test_other_units_are_the_truth(provider: str, wire_format: str) -> None:
    """What the index counts beside the tokens stands in the other units."""
    for number, entry in of_format(provider, wire_format):
        usage = reading_of(number).usage
        units = (usage.other_units if usage is not None else None) or {}
        said = {key: entry["truth"][key] for key in UNITS if entry["truth"].get(key) is not None}
        if said.get("billed_input_iterations") == entry["truth"]["input"]:
            continue  # one round, which the usage itself says
        expected = {UNITS[key]: number for key, number in said.items()}
        assert expected.items() <= units.items(), stem(entry)


def test_all_recordings_are_read() -> None:
    """The truth is not empty: hundreds of recordings have usage, and each of these gives a reading."""
    with_usage = [number for number, entry in NUMBERED if any(value is not None for value in entry["truth"].values())]
    assert len(NUMBERED) == 854
    assert len(with_usage) > 750
    assert [number for number in with_usage if reading_of(number).usage is None] == []


def test_buckets_are_disjoint_and_add_up() -> None:
    """Cache reads and writes fit into the input, reasoning into the output, and the total is their sum; or a flag."""
    contradictory = {
        stem(entry)
        for number, entry in NUMBERED
        if any(flag.startswith(("cache_outside", "total_m", "detail_above")) for flag in reading_of(number).flags)
    }
    for number, entry in NUMBERED:
        usage = reading_of(number).usage
        if usage is None or stem(entry) in contradictory:
            continue
        assert (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0) <= (usage.input_tokens or 0), stem(
            entry
        )
        assert (usage.reasoning_tokens or 0) <= (usage.output_tokens or 0), stem(entry)
        if usage.input_tokens is not None and usage.output_tokens is not None:
            assert usage.total_tokens == usage.input_tokens + usage.output_tokens, stem(entry)
    assert contradictory == set(CONTRADICTORY)


def test_only_what_the_index_knows_is_odd() -> None:
    """No reading has a flag of nonsense or of an unknown shape."""
    odd = {
        stem(entry): reading_of(number).flags
        for number, entry in NUMBERED
        if any(flag.startswith(("nonsense", "unknown_shape", "unreadable")) for flag in reading_of(number).flags)
    }
    assert odd == {}


def test_no_content_is_kept() -> None:
    """The raw payload that is kept holds numbers and short words, and nothing of the answer."""
    for number, entry in NUMBERED:
        raw = json.dumps(reading_of(number).raw)
        assert len(raw) < 4_000, stem(entry)
        assert not {"content", "outputText", "generated_text", "generation", "message"} & set(
            reading_of(number).raw or ()
        )


def test_reported_costs_are_prices() -> None:
    """Every price that a recording says is read: OpenRouter's, Perplexity's and xAI's, and no other provider's."""
    with_price = {
        entry["provider"]: reading_of(number).reported_cost_usd
        for number, entry in NUMBERED
        if reading_of(number).reported_cost_usd is not None
    }
    said = [number for number, entry in NUMBERED if "provider_cost" in entry["features"]]
    unread = [stem(entries()[number]) for number in said if reading_of(number).reported_cost_usd is None]
    assert sorted(with_price) == ["openai", "openrouter", "perplexity", "xai"]
    assert unread == [
        "azure-ai__openai-chat-sse__chat_streaming_responses_azure_grok-4-1-fast-non-reasoning_s__0_e7a470"
    ]
