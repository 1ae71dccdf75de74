"""What may a URL ask? The filters of the Python API, by the same names; what it does not know, it refuses."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from langchain_tokens.errors import QueryError
from langchain_tokens.query import EQUALITY_FILTERS, Query, make_query
from langchain_tokens.store.paging import Place

__all__ = (
    "BreakdownQuestion",
    "BudgetsQuestion",
    "CallsQuestion",
    "ExportQuestion",
    "Filters",
    "ForecastQuestion",
    "HistoryQuestion",
    "RunsQuestion",
    "SessionsQuestion",
    "TimelineQuestion",
    "UnusualQuestion",
    "cursor_of",
    "place_of",
)

_MOST_ROWS = 10_000
_MOST_ON_A_PAGE = 1_000
_MOST_NAMES = 500
_MOST_USD = 9_000_000
"""About what the database counts to."""
Names = Annotated[list[str], Field(default_factory=list, max_length=_MOST_NAMES)]
Cursor = Annotated[str | None, StringConstraints(max_length=2_000)]


class Filters(BaseModel):
    """Which calls count. A name given several times allows any of its values; `(none)` asks for calls without one."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[
        str | None, Field(description="From when on: 7d (from a whole hour on), 24h, today, 2026-11-01, a moment.")
    ] = None
    until: Annotated[str | None, Field(description="Until when, itself excluded.")] = None
    tz: Annotated[str | None, Field(description="Time zone of hours, days, weeks and months; UTC by default.")] = None
    session: Names
    run: Names
    mode: Names
    agent: Names
    chain: Names
    model: Names
    provider: Names
    user: Names
    status: Names
    tag: Annotated[Names, Field(description='KEY=VALUE; a key with an equals sign is quoted as in JSON: "a=b"=VALUE.')]

    def filters(self) -> dict[str, Any]:
        """As keyword arguments of the store's methods."""
        named = {name: found for name in EQUALITY_FILTERS if (found := getattr(self, name))}
        given = {name: found for name in ("since", "until", "tz") if (found := getattr(self, name)) is not None}
        return {**given, **named, **({"tags": _tags(self.tag)} if self.tag else {})}

    def query(self) -> Query:
        """As a question that was checked."""
        return make_query((), self.filters())


class BreakdownQuestion(Filters):
    """Sums by dimension."""

    by: Annotated[list[str], Field(default_factory=list, max_length=6, description="Dimensions, in order; or tag:KEY.")]
    limit: Annotated[int | None, Field(ge=0, le=_MOST_ROWS, description="The most rows; the total is of all.")] = None
    order: Annotated[
        Literal["total_tokens", "cost_usd", "calls", "duration_ms"], Field(description="What makes a row large.")
    ] = "total_tokens"
    means: Annotated[bool, Field(description="Whether rows have the means of their calls, too.")] = False


class TimelineQuestion(Filters):
    """Sums over time."""

    every: Literal["hour", "day", "week", "month"] = "day"
    by: Annotated[str | None, Field(description="One more dimension.")] = None


class SessionsQuestion(Filters):
    """The largest sessions, or the newest."""

    limit: Annotated[int, Field(ge=0, le=_MOST_ROWS)] = 100
    order: Annotated[
        Literal["total_tokens", "cost_usd", "calls", "duration_ms", "last_call_at"],
        Field(description="What makes a session large; `last_call_at` is the newest first."),
    ] = "total_tokens"
    details: Annotated[
        bool, Field(description="Whether rows have `first_call_at`, `last_call_at` and `agents`, too.")
    ] = False


class RunsQuestion(Filters):
    """A page of runs."""

    limit: Annotated[int, Field(ge=1, le=_MOST_ON_A_PAGE)] = 100
    cursor: Annotated[Cursor, Field(description="`next` of the page before.")] = None


class CallsQuestion(RunsQuestion):
    """A page of calls."""

    order: Annotated[
        Literal[
            "-started_at", "started_at", "-duration_ms", "duration_ms",
            "-total_tokens", "total_tokens", "-cost_usd", "cost_usd",
        ],
        Field(description="`-` is the largest first; what is unknown comes last."),
    ] = "-started_at"  # fmt: skip


class ExportQuestion(Filters):
    """All calls, in a file."""

    format: Literal["csv", "json", "jsonl"] = "csv"


class BudgetsQuestion(BaseModel):
    """Which accounts of budgets."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=_MOST_ON_A_PAGE, description="The most accounts of each budget.")] = 20


class UnusualQuestion(Filters):
    """What was unusual; what is usual is learned from the same range, the last 30 days by default."""

    by: Annotated[str, Field(description="session, run, chain, agent, model, provider, mode, user, or tag:KEY.")] = (
        "chain"
    )
    every: Literal["hour", "day"] = "day"
    measure: Literal["tokens", "cost", "calls", "input", "output"] = "tokens"
    limit: Annotated[int, Field(ge=1, le=_MOST_ON_A_PAGE)] = 20

    def terms(self) -> dict[str, Any]:
        """What is no filter."""
        return {name: getattr(self, name) for name in ("by", "every", "measure", "limit")}


class ForecastQuestion(Filters):
    """What will come; of the calls that match, whose `since` and `until` are not asked for here."""

    to: Annotated[Literal["day", "week", "month"], Field(description="The end of which running period.")] = "month"
    measure: Literal["cost", "tokens", "calls", "input", "output"] = "cost"


class HistoryQuestion(Filters):
    """What is to be deleted."""

    confirm: Annotated[int, Field(ge=0, description="How many calls go, as `GET /history` says for these filters.")]


def cursor_of(order: str, value: Any, row_id: str) -> str:
    """The place of a page's last row, to be given back for the page after it."""
    if isinstance(value, datetime):
        value = {"at": value.astimezone(UTC).isoformat()}
    elif isinstance(value, Decimal):
        value = {"usd": format(value, "f")}
    text = json.dumps([order, value, row_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(order: str, cursor: str | None) -> Place | None:
    """Read a place back.

    Raises:
        QueryError: for what no page has given, or a page in another order.

    """
    if cursor is None:
        return None
    try:
        read = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        said, value, row_id = read
        place = Place(value=_value(value), id=row_id)
    except (ValueError, TypeError, KeyError, binascii.Error, InvalidOperation, RecursionError, OverflowError):
        raise QueryError(f"cursor={cursor[:40]!r} is none that a page has given as `next`") from None
    if said != order or type(row_id) is not str:
        raise QueryError(f"the cursor is of a page in the order {said!r}, this one is in the order {order!r}")
    return place


def _value(value: object) -> datetime | Decimal | float | None:
    if isinstance(value, Mapping) and "at" in value:
        moment = datetime.fromisoformat(value["at"])
        if moment.utcoffset() is None:
            raise ValueError(moment)
        return moment.astimezone(UTC)
    if isinstance(value, Mapping):
        amount = Decimal(value["usd"])
        if not amount.is_finite() or abs(amount) > _MOST_USD:
            raise ValueError(amount)
        return amount
    if value is None or type(value) in (int, float):
        return value  # type: ignore[return-value]
    raise ValueError(value)


def _tags(given: list[str]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for text in given:
        key, value = _tag(text)
        tags.setdefault(key, []).append(value)
    return tags


def _tag(text: str) -> tuple[str, str]:
    if text.startswith('"'):
        try:
            key, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            raise QueryError(f"tag={text!r} begins with a quote that does not end; expected KEY=VALUE") from None
        rest = text[end:]
    else:
        key, rest = text.split("=", 1)[0], text[len(text.split("=", 1)[0]) :]
    if not rest.startswith("=") or not key:
        raise QueryError(f"tag={text!r} has no key, or no value; expected KEY=VALUE")
    return key, rest[1:]
