"""What does a message hold that costs tokens? Texts, tool calls and pictures, found in any provider's form of them.

Messages are read by their fields' names alone, so that LangChain's, dicts and foreign objects all do. No base64 text
is ever taken for words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_tokens.estimating.images import ASSUMED_SIZE, ASSUMED_TOKENS, size_of
from langchain_tokens.estimating.rules import Family, as_json, definitions, images_of, tool_text

__all__ = ("Draft", "add_calls", "add_messages", "add_texts", "add_tools", "field_of", "tried")

_MOST_BLOCKS: Final = 10_000  # of one request; a circle of blocks ends there
_ARGUMENTS: Final = ("args", "arguments", "input")
_CALL_BLOCKS: Final = frozenset({"tool_use", "tool_call", "function_call", "tool_call_chunk"})


@dataclass(slots=True)
class Draft:
    """What has been found so far of one request or answer."""

    family: Family
    model: str | None
    texts: list[str] = field(default_factory=list)
    extra: int = 0
    """Tokens that are no text."""
    flags: set[str] = field(default_factory=set)
    blocks: int = 0
    """How many blocks have been looked at."""


def tried(draft: Draft, what: str, add: Callable[[Draft, Any], None], content: Any) -> None:
    """Add content to a draft, or name it by a flag if it cannot be read."""
    try:
        add(draft, content)
    except Exception:  # noqa: BLE001  # foreign content may do anything; what is left out is named
        draft.flags.add(f"not_counted:{what}")


def add_texts(draft: Draft, texts: Sequence[Any]) -> None:
    """Add texts."""
    if isinstance(texts, str):
        texts = (texts,)
    for text in texts:
        if isinstance(text, str):
            draft.texts.append(text)
        else:
            draft.flags.add("not_counted:text")


def add_messages(draft: Draft, messages: Sequence[Any]) -> None:
    """Add the messages of one conversation and what a chat puts around them."""
    if not messages:
        return
    draft.extra += draft.family.per_request
    for message in messages:
        draft.extra += draft.family.per_message
        tried(draft, "message", _add_message, message)


def _add_message(draft: Draft, message: Any) -> None:
    content = field_of(message, "content")
    calls = field_of(message, "tool_calls")
    name = field_of(message, "name")
    if isinstance(name, str) and name:
        draft.extra += 1
        draft.texts.append(name)
    if isinstance(content, str):
        draft.texts.append(content)
    elif isinstance(content, list | tuple):
        for block in content:
            if not (calls and field_of(block, "type") in _CALL_BLOCKS):  # the calls stand beside the blocks as well
                tried(draft, "block", _add_block, block)
    elif content is not None or not calls:
        draft.flags.add("not_counted:message")
    if calls:
        tried(draft, "tool_calls", add_calls, calls)


def field_of(held: Any, key: str) -> Any:
    """Read a message's field, whatever a message is: an object, a dict, a pair of role and text, or a text."""
    if isinstance(held, Mapping):
        return held.get(key)
    if isinstance(held, str):
        return held if key == "content" else None
    if isinstance(held, tuple):
        return held[-1] if key == "content" and held else None
    return getattr(held, key, None)


def add_calls(draft: Draft, calls: Sequence[Any]) -> None:
    """Add tool calls of a model in LangChain's form or in a provider's; pieces of a stream are put together."""
    pieces: dict[Any, list[str]] = {}
    for number, call in enumerate(calls):
        held = field_of(call, "function") or call
        name, index = field_of(held, "name"), field_of(call, "index")
        arguments = next((part for key in _ARGUMENTS if (part := field_of(held, key)) is not None), "")
        text = arguments if isinstance(arguments, str) else as_json(arguments)
        if name or not pieces:
            draft.extra += draft.family.per_call
            draft.texts.append(str(name or ""))
            pieces[number if index is None else str(index)] = [*pieces.get(str(index), ()), text]
        else:
            pieces.get(str(index), next(reversed(pieces.values()))).append(text)
    draft.texts += ("".join(parts) for parts in pieces.values())


def add_tools(draft: Draft, tools: Sequence[Any]) -> None:
    """Add the definitions of tools."""
    functions = []
    for tool in tools:
        found = list(definitions(tool)) if isinstance(tool, Mapping) else []
        functions += found
        if not found:
            draft.flags.add("not_counted:server_tool" if isinstance(tool, Mapping) else "not_counted:tools")
    if functions:
        draft.extra += draft.family.with_tools
        draft.texts.append(tool_text(draft.family, functions))


def _add_block(draft: Draft, block: Any) -> None:
    draft.blocks += 1
    if isinstance(block, str):
        draft.texts.append(block)
    elif not isinstance(block, Mapping) or draft.blocks > _MOST_BLOCKS:
        draft.flags.add("not_counted:block")
    else:
        kind = block.get("type")
        kind = kind if isinstance(kind, str) else next((key for key in _UNTYPED if key in block), "")
        _KINDS.get(kind, _add_other)(draft, block)


def _add_text(draft: Draft, block: Mapping[Any, Any]) -> None:
    add_texts(draft, [block.get("text")])


def _add_refusal(draft: Draft, block: Mapping[Any, Any]) -> None:
    add_texts(draft, [block.get("refusal")])


def _add_call(draft: Draft, block: Mapping[Any, Any]) -> None:
    add_calls(draft, [block.get("toolUse", block.get("functionCall", block))])


def _add_result(draft: Draft, block: Mapping[Any, Any]) -> None:
    held = block.get("toolResult", block)
    content = next((held[key] for key in ("content", "output") if key in held), None)
    for entry in content if isinstance(content, list | tuple) else (content,):
        if entry is not None:
            tried(draft, "block", _add_block, entry)


def _add_json(draft: Draft, block: Mapping[Any, Any]) -> None:
    draft.texts.append(as_json(block.get("json", block.get("functionResponse"))))


def _add_reasoning(draft: Draft, block: Mapping[Any, Any]) -> None:  # noqa: ARG001  # most providers drop it
    draft.flags.add("not_counted:reasoning")


def _add_nothing(draft: Draft, block: Mapping[Any, Any]) -> None:
    """A mark that costs nothing, such as a cache point."""


def _add_other(draft: Draft, block: Mapping[Any, Any]) -> None:
    if isinstance(block.get("text"), str):
        draft.texts.append(block["text"])
    else:
        draft.flags.add("not_counted:block")


def _add_media(draft: Draft, block: Mapping[Any, Any]) -> None:
    """Add what may be a picture, by its media type."""
    inner = next((block[key] for key in _FILES if isinstance(block.get(key), Mapping)), block)
    kind = next((str(inner[key]) for key in ("mime_type", "mimeType", "media_type") if key in inner), "")
    if kind.startswith("image/"):
        _add_image(draft, inner)
    else:
        draft.flags.add("content_not_counted")


def _add_image(draft: Draft, block: Mapping[Any, Any]) -> None:
    found = _picture(block)
    size = None if found is None else size_of(found)
    rule = images_of(draft.family, draft.model)
    if size is None or rule is None:
        draft.flags.add("image_assumed")
    if rule is None:
        draft.extra += ASSUMED_TOKENS
    else:
        draft.extra += rule(*(size or ASSUMED_SIZE), _detail(block) == "low")


def _picture(block: Mapping[Any, Any]) -> str | bytes | None:
    """Find a picture's data, in any provider's form of a block; None if it is elsewhere."""
    held: Any = block
    for key in _PICTURES:
        inner = held.get(key)
        if isinstance(inner, Mapping):
            held = inner
        elif isinstance(inner, bytes | str) and (key in _DATA or str(inner[:5]) == "data:"):
            return inner
    return None


def _detail(block: Mapping[Any, Any]) -> Any:
    inner = block.get("image_url")
    return inner.get("detail") if isinstance(inner, Mapping) else block.get("detail")


_FILES: Final = ("inlineData", "inline_data", "fileData", "file_data", "file")
_DATA: Final = frozenset({"base64", "data", "bytes"})
_PICTURES: Final = ("image", "image_url", "source", "url", "base64", "data", "bytes")  # outer ones first
_KINDS: Final[Mapping[str, Callable[[Draft, Mapping[Any, Any]], None]]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "text-plain"), _add_text),
    "refusal": _add_refusal,
    **dict.fromkeys((*_CALL_BLOCKS, "toolUse", "functionCall"), _add_call),
    **dict.fromkeys(("tool_result", "function_call_output", "toolResult"), _add_result),
    **dict.fromkeys(("json", "functionResponse"), _add_json),
    **dict.fromkeys(
        ("thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoningContent"), _add_reasoning
    ),
    **dict.fromkeys(("image", "image_url", "input_image"), _add_image),
    **dict.fromkeys(("media", *_FILES), _add_media),
    **dict.fromkeys(
        ("audio", "input_audio", "video", "video_url", "input_file", "document", "search_result"),
        lambda draft, _block: draft.flags.add("content_not_counted"),
    ),
    **dict.fromkeys(("cachePoint", "cache_point"), _add_nothing),
}
"""A block's type, or the key that stands for one, and what is to be done with it."""
_UNTYPED: Final = (
    "text",
    "image",
    "toolUse",
    "toolResult",
    "json",
    "reasoningContent",
    "cachePoint",
    "document",
    "video",
    "audio",
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "functionCall",
    "functionResponse",
)
"""Bedrock's and Google's blocks have one of these keys instead of a type."""
