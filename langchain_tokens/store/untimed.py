"""How many calls do not say what time they took? Counted where they are few, else by sums: all of a model, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.query import Query
from langchain_tokens.store.answers import read_some
from langchain_tokens.store.counting import is_pruned
from langchain_tokens.store.lacking import Lack, count_lacking, read_lacking
from langchain_tokens.store.plan import needs_rows
from langchain_tokens.store.reach import answered
from langchain_tokens.store.zoned import is_zoned

__all__ = ("read_untimed",)

_MOST_ENTRIES = 200_000
"""Calls that are counted in the index alone."""
_MODEL = ("provider", "model")


def read_untimed(connection: Connection, query: Query, most: int) -> Mapping[tuple[Any, ...], Lack] | None:
    """The calls of each group that do not know their duration; as `read_lacking`, which reads `most` rows.

    Where there are more, and they are all calls of some models, each by its provider, sums say how many a group has.
    """
    found = read_lacking(connection, query, "duration_ms", most)
    by_model = replace(query, by=(*query.by, *_MODEL))
    if found is not None or needs_rows(by_model) or is_zoned(query) or is_pruned(connection, query):
        return found
    time = Query(by=_MODEL, since=query.since, until=query.until)
    sums = answered(connection, time, partial(read_some, connection, only=("calls", "duration_us")))
    silent = {key: calls or 0 for key, (calls, duration) in sums if duration is None}
    number = sum(silent.values())
    if number > _MOST_ENTRIES or count_lacking(connection, time, "duration_ms", number) != number:
        return None
    untimed: Counter[tuple[Any, ...]] = Counter()
    for key, (calls,) in answered(connection, by_model, partial(read_some, connection, only=("calls",))):
        if key[-len(_MODEL) :] in silent:
            untimed[key[: len(query.by)]] += calls or 0
    return {key: Lack(calls=calls) for key, calls in untimed.items()}
