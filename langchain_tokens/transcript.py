"""What was said in a call, as it may be stored? Plain text, copied while an event is handled, for `capture_content`.

Messages are read by their fields' names alone, so that LangChain's, dicts and foreign objects all do. What looks like a
secret is masked, bytes are named and left out, and what is too long is cut, with a mark where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from langchain_tokens.attachments import is_attachment, is_data, placeholder, without_data
from langchain_tokens.estimating.content import field_of
from langchain_tokens.masking import is_secret_name

__all__ = ("MOST", "Written", "written_answer", "written_messages", "written_pieces")

MOST: Final = 256 * 1024
"""Characters of a call's messages that are kept, and of its answer."""
_MARGIN: Final = 4_096
"""Characters behind the end that are looked at, so that a secret that lies across it is masked whole."""
_OF_ENTRY, _OF_VALUE = 32, 8
"""What any message, and any value in one, counts beside its text."""
_DEEPEST: Final = 40
_LARGEST: Final = 2**63
"""Numbers from there on are kept as text."""
_ROLES: Final = {"user": "human", "assistant": "ai", "model": "ai"}
_REASONING: Final = frozenset({"thinking", "reasoning", "reasoning_content", "reasoningContent", "redacted_thinking"})
_CALL_BLOCKS: Final = frozenset({"tool_use", "tool_call", "function_call", "tool_call_chunk", "server_tool_use"})
_CALL_KEYS: Final = ("toolUse", "functionCall")
_RESULT_BLOCKS: Final = frozenset({"tool_result", "function_call_output"})
_RESULT_KEYS: Final = ("toolResult", "functionResponse")
_ARGUMENTS: Final = ("args", "arguments", "input")
_OPAQUE: Final = frozenset({"signature", "thought_signature", "thoughtSignature", "encrypted_content", "cache_control"})
"""Fields of blocks that say nothing to a reader."""
Mask = Callable[[str], str]
Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What was said, as JSON text."""

    text: str
    is_cut: bool
    unread: int = 0
    """Messages that could not be read; each has its place in the text."""


def written_messages(asked: Sequence[Any], mask: Mask) -> Written:
    """Write the messages or prompts of a call down. Where they are too long, the last and the first one go before
    those between, of which the oldest are left out.
    """
    draft, last = _Draft(mask), len(asked) - 1
    kept: dict[int, Mapping[str, Any]] = {}
    for place in sorted(range(len(asked)), key=lambda place: (place != last, place != 0, -place)):
        if draft.left <= 0:
            break
        kept[place] = draft.message(asked[place])
    missing = len(asked) - len(kept)
    entries = [kept[place] for place in sorted(kept)]
    if missing:
        draft.is_cut = True
        cut = {"role": "cut", "text": f"… [{missing} messages cut]"}
        entries.insert(1 if 0 in kept and len(asked) > 1 else 0, cut)
    return draft.written(entries)


def written_answer(generations: Sequence[Any], mask: Mask) -> Written:
    """Write an answer down; of several the first, with the others as its alternatives."""
    draft = _Draft(mask)
    first, *others = [draft.answer(generation) for generation in generations]
    return draft.written({**first, **({"alternatives": others} if others else {})})


def written_pieces(text: str, reasoning: str, calls: Iterable[Mapping[str, Any]], mask: Mask) -> Written | None:
    """Write down what had arrived of a stream that was given up; None where nothing had."""
    whole = list(_put_together(calls))
    if not (text or reasoning or whole):
        return None
    draft = _Draft(mask)
    return draft.written(draft.said([text], [reasoning], whole))


class _Draft:
    """What is written so far, and how much room is left."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.left = MOST
        self.is_cut = False
        self.unread = 0

    def written(self, entries: object) -> Written:
        """All of it."""
        return Written(orjson.dumps(entries).decode(), self.is_cut, self.unread)

    def message(self, message: Any) -> dict[str, Any]:
        """One message; a strange one is named."""
        self.left -= _OF_ENTRY
        try:
            read = _reader(message)
            return {"role": self.text(_role(message, read)), **self._content(read)}
        except Exception:  # noqa: BLE001  # foreign content may do anything; what is left out is named and counted
            self.unread += 1
            return {"role": "unknown", "text": f"[{type(message).__name__} could not be read]"}

    def answer(self, generation: Any) -> dict[str, Any]:
        """One generation; likewise."""
        self.left -= _OF_ENTRY
        message = getattr(generation, "message", None)
        try:
            if message is None:
                return {"text": self.text(getattr(generation, "text", None))}
            return self._content(_reader(message))
        except Exception:  # noqa: BLE001  # as above
            self.unread += 1
            return {"text": f"[{type(generation).__name__} could not be read]"}

    def said(self, texts: list[str], reasoning: list[str], calls: Sequence[Any]) -> dict[str, Any]:
        """Texts, reasoning and calls of tools, of which the last two are only there where there are any."""
        said: dict[str, Any] = {"text": self.text("".join(texts).strip("\n"))}
        if any(reasoning):
            said["reasoning"] = self.text("\n".join(filter(None, reasoning)))
        if calls:
            said["tool_calls"] = [self._call(call) for call in calls]
        return said

    def text(self, said: Any) -> str:
        """A text as it may be stored, cut where there is no more room."""
        if said is None:
            return ""
        # Joined, a text of a class of its own becomes a plain one.
        whole = without_data("".join((said if isinstance(said, str) else str(said), "")))
        kept = self._mask(whole[: self.left + _MARGIN] if self.left > 0 else "")
        if len(whole) <= self.left + _MARGIN and len(kept) <= self.left:
            self.left -= len(kept)
            return kept
        kept = kept[: self.left] if self.left > 0 else ""
        self.left, self.is_cut = 0, True
        return f"{kept}… [{len(whole) - len(kept)} characters cut]"

    def value(self, value: Any, key: object = None, depth: int = 0) -> Any:
        """A value as JSON has it, such as the arguments of a tool."""
        self.left -= _OF_VALUE
        if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < _LARGEST):
            return value
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._values(value, key, depth + 1)
        if isinstance(value, bytes | bytearray | memoryview):
            return placeholder(value)
        if isinstance(key, str) and is_secret_name(key):
            return "***"
        is_bytes = isinstance(value, str) and is_data(key, value)
        return placeholder({"data": value}) if is_bytes else self.text(value)

    def _values(self, values: Any, key: object, depth: int) -> Any:
        if depth > _DEEPEST:
            self.is_cut = True
            return "…"
        if isinstance(values, Mapping):
            return {self.text(name): self.value(held, name, depth) for name, held in self._within(values.items())}
        return [self.value(held, key, depth) for held in self._within(values)]

    def _within(self, items: Iterable[Any]) -> Iterable[Any]:
        """Items, as long as there is room."""
        for item in items:
            if self.left <= 0:
                self.is_cut = True
                return
            yield item

    def _content(self, read: Reader) -> dict[str, Any]:
        """All that a message says, beside its role."""
        content, calls = read("content"), _calls_of(read)
        sorted_out = _Blocks(self, has_calls=bool(calls))
        if isinstance(content, list | tuple):
            sorted_out.add_all(content)
        else:
            sorted_out.add(content)
        beside = read("additional_kwargs")
        if beside and isinstance(beside, Mapping) and isinstance(beside.get("reasoning_content"), str):
            sorted_out.reasoning.append(beside["reasoning_content"])
        said = self.said(sorted_out.texts, sorted_out.reasoning, calls or sorted_out.calls)
        if sorted_out.results:
            said["tool_results"] = sorted_out.results
        for name in ("name", "tool_call_id"):
            if (held := read(name)) and isinstance(held, str):
                said[name] = self.text(held)
        return said

    def _call(self, call: Any) -> dict[str, Any]:
        held = field_of(call, "function") or call
        arguments = next((part for key in _ARGUMENTS if (part := field_of(held, key)) is not None), None)
        call_id = field_of(call, "id") or field_of(call, "call_id") or field_of(call, "toolUseId")
        return {
            "id": self.text(call_id) or None,
            "name": self.text(field_of(held, "name")) or None,
            "arguments": self.value(arguments),
        }

    def result(self, block: Mapping[Any, Any]) -> dict[str, Any]:
        """A tool's result that is a block of a message."""
        content = next((block[key] for key in ("content", "output", "response") if key in block), None)
        inner = _Blocks(self, has_calls=False)
        inner.add_all(content if isinstance(content, list | tuple) else (content,))
        name = next((block[key] for key in ("tool_use_id", "call_id", "toolUseId", "id", "name") if key in block), None)
        return {"tool_call_id": self.text(name) or None, "text": self.text("".join(inner.texts).strip("\n"))}


class _Blocks:
    """The blocks of a message, by what they are."""

    def __init__(self, draft: _Draft, *, has_calls: bool) -> None:
        self._draft = draft
        self._has_calls = has_calls
        """Whether its calls stand beside the blocks as well."""
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[Any] = []
        self.results: list[Any] = []

    def add_all(self, blocks: Iterable[Any]) -> None:
        """Sort them in; when there is no more room, say so."""
        for block in blocks:
            self._draft.left -= _OF_VALUE
            if self._draft.left <= 0:
                self._draft.is_cut = True
                self.texts.append("… [cut]")
                return
            self.add(block)

    def add(self, block: Any) -> None:
        """Sort one in."""
        if block is None:
            return
        if isinstance(block, str):
            self.texts.append(block)
        elif isinstance(block, bytes | bytearray | memoryview):
            self.texts.append(f"\n{placeholder(block)}\n")
        elif isinstance(block, Mapping):
            self._add_mapping(block)
        else:
            self.texts.append(str(block))

    def _add_mapping(self, block: Mapping[Any, Any]) -> None:
        kind = block.get("type")
        call = next((block[key] for key in _CALL_KEYS if key in block), block if kind in _CALL_BLOCKS else None)
        result = next((block[key] for key in _RESULT_KEYS if key in block), block if kind in _RESULT_BLOCKS else None)
        if kind in _REASONING or _REASONING.intersection(block):
            self.reasoning += _reasoning(block)
        elif call is not None:
            self.calls += [] if self._has_calls else [call]
        elif isinstance(result, Mapping):
            self.results.append(self._draft.result(result))
        elif isinstance(block.get("text"), str) and not is_attachment(block):
            self.texts.append(block["text"])
        elif isinstance(block.get("refusal"), str):
            self.texts.append(block["refusal"])
        elif is_attachment(block):
            self.texts.append(f"\n{placeholder(block)}\n")
        else:
            self._add_other(block)

    def _add_other(self, block: Mapping[Any, Any]) -> None:
        """A block of a kind that is not known, or that a provider's own tool made, as JSON."""
        said = {key: held for key, held in block.items() if key not in _OPAQUE}
        self.texts.append(f"\n{orjson.dumps(self._draft.value(said)).decode()}\n")


def _reasoning(block: Mapping[Any, Any], depth: int = 0) -> list[str]:
    """The reasoning that a block shows: under the name of its kind, or in pieces below it."""
    found: list[str] = []
    for key, held in block.items():
        if isinstance(held, str) and (key in _REASONING or key in ("text", "reasoningText")):
            found.append(held)
        elif isinstance(held, Mapping) and depth <= 2:  # noqa: PLR2004  # as deep as any provider's
            found += _reasoning(held, depth + 1)
        elif key == "summary" and isinstance(held, list | tuple):
            found += [text for part in held if isinstance(part, Mapping) for text in _reasoning(part, depth + 1)]
    return found


def _reader(message: Any) -> Reader:
    """What reads the fields of a message; fast of objects that keep them as Python's own do."""
    held = getattr(message, "__dict__", None)
    return held.get if type(held) is dict and "content" in held else partial(field_of, message)


def _role(message: Any, read: Reader) -> str:
    if isinstance(message, str):
        return "prompt"
    if isinstance(message, tuple):
        said = message[0] if len(message) > 1 else None
    else:
        kind = read("type")
        said = read("role") if kind in (None, "chat", "ChatMessageChunk") else kind
    if not isinstance(said, str):
        return "unknown"
    said = said.removesuffix("MessageChunk").lower() if said.endswith("MessageChunk") else said
    return _ROLES.get(said, said)


def _calls_of(read: Reader) -> list[Any]:
    """The calls of tools that stand beside a message's content, in LangChain's form or in a provider's."""
    kinds = (read("tool_calls"), read("invalid_tool_calls"))
    found = [call for calls in kinds if calls and isinstance(calls, list | tuple) for call in calls]
    beside = read("additional_kwargs")
    if found or not beside or not isinstance(beside, Mapping):
        return found
    calls = beside.get("tool_calls")
    if isinstance(calls, list | tuple) and calls:
        return list(calls)
    return [beside["function_call"]] if isinstance(beside.get("function_call"), Mapping) else []


def _put_together(pieces: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Calls of tools from the pieces in which they arrived."""
    calls: dict[object, dict[str, Any]] = {}
    for number, piece in enumerate(pieces):
        index = piece.get("index")
        is_new = bool(piece.get("name")) or not calls
        key = str(index) if index is not None else (str(number) if is_new else next(reversed(calls)))
        call = calls.setdefault(key, {"id": None, "name": None, "args": ""})
        call["id"] = call["id"] or piece.get("id")
        call["name"] = call["name"] or piece.get("name")
        arguments = piece.get("args")
        if isinstance(arguments, str) and isinstance(call["args"], str):
            call["args"] += arguments
        elif arguments:
            call["args"] = arguments
    return calls.values()
