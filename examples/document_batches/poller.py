"""How do results come in? A poller fetches finished batches, and stores each result once, however often it comes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.request import Request, urlopen
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from examples.document_batches.application import Response
from examples.document_batches.documents import Batch
from langchain_tokens import Call, UsageStore

__all__ = ("Client", "Polled", "call_id_of", "poll", "store_batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The processor's API.

    Arguments:
        url: Where it is.

    """

    url: str

    def submit(self, batch: Batch) -> None:
        """Send documents to be processed."""
        self._ask("/batches", {**_plain(batch), "submitted_at": batch.submitted_at.isoformat()})

    def finished(self, after: int) -> Sequence[str]:
        """Return the batches that are finished, after the first so many; waits for one."""
        found: Sequence[str] = self._ask(f"/batches?after={after}")["finished"]
        return found

    def batch(self, batch: str) -> Mapping[str, Any]:
        """Return a finished batch with its results."""
        return self._ask(f"/batches/{batch}")

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data), timeout=60) as response:  # noqa: S310 - our own server
            answer: Mapping[str, Any] = json.load(response)
            return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What came in."""

    batches: int = 0
    results: int = 0
    calls: int = 0
    """Calls that were stored."""
    there: int = 0
    """Results whose calls were there already."""
    rows: int = 0
    """Rows of the application that were written, or got their metrics."""
    refused: tuple[str, ...] = field(default=())
    """Results that can be no calls, with the reason; their rows are written all the same."""

    def __add__(self, other: Polled) -> Polled:
        """Add them up."""
        names = ("batches", "results", "calls", "there", "rows", "refused")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})


def poll(client: Client, store: UsageStore, engine: Engine, count: int) -> Polled:
    """Fetch batches as they are finished, until so many are there, and store them."""
    polled = Polled()
    while polled.batches < count:
        for batch in client.finished(after=polled.batches):
            polled += store_batch(client.batch(batch), store, engine)
    return polled


def store_batch(batch: Mapping[str, Any], store: UsageStore, engine: Engine) -> Polled:
    """Store the calls, then the rows; after a crash between the two, the next time does the rest."""
    provider, model = batch["model"].split(":", 1)
    results = [
        {**result, "call_id": call_id_of(result["id"]), "batch": batch["batch"], "provider": provider, "model": model}
        for result in batch["results"]
    ]
    imported = store.import_results(
        results,
        mapping={"columns": {"chain": "task"}},
        session=batch["batch"],
        tags={"configuration": batch["configuration"]},
    )
    calls = {call.call_id: call for call in store.calls(session=batch["batch"], limit=len(results))}
    rows = _write_rows(results, calls, engine)
    return Polled(
        batches=1,
        results=len(results),
        calls=imported.stored,
        there=imported.there,
        rows=rows,
        refused=tuple(f"{results[one.row - 1]['id']}: {one.reason}" for one in imported.refused),
    )


def call_id_of(result_id: str) -> str:
    """Return the id of a result's call, always the same."""
    return str(uuid5(NAMESPACE_URL, result_id))


def _write_rows(results: Sequence[Mapping[str, Any]], calls: Mapping[str, Call], engine: Engine) -> int:
    """Write the rows that are missing, and the metrics of those that have none, and say how many there were."""
    written = 0
    with Session(engine) as session:
        found = session.exec(select(Response).where(col(Response.batch_id) == results[0]["batch"]))
        rows = {row.result_id: row for row in found}
        for result in results:
            row, call = rows.get(result["id"]), calls.get(result["call_id"])
            if row is None:
                row = _row(result)
                session.add(row)
            elif row.call_id is not None or call is None:
                continue
            row.sqlmodel_update(_metrics(call))
            written += 1
        session.commit()
    return written


def _row(result: Mapping[str, Any]) -> Response:
    return Response(
        result_id=result["id"],
        batch_id=result["batch"],
        document=result["document"],
        prompt=result["prompt"],
        response=result.get("response"),
        status=result["status"],
        error_message=result.get("error_message"),
    )


def _metrics(call: Call | None) -> dict[str, Any]:
    """The values of the columns that the migration added, as `llm_call` has them."""
    if call is None:
        return {}
    usage, milliseconds = call.usage, call.duration_ms
    return {
        "call_id": call.call_id,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "time_taken_seconds": None if milliseconds is None else milliseconds / 1000,
        "tokens_per_second": call.tokens_per_second,
    }


def _plain(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in ("batch", "configuration", "model", "documents")}
