"""Which texts are in this? Messages, inputs and results of any form, looked through once, and never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

__all__ = ("Texts",)

_MOST_CHARACTERS: Final = 4_000_000
"""A million tokens: less than half a second."""
_MOST_PARTS: Final = 100_000
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/=_-]+|data:[a-z0-9.+/-]+;base64,[A-Za-z0-9+/=_-]+")
_LOOKED_AT: Final = 1_000
_OF_MESSAGES: Final = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs", "artifact")
"""What of a message people, models and tools say; its other fields are names and ids, which errors need."""
_OF_RESULTS: Final = ("text", "message")
_MODELS: Final = frozenset({"model", "model_name"})
_NAMES: Final = _MODELS | {"type", "role", "id", "index", "status", "name", "tool_call_id"}
"""What in a message, or in the call of a tool, is no text of anybody's."""
_MESSAGE: Final = frozenset({"role", "content"})
_CALL: Final = frozenset({"args", "arguments"})


class Texts:
    """Goes through what was said, as far as that takes a bounded time."""

    def __init__(self) -> None:
        self.are_too_many = False
        """There was more than could be looked through."""
        self._seen: dict[int, Any] = {}
        """The parts themselves, too: as long as they live, no two have one id."""
        self._characters = 0

    def of(self, said: Iterable[Any]) -> Iterator[str]:
        """All texts in it, each once; of files that are written as text, none."""
        waiting = list(said)[::-1]
        while waiting and not self.are_too_many:
            part = waiting.pop()
            if part is None or id(part) in self._seen:
                continue
            self._seen[id(part)] = part
            self.are_too_many = len(self._seen) > _MOST_PARTS
            if isinstance(part, str):
                yield from self._text(part)
            else:
                waiting += _parts(part)

    def _text(self, text: str) -> Iterator[str]:
        if len(text) > _LOOKED_AT and _ENCODED.fullmatch(text, 0, _LOOKED_AT):
            return
        self._characters += len(text)
        self.are_too_many = self.are_too_many or self._characters > _MOST_CHARACTERS
        if not self.are_too_many:
            yield text


def _parts(value: Any) -> Sequence[Any]:
    """What a value holds; an iterator is the host's to read, and holds nothing."""
    if isinstance(value, Mapping):
        is_named = value.keys() >= _MESSAGE or ("name" in value and not _CALL.isdisjoint(value))
        left_out = _NAMES if is_named else _MODELS
        return [part for key, part in tuple(value.items()) if key not in left_out]
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(value)
    if isinstance(value, (bytes, bytearray, int, float, type)) or callable(value):
        return ()
    return [getattr(value, name, None) for name in _fields(value)]


def _fields(value: Any) -> Sequence[str]:
    """Which fields of an object are read: all of a dataclass and of a model of pydantic, such as a document, a prompt
    or a state; of messages and results those that say something.
    """
    if hasattr(value, "generations"):
        return ("generations",)
    if hasattr(value, "content") and hasattr(value, "additional_kwargs"):
        return _OF_MESSAGES
    if hasattr(value, "generation_info"):
        return _OF_RESULTS
    if is_dataclass(value):
        return [item.name for item in fields(value)]
    return tuple(vars(value)) if hasattr(type(value), "model_fields") and hasattr(value, "__dict__") else ()
