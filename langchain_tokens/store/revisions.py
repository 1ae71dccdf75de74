"""How does a stored call change? By a later revision of it, or in its cost, whose old figures are kept beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from langchain_tokens.call import Call
from langchain_tokens.query import Query
from langchain_tokens.store.facts import Fact, read_facts
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.rollups import add_facts
from langchain_tokens.store.rows import call_from_row, call_values, from_pico
from langchain_tokens.store.runrows import TOTALS, refresh_totals
from langchain_tokens.store.sums import conditions, sums_statement
from langchain_tokens.store.tables import CALLS, COST_REVISIONS, RUNS
from langchain_tokens.store.unsettling import unsettle_range

__all__ = ("Change", "change_costs", "correct_calls", "read_batch", "read_revisions", "wrong_totals")

_COSTS = (
    "input_cost",
    "output_cost",
    "other_cost",
    "total_cost",
    "saved_cost",
    "computed_cost",
    "unit_prices",
    "price_status",
    "price_source",
    "price_version",
    "priced_provider",
    "priced_model",
    "price_context",
    "price_flags",
)
"""The columns that pricing fills."""
_KEPT = tuple(name for name in _COSTS if name in COST_REVISIONS.c)


def read_batch(connection: Connection, query: Query, after: str, size: int) -> list[Call]:
    """The next calls that a query's filters match, in the order of their ids, from beyond `after` on."""
    statement = select(CALLS).where(conditions(query, connection.dialect.name), CALLS.c.call_id > after)
    return [call_from_row(row) for row in connection.execute(statement.order_by(CALLS.c.call_id).limit(size)).all()]


def wrong_totals(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where a run's row says another total than its calls, or leaves out a time in which it had some: run, column, what
    stands there, what it should be. A run that has calls and no row has None there.
    """
    sums = sums_statement(Query(by=("run",)), connection.dialect.name).subquery()
    both = select(RUNS, sums).select_from(sums.outerjoin(RUNS, sums.c.key_0 == RUNS.c.run_id))
    for row in connection.execute(both):
        for column in TOTALS:
            stored, right = row._mapping[RUNS.c[column]], row._mapping[sums.c[column]]
            if stored != (None if right is None else int(right)):
                yield row._mapping[sums.c.key_0], column, stored, right
    started = CALLS.c.started_at
    times = select(CALLS.c.run_id, func.min(started).label("first_call_at"), func.max(started).label("last_call_at"))
    right = times.group_by(CALLS.c.run_id).subquery().c
    is_beyond = {"first_call_at": RUNS.c.first_call_at > right.first_call_at}
    is_beyond["last_call_at"] = RUNS.c.last_call_at < right.last_call_at
    for column, condition in is_beyond.items():
        found = select(RUNS.c.run_id, RUNS.c[column], right[column]).where(RUNS.c.run_id == right.run_id, condition)
        yield from ((run_id, column, stored, at) for run_id, stored, at in connection.execute(found))


def change_costs(connection: Connection, changes: Sequence[tuple[Call, Call]], reason: str | None) -> int:
    """Put new costs in the place of old ones, which are kept as revisions.

    Args:
        connection: one that writes.
        changes: each call as it was read, and as it is priced now.
        reason: why, for whoever reads the revisions.

    Returns:
        How many rows were changed; one that somebody else has changed in the meantime is left alone.

    """
    if not changes:
        return 0
    moments = [old.started_at for old, _ in changes]
    unsettle_range(connection, min(moments), max(moments))
    stored = _locked(connection, [old.call_id for old, _ in changes])
    changed = [(old, new) for old, new in changes if stored.get(old.call_id) == old]
    if not changed:
        return 0
    _keep_revisions(connection, [old for old, _ in changed], reason)
    removed, added = _update(connection, [new for _, new in changed], _COSTS)
    refresh_totals(connection, sorted({old.run_id for old, _ in changed}))
    add_facts(connection, added, removed)
    return len(changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change of stored calls does to what is derived from them."""

    removed: Sequence[Fact] = ()
    """The calls as they were."""
    added: Sequence[Fact] = ()
    """The calls as they are."""
    run_ids: frozenset[str] = frozenset()
    """The runs whose totals have to be derived again."""


def correct_calls(connection: Connection, calls: Sequence[Call]) -> Change:
    """Put calls in the place of the same calls of an earlier revision; others are left alone."""
    newest: dict[str, Call] = {}
    for call in calls:
        if call.call_id not in newest or call.revision > newest[call.call_id].revision:
            newest[call.call_id] = call
    names = [column.name for column in CALLS.columns if not column.primary_key]
    removed: list[Fact] = []
    added: list[Fact] = []
    run_ids: set[str] = set()
    for chunk in chunks(sorted(newest)):
        stored = _locked(connection, chunk)
        newer = [newest[call_id] for call_id, old in stored.items() if newest[call_id].revision > old.revision]
        before, after = _update(connection, newer, names)
        removed += before
        added += after
        run_ids |= {found.run_id for call in newer for found in (call, stored[call.call_id])}
    return Change(removed=removed, added=added, run_ids=frozenset(run_ids))


def _update(
    connection: Connection, calls: Sequence[Call], names: Sequence[str]
) -> tuple[Sequence[Fact], Sequence[Fact]]:
    """Change some columns of stored calls.

    Returns:
        The calls as they were, and as they are.

    """
    if not calls:
        return (), ()
    these = CALLS.c.call_id.in_([call.call_id for call in calls])
    before = read_facts(connection, these)
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=CALLS.c[name].type) for name in names}
    rows = [_renamed(call_values(call), call.call_id, names) for call in calls]
    connection.execute(update(CALLS).where(CALLS.c.call_id == bindparam("this_call")).values(values), rows)
    return before, read_facts(connection, these)


def read_revisions(connection: Connection, call_id: str) -> list[Mapping[str, Any]]:
    """What a call had cost before, oldest first; amounts in US dollars."""
    statement = select(COST_REVISIONS).where(COST_REVISIONS.c.call_id == call_id).order_by(COST_REVISIONS.c.number)
    return [
        {
            f"{name}_usd" if name.endswith("_cost") else name: from_pico(value) if name.endswith("_cost") else value
            for name, value in row._mapping.items()
        }
        for row in connection.execute(statement)
    ]


def _locked(connection: Connection, call_ids: Sequence[str]) -> Mapping[str, Call]:
    """The calls as they are stored now; nobody else changes them until the transaction ends."""
    these = select(CALLS).where(CALLS.c.call_id.in_(call_ids)).order_by(CALLS.c.call_id)
    if connection.dialect.name == "postgresql":
        these = these.with_for_update()
    return {row.call_id: call_from_row(row) for row in connection.execute(these)}


def _keep_revisions(connection: Connection, calls: Sequence[Call], reason: str | None) -> None:
    """Keep what was known of the cost; a call that had no price has nothing to keep."""
    priced = [call for call in calls if call.price_status != "unpriced"]
    if not priced:
        return
    numbers = select(COST_REVISIONS.c.call_id, func.max(COST_REVISIONS.c.number).label("number")).group_by(
        COST_REVISIONS.c.call_id
    )
    chosen = numbers.where(COST_REVISIONS.c.call_id.in_([call.call_id for call in priced]))
    last = {row.call_id: row.number for row in connection.execute(chosen)}
    now = datetime.now(UTC)
    rows = []
    for call in priced:
        values = call_values(call)
        kept = {name: values[name] for name in _KEPT}
        number = last.get(call.call_id, 0) + 1
        rows.append({"call_id": call.call_id, "number": number, "replaced_at": now, "reason": reason, **kept})
    connection.execute(COST_REVISIONS.insert(), rows)


def _renamed(values: dict[str, Any], call_id: str, names: Sequence[str]) -> dict[str, Any]:
    return {"this_call": call_id, **{f"new_{name}": values[name] for name in names}}
