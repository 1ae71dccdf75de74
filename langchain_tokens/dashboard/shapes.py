"""Which shape has each answer? For the API's description, made from the facts themselves so that it cannot drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.budgetstates import BudgetState
from langchain_tokens.call import Call, RunFact
from langchain_tokens.reports import Finding, Forecast, UnusualReport, Wasted
from langchain_tokens.reports.means import Means
from langchain_tokens.store.paging import RunLine

__all__ = ("Deleted", "Dimensions", "History", "Place", "Prices", "Shapes", "Status", "make_shapes")

Money = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="US dollars")]


class Status(BaseModel):
    """The database and what is in it."""

    version: str
    database: str
    is_read_only: bool
    needs_token: bool
    now: datetime
    calls: int
    first_call_at: datetime | None
    last_call_at: datetime | None
    current_session: str | None
    current_since: datetime


class Dimensions(BaseModel):
    """Names for filter menus."""

    mode: list[str | None]
    agent: list[str | None]
    chain: list[str | None]
    model: list[str | None]
    provider: list[str | None]
    user: list[str | None]
    status: list[str | None]
    session: list[str | None]
    tags: dict[str, list[str]]


class ModelPrice(BaseModel):
    """What a model costs at the moment; the rates are None where no price is known."""

    provider: str | None
    model: str
    status: str
    source: str | None
    version: str | None
    unit_prices: dict[str, str] | None
    tiers: list[dict[str, Any]]
    flags: list[str]


class Prices(BaseModel):
    """Prices of the models that were used."""

    models: list[ModelPrice]


class Place(BaseModel):
    """A place along the paths of calls: what was used right there, and with all below; names and ids."""

    name: str | None
    path: list[str | None]
    own: dict[str, Any]
    subtree: dict[str, Any]
    calls: list[str]
    children: list[Place]


class History(BaseModel):
    """What a deletion takes away."""

    since: datetime | None
    until: datetime
    calls: int
    runs: int | None
    sessions: int | None
    total_tokens: int | None
    cost_usd: Money | None
    first_call_at: datetime | None
    last_call_at: datetime | None


class Deleted(BaseModel):
    """How many calls were deleted."""

    calls: int


class Shapes:
    """The shapes that are made from our own dataclasses."""

    def __init__(self) -> None:
        self.row = _model("Row", BreakdownRow, without=("key",), config=ConfigDict(extra="allow"))
        """Numbers of a group; the names of its dimensions stand beside them."""
        self.call = _model("Call", Call, more={"tokens_per_second": float | None, "wasted_cost_usd": Money | None})
        self.run = _model("Run", RunFact, RunLine, without=("fact", "is_given"), more={"duration_ms": float | None})
        row, call, run = self.row, self.call, self.run
        self.breakdown = _made("Breakdown", by=list[str], rows=list[row], total=row)  # type: ignore[valid-type]
        mean = create_model("RowWithMeans", __base__=row, means=(_model("Means", Means), None))
        self.breakdown_with_means = _made("BreakdownWithMeans", by=list[str], rows=list[mean], total=mean)  # type: ignore[valid-type]
        self.sessions = _made("Sessions", by=list[str], rows=list[_session(row)], total=row)  # type: ignore[misc]
        self.calls = _made("Calls", calls=list[call], next=str | None)  # type: ignore[valid-type]
        self.runs = _made("Runs", runs=list[run], next=str | None)  # type: ignore[valid-type]
        self.run_with_calls = _made("RunWithCalls", run=run, total=row, tree=Place, calls=list[call])  # type: ignore[valid-type]
        wasted = _model("Wasted", Wasted)
        finding = _model("Finding", Finding)
        totals = {"calls": int, "cost_usd": Money | None, "unpriced_calls": int}
        self.findings = _made("Findings", **totals, total_wasted=wasted, findings=list[finding])  # type: ignore[valid-type]
        self.unusual = _model("Unusual", UnusualReport)
        self.forecast = _model("Forecast", Forecast)
        self.budgets = _made("Budgets", budgets=list[_budget()])  # type: ignore[misc]
        self.overview = _made(
            "Overview",
            since=datetime | None,
            until=datetime | None,
            total=row,
            previous=row | None,
            runs=int | None,
            sessions=int | None,
            tokens_per_run=float | None,
            cost_per_run_usd=Money | None,
            cost_per_1k_tokens_usd=Money | None,
            most_expensive_model=row | None,
            most_used_model=row | None,
        )


def _session(row: type[BaseModel]) -> type[BaseModel]:
    """Numbers of a session, and when it was used and by whom, where that is asked for."""
    return create_model(
        "SessionRow",
        __base__=row,
        session=(str | None, ...),
        first_call_at=(datetime | None, None),
        last_call_at=(datetime | None, None),
        agents=(list[str] | None, None),
    )


def _budget() -> type[BaseModel]:
    facts = ("budget", "scope", "reached_at")
    more = {"budget": str, "scope": dict[str, str | None], "action": str, "reached_at": datetime | None}
    left_out = tuple(item.name for item in fields(BudgetState) if item.name in facts)
    return _model("BudgetState", BudgetState, without=left_out, more=more)


def make_shapes() -> Shapes:
    """Make them; when an application is made, not before."""
    return Shapes()


def _model(
    name: str,
    *facts: type[Any],
    without: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
    config: ConfigDict | None = None,
) -> type[BaseModel]:
    hints = {
        item.name: _plain(hint)
        for fact in facts
        for item, hint in zip(fields(fact), _hints(fact), strict=True)
        if item.name not in without
    }
    asked: dict[str, Any] = {key: (hint, ...) for key, hint in {**hints, **(more or {})}.items()}
    made: type[BaseModel] = create_model(name, __config__=config, **asked)
    return made


def _made(name: str, **hints: Any) -> type[BaseModel]:
    asked: dict[str, Any] = {key: (hint, ...) for key, hint in hints.items()}
    made: type[BaseModel] = create_model(name, **asked)
    return made


def _hints(fact: type[Any]) -> list[Any]:
    known = get_type_hints(fact)
    return [known[item.name] for item in fields(fact)]


def _plain(hint: Any) -> Any:
    """The type as JSON has it: money is text, mappings are objects."""
    if hint is Decimal:
        return Money
    kinds = get_args(hint)
    if Decimal in kinds:
        return reduce(or_, (Money if kind is Decimal else kind for kind in kinds))
    parts = [kind for kind in kinds if kind is not NoneType]
    if len(parts) == 1 and isinstance(parts[0], type) and is_dataclass(parts[0]):
        return _model(parts[0].__name__, parts[0]) | None
    return hint
