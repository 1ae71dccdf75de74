"""What was sent, and what arrived? Kept only while usage may have to be estimated, and never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_tokens.estimate import Arrived, Sent, characters

__all__ = ("Content", "Pieces", "arrived_in", "content_of", "has_content", "is_answer", "sent_with")

_TEXT = ("text",)
_ANNOUNCES = frozenset({"type", "id", "index", "status", "phase", "annotations", "container_id"})
_REASONING = ("thinking", "reasoning", "reasoning_content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one call sent and what came back, while its usage may have to be estimated."""

    sent: Sent | None
    """None where it is no longer held."""
    arrived: Arrived
    basis: Mapping[str, int]
    """Their sizes in characters: what the record keeps of them."""


class Pieces:
    """What has arrived of a streamed answer so far.

    Of a v3 stream its events tell, and many clients tell of each piece as well: whoever tells first is listened to.
    """

    __slots__ = ("_are_events", "_calls", "_reasoning", "_texts")

    def __init__(self) -> None:
        self._are_events: bool | None = None
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[Mapping[str, Any]] = []

    def add(self, token: Any, chunk: Any) -> None:
        """Keep the text of one piece, or the part of a tool call that it holds."""
        if self._are_events:
            return
        self._are_events = False
        if isinstance(token, str) and token:
            self._texts.append(token)
            return
        message = getattr(chunk, "message", None)
        if message is None:
            return
        self._texts += _texts(message.content)
        self._reasoning += _reasoning(message)
        self._calls += _calls(getattr(message, "tool_call_chunks", None))

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Keep what an event of a v3 stream adds to its block; the beginning of a tool's call holds its name."""
        if self._are_events is False:
            return
        self._are_events = True
        block = event.get("content" if event.get("event") == "content-block-start" else "delta")
        if not isinstance(block, Mapping):
            return
        self._texts += _texts([block])
        self._reasoning += _texts([block], _REASONING)
        self._calls += [block] if "args" in block else []

    def arrived(self) -> Arrived:
        """All of it so far."""
        return Arrived(text="".join(self._texts), reasoning="".join(self._reasoning), tool_calls=tuple(self._calls))


def sent_with(asked: tuple[Any, ...], parameters: Mapping[str, Any]) -> Sent:
    """What a call sends: its messages, or its prompts, and the tools that are offered with them."""
    tools = parameters.get("tools") or parameters.get("functions") or ()
    offered = tuple(tools) if isinstance(tools, (list, tuple)) else ()
    if all(isinstance(item, str) for item in asked):
        return Sent(prompts=asked, tools=offered)
    return Sent(messages=asked, tools=offered)


def arrived_in(response: Any, pieces: Pieces | None) -> Arrived:
    """What a result holds, whole or in part; the streamed pieces where there is no result."""
    generations = [item for group in getattr(response, "generations", None) or () for item in group or ()]
    if not generations:
        return pieces.arrived() if pieces is not None else Arrived()
    return _arrived(generations)


def is_answer(generation: Any) -> bool:
    """Tell whether a generation holds any text, reasoning or call of a tool."""
    arrived = _arrived((generation,))
    return bool(arrived.text or arrived.reasoning or arrived.tool_calls)


def _arrived(generations: Sequence[Any]) -> Arrived:
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[Mapping[str, Any]] = []
    for generation in generations:
        message = getattr(generation, "message", None)
        if message is None:
            texts += _texts(getattr(generation, "text", None))
            continue
        texts += _texts(message.content)
        reasoning += _reasoning(message)
        calls += [*_calls(getattr(message, "tool_calls", None)), *_calls(getattr(message, "invalid_tool_calls", None))]
    return Arrived(text="".join(texts), reasoning="".join(reasoning), tool_calls=tuple(calls))


def content_of(sent: Sent | None, arrived: Arrived, earlier: Mapping[str, int] | None) -> Content:
    """Bring together what was sent and what arrived; `earlier` is the basis of a call that was recorded before."""
    sizes = dict(earlier or {})
    if sent is not None:
        sizes["sent_characters"] = characters(sent)
    sizes["arrived_characters"] = max(characters(arrived), sizes.get("arrived_characters", 0))
    return Content(sent=sent, arrived=arrived, basis=sizes)


def _texts(content: Any, keys: Sequence[str] = _TEXT) -> Sequence[str]:
    """The text in a message's content, or the reasoning that its blocks show."""
    if isinstance(content, str):
        return (content,) if keys is _TEXT else ()
    if not isinstance(content, (list, tuple)):
        return ()
    said = [_said(block, keys) for block in content]
    return [text for text in said if text]


def _reasoning(message: Any) -> Sequence[str]:
    """The reasoning that a message shows: in blocks of its content, or beside it."""
    beside = getattr(message, "additional_kwargs", None)
    return [*_texts(message.content, _REASONING), *_texts([beside], _REASONING)]


def _said(block: Any, keys: Sequence[str]) -> str | None:
    if isinstance(block, str):
        return block if keys is _TEXT else None
    if not isinstance(block, Mapping):
        return None
    return next((text for key in keys if isinstance(text := block.get(key), str) and text), None)


def _calls(calls: Any) -> Sequence[Mapping[str, Any]]:
    return [call for call in calls or () if isinstance(call, Mapping)] if isinstance(calls, (list, tuple)) else ()


def has_content(token: Any, chunk: Any) -> bool:
    """Tell whether a piece of a streamed answer holds anything."""
    if _says(token):
        return True
    message = getattr(chunk, "message", None)
    if message is None:
        return False
    return _says(message.content) or bool(getattr(message, "tool_call_chunks", None) or message.additional_kwargs)


def _says(content: Any) -> bool:
    """Tell whether content holds anything: a block, such as hidden reasoning, is announced before its first token."""
    if isinstance(content, str):
        return content != ""
    if isinstance(content, (list, tuple)):
        return any(_says(block) for block in content)
    if isinstance(content, Mapping):
        return any(value for key, value in content.items() if key not in _ANNOUNCES)
    return bool(content)
