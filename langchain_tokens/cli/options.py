"""Which options do several commands share? Each by itself, and together as groups that a command takes as one argument.

A command names what it needs, `def report(*, asked: Asked, shown: Shown)`, and `with_groups(report)` has their options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

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
from langchain_tokens.query import EQUALITY_FILTERS, make_query
from langchain_tokens.zones import parse_zone, zone_name

__all__ = (
    "Asked",
    "Database",
    "FailEmpty",
    "Json",
    "Limit",
    "NoColor",
    "Prices",
    "Shown",
    "TimeZone",
    "Wide",
    "Without",
    "filters",
    "tags_of",
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
        metavar="PATH|URL",
        help="A path or URL; else $LANGCHAIN_TOKENS_URL, db in pyproject.toml, or langchain_tokens.db here.",
        callback=_database,
    ),
]
Json = Annotated[bool, typer.Option("--json", "-j", help="Print one JSON document.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="From when on: 7d, 24h, today, mtd, 2026-11-01.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Until when, itself excluded: 2026-11-01.")]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--tz",
        "-z",
        metavar="ZONE",
        help="Time zone, such as Asia/Kolkata; else $LANGCHAIN_TOKENS_TZ, tz in pyproject.toml, or UTC.",
        callback=_zone,
    ),
]
Session = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        metavar="NAME",
        help="Only calls of this session; again: or of that.",
        autocompletion=complete_sessions,
    ),
]
RunId = Annotated[list[str] | None, typer.Option("--run", metavar="ID", help="Only calls of this run.")]
Mode = Annotated[
    list[str] | None,
    typer.Option("--mode", metavar="NAME", help="Only calls of this mode.", autocompletion=complete_modes),
]
Agent = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="NAME", help="Only calls of this agent.", autocompletion=complete_agents),
]
Chain = Annotated[
    list[str] | None,
    typer.Option("--chain", metavar="NAME", help="Only calls of this chain.", autocompletion=complete_chains),
]
Model = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="Only calls that this model served.", autocompletion=complete_models),
]
Provider = Annotated[
    list[str] | None,
    typer.Option("--provider", metavar="NAME", help="Only calls of this provider.", autocompletion=complete_providers),
]
User = Annotated[list[str] | None, typer.Option("--user", metavar="NAME", help="Only calls of this user.")]
Status = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only calls that were ok, error, cancelled, cached."),
]
Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Only calls with this tag.")]
Prices = Annotated[
    Path | None,
    typer.Option(
        help="A file of own prices; else $LANGCHAIN_TOKENS_PRICES, or prices in pyproject.toml.", callback=_prices
    ),
]
Wide = Annotated[bool, typer.Option("--wide", help="As wide as it is, whatever the terminal's width.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; so do $NO_COLOR and TERM=dumb.")]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=0, help="The most rows; 0 for all.")]
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

    @property
    def zone(self) -> tzinfo:
        """The time zone in which moments are said and shown.

        Raises:
            QueryError: for one that there is not.

        """
        return parse_zone(self.tz or "UTC")

    def names(self) -> dict[str, Any]:
        """The filters that are no range."""
        named = {name: getattr(self, name) for name in EQUALITY_FILTERS}
        return {name: value for name, value in {**named, "tags": tags_of(self.tag or ())}.items() if value}

    def within(self, since: str) -> Asked:
        """The same, from a moment on where neither end of the range is said."""
        return replace(self, since=since) if self.since is None and self.until is None else self

    def filters(self) -> dict[str, Any]:
        """The filters that were given, as the store's methods take them, checked; moments are counted from now.

        Raises:
            QueryError: for a filter that cannot be one.

        """
        given = filters(since=self.since, until=self.until, tz=self.tz, **self.names())
        query = make_query((), given)
        moments = {"since": query.since, "until": query.until}
        return given | {name: moment for name, moment in moments.items() if moment is not None}

    def title(self) -> str:
        """What is asked, for people: range, time zone, filters."""
        given = self.filters()
        parts = [
            f"{name} {given[name].astimezone(self.zone):%Y-%m-%d %H:%M}" for name in ("since", "until") if name in given
        ]
        return " · ".join([*([*parts, *self.named()] or ["all time"]), zone_name(self.zone)])

    def named(self) -> list[str]:
        """The filters that are no range, for people."""
        named = {**self.names(), **{f"tag:{key}": values for key, values in self.names().get("tags", {}).items()}}
        return [f"{name}={','.join(values)}" for name, values in named.items() if name != "tags"]

    def document(self) -> dict[str, Any]:
        """What is asked, for JSON."""
        given = self.filters()
        return {
            "since": given.get("since"),
            "until": given.get("until"),
            "tz": zone_name(self.zone),
            "filters": self.names(),
        }


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """Which options of a group a command does not take: `asked: Annotated[Asked, Without(names=("tz",))]`."""

    names: tuple[str, ...]


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of its groups one by one, as the library of options wants them."""
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    groups = {each.name: group for each in parameters if (group := _group(each.annotation)) is not None}

    def run(**said: Any) -> None:
        for name, group in groups.items():
            said[name] = group.kind(**{option.name: said.pop(option.name) for option in _members(group)})
        command(**said)

    own = inspect.Parameter.KEYWORD_ONLY
    options = [
        option
        for each in parameters
        for option in (_members(groups[each.name]) if each.name in groups else [each.replace(kind=own)])
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # what `inspect` looks for
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


class _Group(NamedTuple):
    """A group of options, and which of them a command does not take."""

    kind: Any
    left_out: tuple[str, ...] = ()


def _group(annotation: Any) -> _Group | None:
    """The group that a parameter is; None for a plain option."""
    kind, *said = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not is_dataclass(kind):
        return None
    return _Group(kind, tuple(name for each in said if isinstance(each, Without) for name in each.names))


@cache
def _members(group: _Group) -> Sequence[inspect.Parameter]:
    """The options of a group that a command takes."""
    hints, own = get_type_hints(group.kind, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(each.name, own, default=each.default, annotation=hints[each.name])
        for each in fields(group.kind)
        if each.name not in group.left_out
    ]


def tags_of(said: Sequence[str]) -> Mapping[str, list[str]]:
    """Tags by their keys; a key that is said again has one value or the other.

    Raises:
        QueryError: for one that is not `KEY=VALUE`.

    """
    tags: dict[str, list[str]] = {}
    for text in said:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise QueryError(f"--tag {text!r} is no KEY=VALUE, such as variant=b")
        tags.setdefault(key, []).append(value)
    return tags
