"""Which client classes speak which wire formats? One row for each class, and what no class can be asked for.

No branch knows a provider: a recording is driven through every row that names its provider and its format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import building
from .building import KEY, Build, of_openai_kind, plain

__all__ = ("CLIENTS", "OUT_OF_REACH", "Client")

_CHAT = frozenset({"openai-chat", "openai-chat-sse"})
_RESPONSES = frozenset({"openai-responses", "openai-responses-sse"})
_COMPLETIONS = frozenset({"openai-completions", "openai-completions-sse"})
_GEMINI = frozenset({"gemini", "gemini-sse"})
_ERROR = frozenset({"error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One row: a client class and what is driven through it."""

    name: str
    package: str
    """The module that holds the class; its recordings are skipped where it is not installed."""

    build: Build
    speaks: Mapping[str, frozenset[str]]
    """Provider → wire formats of its recordings."""

    is_async: bool = False
    """Driven through `ainvoke` and `astream`."""

    always_streams: bool = False
    """The class streams even where it is invoked."""


CLIENTS = (
    Client(
        name="ChatOpenAI",
        package="langchain_openai",
        build=building.openai,
        speaks={
            "anthropic": _CHAT,
            "azure-ai": _CHAT | _RESPONSES | _ERROR,
            "bedrock": _CHAT,
            "bedrock-mantle": _CHAT | _RESPONSES,
            "cerebras": _CHAT,
            "crusoe": _CHAT,
            "deepseek": _CHAT | _RESPONSES | _ERROR,
            "google-genai": _CHAT,
            "gpustack": _CHAT,
            "groq": _CHAT,
            "heroku": _CHAT,
            "huggingface": _CHAT,
            "mistral": _CHAT,
            "ollama": _CHAT,
            "openai": _CHAT | _RESPONSES | _ERROR,
            "openai-codex": _RESPONSES,
            "openrouter": _CHAT | _RESPONSES | _ERROR,
            "perplexity": _CHAT,
            "snowflake": _CHAT,
            "together": _CHAT,
            "vllm": _CHAT,
            "xai": _RESPONSES,
            "zai": _CHAT,
        },
    ),
    Client(
        name="OpenAI",
        package="langchain_openai",
        build=of_openai_kind("langchain_openai", "OpenAI"),
        speaks=dict.fromkeys(("bedrock", "openai", "together", "vllm"), _COMPLETIONS),
    ),
    Client(
        name="AzureChatOpenAI",
        package="langchain_openai",
        build=building.azure_openai,
        speaks={"azure": _CHAT | _RESPONSES | _ERROR},
    ),
    Client(
        name="ChatAnthropic",
        package="langchain_anthropic",
        build=building.anthropic,
        speaks={"anthropic": frozenset({"anthropic", "anthropic-sse"}) | _ERROR},
    ),
    Client(
        name="ChatGoogleGenerativeAI",
        package="langchain_google_genai",
        build=plain("langchain_google_genai", "ChatGoogleGenerativeAI", api_key=KEY, vertexai=False, max_retries=0),
        speaks={"google-genai": _GEMINI | _ERROR},
    ),
    Client(
        name="ChatGoogleGenerativeAI at Vertex AI",
        package="langchain_google_genai",
        build=building.google_cloud("langchain_google_genai", "ChatGoogleGenerativeAI", vertexai=True),
        speaks={"vertexai": _GEMINI | _ERROR},
    ),
    Client(
        name="ChatVertexAI",
        package="langchain_google_vertexai",
        build=building.google_cloud("langchain_google_vertexai", "ChatVertexAI", api_transport="rest"),
        speaks={"vertexai": frozenset({"gemini", "gemini-numbered", "gemini-json-array-stream"}) | _ERROR},
    ),
    Client(
        name="ChatMistralAI",
        package="langchain_mistralai",
        build=plain("langchain_mistralai", "ChatMistralAI", "/v1", api_key=KEY, max_retries=0),
        speaks={"mistral": _CHAT | _ERROR},
    ),
    Client(
        name="ChatGroq",
        package="langchain_groq",
        build=of_openai_kind("langchain_groq", "ChatGroq", ""),
        speaks={"groq": _CHAT | _ERROR},
    ),
    Client(
        name="ChatDeepSeek",
        package="langchain_deepseek",
        build=of_openai_kind("langchain_deepseek", "ChatDeepSeek"),
        speaks={"deepseek": _CHAT | _ERROR},
    ),
    Client(
        name="ChatXAI",
        package="langchain_xai",
        build=of_openai_kind("langchain_xai", "ChatXAI", use_responses_api=True),
        speaks={"xai": _RESPONSES | _ERROR},
    ),
    Client(
        name="ChatOpenRouter",
        package="langchain_openrouter",
        build=plain("langchain_openrouter", "ChatOpenRouter", "/v1", api_key=KEY, max_retries=0),
        speaks={"openrouter": _CHAT | _ERROR},
    ),
    Client(
        name="ChatPerplexity",
        package="langchain_perplexity",
        build=building.perplexity,
        speaks={"perplexity": _CHAT | _ERROR},
    ),
    Client(
        name="ChatFireworks",
        package="langchain_fireworks",
        # None of the recordings is Fireworks' own; these two serve the same models in the same format.
        build=plain("langchain_fireworks", "ChatFireworks", "/v1", api_key=KEY, max_retries=0),
        speaks={"huggingface": _CHAT, "together": _CHAT},
    ),
    Client(
        name="ChatCohere",
        package="langchain_cohere",
        build=plain("langchain_cohere", "ChatCohere", cohere_api_key=KEY),
        speaks={"cohere": frozenset({"cohere-v2", "cohere-v2-sse"}) | _ERROR},
    ),
    Client(
        name="ChatCohere, async",
        package="langchain_cohere",
        build=plain("langchain_cohere", "ChatCohere", cohere_api_key=KEY),
        speaks={"cohere": frozenset({"cohere-v2", "cohere-v2-sse"})},
        is_async=True,
    ),
    Client(
        name="ChatCohere, raw prompting",
        package="langchain_cohere",
        build=building.raw_prompting(plain("langchain_cohere", "ChatCohere", cohere_api_key=KEY)),
        speaks={"cohere": frozenset({"cohere-v1-ndjson"})},
    ),
    Client(
        name="ChatOllama",
        package="langchain_ollama",
        build=plain("langchain_ollama", "ChatOllama"),
        speaks={"ollama": frozenset({"ollama", "ollama-ndjson"}) | _ERROR},
        always_streams=True,
    ),
    Client(
        name="OllamaLLM",
        package="langchain_ollama",
        build=plain("langchain_ollama", "OllamaLLM"),
        speaks={"ollama": frozenset({"ollama-generate-ndjson"})},
    ),
    Client(
        name="ChatBedrockConverse",
        package="langchain_aws",
        # Nova answers the older interface in the words of the newer one, through which its clients ask.
        build=building.amazon("ChatBedrockConverse", disable_streaming=False),
        speaks={
            "bedrock": frozenset({"bedrock-converse", "bedrock-converse-eventstream", "bedrock-nova-invoke"}) | _ERROR
        },
    ),
    Client(
        name="ChatBedrock",
        package="langchain_aws",
        build=building.amazon("ChatBedrock", beta_use_converse_api=False),
        speaks={
            "bedrock": frozenset(
                {
                    "anthropic",
                    "bedrock-invoke-eventstream",
                    "bedrock-llama-invoke",
                    "bedrock-titan-invoke",
                    "bedrock-titan-invoke-eventstream",
                }
            )
        },
    ),
    Client(
        name="ChatAnthropicBedrock",
        package="langchain_aws",
        build=building.anthropic_at_amazon,
        speaks={"bedrock": frozenset({"anthropic", "bedrock-invoke-eventstream"})},
    ),
    Client(
        name="ChatOpenAIMantle",
        package="langchain_aws",
        build=building.mantle,
        speaks={"bedrock-mantle": _CHAT | _RESPONSES},
    ),
)
"""Every client class that is driven."""

_EMBEDDINGS = "LangChain tells no callback of a call to an embedding model"

OUT_OF_REACH: Mapping[tuple[str, str], str] = {
    ("azure-ai", "openai-embeddings"): _EMBEDDINGS,
    ("bedrock", "bedrock-titan-embed"): _EMBEDDINGS,
    ("cohere", "cohere-embed"): _EMBEDDINGS,
    ("cohere", "cohere-other"): (
        "langchain-cohere's text class names the model twice to its SDK and fails before it asks"
    ),
    ("cohere", "cohere-rerank"): "LangChain tells no callback of tokens of a call to a reranker",
    ("cohere", "cohere-v1-chat"): "langchain-cohere asks the older interface for streams alone",
    ("google-genai", "gemini-embeddings"): _EMBEDDINGS,
    ("google-genai", "gemini-interactions"): "langchain-google-genai does not speak to Google's interactions interface",
    ("mistral", "openai-embeddings"): _EMBEDDINGS,
    ("openai", "openai-embeddings"): _EMBEDDINGS,
    ("openrouter", "openai-embeddings"): _EMBEDDINGS,
    ("perplexity", "openai-embeddings"): _EMBEDDINGS,
    ("vertexai", "gemini-embeddings"): _EMBEDDINGS,
    ("watsonx", "watsonx-generate"): (
        "langchain-ibm does not speak to this beta interface of 2024, and needs an older pandas than the tests do"
    ),
}
"""Provider and wire format of the recordings that no client can be asked for → why not."""
