"""How do those say it who use words of their own? Rows for Bedrock, Gemini, Cohere, Ollama and servers like them."""

from __future__ import annotations

from typing import Final

from langchain_tokens.reading.rows import Outside, Shape, Tally

__all__ = ("OWN",)

# Google's own objects name a modality by a number where they are not turned into JSON by its rules.
_AUDIO: Final = ("AUDIO", "audio", 4)
_IMAGE: Final = ("IMAGE", "image", 2)


def _modalities(count: str, audio: str, image: str | None = None) -> Tally:
    return Tally(
        label="modality",
        count=count,
        names=dict.fromkeys(_AUDIO, audio),
        units={} if image is None else dict.fromkeys(_IMAGE, image),
    )


OWN: Final[tuple[Shape, ...]] = (
    Shape(
        name="bedrock_converse",
        any_of=frozenset({"inputTokens", "outputTokens"}),
        says={
            "": {
                "inputTokens": "input_tokens",
                "outputTokens": "output_tokens",
                "totalTokens": "total_tokens",
                "cacheReadInputTokens": "cache_read_tokens",
                "cacheReadInputTokenCount": "cache_read_tokens",
                "cacheWriteInputTokens": "cache_write_tokens",
                "cacheWriteInputTokenCount": "cache_write_tokens",
            },
        },
        lists={
            "cacheDetails": Tally(
                label="ttl", count="inputTokens", names={"5m": "cache_write_5m_tokens", "1h": "cache_write_1h_tokens"}
            )
        },
        outside=(Outside(total="input_tokens", details=("cache_read_tokens", "cache_write_tokens")),),
        units={"serverToolUsage": None},
    ),
    Shape(
        name="bedrock_llama",
        any_of=frozenset({"generation_token_count"}),
        says={"": {"prompt_token_count": "input_tokens", "generation_token_count": "output_tokens"}},
        frames="update",
        is_body=True,
    ),
    Shape(
        name="bedrock_titan",
        any_of=frozenset({"inputTextTokenCount", "totalOutputTextTokenCount"}),
        says={"": {"inputTextTokenCount": "input_tokens", "totalOutputTextTokenCount": "output_tokens"}},
        lists={"results": Tally(label=None, count="tokenCount", names={None: "output_tokens"})},
        frames="update",
        is_body=True,
    ),
    Shape(
        name="bedrock_metrics",
        any_of=frozenset({"inputTokenCount", "outputTokenCount"}),
        says={
            "": {
                "inputTokenCount": "input_tokens",
                "outputTokenCount": "output_tokens",
                "cacheReadInputTokenCount": "cache_read_tokens",
                "cacheWriteInputTokenCount": "cache_write_tokens",
            }
        },
        outside=(Outside(total="input_tokens", details=("cache_read_tokens", "cache_write_tokens")),),
        is_stand_in=True,
    ),
    Shape(
        name="gemini",
        any_of=frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"}),
        says={
            "": {
                "promptTokenCount": "input_tokens",
                "candidatesTokenCount": "output_tokens",
                "responseTokenCount": "output_tokens",
                "totalTokenCount": "total_tokens",
                "cachedContentTokenCount": "cache_read_tokens",
                "thoughtsTokenCount": "reasoning_tokens",
            }
        },
        adds={"": {"toolUsePromptTokenCount": "input_tokens", "thoughtsTokenCount": "output_tokens"}},
        lists={
            "promptTokensDetails": _modalities("tokenCount", "audio_input_tokens"),
            "toolUsePromptTokensDetails": _modalities("tokenCount", "audio_input_tokens"),
            "candidatesTokensDetails": _modalities("tokenCount", "audio_output_tokens", "image_output_tokens"),
            "responseTokensDetails": _modalities("tokenCount", "audio_output_tokens", "image_output_tokens"),
        },
        tier_keys=("serviceTier", "trafficType"),
        tier_prefix="on_demand_",
    ),
    Shape(
        name="gemini_sdk",
        any_of=frozenset({"prompt_token_count", "candidates_token_count", "total_token_count"}),
        says={
            "": {
                "prompt_token_count": "input_tokens",
                "candidates_token_count": "output_tokens",
                "response_token_count": "output_tokens",
                "total_token_count": "total_tokens",
                "cached_content_token_count": "cache_read_tokens",
                "thoughts_token_count": "reasoning_tokens",
            }
        },
        adds={"": {"tool_use_prompt_token_count": "input_tokens", "thoughts_token_count": "output_tokens"}},
        lists={
            "prompt_tokens_details": _modalities("token_count", "audio_input_tokens"),
            "tool_use_prompt_tokens_details": _modalities("token_count", "audio_input_tokens"),
            "candidates_tokens_details": _modalities("token_count", "audio_output_tokens", "image_output_tokens"),
            "response_tokens_details": _modalities("token_count", "audio_output_tokens", "image_output_tokens"),
        },
        tier_keys=("service_tier", "traffic_type"),
        tier_prefix="on_demand_",
    ),
    Shape(
        name="gemini_interactions",
        any_of=frozenset({"total_input_tokens", "total_output_tokens"}),
        says={
            "": {
                "total_input_tokens": "input_tokens",
                "total_output_tokens": "output_tokens",
                "total_tokens": "total_tokens",
                "total_cached_tokens": "cache_read_tokens",
                "total_thought_tokens": "reasoning_tokens",
            }
        },
        adds={"": {"total_tool_use_tokens": "input_tokens", "total_thought_tokens": "output_tokens"}},
        lists={
            "input_tokens_by_modality": _modalities("tokens", "audio_input_tokens"),
            "tool_use_tokens_by_modality": _modalities("tokens", "audio_input_tokens"),
            "output_tokens_by_modality": _modalities("tokens", "audio_output_tokens", "image_output_tokens"),
        },
    ),
    # The tokens that the model saw; what is billed leaves Cohere's own instructions out and stands in other units.
    Shape(
        name="cohere",
        any_of=frozenset({"billed_units"}),
        says={
            "tokens": {
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "reasoning_tokens": "reasoning_tokens",
            },
            "": {"cached_tokens": "cache_read_tokens"},
        },
        units={"billed_units": None},
        unit_prefix="billed_",
    ),
    Shape(
        name="ollama",
        any_of=frozenset({"prompt_eval_count", "eval_count"}),
        says={"": {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}},
        is_body=True,
    ),
    Shape(
        name="watsonx",
        any_of=frozenset({"generated_token_count", "input_token_count"}),
        says={"": {"input_token_count": "input_tokens", "generated_token_count": "output_tokens"}},
        is_body=True,
    ),
    Shape(
        name="huggingface",
        any_of=frozenset({"generated_tokens"}),
        says={
            "": {
                "input_length": "input_tokens",
                "input_tokens": "input_tokens",
                "prompt_tokens": "input_tokens",
                "generated_tokens": "output_tokens",
            }
        },
        is_body=True,
    ),
)
"""A part of the table in `formats`: rows that no other could be taken for."""
