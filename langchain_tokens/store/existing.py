"""What of this is stored already? Calls by their ids, answers by the ids that providers gave them, and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from langchain_tokens.call import Call
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS

__all__ = ("Existing", "read_existing")

_APART = timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC) - _APART
"""There is nothing a day after what is later; some systems write the calendar's end where they know no time."""
"""How far apart two systems may put the same answer: clocks, and local times taken for UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What is stored of some calls."""

    revisions: Mapping[str, int]
    """Id of a call that is stored → its revision."""
    message_ids: frozenset[str]
    """Ids of answers that stored calls have, those from LangChain's cache left out."""
    run_ids: frozenset[str]
    rows_since: datetime | None
    """The moment before which rows were pruned and their sums kept; None where none were."""


def read_existing(connection: Connection, calls: Sequence[Call], run_ids: Sequence[str] = ()) -> Existing:
    """Look for calls, and for others with their answers, which started within a day of them.

    Args:
        connection: one that reads.
        calls: what is looked for.
        run_ids: runs that are looked for, beside those of the calls.

    """
    revisions: dict[str, int] = {}
    for chunk in chunks(sorted({call.call_id for call in calls})):
        found = select(CALLS.c.call_id, CALLS.c.revision).where(CALLS.c.call_id.in_(chunk))
        revisions.update((row[0], row[1]) for row in connection.execute(found))
    runs: set[str] = set()
    for chunk in chunks(sorted({*(call.run_id for call in calls), *run_ids})):
        runs.update(connection.execute(select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk), IS_TOLD)).scalars())
    hour = rows_since(connection)
    return Existing(
        revisions=revisions,
        message_ids=_answers(connection, calls),
        run_ids=frozenset(runs),
        rows_since=None if hour is None else datetime.fromisoformat(hour),
    )


def _answers(connection: Connection, calls: Sequence[Call]) -> frozenset[str]:
    """Ids of answers have no index; the time that they are looked for in has one."""
    answered = [call for call in calls if call.message_id is not None]
    if not answered:
        return frozenset()
    since = min(call.started_at for call in answered) - _APART
    until = min(max(call.started_at for call in answered), _LAST) + _APART
    found: set[str] = set()
    for chunk in chunks(sorted({call.message_id for call in answered if call.message_id is not None})):
        statement = select(CALLS.c.message_id).where(
            CALLS.c.started_at >= since,
            CALLS.c.started_at <= until,
            CALLS.c.message_id.in_(chunk),
            CALLS.c.status != "cached",
        )
        found.update(connection.execute(statement).scalars())
    return frozenset(found)
