"""What did one root invocation use? A read-only view on a run, finished or still going on."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from langchain_tokens.breakdown import Breakdown, BreakdownRow, aggregate
from langchain_tokens.call import Call, RunFact, RunStatus, plain
from langchain_tokens.errors import QueryError
from langchain_tokens.notebook import facts_html, total_facts
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.render import UNKNOWN, clean, counted
from langchain_tokens.tree import RunNode, call_tree

__all__ = ("FixedRun", "Run", "RunSource")

_UNNAMED = "unnamed run"
_MISSING = "calls_without_usage"
_UNPRICED = "unpriced_calls"
_ESTIMATED = "estimated_calls"


class RunSource(Protocol):
    """Where a `Run` reads from: memory, or rows that a store has read. Both answers are consistent snapshots."""

    @property
    def fact(self) -> RunFact:
        """What is known of the run now."""

    @property
    def calls(self) -> Sequence[Call]:
        """Its calls so far, in the order they started."""

    @property
    def is_shortened(self) -> bool:
        """Whether some of its calls were pruned, so that the others are not all."""


class FixedRun:
    """A run that no longer changes, as a store hands it out."""

    __slots__ = ("calls", "fact", "is_shortened")

    def __init__(self, fact: RunFact, calls: Sequence[Call], *, is_shortened: bool = False) -> None:
        self.fact = fact
        self.calls = tuple(calls)
        self.is_shortened = is_shortened


class Run:
    """One root invocation of a chain or graph with every call below it.

    A live view: while the run goes on, each read shows what is known then.
    """

    __slots__ = ("_source",)

    def __init__(self, source: RunSource) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"<Run {self.name or _UNNAMED} {self.run_id} {self.status}: {len(self.calls)} calls>"

    def _repr_html_(self) -> str:
        """Its facts in a line, and its tree with a bar for each place."""
        root, duration = self.tree(), _seconds(self.duration_ms)
        facts = [("run", self.run_id), ("status", self.status), ("duration", duration), *total_facts(root.subtree)]
        if self.session is not None:
            facts.insert(1, ("session", self.session))
        if self.error_message:
            facts.append(("error", self.error_message))
        return facts_html(self.name or _UNNAMED, facts) + root._repr_html_()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.summary(), "text/html": self._repr_html_()}

    @property
    def run_id(self) -> str:
        """The root run's id."""
        return self._source.fact.run_id

    @property
    def name(self) -> str | None:
        """The root's name; None where it has only a generic one."""
        return self._source.fact.name

    @property
    def session(self) -> str | None:
        """The session it belongs to."""
        return self._source.fact.session

    @property
    def mode(self) -> str | None:
        """The application's own way of working."""
        return self._source.fact.mode

    @property
    def started_at(self) -> datetime:
        """Start, aware UTC."""
        return self._source.fact.started_at

    @property
    def ended_at(self) -> datetime | None:
        """End, aware UTC; None while it goes on."""
        return self._source.fact.ended_at

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while it goes on."""
        return self._source.fact.duration_ms

    @property
    def status(self) -> RunStatus:
        """`running`, `ok`, `error`, `cancelled` or `interrupted`."""
        return self._source.fact.status

    @property
    def error_message(self) -> str | None:
        """The error that ended the run."""
        return self._source.fact.error_message

    @property
    def calls(self) -> Sequence[Call]:
        """Its calls so far, in the order they started; of a stored run those that were not pruned."""
        return self._source.calls

    @property
    def _all_calls(self) -> Sequence[Call]:
        """Its calls, for sums.

        Raises:
            QueryError: where some were pruned, and the others would say too little.

        """
        calls = self._source.calls
        if self._source.is_shortened:
            raise QueryError(
                f"calls of the run {self.run_id} were pruned; what is left of them ({len(calls):,}) is no total"
            )
        return calls

    @property
    def total(self) -> BreakdownRow:
        """The sums over all its calls."""
        return self.breakdown().total

    def breakdown(self, *by: str) -> Breakdown:
        """Sums by dimension, as `UsageStore.breakdown`.

        Raises:
            QueryError: for an unknown dimension; and as all sums of a stored run of which calls were pruned.

        """
        return aggregate(self._all_calls, make_query(by))

    def tree(self) -> RunNode:
        """Its calls at the names along their paths, from the root down; each place has sums of its own calls (`own`)
        and with all below (`subtree`). The own sums of all places add up to `total`. `print(run.tree())` shows it.
        """
        return call_tree(self._all_calls, self.name)

    def summary(self) -> str:
        """A text for people: title, id, duration, calls, tokens, then each chain with its success rate.

        Says where tokens are estimated, and where an answer came from a cache.
        """
        total = self.total
        succeeded = sum(call.status in ("ok", "cached") for call in self.calls)
        lines = [
            f"Token usage of {clean(self.name or _UNNAMED)}",
            f"Run: {self.run_id}",
            f"Duration: {_seconds(self.duration_ms)}",
            f"Calls: {total.calls:,} ({succeeded:,} successful, {total.failed_calls:,} failed)",
            f"Tokens: {_tokens(total)}",
            f"Cost: {UNKNOWN if total.cost_usd is None else f'{total.cost_usd:,.6f} USD'}",
            *_gaps(total),
            "",
            "By chain:",
        ]
        return "\n".join([*lines, *(self._summary_line(row) for row in self.breakdown("chain"))])

    def to_response(self, *, with_cost: bool = False) -> dict[str, Any]:
        """The `llm_token_usage` object for an HTTP API's response.

        For each chain its tokens; calls that ran again (attempt 2 and later, or any attempt that an error made
        necessary) stand in a list `<chain>_retries` with attempt, error and tokens; every token stands in one place
        only, and `total_tokens_used` sums all that is known. `calls_without_usage` appears where there are any. Calls
        without a chain stand under `(unattributed)`.

        Args:
            with_cost: also say what it cost, for readers who may know: `cost_usd` beside tokens, `total_cost_usd` of
                all (US dollars as text, null where nobody knows), and `unpriced_calls` where there are any.

        """
        calls = self._all_calls  # one moment of a run that may go on
        total = aggregate(calls, make_query()).total
        counts = {"total_tokens_used": total.total_tokens, **_missing(total)}
        if not with_cost:
            return _by_chain(calls, _response_tokens, counts)
        unpriced = {_UNPRICED: total.unpriced_calls} if total.unpriced_calls else {}
        costs = {"total_cost_usd": plain(total.cost_usd), **unpriced}
        return _by_chain(calls, _response_costs, {**counts, **costs}, (_UNPRICED,))

    def totals(self) -> dict[str, Any]:
        """The values for an application's own row, see `langchain_tokens.store.totals.TokenTotals`.

        Returns:
            `total_input_tokens`, `total_output_tokens`, `total_tokens`, `llm_calls_count` (integers), and
            `token_usage_breakdown`: for each chain its calls, successes, tokens and cost (text, in USD) as plain JSON,
            with calls that ran again in a list `<chain>_retries`, as in `to_response`. The integers are sums of what is
            known, 0 where nothing is: `calls_without_usage` in the breakdown, which appears where there are any, says
            how many calls they do not cover, and `estimated_calls` in how many they are estimated. Inside the
            breakdown unknown is null.

        """
        calls = self._all_calls  # one moment of a run that may go on
        total = aggregate(calls, make_query()).total
        return {
            "total_input_tokens": total.input_tokens or 0,
            "total_output_tokens": total.output_tokens or 0,
            "total_tokens": total.total_tokens or 0,
            "llm_calls_count": total.calls,
            "token_usage_breakdown": _by_chain(calls, _row_tokens, _marks(total)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything known of the run as plain JSON-able values: its facts, totals, and each call."""
        return {
            "run_id": self.run_id,
            "name": self.name,
            "session": self.session,
            "mode": self.mode,
            "status": self.status,
            "error_message": self.error_message,
            "started_at": self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "duration_ms": self.duration_ms,
            "total": {name: plain(value) for name, value in asdict(self.total).items() if name != "key"},
            "calls": [plain(asdict(call)) | {"tokens_per_second": call.tokens_per_second} for call in self.calls],
        }

    def _summary_line(self, row: BreakdownRow) -> str:
        chain = row.key["chain"]
        mine = [call for call in self.calls if call.chain == chain]
        succeeded = sum(call.status in ("ok", "cached") for call in mine)
        said = [counted(row.calls, "call"), _tokens(row), f"success rate {succeeded}/{row.calls}"]
        marks = ((row.cached_calls, "from a cache"), (row.estimated_calls, "with estimated tokens"))
        said += [f"{count:,} {what}" for count, what in marks if count]
        return f"  {clean(_shown(chain))}: {', '.join(said)}"


def _seconds(milliseconds: float | None) -> str:
    return UNKNOWN if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def _tokens(row: BreakdownRow) -> str:
    counts = (("input", row.input_tokens), ("output", row.output_tokens), ("total", row.total_tokens))
    return ", ".join(f"{UNKNOWN if count is None else f'{count:,}'} {name}" for name, count in counts)


def _shown(chain: str | int | None) -> str:
    return missing_label("chain") if chain is None else str(chain)


def _free_name(chain: str, taken: Container[str]) -> str:
    """A chain's name as a key; one that the response needs for itself gets an underscore."""
    while chain in taken:
        chain += "_"
    return chain


def _gaps(total: BreakdownRow) -> list[str]:
    gaps = []
    if total.estimated_calls:
        gaps.append(f"Estimated, not told by the provider: the tokens of {counted(total.estimated_calls, 'call')}")
    if total.calls_without_usage:
        gaps.append(f"Not covered by the tokens: {counted(total.calls_without_usage, 'call')} without complete usage")
    if total.unpriced_calls:
        gaps.append(f"Not covered by the cost: {counted(total.unpriced_calls, 'call')} without a price")
    return gaps


def _by_chain(
    calls: Sequence[Call],
    describe: Callable[[Sequence[Call]], dict[str, Any]],
    counts: dict[str, Any],
    reserved: Sequence[str] = (),
) -> dict[str, Any]:
    """Each call described in one place: with its chain, or, where it ran again, in the list of that chain's retries."""
    first: dict[str | None, list[Call]] = {}
    again: dict[str | None, list[dict[str, Any]]] = {}
    previous: dict[tuple[str | None, str | None], Call] = {}
    for call in calls:
        before = previous.get((call.chain, call.agent))
        if call.attempt > 1 or call.attempt_error is not None:
            error = call.attempt_error or (before.error_message if before is not None else None)
            entry = {"attempt": call.attempt, "error": error, "tokens": describe([call])}
            again.setdefault(call.chain, []).append(entry)
        else:
            first.setdefault(call.chain, []).append(call)
        previous[call.chain, call.agent] = call
    retries: dict[str, Any] = {}
    for chain, entries in again.items():
        retries[_free_name(f"{_shown(chain)}_retries", retries)] = entries
    named: dict[str, Any] = {}
    taken = {_MISSING, _ESTIMATED, *counts, *reserved}
    for chain, mine in first.items():
        named[_free_name(_shown(chain), {*taken, *retries, *named})] = describe(mine)
    return {**named, **retries, **counts}


def _response_tokens(calls: Sequence[Call]) -> dict[str, int | None]:
    total = aggregate(calls, make_query()).total
    return {
        "prompt_tokens": total.input_tokens,
        "completion_tokens": total.output_tokens,
        "total_tokens": total.total_tokens,
    }


def _response_costs(calls: Sequence[Call]) -> dict[str, Any]:
    cost = aggregate(calls, make_query()).total.cost_usd
    return {**_response_tokens(calls), "cost_usd": plain(cost)}


def _row_tokens(calls: Sequence[Call]) -> dict[str, Any]:
    total = aggregate(calls, make_query()).total
    succeeded = sum(call.status in ("ok", "cached") for call in calls)
    known = {
        name: plain(getattr(total, name)) for name in ("input_tokens", "output_tokens", "total_tokens", "cost_usd")
    }
    counts = {"calls": total.calls, "successful_calls": succeeded, "failed_calls": total.failed_calls}
    return {**counts, **known, "success_rate": f"{succeeded}/{total.calls}", **_marks(total)}


def _missing(total: BreakdownRow) -> dict[str, int]:
    return {_MISSING: total.calls_without_usage} if total.calls_without_usage else {}


def _marks(total: BreakdownRow) -> dict[str, int]:
    """What a sum does not cover, and what of it is not told but estimated."""
    estimated = {_ESTIMATED: total.estimated_calls} if total.estimated_calls else {}
    return {**estimated, **_missing(total)}
