"""Which models have no price? Counted from the rows of calls whose usage is known and whose cost is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Text, and_, cast, func, select

from langchain_tokens.query import Query
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS
from langchain_tokens.usage import contradicts

__all__ = ("UnpricedModel", "read_unpriced")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedModel:
    """A model, and its calls that have no price though their usage is known."""

    model: str
    provider: str | None
    calls: int
    total_tokens: int | None
    first_call_at: datetime
    last_call_at: datetime


def read_unpriced(connection: Connection, query: Query) -> list[UnpricedModel]:
    """The models, those with most calls first.

    Calls that name no model, or whose usage contradicts itself, are left out: no price would help them.

    Args:
        connection: one that reads.
        query: which calls.

    """
    calls = CALLS.c
    keys = (calls.model_name, calls.provider, cast(calls.usage_flags, Text))
    sums = (func.count(), func.sum(calls.total_tokens), func.min(calls.started_at), func.max(calls.started_at))
    is_one = and_(calls.price_status == "unpriced", calls.input_tokens.is_not(None), calls.model_name.is_not(None))
    statement = select(*keys, *sums).where(is_one, conditions(query, connection.dialect.name)).group_by(*keys)
    found: dict[tuple[str, str | None], UnpricedModel] = {}
    for model, provider, flags, count, tokens, first, last in connection.execute(statement):
        if flags is not None and contradicts(json.loads(flags)):
            continue
        before = found.get((model, provider))
        known = [int(each) for each in (tokens, before.total_tokens if before else None) if each is not None]
        found[model, provider] = UnpricedModel(
            model=model,
            provider=provider,
            calls=count + (before.calls if before else 0),
            total_tokens=sum(known) if known else None,
            first_call_at=min(first, before.first_call_at) if before else first,
            last_call_at=max(last, before.last_call_at) if before else last,
        )
    return sorted(found.values(), key=lambda each: (-each.calls, each.model, each.provider or ""))
