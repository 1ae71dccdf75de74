"""How is a provider asked without LangChain? By its SDK, or by a plain request; one line records the call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias
from urllib.request import Request, urlopen

from examples.clinical_pipeline.components import EXTRACT, EXTRACTOR, Entity
from examples.clinical_pipeline.notes import Note
from langchain_tokens import TokenUsage, TokenUsageHandler

__all__ = ("Complete", "by_request", "by_sdk", "extract_directly", "has_sdk")

Complete: TypeAlias = Callable[[str, list[dict[str, str]]], Any]
"""Model and messages → the provider's response, whatever it is: an SDK's object, or a dict."""


def extract_directly(
    complete: Complete, model: str, note: Note, handler: TokenUsageHandler
) -> tuple[Sequence[Entity], TokenUsage]:
    """Extract as `StrictNlpExtractor` does; return the entities and what the response says of usage."""
    messages = [{"role": "system", "content": EXTRACT}, {"role": "user", "content": note.text}]
    began = time.perf_counter()
    response = complete(model, messages)
    duration_ms = (time.perf_counter() - began) * 1_000
    handler.record(response, chain=EXTRACTOR, model=model, provider="deepseek", duration_ms=duration_ms)
    body = response if isinstance(response, dict) else response.model_dump()
    return json.loads(body["choices"][0]["message"]["content"]), TokenUsage.from_response(response)


def has_sdk() -> bool:
    """Whether the package `openai` is there, which DeepSeek is asked with, too."""
    return find_spec("openai") is not None


@contextmanager
def by_sdk(url: str) -> Iterator[Complete]:
    """Ask with the OpenAI SDK, whose responses are objects."""
    from openai import OpenAI

    with OpenAI(base_url=url, api_key="none is needed here", max_retries=0) as client:
        yield lambda model, messages: client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]


def by_request(url: str) -> Complete:
    """Ask with nothing but Python, so that responses are dicts."""

    def complete(model: str, messages: list[dict[str, str]]) -> Any:
        body = json.dumps({"model": model, "messages": messages}).encode()
        request = Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})  # noqa: S310 - our own
        with urlopen(request, timeout=60) as response:  # noqa: S310 - our own
            return json.load(response)

    return complete
