"""What is odd about recordings, so that it is flagged? Tables of it, and of what is counted from an answer's blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ("COUNTED_FROM_CONTENT", "FLAGGED", "Oddity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """What some recordings are flagged with, through all clients or through those that are named."""

    flags: frozenset[str]
    recordings: frozenset[str]
    reason: str
    clients: frozenset[str] = frozenset()
    """Names of the clients; empty for all."""

    def holds_for(self, client: str, stem: str) -> bool:
        """Tell whether this row is about one recording of one client."""
        return stem in self.recordings and (not self.clients or client in self.clients)


FLAGGED: Final = (
    Oddity(
        flags=frozenset({"audio_outside_input"}),
        recordings=frozenset(
            {
                "mistral__openai-chat__chat_audio_models_mistral_voxtral-small-latest_can_understan__0_151809",
            }
        ),
        reason="Mistral counts the audio of a prompt beside its text, and in the total",
    ),
    Oddity(
        flags=frozenset({"cache_outside_input", "detail_above_total:cache_read_tokens"}),
        recordings=frozenset(
            {
                "azure-ai__openai-chat-sse__chat_streaming_responses_azure_grok-4-1-fast-non-reasoning_s__0_e7a470",
                "azure-ai__openai-chat__chat_function_calling_azure_grok-4-1-fast-non-reasoning_can___1_a71d76",
                "azure-ai__openai-chat__chat_string_tool_results_azure_grok-4-1-fast-non-reasoning_p__0_a46a78",
                "azure-ai__openai-chat__chat_string_tool_results_azure_grok-4-1-fast-non-reasoning_p__1_82e424",
                "azure-ai__openai-chat__chat_tool_attachments_azure_grok-4-1-fast-non-reasoning_retu__0_eb6475",
                "azure-ai__openai-chat__chat_tool_attachments_azure_grok-4-1-fast-non-reasoning_retu__1_4ad3b1",
                "azure-ai__openai-chat__chat_with_params_azure_grok-4-1-fast-non-reasoning_supports___0_6fd3c6",
                "azure-ai__openai-chat__chat_with_schema_with_azure_grok-4-1-fast-non-reasoning_allo__0_77e181",
                "azure-ai__openai-chat__chat_with_schema_with_azure_grok-4-1-fast-non-reasoning_allo__1_761d44",
            }
        ),
        reason="Grok at Azure says more cached tokens than the prompt has",
    ),
    Oddity(
        flags=frozenset({"cache_outside_input"}),
        recordings=frozenset(
            {
                "openrouter__openai-chat__test_openrouter_cache_instructions_gemini_real_api__0_e263b8",
            }
        ),
        reason="OpenRouter says more tokens read from and written to the cache than the prompt has",
    ),
    Oddity(
        flags=frozenset({"detail_above_total:reasoning_tokens"}),
        recordings=frozenset(
            {
                "openrouter__openai-chat-sse__test_openrouter_stream_error__0_0300e1",
            }
        ),
        clients=frozenset({"ChatOpenRouter"}),
        reason="the stream ends in an error, with more reasoning than output",
    ),
    Oddity(
        flags=frozenset({"total_mismatch"}),
        recordings=frozenset(
            {
                "google-genai__openai-chat__test_compatible_api_with_tool_calls_without_id__0_0d9b98",
                "google-genai__openai-chat__test_compatible_api_with_tool_calls_without_id__1_07fca1",
            }
        ),
        reason="Google's copy of OpenAI's interface leaves the thoughts out of the output, and does not say them",
    ),
    Oddity(
        flags=frozenset({"reasoning_outside_output"}),
        recordings=frozenset(
            {
                "vertexai__gemini-json-array-stream__test_gemini_token_counts_streaming__0_fc9461",
                "vertexai__gemini__cachedcontent_explicit_caching_round-trip_vertexai_gemini-2___3_2c7c36",
                "vertexai__gemini__chat_function_calling_thought_signatures_vertexai_gemini-3_1__1_8c2361",
                "vertexai__gemini__chat_function_calling_thought_signatures_vertexai_gemini-3_1__2_46f912",
                "vertexai__gemini__chat_multimodal_tool_attachments_vertexai_gemini-2_5-flash_d__1_a0526b",
                "vertexai__gemini__chat_multimodal_tool_attachments_vertexai_gemini-2_5-flash_d__2_dcc3ac",
                "vertexai__gemini__chat_pdf_models_vertexai_gemini-2_5-flash_understands_pdfs__1_6cd108",
                "vertexai__gemini__chat_pdf_models_vertexai_gemini-2_5-flash_understands_pdfs__2_d3c6eb",
                "vertexai__gemini__chat_with_extended_thinking_vertexai_gemini-3-flash-preview___1_27c498",
                "vertexai__gemini__chat_with_extended_thinking_vertexai_gemini-3-flash-preview___2_7dda13",
                "vertexai__gemini__chat_with_schema_with_vertexai_gemini-3-flash-preview_allows__1_73402c",
                "vertexai__gemini__chat_with_schema_with_vertexai_gemini-3-flash-preview_allows__2_b501da",
                "vertexai__gemini__test_generate_content_with_files__0_c758a0",
                "vertexai__gemini__test_model_sees_multiple_images-google_vertex__0_4ff743",
                "vertexai__gemini__test_multimodal_tool_return_matrix-tool_return_content-binar__0_86f80e",
                "vertexai__gemini__test_multimodal_tool_return_matrix-tool_return_content-binar__1_816db9",
                "vertexai__gemini__test_multimodal_tool_return_matrix-tool_return_content-binar__2_015566",
                "vertexai__gemini__transcription_basic_functionality_vertexai_gemini-2_5-flash___1_cd11c4",
            }
        ),
        clients=frozenset({"ChatVertexAI"}),
        reason="ChatVertexAI leaves the thoughts out of the output",
    ),
    Oddity(
        flags=frozenset({"cumulative_chunks"}),
        recordings=frozenset(
            {
                "perplexity__openai-chat-sse__chat_streaming_responses_perplexity_sonar_supports_streaming__0_cb9873",
            }
        ),
        clients=frozenset({"ChatOpenAI"}),
        reason="Perplexity says running totals, which ChatOpenAI adds up: the last one is reported",
    ),
    Oddity(
        flags=frozenset({"several_models"}),
        recordings=frozenset(
            {
                "anthropic__anthropic__test_anthropic_advisor_tool__0_60ec18",
                "anthropic__anthropic__test_anthropic_advisor_tool_message_replay__0_7c8e75",
                "anthropic__anthropic__test_anthropic_advisor_tool_redacted__0_a7e83b",
            }
        ),
        reason="another model was asked for advice within the call",
    ),
)
"""Every flag but those of the tables of losses; an answer without a row has none."""

COUNTED_FROM_CONTENT: Final[Mapping[str, Mapping[str, int]]] = {
    "anthropic__anthropic-sse__anthropic_beta_claude_sonnet_4_0__0_d33143": {"web_search_requests": 4},
    "anthropic__anthropic-sse__anthropic_beta_claude_sonnet_4_0__1_253ac9": {"web_search_requests": 2},
    "anthropic__anthropic-sse__anthropic_claude_sonnet_4_0__0_bce0cd": {"web_search_requests": 3},
    "anthropic__anthropic-sse__anthropic_claude_sonnet_4_0__1_3b1c95": {"web_search_requests": 2},
    "anthropic__anthropic-sse__test_anthropic_native_tool_search_streaming__0_fae9f9": {
        "tool_search_tool_bm25_requests": 1
    },
    "anthropic__anthropic__test_anthropic_advisor_tool__0_60ec18": {"advisor_requests": 1},
    "anthropic__anthropic__test_anthropic_advisor_tool_message_replay__0_7c8e75": {"advisor_requests": 1},
    "anthropic__anthropic__test_anthropic_advisor_tool_redacted__0_a7e83b": {"advisor_requests": 1},
    "anthropic__anthropic__test_live_tool_search_handoff_anthropic_to_openai__0_177ccc": {
        "tool_search_tool_bm25_requests": 1
    },
    "anthropic__anthropic__test_tool_search__0_692827": {"tool_search_tool_regex_requests": 1},
    "bedrock__bedrock-converse-eventstream__chat_web_search_with_bedrock_amazon_nova-2-lite-v1_0_streams__0_6d6179": {
        "nova_grounding_requests": 1
    },
    "bedrock__bedrock-converse__chat_web_search_with_bedrock_amazon_nova-2-lite-v1_0_grounds__0_5b3cd8": {
        "nova_grounding_requests": 1
    },
    "google-genai__gemini-sse__test_google_model_web_search_tool_stream__0_9c5203": {"web_search_queries": 1},
    "google-genai__gemini__chat_web_search_with_gemini_gemini-3_5-flash_grounds_the_ans__0_ca64a0": {
        "web_search_queries": 3
    },
    "google-genai__gemini__test_google_model_web_search_tool_stream__1_3518d5": {"web_search_queries": 1},
    "openai__openai-responses-sse__test_code_interpreter__1_5c9cbe": {"code_interpreter_calls": 1},
    "openai__openai-responses-sse__test_run__0_9a6ada": {"web_search_requests": 7},
    "openai__openai-responses__chat_web_search_with_openai_gpt-5_2_searches_and_records_the__0_8490c5": {
        "web_search_requests": 1
    },
    "openai__openai-responses__test_code_interpreter__0_1e1923": {"code_interpreter_calls": 1},
    "openai__openai-responses__test_code_interpreter__2_e5c1e1": {"code_interpreter_calls": 1},
    "openai__openai-responses__test_function_calling__2_e475cb": {"web_search_requests": 1},
    "openai__openai-responses__test_openai_responses_model_web_search_tool_with_user_locati__0_183549": {
        "web_search_requests": 1
    },
    "xai__openai-responses__chat_web_search_with_xai_grok-4_3_replays_search_turns_so_th__0_23037e": {
        "web_search_requests": 2
    },
}
"""Recording → the tools on the provider's side that its blocks show and its usage does not count: looked up by hand."""
