"""How is a fact written in the journal? One JSON line for each, with a check sum, read back to an equal fact."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from langchain_tokens.call import MONEY, Call, RunFact, bounded_call, bounded_fact, plain
from langchain_tokens.usage import TokenUsage

__all__ = ("decode", "encode")

_USAGE = ("usage", "saved_usage")
_TUPLES = ("usage_flags", "tool_calls", "price_flags")
_MAKERS: Mapping[str, type[Call | RunFact]] = {"call": Call, "run": RunFact}
_MOMENTS = ("started_at", "ended_at")
_CHECKED = b'{"crc":"'
_REST = len(b'{"crc":"00000000",')


def encode(fact: Call | RunFact) -> bytes:
    """One line with its line feed. Text that is no valid Unicode (lone surrogates) loses the invalid characters."""
    kind = "call" if isinstance(fact, Call) else "run"
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


def decode(line: bytes) -> Call | RunFact:
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
        document = json.loads(line)
        ((kind, values),) = document.items()
        maker: type[Call | RunFact] = _MAKERS[kind]
        known = {item.name for item in dataclasses.fields(maker)}
        record = maker(**{name: _value(name, value) for name, value in values.items() if name in known})
        # An earlier version wrote names of any length.
        return bounded_call(record) if isinstance(record, Call) else bounded_fact(record)
    except (AttributeError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a journal line: {type(error).__name__}: {error}") from error


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _MOMENTS:
        return datetime.fromisoformat(value)
    if name in MONEY:
        return Decimal(value)
    if name in _USAGE:
        return TokenUsage(**value) if isinstance(value, Mapping) else None
    return tuple(value) if name in _TUPLES else value
