"""What was said in one call, where a handler captured it? The only route that gives it; nothing of it is kept here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from langchain_tokens.dashboard.answering import encode
from langchain_tokens.dashboard.services import Services
from langchain_tokens.said import CallContent
from langchain_tokens.store.store import UsageStore

__all__ = ("Said", "Saying")

Id = Annotated[str, Path(max_length=500)]
_MOST_EXACT: Final = 2**53 - 1
"""What a browser's numbers are exact up to."""
_OF_CONTENTS: Final = tuple(item.name for item in fields(CallContent))


class ToolCall(BaseModel):
    """A tool that was asked for; integers beyond 2^53 in its arguments are text."""

    id: str | None
    name: str | None
    arguments: Any


class ToolResult(BaseModel):
    """What a tool gave."""

    tool_call_id: str | None
    text: str


class Answer(BaseModel):
    """What came back. Where several answers were asked for, the others are its alternatives."""

    model_config = ConfigDict(extra="allow")
    text: str
    reasoning: str | None = None
    tool_calls: list[ToolCall] = []
    tool_results: list[ToolResult] = []
    tool_call_id: str | None = None
    name: str | None = None
    alternatives: list[Answer] = []


class Message(Answer):
    """What was sent, by whom."""

    role: str


class Said(BaseModel):
    """What was said in a call, as plain text. What was cut is marked where it stood."""

    call_id: str
    started_at: datetime
    messages: list[Message]
    answer: Answer | None
    messages_cut: bool
    answer_cut: bool


class Saying:
    """The route that gives what `capture_content` keeps."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def content(self, call_id: Id) -> Response:
        """What was said in a call: its messages and its answer. Where none is kept, there is none to be found."""
        body = await self._services.ask(partial(_content, self._services.store, call_id))
        # Answers about numbers are kept for others who ask the same, and tagged; this one is made for one reader.
        return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _content(store: UsageStore, call_id: str) -> bytes:
    found = store.content(call_id)
    if found is None:
        raise HTTPException(
            404, f"it is not kept what was said in call {call_id!r}; TokenUsageHandler(capture_content=True) keeps it"
        )
    return encode(_exact({name: getattr(found, name) for name in _OF_CONTENTS}))


def _exact(value: Any) -> Any:
    """The same, with integers that readers of JSON would round as text."""
    if isinstance(value, Mapping):
        return {key: _exact(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(held) for held in value]
    return str(value) if type(value) is int and abs(value) > _MOST_EXACT else value
