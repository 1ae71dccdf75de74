"""How is each client class built, and pointed at a recording? One function for each class, or kind of class.

The classes are imported when one is built, so that a package that is not installed costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from .recordings import Recording, Replay

Build = Callable[[Recording, Replay], Any]

KEY = SecretStr("test")


def at(recording: Recording, replay: Replay, path: str = "/v1") -> str:
    """Return the address at which a recording is replayed."""
    return f"{replay.url}/{recording.stem}{path}"


def of_openai_kind(module: str, name: str, /, path: str = "/v1", **given: Any) -> Build:
    """Build a class that is made on the OpenAI SDK, or on a copy of it; the HTTP clients are shared."""

    def build(recording: Recording, replay: Replay) -> Any:
        return getattr(import_module(module), name)(
            **{
                "model": recording.requested_model,
                "base_url": at(recording, replay, path),
                "api_key": KEY,
                "max_retries": 0,
                "http_client": replay.http_client,
                "http_async_client": replay.http_async_client,
                **given,
            },
        )

    return build


def for_its_endpoint(chat: Build, responses: Build) -> Build:
    """Build for one of the two interfaces that OpenAI has, as the recording was asked for."""
    return lambda recording, replay: (responses if "responses" in recording.endpoint else chat)(recording, replay)


def plain(module: str, name: str, /, path: str = "", **given: Any) -> Build:
    """Build a class that takes a model and a base URL, and makes its own HTTP client."""

    def build(recording: Recording, replay: Replay) -> Any:
        make = getattr(import_module(module), name)
        return make(model=recording.requested_model, base_url=at(recording, replay, path), **given)

    return build


def azure(recording: Recording, replay: Replay, *, use_responses_api: bool) -> Any:
    """Build Azure's class, whose address holds the name of a deployment."""
    from langchain_openai import AzureChatOpenAI

    return AzureChatOpenAI(
        azure_endpoint=at(recording, replay, ""),
        azure_deployment=recording.requested_model,
        api_version="2025-03-01-preview",
        api_key=KEY,
        max_retries=0,
        use_responses_api=use_responses_api,
        http_client=replay.http_client,
        http_async_client=replay.http_async_client,
    )


def anthropic(recording: Recording, replay: Replay) -> Any:
    """Build Anthropic's class."""
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(
        model_name=recording.requested_model,
        base_url=at(recording, replay, ""),
        api_key=KEY,
        max_retries=0,
        timeout=None,
        stop=None,
    )


def google_cloud(module: str, name: str, /, **given: Any) -> Build:
    """Build one of the two classes that speak to Vertex AI, with a token that no login server is asked for."""

    def build(recording: Recording, replay: Replay) -> Any:
        from google.oauth2.credentials import Credentials

        return getattr(import_module(module), name)(
            model=recording.requested_model,
            base_url=at(recording, replay, ""),
            project="project",
            location="us-central1",
            credentials=Credentials(token="test"),  # type: ignore[no-untyped-call]  # noqa: S106
            max_retries=0,
            **given,
        )

    return build


def perplexity(recording: Recording, replay: Replay) -> Any:
    """Build Perplexity's class, which takes its address from the SDK's client alone."""
    from langchain_perplexity import ChatPerplexity
    from perplexity import Perplexity

    sdk = Perplexity(api_key="test", base_url=at(recording, replay, ""), max_retries=0, http_client=replay.http_client)
    return ChatPerplexity(model=recording.requested_model, client=sdk, api_key=KEY, timeout=None)


def raw_prompting(build: Build) -> Build:
    """Let Cohere's class ask Cohere's older interface, which it does for one agent of its own."""
    return lambda recording, replay: build(recording, replay).bind(raw_prompting=True)


def amazon(name: str, /, **given: Any) -> Build:
    """Build one of Amazon's classes on an SDK client that is made once for each recording."""

    def build(recording: Recording, replay: Replay) -> Any:
        sdk = _amazon_session().client("bedrock-runtime", endpoint_url=at(recording, replay, ""))
        return getattr(import_module("langchain_aws"), name)(
            model=recording.requested_model, client=sdk, bedrock_client=sdk, region_name="us-east-1", **given
        )

    return build


def anthropic_at_amazon(recording: Recording, replay: Replay) -> Any:
    """Build the class that asks Amazon through Anthropic's SDK; it hands no address on, so its SDK client is replaced."""
    from anthropic import AnthropicBedrock
    from langchain_aws.chat_models import ChatAnthropicBedrock

    model = ChatAnthropicBedrock(
        model_name=recording.requested_model,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        max_retries=0,
        timeout=None,
        stop=None,
    )
    model.__dict__["_client"] = AnthropicBedrock(
        base_url=at(recording, replay, ""),
        aws_region="us-east-1",
        aws_access_key="test",
        aws_secret_key="test",  # noqa: S106
        max_retries=0,
    )
    return model


@lru_cache(maxsize=1)
def _amazon_session() -> Any:
    """The SDK's session, which reads the descriptions of its services once."""
    session = import_module("boto3.session").Session

    return session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")  # noqa: S106


openai = for_its_endpoint(
    # With a base URL of one's own the client does not ask for usage by itself.
    of_openai_kind("langchain_openai", "ChatOpenAI", stream_usage=True, use_responses_api=False),
    of_openai_kind("langchain_openai", "ChatOpenAI", use_responses_api=True),
)
azure_openai = for_its_endpoint(partial(azure, use_responses_api=False), partial(azure, use_responses_api=True))
_MANTLE: dict[str, Any] = {"region_name": "us-east-1", "bedrock_api_key": KEY}
mantle = for_its_endpoint(
    of_openai_kind("langchain_aws.chat_models", "ChatOpenAIMantle", use_responses_api=False, **_MANTLE),
    of_openai_kind("langchain_aws.chat_models", "ChatOpenAIMantle", use_responses_api=True, **_MANTLE),
)
