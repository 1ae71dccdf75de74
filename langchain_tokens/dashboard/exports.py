"""How do calls leave by HTTP? In the text formats of files, a few at a time, however many they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

from langchain_tokens.query import Query
from langchain_tokens.store.store import UsageStore
from langchain_tokens.textfiles import TEXT_FORMATS

__all__ = ("CONTENT_TYPES", "export_parts")

_BATCH = 1_000
CONTENT_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/jsonl",
}


def export_parts(store: UsageStore, query: Query, kind: str) -> Iterator[bytes]:
    """The calls that a query's filters match, in parts; the first comes when the database has answered.

    What starts after the export began is not in it, and no runs are: a filter of calls says nothing of them.

    Args:
        store: whose calls.
        query: which of them.
        kind: one of `CONTENT_TYPES`.

    """
    fixed = query if query.until is not None else replace(query, until=datetime.now(UTC))
    held = BytesIO()
    writer = TEXT_FORMATS[kind](held)
    for calls in store.batches(fixed, _BATCH):
        writer.write(calls)
        yield _taken(held)
    writer.finish()
    yield _taken(held)


def _taken(held: BytesIO) -> bytes:
    part = held.getvalue()
    held.seek(0)
    held.truncate()
    return part
