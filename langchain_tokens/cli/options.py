"""Which options do several commands share? Each by itself, and together as groups that a command takes as one argument.

A command names what it needs, `def report(*, asked: Asked, shown: Shown)`, and `with_groups(report)` has their options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from langchain_tokens.cli.completing import (
    complete_agents,
    complete_chains,
    complete_models,
    complete_modes,
    complete_providers,
    complete_sessions,
)
from langchain_tokens.cli.settings import setting
from langchain_tokens.errors import QueryError
from langchain_tokens.query import EQUALITY_FILTERS, Query, make_query

__all__ = (
    "Agent",
    "Asked",
    "Chain",
    "Database",
    "Json",
    "Model",
    "Prices",
    "Provider",
    "Session",
    "Shown",
    "Since",
    "TimeZone",
    "Until",
    "filters",
    "with_groups",
)


def _database(said: str | None) -> str | None:
    return setting("db") if said is None else said


def _zone(said: str | None) -> str | None:
    return setting("tz") if said is None else said


def _prices(said: Path | None) -> Path | None:
    found = setting("prices") if said is None else None
    return said if found is None else Path(found)


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="A path or URL; else $LANGCHAIN_TOKENS_URL, db in pyproject.toml, or langchain_tokens.db here.",
        callback=_database,
    ),
]
Json = Annotated[bool, typer.Option("--json", "-j", help="Print one JSON document.")]
Since = Annotated[str | None, typer.Option("--since", help="From when on: 7d, 24h, today, mtd, 2026-11-01.")]
Until = Annotated[str | None, typer.Option("--until", help="Until when, itself excluded: 2026-11-01.")]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--tz",
        "-z",
        help="Time zone, such as Asia/Kolkata; else $LANGCHAIN_TOKENS_TZ, tz in pyproject.toml, or UTC.",
        callback=_zone,
    ),
]
Session = Annotated[
    list[str] | None,
    typer.Option("--session", help="Only calls of this session; again: or of that.", autocompletion=complete_sessions),
]
RunId = Annotated[list[str] | None, typer.Option("--run", help="Only calls of this run.")]
Mode = Annotated[
    list[str] | None, typer.Option("--mode", help="Only calls of this mode.", autocompletion=complete_modes)
]
Agent = Annotated[
    list[str] | None, typer.Option("--agent", help="Only calls of this agent.", autocompletion=complete_agents)
]
Chain = Annotated[
    list[str] | None, typer.Option("--chain", help="Only calls of this chain.", autocompletion=complete_chains)
]
Model = Annotated[
    list[str] | None,
    typer.Option("--model", help="Only calls that this model served.", autocompletion=complete_models),
]
Provider = Annotated[
    list[str] | None,
    typer.Option("--provider", help="Only calls of this provider.", autocompletion=complete_providers),
]
User = Annotated[list[str] | None, typer.Option("--user", help="Only calls of this user.")]
Status = Annotated[
    list[str] | None, typer.Option("--status", help="Only calls that were ok, error, cancelled, cached.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="Only calls with this tag, KEY=VALUE.")]
Prices = Annotated[
    Path | None,
    typer.Option(
        help="A file of own prices; else $LANGCHAIN_TOKENS_PRICES, or prices in pyproject.toml.", callback=_prices
    ),
]
Wide = Annotated[bool, typer.Option("--wide", help="As wide as it is, whatever the terminal's width.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; so do $NO_COLOR and TERM=dumb.")]
FailEmpty = Annotated[bool, typer.Option("--fail-empty", help="Exit code 3 when no call matches.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which calls of which database a command is about."""

    database: Database = None
    since: Since = None
    until: Until = None
    tz: TimeZone = None
    session: Session = None
    run: RunId = None
    mode: Mode = None
    agent: Agent = None
    chain: Chain = None
    model: Model = None
    provider: Provider = None
    user: User = None
    status: Status = None
    tag: Tag = None

    def query(self) -> Query:
        """What is asked, checked, relative moments counted from now.

        Raises:
            QueryError: for a filter that cannot be one.

        """
        return make_query((), self.filters())

    def filters(self) -> dict[str, Any]:
        """The filters that were given, as the store's methods take them, checked.

        Raises:
            QueryError: for a filter that cannot be one.

        """
        named = {name: getattr(self, name) for name in EQUALITY_FILTERS}
        return filters(since=self.since, until=self.until, tz=self.tz, tags=_tags(self.tag or ()) or None, **named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a command's answer is shown."""

    json: Json = False
    wide: Wide = False
    no_color: NoColor = False
    fail_empty: FailEmpty = False


def filters(**said: Any) -> dict[str, Any]:
    """The filters that were given, checked: a wrong one is wrong whatever the database holds.

    Raises:
        QueryError: for a wrong one.

    """
    given = {name: value for name, value in said.items() if value is not None and value != []}
    make_query((), given)
    return given


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of its groups one by one, as the library of options wants them."""
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    groups: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}

    def run(**said: Any) -> None:
        for name, group in groups.items():
            said[name] = group(**{field.name: said.pop(field.name) for field in fields(group)})
        command(**said)

    options = [option for each in parameters for option in _options(each)]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # what `inspect` looks for
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """A parameter as it is, or those of a group."""
    if not is_dataclass(parameter.annotation):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(parameter.annotation, include_extras=True)
    for field in fields(parameter.annotation):
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])


def _tags(said: Sequence[str]) -> Mapping[str, list[str]]:
    """Tags by their keys; a key that is said again has one value or the other."""
    tags: dict[str, list[str]] = {}
    for text in said:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise QueryError(f"--tag {text!r} is no KEY=VALUE, such as variant=b")
        tags.setdefault(key, []).append(value)
    return tags
