"""What do the clients drop before any callback sees it? Recordings by name, each with what is reported instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ("FAILS_AFTER_ANSWER", "KNOWN_LOSSES", "Loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the client loses of one recording."""

    reason: str
    reported: Mapping[str, Any]
    """Field of `TokenUsage`, or `model` → what is reported in place of the truth."""

    flags: frozenset[str] = field(default_factory=frozenset)
    """The flags under which it is reported."""


_START_ONLY = (
    "ChatAnthropic takes a stream's usage from message_delta alone; here it carries output_tokens only, so that the "
    "input, which message_start had said, becomes a made-up 0"
)


def _input_lost(*details: str) -> Loss:
    lost = ("input_tokens", "total_tokens", *details)
    return Loss(reason=_START_ONLY, reported=dict.fromkeys(lost), flags=frozenset({"input_missing"}))


_CACHE = ("cache_read_tokens", "cache_write_tokens")

KNOWN_LOSSES: Mapping[str, Loss] = {
    "anthropic__anthropic-sse__test_anthropic_instrumentation_image_input_messages_with_str__0_13d3fe": _input_lost(
        *_CACHE
    ),
    "anthropic__anthropic-sse__test_anthropic_message_streaming__0_31468f": _input_lost(),
    "anthropic__anthropic-sse__test_anthropic_prompt_caching_stream__0_401b7a": _input_lost(*_CACHE),
    "anthropic__anthropic-sse__test_anthropic_prompt_caching_stream__1_baa848": _input_lost(*_CACHE),
    "anthropic__anthropic-sse__test_async_anthropic_message_streaming__0_36041c": _input_lost(),
    **{
        f"openai__openai-completions-sse__{name}": Loss(
            reason="OpenAI's text client keeps nothing of a stream but its text: the requested model stands in",
            reported={"model": "davinci-002"},
        )
        for name in (
            "TestCompletionsFinishReasons.test_async_completions_streamin__0_5ae4a9",
            "TestCompletionsFinishReasons.test_async_completions_streamin__1_2649d6",
            "TestCompletionsFinishReasons.test_completions_streaming_sets__0_36df77",
            "test_async_completion_streaming__1_7d8aa7",
            "test_async_completion_streaming__2_ea4d0b",
            "test_completion_streaming__1_26ee3d",
            "test_completion_streaming__2_492894",
        )
    },
}
"""Answers that arrive, with a part of their usage missing."""

FAILS_AFTER_ANSWER: Mapping[str, str] = {
    "anthropic__anthropic-sse__test_anthropic_compaction_usage_with_cache_streaming__0_f4b752": (
        "ChatAnthropic raises AttributeError on message_delta's context_management, in a stream that was answered and "
        "billed; the run ends in an error with the partial text and without usage, which is reported as missing"
    ),
}
"""Answers that the client itself fails on after they were billed; their usage is missing."""
