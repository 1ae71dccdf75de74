"""Is the same question asked again, and of whom? Calls that a chain's own code makes after one that failed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_tokens import TokenUsageHandler
from langchain_tokens.testing import ScriptedChatModel


def kinds(handler: TokenUsageHandler) -> list[str | None]:
    """Why each stored call was made again, in the order they began."""
    assert handler.flush()
    return [call.retry_kind for call in handler.store.calls(order="started_at")]


def picture(url: str) -> list[Any]:
    """A question with a picture in it, as OpenAI takes it."""
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]


def embedded(data: str) -> list[Any]:
    """A question with a picture in it, as Anthropic takes it."""
    return [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]


BYTES = "iVBORw0KGgo" * 10_000


@pytest.mark.parametrize(
    ("failed", "then", "kind"),
    [
        ("one", "two", None),
        ("one", "one", "retry"),
        (picture("https://example.com/1.png"), picture("https://example.com/2.png"), None),
        (picture("https://example.com/1.png"), picture("https://example.com/1.png"), "retry"),
        (embedded(f"{BYTES}AAAA"), embedded(f"{BYTES}AAAB"), None),
        (embedded(f"{BYTES}AAAA"), embedded(f"{BYTES}AAAA"), "retry"),
        (["one"], ["two"], None),
        ([], [], "retry"),
    ],
)
def test_only_the_same_question_is_a_retry(failed: Any, then: Any, kind: str | None, tmp_path: Path) -> None:
    """A question is the same where its texts, addresses and pictures are; after one that failed it is a retry."""
    model = ScriptedChatModel([TimeoutError("slow"), "a cat"])

    def describe(_: str) -> None:
        for content in (failed, then):
            with suppress(TimeoutError):
                model.invoke([HumanMessage(content)])

    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        RunnableLambda(describe).with_config(run_name="describe").invoke("?", {"callbacks": [handler]})
        assert kinds(handler) == [None, kind]


@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
def test_one_model_of_two_providers_is_two(way: str, tmp_path: Path) -> None:
    """A fallback to the same model of another provider is no retry, in all ways of running it."""
    answering = ScriptedChatModel("yes", model="gpt-4o", provider="openai")
    failing = ScriptedChatModel(TimeoutError("slow"), model="gpt-4o", provider="azure")
    ask = failing.with_fallbacks([answering]).with_config(run_name="ask")
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        answer: Any = getattr(ask, way)(["?"] if way == "batch" else "?", {"callbacks": [handler]})
        list(answer)
        assert kinds(handler) == [None, "fallback"]
