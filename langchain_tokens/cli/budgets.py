"""How much is left? `budget list`, `check` and `release`; budgets come from a file, what is spent from the store."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.budgets import Budget
    from langchain_tokens.budgetstates import BudgetState

__all__ = ("check", "make_app", "release", "show")

File = Annotated[
    Path | None,
    typer.Option("--file", help="Budgets as TOML; else $LANGCHAIN_TOKENS_BUDGETS, else pyproject.toml here."),
]
Limit = Annotated[int, typer.Option("-n", "--limit", help="The most accounts of each budget.", min=1)]
EXAMPLES = """\b
Examples:
  langchain-tokens budget list --file budgets.toml
  langchain-tokens budget list --json -n 100"""
CHECK_EXAMPLES = """\b
Exit codes: 0 all within their limits, 4 a limit is reached.
Examples:
  langchain-tokens budget check --file budgets.toml || echo "stop the nightly job\""""
RELEASE_EXAMPLES = """\b
Examples:
  langchain-tokens budget release
  langchain-tokens budget release --all"""
_EXCEEDED = 4
_BAR = 12
_MOST = 1_000


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(help="What budgets have left.", no_args_is_help=True, rich_markup_mode=None)
    app.command("list", epilog=EXAMPLES)(show)
    app.command(epilog=CHECK_EXAMPLES)(check)
    app.command(epilog=RELEASE_EXAMPLES)(release)
    return app


def show(
    database: Database = None,
    file: File = None,
    limit: Limit = 10,
    json: Json = False,  # an option
) -> None:
    """Show what budgets have spent and left. "At this rate" goes on as since the period's begin; it is no forecast."""
    states = _states(database, file, limit)
    if json:
        say_document(budgets=[state.to_dict() for state in states])
        return
    say(_table(states))


def check(
    database: Database = None,
    file: File = None,
    json: Json = False,
) -> None:
    """Check that no limit is reached; says which are."""
    states = _states(database, file, _MOST)
    exceeded = [state for state in states if state.is_exceeded]
    if json:
        say_document(is_exceeded=bool(exceeded), exceeded=[state.to_dict() for state in exceeded])
    elif exceeded:
        say(_table(exceeded))
    else:
        say(f"{len(states):,} accounts, all within their limits")
    if exceeded:
        raise typer.Exit(_EXCEEDED)


def release(
    database: Database = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also of calls that may go on: they then count only when they end.")
    ] = False,
    json: Json = False,
) -> None:
    """Let go what is reserved for calls whose processes renew it no more, as a later call would do by itself."""
    from langchain_tokens.cli.opening import opened
    from langchain_tokens.store.budgetreading import read_reservations
    from langchain_tokens.store.engine import writing
    from langchain_tokens.store.ledger import release as let_go

    with opened(database) as store, writing(store._engine(), store.target) as connection:
        found = read_reservations(connection)
        chosen = [row for row in found if everything or row["has_lapsed"]]
        gone = let_go(connection, [row["call_id"] for row in chosen])
    if json:
        names = ("call_id", "process", "chain_name", "agent_name", "started_at", "expires_at", "has_lapsed")
        kept = [{name: row[name] for name in names} for row in found if row not in chosen]
        say_document(released=gone, kept=kept)
        return
    say(f"{gone:,} of {len(found):,} reservations released")


def budgets_of(file: Path | None) -> tuple[Sequence[Budget], str]:
    """The budgets that are meant, and where they were found.

    Raises:
        BudgetError: when they cannot be read, or there are none.

    """
    import os

    from langchain_tokens.budgetfile import VARIABLE
    from langchain_tokens.budgets import Budget
    from langchain_tokens.errors import BudgetError

    if file is not None:
        return Budget.load(file), str(file)
    if os.environ.get(VARIABLE):
        return Budget.load(), VARIABLE
    project = Path("pyproject.toml")
    found = _project_budgets(project)
    if found:
        return found, str(project)
    raise BudgetError(
        f"there are no budgets to look at: name a file with --file or ${VARIABLE}, with tables [[budget]]"
    )


def _project_budgets(project: Path) -> Sequence[Budget]:
    """Those of `[[tool.langchain_tokens.budgets]]` in the project's own file, or of the file that `budgets` names."""
    from langchain_tokens.budgetfile import read_budgets
    from langchain_tokens.budgets import Budget
    from langchain_tokens.errors import BudgetError

    try:
        said: Any = tomllib.loads(project.read_text(encoding="utf-8"))
        tables = said.get("tool", {}).get("langchain_tokens", {}).get("budgets", ())
    except (OSError, ValueError, AttributeError):
        return ()
    if isinstance(tables, str):
        return Budget.load(tables)
    if not isinstance(tables, list) and tables:
        raise BudgetError(f"{project}: tool.langchain_tokens.budgets is no list of tables and no file's name")
    return read_budgets(Budget, list(tables), str(project))


def _states(database: str | None, file: Path | None, limit: int) -> Sequence[BudgetState]:
    from langchain_tokens.budgetstates import budget_states
    from langchain_tokens.cli.opening import opened

    budgets, place = budgets_of(file)
    with opened(database) as store:
        states = budget_states(store, budgets, limit=limit)
    if not states:
        hint(f"the budgets in {place} have no accounts yet: no call counts in them")
    return states


def _table(states: Sequence[BudgetState]) -> str:
    from langchain_tokens.render import Table, text_table

    rows = tuple(_row(state) for state in states)
    uncovered = sum(state.uncovered_calls for state in states)
    notes = (f"{uncovered:,} calls count nothing: no price or no usage is known of them",) if uncovered else ()
    headings = ("budget", "account", "used", "spent", "reserved", "limit", "%", "stopped", "at this rate")
    return text_table(Table(headings=headings, rows=rows, names=3, notes=notes))


def _row(state: BudgetState) -> tuple[str, ...]:
    from langchain_tokens.budgetchecks import shown

    filled = min(_BAR, int(state.share * _BAR))
    return (
        str(state.budget.name),
        state.label,
        "█" * filled + "░" * (_BAR - filled),
        shown(state.unit, state.spent),
        shown(state.unit, state.reserved),
        shown(state.unit, state.limit),
        f"{state.share:.0%}",
        f"{state.stopped_calls:,}",
        _rate(state),
    )


def _rate(state: BudgetState) -> str:
    from langchain_tokens.budgetchecks import shown
    from langchain_tokens.render import UNKNOWN

    if state.is_exceeded:
        return "over"
    if state.reached_at is not None:
        when = state.reached_at.astimezone(UTC)
        return f"reached {when:%H:%M} UTC" if when.date() == datetime.now(UTC).date() else f"reached {when:%m-%d}"
    if state.projected is None:
        return UNKNOWN
    amount = state.projected
    if isinstance(amount, Decimal) and amount >= 1:
        amount = amount.quantize(Decimal("0.01"))
    return f"ends at {shown(state.unit, amount)}"
