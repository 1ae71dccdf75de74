"""Which marks have accounts reached that nobody has told yet? And what earlier calls teach about the next ones."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from langchain_tokens.budgetchecks import TAG
from langchain_tokens.budgets import Account
from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading, writing
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.ledger import balance_of, measured_columns, tell
from langchain_tokens.store.plan import planned_statement
from langchain_tokens.store.tables import CALLS

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("UNPRICED", "Reached", "reached_marks", "read_longest", "read_spent")

UNPRICED = "unpriced"
_NEWEST = 1_000
"""Calls that are learned from."""
_KNOWN = 10_000
Told = MutableMapping[tuple[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A mark that is to be told, by whoever has got this."""

    account: Account
    mark: str
    """A share of the limit as text, or `unpriced`."""
    spent: int
    model: str | None
    at: datetime


def reached_marks(
    store: UsageStore, accounts: Mapping[str, Account], unpriced: Mapping[str, str | None], told: Told
) -> Sequence[Reached]:
    """Read what accounts hold, and note the marks that are reached as told.

    Args:
        store: where.
        accounts: by their keys with limits.
        unpriced: accounts that have a call without a price, and its model.
        told: what is known to be told; added to.

    Returns:
        The marks that nobody had told before, in no other process either.

    """
    with reading(store._engine(), store.target) as connection:
        spent = read_spent(connection, accounts)
    due = {key: _due(account, spent[key], key in unpriced, told, key) for key, account in accounts.items()}
    if not any(due.values()):
        return ()
    at = datetime.now(UTC)
    with writing(store._engine(), store.target) as connection:
        found = [
            Reached(account=accounts[key], mark=mark, spent=spent[key], model=unpriced.get(key), at=at)
            for key in sorted(key for key, marks in due.items() if marks)
            for mark in tell(connection, key, due[key], at)
        ]
    for key, marks in due.items():
        told.update({(key, mark): None for mark in marks})
    while len(told) > _KNOWN:
        del told[next(iter(told))]
    return found


def read_spent(connection: Connection, accounts: Mapping[str, Account]) -> Mapping[str, int]:
    """What is spent of each account; those of one budget that differ in one name are read together."""
    spent = dict.fromkeys(accounts, 0)
    groups: dict[tuple[object, ...], dict[str, Account]] = {}
    for key, account in accounts.items():
        place = (id(account.budget), account.since, account.until, *(key if len(account.scope) > 1 else ()))
        groups.setdefault(place, {})[key] = account
    for group in groups.values():
        for some in chunks(tuple(group.items())):
            spent |= _read_group(connection, dict(some))
    return spent


def read_longest(connection: Connection) -> Sequence[tuple[str | None, str | None, str | None, int | None]]:
    """Of the newest calls: requested model, served model, chain, and the most output tokens."""
    columns = (CALLS.c.requested_model, CALLS.c.model_name, CALLS.c.chain_name, CALLS.c.output_tokens)
    newest = select(*columns).order_by(CALLS.c.started_at.desc()).limit(_NEWEST).subquery().c
    names = (newest.requested_model, newest.model_name, newest.chain_name)
    found = connection.execute(select(*names, func.max(newest.output_tokens)).group_by(*names))
    return [(row[0], row[1], row[2], row[3]) for row in found]


def _read_group(connection: Connection, group: Mapping[str, Account]) -> Mapping[str, int]:
    first = next(iter(group.values()))
    unit, query = first.budget.unit, first.query
    if len(first.scope) == 1:
        query = _asking(query, first.scope[0][0], tuple(account.scope[0][1] for account in group.values()))
    rows = connection.execute(planned_statement(query, connection.dialect.name, measured_columns(unit)))
    found = {tuple(row[: len(query.by)]): balance_of(row._mapping, unit)[0] for row in rows}
    keys = {key: tuple(value for _, value in account.scope) if query.by else () for key, account in group.items()}
    return {key: found.get(names, 0) for key, names in keys.items()}


def _asking(query: Query, name: str, values: tuple[str | None, ...]) -> Query:
    """The same query for several values of a name, each with its own sum."""
    if name.startswith(TAG):
        return replace(query, by=(name,), tags={**query.tags, name.removeprefix(TAG): values})
    return replace(query, by=(name,), equals={**query.equals, name: values})


def _due(account: Account, spent: int, is_unpriced: bool, told: Told, key: str) -> list[str]:
    """The marks that are reached and not known to be told."""
    reached = [str(mark) for mark in account.budget.marks if spent >= mark * account.budget.limit]
    reached += [UNPRICED] if is_unpriced else []
    return [mark for mark in reached if (key, mark) not in told]
