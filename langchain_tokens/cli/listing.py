"""Which runs, sessions and calls were there? Listed, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.figures import Cost, costs, count, duration, moment
from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Limit, Shown
from langchain_tokens.cli.output import say_document, say_lines
from langchain_tokens.cli.report import MOST_LAST, Order
from langchain_tokens.cli.sheets import Column, sheet, wrapped
from langchain_tokens.cli.terminal import look
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.render import UNKNOWN
from langchain_tokens.usage import TokenUsage

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown, BreakdownRow
    from langchain_tokens.call import Call
    from langchain_tokens.run import Run
    from langchain_tokens.store.sessions import Span
    from langchain_tokens.store.store import UsageStore

__all__ = (
    "CALLS_EXAMPLES",
    "COST",
    "ID_LEAST",
    "RUNS_EXAMPLES",
    "SESSIONS_EXAMPLES",
    "call_columns",
    "call_record",
    "calls",
    "runs",
    "sessions",
)

RUNS_EXAMPLES = """\b
Tokens and cost are those of all calls of a run; --status is the run's own: running, ok,
error, cancelled, interrupted; --agent, --chain, --model, --provider: runs with such a call.
Examples:
  langchain-tokens runs
  langchain-tokens runs --since today --status error
  langchain-tokens runs -n 1 --json"""
SESSIONS_EXAMPLES = """\b
Examples:
  langchain-tokens sessions
  langchain-tokens sessions --sort cost --since mtd
  langchain-tokens sessions --agent coder --json"""
CALLS_EXAMPLES = """\b
Examples:
  langchain-tokens calls --status error
  langchain-tokens calls --run 0199a3f2 -n 0
  langchain-tokens calls --sort cost --last 1000 -n 5
  langchain-tokens calls --sort cost --model gpt-4o --json"""
_STATUS_STYLES = {"error": "red", "cancelled": "yellow", "interrupted": "yellow", "running": "cyan", "cached": "dim"}
COST = "cost USD"
ID_LEAST = 14
"""Characters of a run's id that tell runs apart that began in the same second, and a sign that it goes on."""
_ALL = 2**31
_BATCH = 500


class CallOrder(StrEnum):
    """What comes first of calls."""

    TIME = "time"
    TOKENS = "tokens"
    COST = "cost"
    DURATION = "duration"

    @property
    def order(self) -> str:
        """The order, as the store has it."""
        return {"time": "-started_at", "tokens": "-total_tokens", "cost": "-cost_usd", "duration": "-duration_ms"}[self]


def runs(*, limit: Limit = 20, asked: Asked, shown: Shown) -> None:
    """List runs, the newest first. Each with its calls, tokens and cost."""
    with opened(asked.database) as store:
        found = store.runs(limit=limit or _ALL, **asked.filters())
        totals = _totals_of_runs(store, [run.run_id for run in found])
        if shown.json:
            rows = [_run_record(run, totals.get(run.run_id)) for run in found]
            say_document(database=str(store.target), **asked.document(), runs=rows)
        elif found:
            _say_table("Runs, newest first", _run_columns(found, totals, asked.zone), asked, shown)
        if not found:
            nothing_found(store, shown)


def sessions(
    *,
    sort: Annotated[Order | None, typer.Option(help="The largest first; else the newest.")] = None,
    limit: Limit = 20,
    asked: Asked,
    shown: Shown,
) -> None:
    """List sessions, the one that was used last first. When they were used, by which agents, and what they cost."""
    filters = asked.filters()
    with opened(asked.database) as store:
        if sort is None:
            spans = list(store.spans(limit=limit or _ALL, **filters))
            sums = _by_session(store, [span.session for span in spans], filters)
        else:
            sums = store.sessions(limit=limit or None, order=sort.number, **filters)
            spans = _in_order(store, sums, filters)
        agents = _agents(store, [span.session for span in spans], filters)
        if shown.json:
            rows = [_session_record(span, sums, agents) for span in spans]
            say_document(database=str(store.target), **asked.document(), sessions=rows)
        elif spans:
            title = "Sessions, newest first" if sort is None else f"Sessions by {sort.value}"
            _say_table(title, _session_columns(spans, sums, agents, asked.zone), asked, shown)
        if not spans:
            nothing_found(store, shown)


def calls(
    *,
    sort: Annotated[CallOrder, typer.Option(help="What comes first.")] = CallOrder.TIME,
    limit: Limit = 20,
    last: Annotated[int | None, typer.Option(min=1, max=MOST_LAST, help="Only among the newest N calls.")] = None,
    asked: Asked,
    shown: Shown,
) -> None:
    """List single calls, the newest first. Who made them, what they used, and what became of them."""
    with opened(asked.database) as store:
        if last is None:
            found = store.calls(limit=limit or _ALL, order=sort.order, **asked.filters())
        else:
            found = _in_order_of(store.calls(limit=last, **asked.filters()), sort)[: limit or None]
        if shown.json:
            rows = [call_record(call) for call in found]
            say_document(database=str(store.target), **asked.document(), calls=rows)
        elif found:
            title = "Calls, newest first" if sort is CallOrder.TIME else f"Calls by {sort.value}"
            _say_table(title, call_columns(found, asked.zone), asked, shown)
        if not found:
            nothing_found(store, shown)


def _in_order_of(calls: Sequence[Call], sort: CallOrder) -> list[Call]:
    """Calls as the store orders them: unknown last, and of equal ones the first id."""
    if sort is CallOrder.TIME:
        return list(calls)

    def size(call: Call) -> Any:
        usage = call.usage or TokenUsage()
        return {"tokens": usage.total_tokens, "cost": call.cost_usd, "duration": call.duration_ms}[sort.value]

    return sorted(calls, key=lambda call: (size(call) is None, -(size(call) or 0), call.call_id))


def call_record(call: Call) -> dict[str, Any]:
    """All that is known of a call, for JSON."""
    return {**asdict(call), "tokens_per_second": call.tokens_per_second}


def call_columns(found: Sequence[Call], zone: tzinfo) -> list[Column]:
    """Calls as a table."""
    usages = [call.usage or TokenUsage() for call in found]
    amounts = costs([Cost(call.cost_usd, 1, int(call.price_status == "unpriced")) for call in found])
    return [
        *_moments([moment(call.started_at, zone) for call in found], goes=1),
        _status([call.status for call in found]),
        _text("agent", [_name("agent", call.agent) for call in found], goes=6),
        _text("chain", [_name("chain", call.chain) for call in found]),
        _text("model", [_name("model", call.model) for call in found], goes=5),
        Column(heading="input", cells=[count(usage.input_tokens) for usage in usages], goes=4),
        Column(heading="output", cells=[count(usage.output_tokens) for usage in usages], goes=4),
        Column(heading="tokens", cells=[count(usage.total_tokens) for usage in usages], goes=3),
        Column(heading=COST, cells=amounts, goes=2),
        Column(heading="took", cells=[duration(call.duration_ms) for call in found], goes=7),
    ]


def _totals_of_runs(store: UsageStore, run_ids: Sequence[str]) -> Mapping[str, BreakdownRow | None]:
    """The sums of runs: None of one that lost calls to a prune; a run that has no call is not in it."""
    from langchain_tokens.store.storedruns import shortened_runs

    lost = shortened_runs(store, run_ids)
    found: dict[str, BreakdownRow | None] = dict.fromkeys(lost)
    whole = [run_id for run_id in run_ids if run_id not in lost]
    for start in range(0, len(whole), _BATCH):
        rows = store.breakdown("run", run=whole[start : start + _BATCH])
        found |= {str(row.key["run"]): row for row in rows}
    return found


def _run_columns(found: Sequence[Run], totals: Mapping[str, BreakdownRow | None], zone: tzinfo) -> list[Column]:
    from langchain_tokens.breakdown import aggregate

    without_calls = aggregate((), make_query(())).total
    rows = [totals.get(run.run_id, without_calls) for run in found]
    return [
        Column(heading="run", cells=[run.run_id for run in found], is_text=True, least=ID_LEAST),
        *_moments([moment(run.started_at, zone) for run in found]),
        _text("name", [run.name or UNKNOWN for run in found], goes=6),
        _text("session", [_name("session", run.session) for run in found], goes=8),
        _status([run.status for run in found]),
        Column(heading="took", cells=[duration(run.duration_ms) for run in found], goes=7),
        *_sums(rows),
    ]


def _sums(rows: Sequence[BreakdownRow | None]) -> list[Column]:
    amounts = costs(
        [Cost(None, 0, 0) if row is None else Cost(row.cost_usd, row.calls, row.unpriced_calls) for row in rows]
    )
    return [
        Column(heading="calls", cells=[count(None if row is None else row.calls) for row in rows], goes=3),
        Column(heading="failed", cells=[count(None if row is None else row.failed_calls) for row in rows], goes=4),
        Column(heading="tokens", cells=[count(None if row is None else row.total_tokens) for row in rows], goes=2),
        Column(heading=COST, cells=amounts, goes=1),
    ]


def _run_record(run: Run, total: BreakdownRow | None) -> dict[str, Any]:
    from langchain_tokens.cli.sums import numbers

    names = ("run_id", "name", "session", "mode", "status", "error_message", "started_at", "ended_at", "duration_ms")
    known = {name: getattr(run, name) for name in names}
    return {**known, "total": None if total is None else numbers(total)}


def _by_session(store: UsageStore, names: Sequence[str | None], filters: dict[str, Any]) -> Breakdown:
    return store.breakdown("session", **{**filters, "session": [_asked(name) for name in names] or ["(none)"]})


def _in_order(store: UsageStore, sums: Breakdown, filters: dict[str, Any]) -> list[Span]:
    names = [None if row.key["session"] is None else str(row.key["session"]) for row in sums]
    without = {name: value for name, value in filters.items() if name != "session"}
    found = {span.session: span for span in store.spans(*names, limit=len(names), **without)} if names else {}
    return [found[name] for name in names if name in found]


def _agents(store: UsageStore, names: Sequence[str | None], filters: dict[str, Any]) -> Mapping[str | None, list[str]]:
    """The agents of each session, those with the most tokens first."""
    agents: dict[str | None, list[str]] = {}
    if names:
        asked = {**filters, "session": [_asked(name) for name in names]}
        for row in store.breakdown("session", "agent", **asked):
            session = row.key["session"]
            named = agents.setdefault(None if session is None else str(session), [])
            named += [] if row.key["agent"] is None else [str(row.key["agent"])]
    return agents


def _asked(name: str | None) -> str:
    return missing_label("session") if name is None else name


def _session_columns(
    spans: Sequence[Span], sums: Breakdown, agents: Mapping[str | None, list[str]], zone: tzinfo
) -> list[Column]:
    lasted = [(span.last_call_at - span.first_call_at).total_seconds() * 1_000 for span in spans]
    return [
        _text("session", [_name("session", span.session) for span in spans]),
        *_moments([moment(span.last_call_at, zone) for span in spans], "last call"),
        Column(heading="lasted", cells=[duration(each) for each in lasted], goes=7),
        *_sums([sums[span.session] for span in spans]),
        _text("agents", [", ".join(agents.get(span.session, ())) or UNKNOWN for span in spans], goes=6),
    ]


def _session_record(span: Span, sums: Breakdown, agents: Mapping[str | None, list[str]]) -> dict[str, Any]:
    from langchain_tokens.cli.sums import numbers

    return {**asdict(span), "agents": agents.get(span.session, []), "total": numbers(sums[span.session])}


def _say_table(title: str, columns: Sequence[Column], asked: Asked, shown: Shown) -> None:
    terminal = look(wide=shown.wide, no_color=shown.no_color)
    lines = [*wrapped(f"{title} · {asked.title()}", terminal, "dim"), *sheet(columns, terminal)]
    if any(cell.endswith("*") for column in columns if column.heading == COST for cell in column.cells):
        lines += wrapped(
            "* without calls that have no price; what supplies it: langchain-tokens doctor", terminal, "yellow"
        )
    say_lines(lines, terminal)


def _moments(shown: Sequence[tuple[str, str]], what: str = "time", goes: int = 3) -> list[Column]:
    """Date and time, of which the date goes first."""
    days, times = ([cells[part] for cells in shown] for part in (0, 1))
    return [
        Column(heading="day", cells=days, goes=8, is_left=True),
        Column(heading=what, cells=times, goes=goes, is_left=True),
    ]


def _status(names: Sequence[str]) -> Column:
    styles = [_STATUS_STYLES.get(name, "") for name in names]
    return Column(heading="status", cells=names, is_left=True, goes=5, styles=styles)


def _text(heading: str, cells: Sequence[str], goes: int = 0) -> Column:
    return Column(heading=heading, cells=cells, is_text=True, goes=goes)


def _name(dimension: str, value: str | None) -> str:
    return missing_label(dimension) if value is None else value
