"""Which single calls and runs does the API give, and how do they go? Pages, one of each, files, and their deletion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from langchain_tokens.breakdown import row_record
from langchain_tokens.columns import value_of
from langchain_tokens.dashboard.answering import answer, call_document, encode, run_document
from langchain_tokens.dashboard.exports import CONTENT_TYPES, export_parts
from langchain_tokens.dashboard.kept import Body
from langchain_tokens.dashboard.questions import (
    CallsQuestion,
    ExportQuestion,
    Filters,
    HistoryQuestion,
    RunsQuestion,
    cursor_of,
    place_of,
)
from langchain_tokens.dashboard.services import Services
from langchain_tokens.query import Query as StoreQuery
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.store.breakdowns import read_breakdown
from langchain_tokens.store.latest import latest_calls
from langchain_tokens.store.paging import find_call, find_run, next_calls, next_runs
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.storedruns import calls_of

__all__ = ("Records",)

Id = Annotated[str, Path(max_length=500)]
_NEWEST_RUN = "-started_at"


class Records:
    """Routes that give single calls and runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    async def calls(self, request: Request, question: Annotated[CallsQuestion, Query()]) -> Response:
        """A page of calls; `next` is the cursor of the page after it, whatever is recorded in between."""
        order, limit, place = question.order, question.limit, place_of(question.order, question.cursor)

        def make() -> dict[str, Any]:
            found = next_calls(self._store, question.query(), order, limit, place)
            ends = found[-1] if len(found) == limit else None
            cursor = None if ends is None else cursor_of(order, value_of(ends, order.removeprefix("-")), ends.call_id)
            return {"calls": [call_document(call) for call in found], "next": cursor}

        return await self._services.answer(request, make)

    async def call(self, request: Request, call_id: Id) -> Response:
        """One call, with all that is known of it."""

        def make() -> dict[str, Any]:
            found = find_call(self._store, call_id)
            if found is None:
                raise HTTPException(404, f"there is no call {call_id!r}; it may have been deleted")
            return call_document(found)

        return await self._services.answer(request, make)

    async def runs(self, request: Request, question: Annotated[RunsQuestion, Query()]) -> Response:
        """A page of runs, the newest first; `status` is the run's own."""
        limit, place = question.limit, place_of(_NEWEST_RUN, question.cursor)

        def make() -> dict[str, Any]:
            found = next_runs(self._store, question.query(), limit, place)
            ends = found[-1].fact if len(found) == limit else None
            cursor = None if ends is None else cursor_of(_NEWEST_RUN, ends.started_at, ends.run_id)
            return {"runs": [run_document(line) for line in found], "next": cursor}

        return await self._services.answer(request, make)

    async def run(self, request: Request, run_id: Id) -> Response:
        """One run: its totals, its calls, and the tree of places that they were made in."""
        return await self._services.answer(request, partial(_run, self._store, run_id))

    async def export(self, question: Annotated[ExportQuestion, Query()]) -> Response:
        """All calls that are asked for, with their cost, in a file."""
        kind, query = question.format, question.query()
        parts = export_parts(self._store, query, kind)
        first = await self._services.ask(next, parts)  # an error that comes at once is told as one
        name = f"langchain_tokens-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": CONTENT_TYPES[kind]}
        return StreamingResponse(self._rest(first, parts), headers=headers)

    async def _rest(self, part: bytes | None, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
        while part is not None:
            yield part
            part = await self._services.go_on(next, parts, None)

    async def history(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """What a deletion with these filters would take away. Its `until` and `calls` confirm that deletion."""
        found = await self._services.ask(_history, self._services, question.query(), str(request.url.query))
        return answer(request, Body(encode(found)))  # never one from before: it confirms a deletion

    async def delete(self, request: Request, question: Annotated[HistoryQuestion, Query()]) -> Response:
        """Delete calls. There is at least one filter, and `confirm` is the number of calls that go."""
        if self._services.is_read_only:
            raise HTTPException(403, "this dashboard only reads")
        deleted = await self._services.ask(_delete, self._store, question.filters(), question.confirm)
        self._services.counts.forget()
        return answer(request, Body(encode({"calls": deleted})))


def _run(store: UsageStore, run_id: str) -> dict[str, Any]:
    line = find_run(store, run_id)
    if line is None:
        raise HTTPException(404, f"there is no run {run_id!r}; it may have been deleted")
    calls, is_shortened = calls_of(store, run_id)
    run = Run(FixedRun(line.fact, calls, is_shortened=is_shortened))
    return {
        "run": run_document(line),
        "total": row_record(run.total),
        "tree": run.tree().to_dict(),
        "calls": [call_document(call) for call in run.calls],
    }


def _history(services: Services, query: StoreQuery, asked: str) -> dict[str, Any]:
    """All that is there now: what is recorded after this was asked does not go."""
    store = services.store
    fixed = replace(query, until=query.until or datetime.now(UTC))
    with store._reading() as connection:  # one state for all of it
        total = read_breakdown(connection, fixed).total
        first, last = (latest_calls(connection, fixed, 1, 0, newest=is_last) for is_last in (False, True))
        is_all = query.until is None and not latest_calls(connection, replace(query, since=fixed.until), 1, 0)
        counted = query if is_all else fixed  # to count all there are takes less time than those until now
        runs, sessions = services.counts.get(f"history?{asked}", connection, counted, total.calls)
        return {
            "since": fixed.since,
            "until": fixed.until,
            "calls": total.calls,
            "runs": runs,
            "sessions": sessions,
            "total_tokens": total.total_tokens,
            "cost_usd": total.cost_usd,
            "first_call_at": first[0].started_at if first else None,
            "last_call_at": last[0].started_at if last else None,
        }


def _delete(store: UsageStore, filters: dict[str, Any], confirmed: int) -> int:
    calls = store.breakdown(**filters).total.calls
    if calls != confirmed:
        raise HTTPException(409, f"{calls:,} calls match now, and {confirmed:,} were confirmed; nothing was deleted")
    return store.delete(**filters)
