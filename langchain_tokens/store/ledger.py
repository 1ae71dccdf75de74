"""May these calls be made? What is spent and what is reserved, read and reserved in one transaction for all processes.

Whoever reserves for an account holds its lock until the transaction ends: SQLite's own for the whole file, PostgreSQL's
advisory ones. What is spent is read from the sums that are kept, in the same statement as what is reserved; so a call
that is being stored meanwhile counts as the one or as the other, never as both or neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    cast,
    delete,
    exists,
    func,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.budgets import Account
from langchain_tokens.call import Call
from langchain_tokens.query import Query
from langchain_tokens.store.budgettables import RESERVATIONS, TOLD
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.plan import planned_statement
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS, UtcDateTime

__all__ = (
    "STOPPED",
    "Balance",
    "Reading",
    "Refusal",
    "Request",
    "balance_of",
    "balance_statement",
    "database_time",
    "measured_columns",
    "raise_reservation",
    "read_balance",
    "record",
    "release",
    "renew",
    "reserve",
    "reserved_amount",
    "settle",
    "tell",
)

STOPPED = "stopped"
"""The mark that counts the calls which an account stopped."""
_STATEMENTS = 256
_LOCKS = text(
    "SELECT pg_advisory_xact_lock(key) FROM (SELECT unnest(CAST(:keys AS bigint[])) AS key ORDER BY key) AS sorted"
)
_ARE_RESERVED = select(exists(select(RESERVATIONS.c.call_id)))
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "usd": ("total_cost", "unpriced_calls"),
    "tokens": ("total_tokens", "calls_without_usage"),
    "calls": ("calls", "cached_calls"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call that is to be made, and what it needs at most."""

    call: Call
    """What is known of it at its start."""
    accounts: tuple[Account, ...]
    """Those that may stop it."""
    cost: int | None
    """Pico-USD; None where its model has no price."""
    tokens: int
    process: str

    def needs(self, account: Account) -> int | None:
        """How much of what an account counts."""
        return {"usd": self.cost, "tokens": self.tokens, "calls": 1}[account.budget.unit]


@dataclass(slots=True, kw_only=True)
class Balance:
    """What an account holds; in pico-USD, tokens or calls."""

    spent: int
    reserved: int
    uncovered: int
    """Calls that count nothing, since their price or their usage is not known."""

    @property
    def used(self) -> int:
        """All that is not left."""
        return self.spent + self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Which account stops a call, and why."""

    account: Account
    reason: Literal["limit", "unpriced", "unreachable"]
    spent: int
    reserved: int
    asked: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was decided: a refusal for each request that gets one, and what the accounts hold now."""

    refusals: Sequence[Refusal | None]
    used: Mapping[str, int]


def reserve(connection: Connection, requests: Sequence[Request], lease: timedelta) -> Reading:
    """Decide on calls, one after the other, and reserve what those need that may be made.

    Args:
        connection: one that writes.
        requests: the calls.
        lease: for how long, unless it is renewed.

    """
    accounts = {account.key: account for request in requests for account in request.accounts}
    _lock(connection, [account.lock for account in accounts.values()])
    now = database_time(connection)
    _let_lapse(connection, now)
    balances = {key: read_balance(connection, account, now) for key, account in accounts.items()}
    known = _reserved_already(connection, [request.call.call_id for request in requests])
    refusals: list[Refusal | None] = []
    rows: list[dict[str, Any]] = []
    for request in requests:
        is_known = request.call.call_id in known  # another handler with the same call was first
        refusal = _refusal(request, balances, is_known=is_known)
        refusals.append(refusal)
        if refusal is None and not is_known:
            rows.append(_row(request, now + lease))
            known.add(request.call.call_id)
            for key, account in accounts.items():
                if account.holds(request.call):
                    balances[key].reserved += request.needs(account) or 0
    _insert(connection, rows)
    _note_stopped(connection, refusals, now)
    release(connection, [each.call.call_id for each, refusal in zip(requests, refusals, strict=True) if refusal])
    return Reading(refusals=refusals, used={key: balance.used for key, balance in balances.items()})


def settle(connection: Connection, call_ids: Sequence[str]) -> None:
    """Let reservations go, in the transaction that stores the calls."""
    if call_ids and connection.execute(_ARE_RESERVED).scalar():
        release(connection, call_ids)


def release(connection: Connection, call_ids: Collection[str]) -> int:
    """Let reservations go; says how many there were."""
    gone = 0
    for chunk in chunks(sorted(call_ids)):
        chosen = select(RESERVATIONS.c.call_id).where(RESERVATIONS.c.call_id.in_(chunk))
        if connection.dialect.name == "postgresql":  # in one order, so that nobody waits for each other in a circle
            chosen = chosen.order_by(RESERVATIONS.c.call_id).with_for_update()
        gone += connection.execute(delete(RESERVATIONS).where(RESERVATIONS.c.call_id.in_(chosen))).rowcount
    return gone


def renew(connection: Connection, call_ids: Collection[str], lease: timedelta) -> None:
    """Keep reservations for another while; rows that somebody else is about to delete are left to them."""
    until = database_time(connection) + lease
    for chunk in chunks(sorted(call_ids)):
        chosen = _unlocked(connection, RESERVATIONS.c.call_id.in_(chunk))
        connection.execute(update(RESERVATIONS).where(RESERVATIONS.c.call_id.in_(chosen)).values(expires_at=until))


def record(connection: Connection, request: Request, lease: timedelta) -> None:
    """Reserve for a call that was let through without a question, unless it is stored already."""
    call_id = request.call.call_id
    if not connection.execute(select(exists().where(CALLS.c.call_id == call_id))).scalar():
        _insert(connection, [_row(request, database_time(connection) + lease)])


def raise_reservation(connection: Connection, call_id: str, tokens: int, cost: int | None) -> None:
    """Reserve for a call what it has turned out to need, where that is more than was thought."""
    this = _unlocked(connection, RESERVATIONS.c.call_id == call_id)
    values: dict[str, Any] = {"tokens": tokens} if cost is None else {"tokens": tokens, "cost": cost}
    connection.execute(update(RESERVATIONS).where(RESERVATIONS.c.call_id.in_(this)).values(values))


def tell(connection: Connection, told_key: str, marks: Sequence[str], at: datetime) -> Sequence[str]:
    """Note that marks of an account are told.

    Returns:
        Those that nobody had told before: they are for whoever asked.

    """
    rows = [{"account": told_key, "mark": mark, "times": 1, "told_at": at} for mark in marks]
    statement = _into(connection, TOLD).on_conflict_do_nothing().returning(TOLD.c.mark)
    return [mark for row in rows for mark in connection.execute(statement, row).scalars()]


def balance_of(balance: Any, unit: str) -> tuple[int, int]:
    """What is spent, and how many calls that does not cover, of a row with `measured_columns`."""
    first, second = (int(balance[name] or 0) for name in _MEASURES[unit])
    return (first - second, 0) if unit == "calls" else (first, second)  # from the cache comes an answer, and no call


def measured_columns(unit: str) -> tuple[str, ...]:
    """The sums that say what is spent."""
    return _MEASURES[unit]


def reserved_amount(unit: str) -> ColumnElement[Any]:
    """The sum of what reservations hold."""
    if unit == "calls":
        return func.count()
    return func.coalesce(func.sum(RESERVATIONS.c["cost" if unit == "usd" else "tokens"]), 0)


def read_balance(connection: Connection, account: Account, now: datetime) -> Balance:
    """What an account holds."""
    row = connection.execute(balance_statement(account, connection.dialect.name), {"now": now}).one()
    spent, uncovered = balance_of(row._mapping, account.budget.unit)
    return Balance(spent=spent, reserved=int(row.reserved), uncovered=uncovered)


@lru_cache(_STATEMENTS)  # to put one together takes longer than to run it
def balance_statement(account: Account, dialect: str) -> Select[Any]:
    """One statement for what is spent and what is reserved at the moment `now`, so that both are of the same state."""
    query, unit = account.query, account.budget.unit
    spent = planned_statement(query, dialect, _MEASURES[unit]).subquery("spent")
    held = (
        select(cast(reserved_amount(unit), BigInteger).label("reserved"))
        .where(conditions(Query(equals=query.equals, tags=query.tags), dialect, RESERVATIONS.c))
        .where(*_in_time(account), RESERVATIONS.c.expires_at > bindparam("now", type_=UtcDateTime()))
        .subquery("held")
    )
    return select(*spent.c, held.c.reserved).select_from(spent.join(held, true()))


def database_time(connection: Connection) -> datetime:
    """The time by one clock for all who share a database: a server's own, or this machine's."""
    if connection.dialect.name == "postgresql":
        moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def _in_time(account: Account) -> list[ColumnElement[bool]]:
    since, until = account.since, account.until
    early = [RESERVATIONS.c.started_at >= since] if since is not None else []
    return [*early, *([RESERVATIONS.c.started_at < until] if until is not None else [])]


def _refusal(request: Request, balances: Mapping[str, Balance], *, is_known: bool) -> Refusal | None:
    for account in request.accounts:
        balance, asked = balances[account.key], request.needs(account)
        more = 0 if is_known else asked or 0
        if asked is None and account.budget.unpriced == "block":
            reason: Literal["limit", "unpriced"] = "unpriced"
        elif balance.used + more > account.budget.limit:
            reason = "limit"
        else:
            continue
        reserved = balance.reserved - (asked or 0 if is_known else 0)
        return Refusal(account=account, reason=reason, spent=balance.spent, reserved=reserved, asked=asked)
    return None


def _lock(connection: Connection, keys: Sequence[int]) -> None:
    """Take the accounts' locks until the transaction ends; SQLite has one for the file, which a writer holds."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCKS, {"keys": sorted(set(keys))})


def _let_lapse(connection: Connection, now: datetime) -> None:
    """Delete what no process has renewed."""
    chosen = _unlocked(connection, RESERVATIONS.c.expires_at <= now)
    connection.execute(delete(RESERVATIONS).where(RESERVATIONS.c.call_id.in_(chosen)))


def _unlocked(connection: Connection, condition: ColumnElement[bool]) -> Select[Any]:
    chosen = select(RESERVATIONS.c.call_id).where(condition)
    return chosen.with_for_update(skip_locked=True) if connection.dialect.name == "postgresql" else chosen


def _reserved_already(connection: Connection, call_ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for chunk in chunks(call_ids):
        known |= set(
            connection.execute(select(RESERVATIONS.c.call_id).where(RESERVATIONS.c.call_id.in_(chunk))).scalars()
        )
    return known


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(_into(connection, RESERVATIONS).on_conflict_do_nothing(), rows)


def _note_stopped(connection: Connection, refusals: Sequence[Refusal | None], now: datetime) -> None:
    stopped: dict[str, int] = {}
    for refusal in refusals:
        if refusal is not None:
            key = refusal.account.told_key
            stopped[key] = stopped.get(key, 0) + 1
    for key in sorted(stopped):
        into = _into(connection, TOLD)
        again = {"times": TOLD.c.times + into.excluded.times, "told_at": into.excluded.told_at}
        row = {"account": key, "mark": STOPPED, "times": stopped[key], "told_at": now}
        connection.execute(into.on_conflict_do_update(index_elements=["account", "mark"], set_=again), row)


def _into(connection: Connection, table: Any) -> Any:
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _row(request: Request, expires_at: datetime) -> dict[str, Any]:
    call = request.call
    return {
        "call_id": call.call_id,
        "run_id": call.run_id,
        "session_id": call.session,
        "chain_name": call.chain,
        "agent_name": call.agent,
        "mode": call.mode,
        "user_id": call.user,
        "model_name": call.model,
        "provider": call.provider,
        "tags": dict(call.tags) or None,
        "started_at": call.started_at,
        "cost": request.cost,
        "tokens": request.tokens,
        "process": request.process,
        "expires_at": expires_at,
    }
