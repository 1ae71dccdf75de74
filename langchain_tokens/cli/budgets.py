"""How much is left? `budget list`, `check` and `release`; budgets come from a file, what is spent from the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from langchain_tokens.cli.options import Database, Json, Shown, TimeZone, with_groups
from langchain_tokens.cli.output import NOTHING_MATCHED, hint, say, say_document
from langchain_tokens.cli.settings import setting
from langchain_tokens.cli.sheets import Column
from langchain_tokens.cli.tables import say_report
from langchain_tokens.cli.terminal import look
from langchain_tokens.errors import BudgetError
from langchain_tokens.render import counted
from langchain_tokens.zones import parse_zone, zone_name

if TYPE_CHECKING:
    from langchain_tokens.budgetstates import BudgetState

__all__ = ("check", "make_app", "release", "show")


def _file(said: Path | None) -> Path | None:
    found = setting("budgets") if said is None else None
    return said if found is None else Path(found)


File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Budgets as TOML; else $LANGCHAIN_TOKENS_BUDGETS, or budgets in pyproject.toml.",
        callback=_file,
    ),
]
Accounts = Annotated[int, typer.Option("-n", "--limit", metavar="N", help="The most accounts of each budget.", min=1)]
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
_LEAST = 14
"""Characters of an account that tell it apart."""
_MOST = 1_000


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(help="What budgets have left.", no_args_is_help=True, rich_markup_mode=None)
    app.command("list", epilog=EXAMPLES)(with_groups(show))
    app.command("check", epilog=CHECK_EXAMPLES)(with_groups(check))
    app.command("release", epilog=RELEASE_EXAMPLES)(release)
    return app


def show(
    *, file: File = None, limit: Accounts = 10, database: Database = None, tz: TimeZone = None, shown: Shown
) -> None:
    """Show what budgets have spent and left. "At this rate" goes on as since the period's begin; it is no forecast."""
    zone = parse_zone(tz or "UTC")
    states, place = _states(database, file, limit)
    if shown.json:
        say_document(budgets=[state.to_dict() for state in states])
    elif states:
        _say(states, f"Budgets of {place}", zone, shown)
    if not states:
        _no_accounts(place, shown)


def check(*, file: File = None, database: Database = None, tz: TimeZone = None, shown: Shown) -> None:
    """Check that no limit is reached; says which are."""
    zone = parse_zone(tz or "UTC")
    states, place = _states(database, file, _MOST)
    exceeded = [state for state in states if state.is_exceeded]
    if shown.json:
        say_document(is_exceeded=bool(exceeded), exceeded=[state.to_dict() for state in exceeded])
    elif exceeded:
        _say(exceeded, f"Limits of {place} that are reached", zone, shown)
    elif states:
        say("1 account, within its limit" if len(states) == 1 else f"{len(states):,} accounts, all within their limits")
    if exceeded:
        raise typer.Exit(_EXCEEDED)
    if not states:
        _no_accounts(place, shown)


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


def _states(database: str | None, file: Path | None, limit: int) -> tuple[Sequence[BudgetState], Path]:
    """What the budgets hold, and where they were found.

    Raises:
        BudgetError: when they cannot be read, or there are none.

    """
    from langchain_tokens.budgets import Budget
    from langchain_tokens.budgetstates import budget_states
    from langchain_tokens.cli.opening import opened

    if file is None:
        raise BudgetError(
            "there are no budgets to look at: name a file with tables [[budget]], by --file,"
            " $LANGCHAIN_TOKENS_BUDGETS, or budgets in pyproject.toml"
        )
    budgets = Budget.load(file)
    with opened(database) as store:
        return budget_states(store, budgets, limit=limit), file


def _no_accounts(place: Path, shown: Shown) -> NoReturn:
    """Say that nobody has used the budgets yet, and end the command."""
    hint(f"the budgets of {place} have no accounts yet: no call counts in them")
    raise typer.Exit(NOTHING_MATCHED if shown.fail_empty else 0)


def _say(states: Sequence[BudgetState], title: str, zone: tzinfo, shown: Shown) -> None:
    uncovered = sum(state.uncovered_calls for state in states)
    notes = [f"{counted(uncovered, 'call')} without a price or usage: not in what is spent"] if uncovered else []
    can_draw = look(wide=shown.wide, no_color=shown.no_color).can_draw
    say_report(f"{title} · {zone_name(zone)}", _columns(states, zone, can_draw=can_draw), shown, notes=notes)


def _columns(states: Sequence[BudgetState], zone: tzinfo, *, can_draw: bool) -> list[Column]:
    from langchain_tokens.budgetchecks import shown

    amounts = {
        name: [shown(state.unit, getattr(state, name)) for state in states] for name in ("spent", "reserved", "limit")
    }
    is_over = ["red" if state.is_exceeded else "" for state in states]
    return [
        Column(heading="budget", cells=[str(state.budget.name) for state in states], is_text=True),
        Column(heading="account", cells=[state.label for state in states], is_text=True, least=_LEAST),
        Column(heading="used", cells=[_bar(state.share, can_draw=can_draw) for state in states], is_left=True, goes=6),
        Column(heading="spent", cells=amounts["spent"], goes=1),
        Column(heading="reserved", cells=amounts["reserved"], goes=5),
        Column(heading="limit", cells=amounts["limit"], goes=2),
        Column(heading="%", cells=[f"{state.share:.0%}" for state in states], styles=is_over),
        Column(heading="stopped", cells=[f"{state.stopped_calls:,}" for state in states], goes=4),
        Column(heading="at this rate", cells=[_rate(state, zone) for state in states], goes=3, styles=is_over),
    ]


def _bar(share: float, *, can_draw: bool) -> str:
    """How much of the limit is spent; a limit that is passed is a full one."""
    filled = min(_BAR, int(share * _BAR))
    full, empty = ("█", "░") if can_draw else ("#", ".")
    return full * filled + empty * (_BAR - filled)


def _rate(state: BudgetState, zone: tzinfo) -> str:
    from langchain_tokens.budgetchecks import shown
    from langchain_tokens.render import UNKNOWN

    if state.is_exceeded:
        return "over"
    if state.reached_at is not None:
        return f"reached {state.reached_at.astimezone(zone):%m-%d %H:%M}"
    if state.projected is None:
        return UNKNOWN
    amount = state.projected
    if isinstance(amount, Decimal) and amount >= 1:
        amount = amount.quantize(Decimal("0.01"))
    return f"ends at {shown(state.unit, amount)}"
