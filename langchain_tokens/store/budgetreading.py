"""How are budgets doing? What their accounts hold now, those with the most first; nothing is decided by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from langchain_tokens.budgetchecks import TAG
from langchain_tokens.budgets import Account, Budget
from langchain_tokens.store.budgettables import RESERVATIONS, TOLD
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.ledger import (
    STOPPED,
    Balance,
    balance_of,
    database_time,
    measured_columns,
    read_balance,
    reserved_amount,
)
from langchain_tokens.store.plan import needs_rows, planned_statement
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.sums import conditions, tag_value

__all__ = ("Held", "read_accounts", "read_reservations")

_ROWS_DAYS = 1
"""How far back accounts are looked for that only the rows of calls tell, such as those of runs."""
Names = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one account holds now."""

    account: Account
    balance: Balance
    stopped_calls: int
    at: datetime


def read_accounts(connection: Connection, budget: Budget, limit: int) -> Sequence[Held]:
    """The accounts of a budget in the present period, `limit` of them, those with the most first."""
    now = database_time(connection)
    found: Mapping[Names, tuple[Account, Balance]]
    if not budget.names:
        account = budget.account((), now)
        found = {(): (account, read_balance(connection, account, now))}
    else:
        found = _largest(connection, budget, now, limit)
    stopped = _stopped(connection, [account.told_key for account, _ in found.values()])
    held = [
        Held(account=account, balance=balance, stopped_calls=stopped.get(account.told_key, 0), at=now)
        for account, balance in found.values()
    ]
    return sorted(held, key=lambda one: one.balance.used, reverse=True)[:limit]


def read_reservations(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """All reservations, the oldest first, with whether they have lapsed."""
    now = database_time(connection)
    rows = connection.execute(select(RESERVATIONS).order_by(RESERVATIONS.c.started_at, RESERVATIONS.c.call_id))
    return [{**row._mapping, "has_lapsed": row.expires_at <= now} for row in rows]


def _largest(connection: Connection, budget: Budget, now: datetime, limit: int) -> dict[Names, tuple[Account, Balance]]:
    """The accounts that most is spent of, and those with reservations."""
    dialect, whole = connection.dialect.name, budget.account((), now)
    query = replace(whole.query, by=budget.names)
    is_part = needs_rows(query) and query.since is None
    if is_part:
        query = replace(query, since=now - timedelta(days=_ROWS_DAYS))
    groups = planned_statement(query, dialect, measured_columns(budget.unit)).subquery()
    rows = connection.execute(select(groups).order_by(_spent(groups.c, budget.unit).desc().nulls_last()).limit(limit))
    found: dict[Names, tuple[int, int]] = {
        tuple(row[: len(budget.names)]): balance_of(row._mapping, budget.unit) for row in rows
    }
    reserved = _reserved(connection, budget, whole, now)
    accounts: dict[Names, tuple[Account, Balance]] = {}
    for names in {**found, **reserved}:
        account = budget.account(tuple(zip(budget.names, names, strict=True)), now)
        if names in found and not is_part:
            spent, uncovered = found[names]
            balance = Balance(spent=spent, reserved=reserved.get(names, 0), uncovered=uncovered)
        else:
            balance = read_balance(connection, account, now)
        accounts[names] = (account, balance)
    return accounts


def _spent(groups: Any, unit: str) -> ColumnElement[Any]:
    first, second = measured_columns(unit)
    spent: ColumnElement[Any] = groups[first] - groups[second] if unit == "calls" else groups[first]
    return spent


def _reserved(connection: Connection, budget: Budget, whole: Account, now: datetime) -> Mapping[Names, int]:
    dialect = connection.dialect.name
    keys = [_column(name, dialect) for name in budget.names]
    statement = (
        select(*keys, reserved_amount(budget.unit))
        .where(conditions(whole.query, dialect, RESERVATIONS.c), RESERVATIONS.c.expires_at > now)
        .group_by(*keys)
    )
    return {tuple(row[:-1]): int(row[-1]) for row in connection.execute(statement)}


def _column(name: str, dialect: str) -> ColumnElement[Any]:
    if name.startswith(TAG):
        return tag_value(RESERVATIONS.c.tags, name.removeprefix(TAG), dialect)
    return RESERVATIONS.c[CALL_COLUMNS.get(name, name)]


def _stopped(connection: Connection, keys: Sequence[str]) -> Mapping[str, int]:
    """How many calls accounts have stopped."""
    counted: dict[str, int] = {}
    for chunk in chunks(keys):
        these = (TOLD.c.mark == STOPPED, TOLD.c.account.in_(chunk))
        found = connection.execute(
            select(TOLD.c.account, func.sum(TOLD.c.times)).where(*these).group_by(TOLD.c.account)
        )
        counted |= {row[0]: int(row[1]) for row in found}
    return counted
