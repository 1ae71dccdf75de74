"""How is a fact written in the journal? One JSON line for each, with a check sum, read back to an equal fact."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from langchain_tokens.call import MONEY, Call, RunFact, bounded_call, bounded_fact, plain
from langchain_tokens.making import maker
from langchain_tokens.said import ContentFact, mended_content
from langchain_tokens.usage import TokenUsage

__all__ = ("Fact", "decode", "encode")

Fact = Call | RunFact | ContentFact
"""What a line holds."""

_CHECKED = b'{"crc":"'
_QUICK = (b'{"call":{', b'{"run":{', b'{"content":{')
"""How lines start that orjson wrote, which it reads back exactly; of larger integers it would make fractions."""
_REST = len(b'{"crc":"00000000",')


def encode(fact: Fact) -> bytes:
    """One line with its line feed. Text that is no valid Unicode (lone surrogates) loses the invalid characters."""
    kind = _NAMES[type(fact)]
    try:
        text = orjson.dumps({kind: fact}, default=_stand_in, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # lone surrogates, integers beyond 64 bits: rare, and worth the slow way
        slow = json.dumps({kind: plain(dataclasses.asdict(fact))}, default=str, ensure_ascii=False)
        text = slow.encode("utf-8", "replace") + b"\n"
    rest = memoryview(text)[1:]
    return b"".join((_start(rest), rest))


def _start(rest: bytes | memoryview) -> bytes:
    """How a line starts whose rest, with its line feed, is this."""
    return b'{"crc":"%08x",' % zlib.crc32(rest)


def _stand_in(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def decode(line: bytes) -> Fact:
    """Read a line back. One of an earlier version has no check sum.

    Raises:
        ValueError: when it is none that `encode` wrote.

    """
    if line.startswith(_CHECKED):
        rest = line[_REST:].rstrip(b"\n") + b"\n"
        if line[:_REST] != _start(rest):
            raise ValueError("a journal line whose check sum is another")
        line = b"{" + rest
    try:
        ((kind, said),) = (orjson.loads if line.startswith(_QUICK) else json.loads)(line).items()
        make, known = _KINDS[kind]
        values = {name: value for name, value in said.items() if value is not None and name in known}
        for name in values.keys() & _READERS.keys():
            values[name] = _READERS[name](values[name])
        record = make(**values)
        return _MENDED[kind](record)
    except (AttributeError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a journal line: {type(error).__name__}: {error}") from error


def _usage(value: Any) -> TokenUsage | None:
    return _make_usage(**value) if isinstance(value, Mapping) else None


_make_usage = maker(TokenUsage)
_NAMES: Mapping[type[Fact], str] = {Call: "call", RunFact: "run", ContentFact: "content"}
"""Kind of fact → the name that it has in a line. A version that knows a name not sets such lines aside."""
_KINDS: Mapping[str, tuple[Callable[..., Any], frozenset[str]]] = {
    name: (maker(kind), frozenset(item.name for item in dataclasses.fields(kind))) for kind, name in _NAMES.items()
}
"""What makes a fact, and its fields."""
_MENDED: Mapping[str, Callable[[Any], Fact]] = {
    "call": bounded_call,  # an earlier version wrote names of any length
    "run": bounded_fact,
    "content": mended_content,
}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("started_at", "ended_at"), datetime.fromisoformat),
    **dict.fromkeys(MONEY, Decimal),
    **dict.fromkeys(("usage", "saved_usage"), _usage),
    **dict.fromkeys(("usage_flags", "tool_calls", "price_flags"), tuple),
}
"""Field → what makes its value of one that JSON holds."""
