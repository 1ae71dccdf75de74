"""How is an answer written? As JSON with money as text and unknown as null, and a tag by which a poller saves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.breakdown import Breakdown, BreakdownRow, row_record
from langchain_tokens.budgetstates import BudgetState
from langchain_tokens.call import Call, RunFact, plain
from langchain_tokens.dashboard.kept import Body
from langchain_tokens.reports import Overview
from langchain_tokens.reports.means import Means
from langchain_tokens.reports.sessionlines import SessionLine
from langchain_tokens.store.paging import RunLine
from langchain_tokens.usage import TokenUsage

__all__ = (
    "answer",
    "breakdown_document",
    "budget_document",
    "call_document",
    "encode",
    "overview_document",
    "run_document",
    "sessions_document",
)

_LEAST_COMPRESSED = 1_500
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def answer(request: Request, body: Body, content_type: str = "application/json") -> Response:
    """The body, or only `304 Not Modified` where the caller has the same one."""
    headers = {"ETag": body.tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    asked = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    if body.tag in asked:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = content_type
    if len(body.content) >= _LEAST_COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(body.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return Response(body.content, headers=headers)


def encode(document: Any) -> bytes:
    """JSON; a text with half a surrogate pair, and a number beyond 64 bits, are written the slow way."""
    try:
        return orjson.dumps(document, _plain, _OPTIONS)
    except TypeError:
        return json.dumps(plain(document), allow_nan=False).encode()


def _plain(value: object) -> object:
    """What JSON has no form for, as `plain` writes it."""
    if isinstance(value, Mapping):
        return dict(value)
    written = plain(value)
    if written is value:
        raise TypeError(type(value).__name__)
    return written


def breakdown_document(found: Breakdown, means: tuple[Sequence[Means], Means] | None = None) -> dict[str, Any]:
    """An answer as `Breakdown.to_json` writes it; with the means of each row and of the total, where they are given."""
    rows, total = found.to_records(), row_record(found.total)
    if means is not None:
        rows = [{**row, "means": asdict(each)} for row, each in zip(rows, means[0], strict=True)]
        total = {**total, "means": asdict(means[1])}
    return {"by": list(found.by), "rows": rows, "total": total}


def sessions_document(lines: Sequence[SessionLine], total: BreakdownRow, *, has_details: bool) -> dict[str, Any]:
    """Sessions as a breakdown by session has them; where asked, with when they were used and by which agents."""
    rows = [row_record(line.row) for line in lines]
    if has_details:
        names = ("first_call_at", "last_call_at", "agents")
        rows = [{**row, **{name: getattr(line, name) for name in names}} for row, line in zip(rows, lines, strict=True)]
    return {"by": ["session"], "rows": rows, "total": row_record(total)}


def overview_document(found: Overview) -> dict[str, Any]:
    """The numbers that a page begins with, rows written as in a breakdown."""
    rows = ("total", "previous", "most_expensive_model", "most_used_model")
    known = {item.name: getattr(found, item.name) for item in fields(found)}
    return {name: row_record(value) if name in rows and value is not None else value for name, value in known.items()}


def budget_document(state: BudgetState) -> dict[str, Any]:
    """What a budget's account holds; amounts of money as text, of tokens and calls as numbers."""
    return {**state.to_dict(), "label": state.label}


def call_document(call: Call) -> dict[str, Any]:
    """All that is known of a call, with what is derived from it."""
    known = dict(zip(_OF_CALLS, _known_of_call(call), strict=True))
    usages = {name: None if known[name] is None else _usage_document(known[name]) for name in ("usage", "saved_usage")}
    derived = {"tokens_per_second": call.tokens_per_second, "wasted_cost_usd": call.wasted_cost_usd}
    return {**known, **usages, **derived}


def run_document(line: RunLine) -> dict[str, Any]:
    """A run as a list shows it."""
    fact = {name: getattr(line.fact, name) for name in _OF_RUNS}
    return {**fact, "duration_ms": line.fact.duration_ms, **{name: getattr(line, name) for name in _OF_LINES}}


def _usage_document(usage: TokenUsage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in _OF_USAGES}


_OF_CALLS = tuple(item.name for item in fields(Call))
_known_of_call: Callable[[Call], tuple[Any, ...]] = attrgetter(*_OF_CALLS)
_OF_USAGES = tuple(item.name for item in fields(TokenUsage))
_OF_RUNS = tuple(item.name for item in fields(RunFact) if item.name != "is_given")
_OF_LINES = tuple(item.name for item in fields(RunLine) if item.name != "fact")
