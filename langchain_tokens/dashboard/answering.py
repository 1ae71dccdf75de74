"""How is an answer written? As JSON with money as text and unknown as null, and a tag by which a poller saves it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.budgetstates import BudgetState
from langchain_tokens.call import Call, plain
from langchain_tokens.reports import Overview
from langchain_tokens.store.paging import RunLine

__all__ = (
    "answer",
    "breakdown_document",
    "budget_document",
    "call_document",
    "encode",
    "overview_document",
    "row_document",
    "run_document",
)

_TAG_BYTES = 12


def answer(request: Request, document: Any) -> Response:
    """The document, or only `304 Not Modified` where the caller has the same one."""
    body = encode(document)
    tag = f'W/"{hashlib.blake2b(body, digest_size=_TAG_BYTES).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    asked = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    if tag in asked:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def encode(document: Any) -> bytes:
    """JSON; a text with half a surrogate pair, and a number beyond 64 bits, are written the slow way."""
    value = plain(document)
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, allow_nan=False).encode()


def row_document(row: BreakdownRow) -> dict[str, Any]:
    """A row's key and numbers side by side, as `Breakdown.to_records` writes them."""
    record = asdict(row)
    return {**record.pop("key"), **record}


def breakdown_document(found: Breakdown) -> dict[str, Any]:
    """An answer as `Breakdown.to_json` writes it."""
    return {"by": list(found.by), "rows": found.to_records(), "total": row_document(found.total)}


def overview_document(found: Overview) -> dict[str, Any]:
    """The numbers that a page begins with, rows written as in a breakdown."""
    rows = ("total", "previous", "most_expensive_model", "most_used_model")
    known = {item.name: getattr(found, item.name) for item in fields(found)}
    return {name: row_document(value) if name in rows and value is not None else value for name, value in known.items()}


def budget_document(state: BudgetState) -> dict[str, Any]:
    """What a budget's account holds; amounts of money as text, of tokens and calls as numbers."""
    return {**state.to_dict(), "label": state.label}


def call_document(call: Call) -> dict[str, Any]:
    """All that is known of a call, with what is derived from it."""
    return {**asdict(call), "tokens_per_second": call.tokens_per_second, "wasted_cost_usd": call.wasted_cost_usd}


def run_document(line: RunLine) -> dict[str, Any]:
    """A run as a list shows it."""
    record = asdict(line)
    fact = record.pop("fact")
    del fact["is_given"]
    return {**fact, "duration_ms": line.fact.duration_ms, **record}
