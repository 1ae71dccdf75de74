"""What does a foreign object hold? It as a mapping, a detached copy that any JSON encoder takes, a name said once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import count, islice
from math import isfinite
from typing import Any, Final

import orjson

from langchain_tokens.masking import error_text

__all__ = ("as_mapping", "detached", "undoubled")

_LARGEST: Final = 2**63 - 1
_MOST_NODES: Final = 1_000  # of a payload that has to be copied by hand; a real one has below a hundred
_DEEPEST: Final = 8
_LONGEST_NAME: Final = 120  # names of models with their whole path stay below
_SHORTEST_SECRET: Final = 10
_SYLLABLE: Final = 2


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """View a dict, another mapping, a pydantic object, a dataclass or a plain object as a mapping; else None."""
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        dumped = dump(warnings=False)
        return dumped if isinstance(dumped, Mapping) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    held = getattr(value, "__dict__", None)
    return held if isinstance(held, dict) else None


def detached(payload: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Copy a payload into plain data.

    Args:
        payload: Any mapping; what cannot be held in JSON is replaced by text, NaN and infinity by None.

    Returns:
        A copy that any JSON encoder takes and that shares nothing with the payload; long texts, which may be content,
        are left out, and what looks like a secret is masked.

    """
    try:
        plain: dict[str, Any] = orjson.loads(orjson.dumps(payload, default=_stand_in, option=orjson.OPT_NON_STR_KEYS))
        if _holds_text(plain):
            plain = _cleaned(plain)
    except (TypeError, ValueError, RecursionError):  # a number or text that JSON cannot hold, or a circle
        plain = _rebuilt(payload, 0, count())
    return plain


def _stand_in(value: object) -> object:
    held = as_mapping(value)
    return f"<{type(value).__qualname__}>" if held is None else dict(held)


def _rebuilt(value: Any, depth: int, nodes: Iterator[int]) -> Any:  # noqa: PLR0911  # one return for each kind of value
    """The slow copy for a payload that JSON cannot hold: bounded in depth and size, whatever is in it."""
    if next(nodes) > _MOST_NODES or depth > _DEEPEST:
        return "…"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _LARGEST else str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, str):
        return _short(value.encode("utf-8", "replace").decode())
    if isinstance(value, list | tuple):
        return [_rebuilt(entry, depth + 1, nodes) for entry in islice(value, _MOST_NODES)]
    held = as_mapping(value)
    if held is None:
        return f"<{type(value).__qualname__}>"
    return {
        str(key).encode("utf-8", "replace").decode(): _rebuilt(entry, depth + 1, nodes)
        for key, entry in islice(held.items(), _MOST_NODES)
    }


def _holds_text(payload: dict[str, Any]) -> bool:
    """Whether a closer look is worth its time: usage is made of numbers and a few short marks."""
    for key, value in payload.items():
        kind = type(value)
        if kind is dict:
            if _holds_text(value):
                return True
        elif kind is list or (kind is str and len(value) > _SHORTEST_SECRET) or len(key) > _LONGEST_NAME:
            return True
    return False


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {_short(key): _cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_cleaned(entry) for entry in value]
    return _short(value) if isinstance(value, str) else value


def _short(text: str) -> str:
    """A name or a mark as it is; a longer text may be content."""
    if len(text) <= _SHORTEST_SECRET:
        return text
    return error_text(text) if len(text) <= _LONGEST_NAME else "…"


def undoubled(text: str) -> str:
    """A name that merged chunks of a stream said each: they join text end to end, as often as it was said.

    A name of its own may be two equal syllables, such as `koko`; one with a digit, such as `o1`, was said twice.
    """
    size = (text + text).find(text, 1)
    name = text[:size]
    is_own = size < _SYLLABLE or (size == _SYLLABLE and text == name * 2 and name.isalpha())
    return text if is_own else name
