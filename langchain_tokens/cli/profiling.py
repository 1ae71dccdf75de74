"""Where does it go, and what can be saved? `profile`, `inputs` and `findings`."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import (
    Agent,
    Chain,
    Database,
    Json,
    Model,
    Prices,
    Provider,
    Session,
    Since,
    Until,
    filters,
)
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.errors import TokensError

if TYPE_CHECKING:
    from langchain_tokens.reports.profiling import Profile

__all__ = ("FINDINGS_EXAMPLES", "INPUTS_EXAMPLES", "PROFILE_EXAMPLES", "findings", "inputs", "profile")

PROFILE_EXAMPLES = """\b
Examples:
  langchain-tokens profile --since 7d
  langchain-tokens profile --format speedscope -o profile.speedscope.json
  langchain-tokens profile --format folded --measure cost | flamegraph.pl > cost.svg"""
INPUTS_EXAMPLES = """\b
Examples:
  langchain-tokens inputs
  langchain-tokens inputs --by chain --since 7d"""
FINDINGS_EXAMPLES = """\b
Examples:
  langchain-tokens findings
  langchain-tokens findings --since 7d --agent sql_agent --json"""
_USUAL_RANGE = "30d"


class Format(StrEnum):
    """How a profile is written."""

    TEXT = "text"
    FOLDED = "folded"
    SPEEDSCOPE = "speedscope"
    JSON = "json"


def profile(
    database: Database = None,
    since: Since = None,
    until: Until = None,
    run: Annotated[str | None, typer.Option(help="Only calls of this run.")] = None,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.TEXT,
    measure: Annotated[
        str,
        typer.Option(help="What folded stacks weigh: total_tokens, input_tokens, cost, calls, duration …"),
    ] = "total_tokens",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write; else stdout.")] = None,
    json: Json = False,  # an option
) -> None:
    """Show where tokens and money go, as a profiler would: at each place along the path, its own and with all below."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.reports.profiling import profile as profile_of

    chosen: dict[str, Any] = dict(
        filters(
            since=since,
            until=until,
            run=run,
            session=session,
            agent=agent,
            chain=chain,
            model=model,
            provider=provider,
        )
    )
    with opened(database) as store:
        found = profile_of(store, **chosen)
        nothing = None if found.root.subtree.calls else why_nothing(store)
    form = Format.JSON if json else form
    if nothing is None or form is not Format.TEXT:
        _give(found, form, measure, output)
    if nothing:
        hint(nothing)


def _give(found: Profile, form: Format, measure: str, output: Path | None) -> None:
    if form is Format.JSON and output is None:
        say_document(root=found.to_dict())
        return
    text = _written(found, form, measure)
    if output is None:
        say(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise TokensError(f"{output} could not be written: {error.strerror or error}") from error
    hint(f"written to {output}")


def _written(found: Profile, form: Format, measure: str) -> str:
    if form is Format.FOLDED:
        return found.to_folded(measure).removesuffix("\n")
    if form is Format.SPEEDSCOPE:
        return json_module.dumps(found.to_speedscope(), allow_nan=False)
    if form is Format.JSON:
        return json_module.dumps(found.to_dict(), indent=2, allow_nan=False)
    return str(found)


def inputs(
    database: Database = None,
    by: Annotated[str, typer.Option(help="Of whom: agent, chain, model, path, tag:KEY …")] = "agent",
    since: Since = None,
    until: Until = None,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    json: Json = False,  # an option
) -> None:
    """Show what fills the inputs of calls that were inspected; by default of 30 days."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.reports.inputs import input_shares

    chosen = _in_usual_range(
        since=since, until=until, session=session, agent=agent, chain=chain, model=model, provider=provider
    )
    with opened(database) as store:
        found = input_shares(store, by, **chosen)
        nothing = None if found.total.calls else why_nothing(store)
    if json:
        say_document(**found.to_dict())
    elif nothing is None:
        say(str(found))
    if nothing:
        hint(nothing)


def findings(
    database: Database = None,
    since: Since = None,
    until: Until = None,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    prices: Prices = None,
    json: Json = False,  # an option
) -> None:
    """Say what was spent in vain and what could be saved, with the line that mends it; by default of 30 days."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.reports.waste import findings as findings_in

    chosen = _in_usual_range(
        since=since, until=until, session=session, agent=agent, chain=chain, model=model, provider=provider
    )
    with opened(database) as store:
        found = findings_in(store, prices=PriceBook(prices), **chosen)
        nothing = None if found.calls else why_nothing(store)
    if json:
        say_document(**found.to_dict())
    elif nothing is None:
        say(str(found))
    if nothing:
        hint(nothing)


def _in_usual_range(**said: str | None) -> dict[str, Any]:
    if said["since"] is None and said["until"] is None:
        said["since"] = _USUAL_RANGE
    return dict(filters(**said))
