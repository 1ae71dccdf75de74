"""How do the frames of a stream add up? Folds the events of one raw stream into one reading, as its rows say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import orjson

from langchain_tokens.plain import as_mapping
from langchain_tokens.reading.counting import NOTHING, Reading, finish, parse
from langchain_tokens.reading.drafts import at
from langchain_tokens.reading.finding import Said, located, take_beside, tier_beside
from langchain_tokens.reading.formats import LANGCHAIN, row
from langchain_tokens.reading.places import BESIDE
from langchain_tokens.reading.rows import Shape
from langchain_tokens.reading.running import RunningUsage

__all__ = ("read_frames",)

_PIECE: Final = "AIMessageChunk"


def read_frames(frames: Iterable[object]) -> Reading:
    """Read the frames of one stream, or the pieces of one of LangChain's.

    Args:
        frames: dicts or objects, in their order; what is neither, such as the mark of the end, is passed over.

    Returns:
        One reading of them all; nothing is said twice in it.

    """
    bodies = [body for frame in frames if (body := _opened(frame))]
    messages = [body for body in bodies if "response_metadata" in body]
    return _read_messages(messages) if messages else _read_events(bodies)


def _read_events(bodies: list[Said]) -> Reading:
    kept: tuple[Shape, Said] | None = None
    holders: list[Said] = []
    for body in bodies:
        holders.append(body)
        for shape, payload, holder in located(body):
            if shape is None:
                continue
            kept = _folded(kept, shape, payload)
            if holder is not body:
                holders.append(holder)
            break
    if kept is None:
        return NOTHING
    shape = row(kept[1]) or kept[0]
    draft = parse(shape, kept[1])
    holders.reverse()  # what was said last counts
    take_beside(draft, BESIDE, *holders)
    return finish(draft, next((tier for holder in holders if (tier := tier_beside(holder))), None))


def _folded(kept: tuple[Shape, Said] | None, shape: Shape, payload: Said) -> tuple[Shape, Said]:
    if kept is None:
        return shape, payload
    if kept[0].is_stand_in != shape.is_stand_in:
        return kept if shape.is_stand_in else (shape, payload)
    if shape.frames != "update" or kept[0].frames != "update":
        return shape, payload
    # A total so far never falls back to 0: a gateway that says an input of 0 has just not counted it again.
    is_silent = parse(shape, payload).counts.get("input_tokens") == 0
    said = {key: value for key, value in payload.items() if value is not None and not (is_silent and value == 0)}
    return shape, {**kept[1], **said}


def _read_messages(messages: list[Said]) -> Reading:
    """Add up the usages of messages, each whole or in pieces, unless a message's pieces say running totals."""
    running: dict[object, RunningUsage] = {}
    totals: dict[object, Said] = {}
    for message in messages:
        said, key = as_mapping(message.get("usage_metadata")), _id_of(message)
        if not said:
            continue
        if message.get("type") == _PIECE:
            running.setdefault(key, RunningUsage()).note(said)
        totals[key] = _added(totals.get(key, {}), said)
    verdicts = {key: verdict for key, one in running.items() if (verdict := one.verdict()) is not None}
    total: Said = {}
    for usage in ({**totals, **verdicts}).values():
        total = _added(total, usage)
    reading = finish(parse(LANGCHAIN, total)) if total else NOTHING
    return replace(reading, flags=tuple(sorted({*reading.flags, "cumulative_chunks"}))) if verdicts else reading


def _id_of(message: Said) -> str | None:
    """What tells whose piece this is, where pieces of several messages were collected; None where nothing does."""
    said = message.get("id")
    return said if isinstance(said, str) else None


def _added(total: Said, part: Said) -> Said:
    added = dict(total)
    for key, value in part.items():
        before = added.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            added[key] = _added(before, value)
        elif type(before) is int and type(value) is int:
            added[key] = before + value
        elif value is not None:
            added[key] = value
    return added


def _opened(frame: object) -> Said | None:
    """An event of a stream as a mapping; Bedrock's client wraps its text into bytes."""
    if isinstance(frame, str | bytes):
        return None
    body = as_mapping(frame)
    data = at(body, ("chunk", "bytes")) if body and "chunk" in body else None
    return as_mapping(orjson.loads(data)) if isinstance(data, bytes) else body
