"""How does a batch get in, and out again? Rows first, then by how much they change what is derived from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from langchain_tokens.call import Call, RunFact
from langchain_tokens.query import Query
from langchain_tokens.said import ContentFact
from langchain_tokens.store.contents import has_contents, write_contents
from langchain_tokens.store.facts import RUN, Fact, facts_statement, read_facts
from langchain_tokens.store.inserts import chunks, insert_calls
from langchain_tokens.store.ledger import settle
from langchain_tokens.store.revisions import Change, correct_calls
from langchain_tokens.store.rollups import add_facts, added_sums
from langchain_tokens.store.runrows import lock_runs, refresh_totals, run_statements
from langchain_tokens.store.sending import send_all
from langchain_tokens.store.state import note_shortened
from langchain_tokens.store.sums import conditions, run_conditions
from langchain_tokens.store.tables import CALLS, CONTENTS, COST_REVISIONS, RUNS
from langchain_tokens.store.unsettling import unsettle, unsettle_range
from langchain_tokens.store.upserts import adding_statements

__all__ = ("delete_calls", "write_batch")


def write_batch(
    connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact], contents: Sequence[ContentFact] = ()
) -> None:
    """Write calls and runs, and what was said in calls. A call that is stored is left alone, unless the new one
    corrects it; a run is completed. What budgets had reserved for the calls goes.
    """
    unsettle(connection, calls, runs)
    new = insert_calls(connection, calls)
    if contents:
        write_contents(connection, contents)
    change = correct_calls(connection, [call for call in calls if call.revision])
    if change.run_ids:
        _write_corrected(connection, calls, runs, new, change)
    else:
        totals, sums = added_sums(new)
        dialect = connection.dialect.name
        send_all(connection, chain(run_statements(runs, calls, totals, dialect), adding_statements(sums, dialect)))
    settle(connection, [call.call_id for call in calls])


def _write_corrected(
    connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact], new: Sequence[Fact], change: Change
) -> None:
    """Write what is derived from calls, some of which corrected others."""
    if {fact[:1] + fact[RUN : RUN + 1] for fact in change.removed} != {
        fact[:1] + fact[RUN : RUN + 1] for fact in change.added
    }:
        unsettle_range(connection, None, None)  # a call was moved to another time or run
    totals, _ = added_sums(new)
    left = {run_id: totals[run_id] for run_id in totals.keys() - change.run_ids}
    send_all(connection, run_statements(runs, calls, left, connection.dialect.name))
    refresh_totals(connection, sorted(change.run_ids))
    add_facts(connection, [*new, *change.added], change.removed)


def delete_calls(connection: Connection, query: Query, *, keeps_sums: bool = False) -> int:
    """Delete the calls that a query's filters match, and the runs that have none left.

    Args:
        connection: one that writes, in which all that is settled until the range's end was deleted.
        query: which calls.
        keeps_sums: whether the sums that are kept beside the rows stay as they are; then the runs that lost calls are
            noted.

    Returns:
        How many calls were deleted.

    """
    condition = conditions(query, connection.dialect.name)
    deleted = 0
    for day in _days(connection, condition):
        gone = _delete_day(connection, and_(condition, day))
        deleted += len(gone)
        run_ids = sorted({fact[RUN] for fact in gone})
        _delete_runs(connection, run_ids)
        if keeps_sums:
            note_shortened(connection, run_ids)
        else:
            add_facts(connection, (), gone)
    # The number of a row is that of now, whoever adds a call to it meanwhile.
    is_empty = and_(RUNS.c.calls == 0, ~_has_calls())
    connection.execute(delete(RUNS).where(run_conditions(query, connection.dialect.name), is_empty))
    return deleted


def _days(connection: Connection, condition: ColumnElement[bool]) -> Iterator[ColumnElement[bool]]:
    """The days that have such calls, one after another, so that no more than a day's sums are held in memory."""
    since = None
    while True:
        later = condition if since is None else and_(condition, CALLS.c.started_at >= since)
        first = connection.execute(select(func.min(CALLS.c.started_at)).where(later)).scalar()
        if first is None:
            return
        try:
            since = first.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        except OverflowError:  # the last day of the calendar
            yield CALLS.c.started_at >= first
            return
        yield CALLS.c.started_at < since


def _delete_day(connection: Connection, condition: ColumnElement[bool]) -> Sequence[Fact]:
    """Delete calls, and say which they were."""
    doomed = select(CALLS.c.call_id).where(condition)
    connection.execute(delete(COST_REVISIONS).where(COST_REVISIONS.c.call_id.in_(doomed)))
    has_said = has_contents(connection)
    if connection.dialect.name == "postgresql":  # in one statement: others may be adding such calls now
        return _deleted_at_once(connection, condition, has_said=has_said)
    if has_said:
        connection.execute(delete(CONTENTS).where(CONTENTS.c.call_id.in_(doomed)))
    gone = read_facts(connection, condition)
    connection.execute(delete(CALLS).where(condition))
    return gone


def _deleted_at_once(connection: Connection, condition: ColumnElement[bool], *, has_said: bool) -> Sequence[Fact]:
    """The same in PostgreSQL, with what was said in those very calls."""
    facts = facts_statement(CALLS.c, "postgresql").selected_columns
    if not has_said:
        return [tuple(row) for row in connection.execute(delete(CALLS).where(condition).returning(*facts))]
    named = [fact.label(f"fact_{place}") for place, fact in enumerate(facts)]
    gone = delete(CALLS).where(condition).returning(CALLS.c.call_id, *named).cte("gone")
    said = delete(CONTENTS).where(CONTENTS.c.call_id.in_(select(gone.c.call_id))).returning(CONTENTS.c.call_id)
    chosen = select(*(gone.c[label.name] for label in named)).add_cte(said.cte("said"))
    return [tuple(row) for row in connection.execute(chosen)]


def _delete_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    """Delete runs that have no call left, and derive the others' totals again."""
    for chunk in chunks(run_ids):
        lock_runs(connection, chunk)  # else one that gets a call just now might go
        connection.execute(delete(RUNS).where(RUNS.c.run_id.in_(chunk), ~_has_calls()))
    refresh_totals(connection, run_ids)


def _has_calls() -> ColumnElement[bool]:
    return select(CALLS.c.run_id).where(CALLS.c.run_id == RUNS.c.run_id).exists()
