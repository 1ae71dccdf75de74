"""Which models have no price, and how do they get one? `prices missing` and `prices set`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import Asked, Json, Prices, Shown
from langchain_tokens.cli.output import hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.store.unpriced import UnpricedModel

__all__ = ("MISSING_EXAMPLES", "SET_EXAMPLES", "missing", "set_price")

MISSING_EXAMPLES = """\b
Calls count whose usage is known; failed ones lack nothing that a price could supply.
Examples:
  langchain-tokens prices missing
  langchain-tokens prices missing --since 30d --json"""
SET_EXAMPLES = """\b
It is added at the file's end, whose comments and entries stay; of entries that say as much, the last one holds.
Costs that are stored stay as they are: langchain-tokens reprice writes those that are missing.
Examples:
  langchain-tokens prices set llama-3.1-8b-local --provider vllm --input 0 --output 0 --file prices.toml
  langchain-tokens prices set gpt-5 --provider openai --input 1.25 --output 10 --cache-read 0.125 --from 2026-11-01"""
_SHOWN = 20
_FILE = "prices.toml"

_TIMES = {"since": "first_call_at", "until": "last_call_at"}
"""Heading → field."""


def missing(*, prices: Prices = None, asked: Asked, shown: Shown) -> None:
    """List the models of stored calls that have no price. Each with the command that sets one."""
    from langchain_tokens.cli.opening import nothing_found, opened
    from langchain_tokens.query import make_query
    from langchain_tokens.store.unpriced import read_unpriced

    query = make_query((), asked.filters())
    with opened(asked.database) as store:
        with store._reading(is_long=True) as connection:
            found = read_unpriced(connection, query)
        is_empty = not found and not store.calls(limit=1, **asked.filters())
        known = _known(found, prices)
        if shown.json:
            rows = [{**asdict(each), "has_price_now": has} for each, has in zip(found, known, strict=True)]
            say_document(database=str(store.target), **asked.document(), models=rows)
        elif found:
            _say(found, asked, shown)
            for line in _remedies(found, known, prices):
                hint(line)
        elif not is_empty:
            say("no model of these calls is without a price")
        if is_empty:
            nothing_found(store, shown)


def _known(found: Sequence[UnpricedModel], prices: Path | None) -> list[bool]:
    """Of which models a price is known now; the catalogue is read only where there is something to look up."""
    if not found:
        return []
    from langchain_tokens import PriceBook, TokenUsage

    book, nothing = PriceBook(prices), TokenUsage(input_tokens=0, output_tokens=0)
    return [
        book.rates(each.model, each.provider, each.last_call_at) is not None
        or book.cost(nothing, model=each.model, provider=each.provider, at=each.last_call_at).status == "free"
        for each in found
    ]


def _say(found: Sequence[UnpricedModel], asked: Asked, shown: Shown) -> None:
    from langchain_tokens.cli.figures import count, moment
    from langchain_tokens.cli.sheets import Column
    from langchain_tokens.cli.tables import say_report
    from langchain_tokens.query import missing_label

    times = [[moment(getattr(each, name), asked.zone)[0] for each in found] for name in _TIMES.values()]
    columns = [
        Column(heading="model", cells=[each.model for each in found], is_text=True, least=18),
        Column(heading="provider", cells=[each.provider or missing_label("provider") for each in found], is_text=True),
        Column(heading="calls", cells=[count(each.calls) for each in found]),
        Column(heading="tokens", cells=[count(each.total_tokens) for each in found], goes=1),
        *(
            Column(heading=heading, cells=cells, goes=goes)
            for heading, cells, goes in zip(_TIMES, times, (2, 3), strict=True)
        ),
    ]
    say_report(f"Models without a price · {asked.title()}", columns, shown)


def _remedies(found: Sequence[UnpricedModel], known: Sequence[bool], prices: Path | None) -> list[str]:
    """What to do about each, as commands."""
    lines = [
        _command(each, prices) for each, has_price in list(zip(found, known, strict=True))[:_SHOWN] if not has_price
    ]
    said = [f"set it: {line}" for line in lines]
    if any(known):
        option = "" if prices is None else f" --prices {shlex.quote(str(prices))}"
        said.append(f"known by now, for {sum(known):,} of them: langchain-tokens reprice --write{option}")
    if len(found) > _SHOWN:
        said.append(f"and {len(found) - _SHOWN:,} more")
    return said


def _command(model: UnpricedModel, prices: Path | None) -> str:
    words = ["langchain-tokens", "prices", "set", model.model]
    words += [] if model.provider is None else ["--provider", model.provider]
    return f"{shlex.join(words)} --input … --output … --file {shlex.quote(str(prices or _FILE))}"


def set_price(
    *,
    model: Annotated[str, typer.Argument(help="The model's name, as calls have it.")],
    input_: Annotated[str, typer.Option("--input", metavar="USD", help="For one million tokens sent.")],
    output: Annotated[str, typer.Option("--output", metavar="USD", help="For one million tokens answered.")],
    cache_read: Annotated[
        str | None, typer.Option(metavar="USD", help="For one million read from the provider's cache; else as --input.")
    ] = None,
    cache_write: Annotated[
        str | None, typer.Option(metavar="USD", help="For one million written to it; else as --input.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Whose model; else anybody's.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="From when on, UTC; else at all times.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="The TOML file; else $LANGCHAIN_TOKENS_PRICES, or prices in pyproject.toml."),
    ] = None,
    json: Json = False,
) -> None:
    """Add a model's price to a file of own prices. US dollars; the file is made where there is none."""
    from langchain_tokens.cli.settings import setting
    from langchain_tokens.pricing.pricewriting import add_price

    named = str(file) if file is not None else setting("prices")
    if not named:
        raise typer.BadParameter("name the file of prices: --file prices.toml, or LANGCHAIN_TOKENS_PRICES")
    said = {"provider": provider, "model": model, "effective_from": _since(from_)}
    rates = {"input": input_, "output": output, "cache_read": cache_read, "cache_write": cache_write}
    row: dict[str, Any] = {name: value for name, value in {**said, **rates}.items() if value is not None}
    added = add_price(Path(named), row)
    winner = _winner(Path(named), row)
    if json:
        entry = {name: value if isinstance(value, str) else value.isoformat() for name, value in row.items()}
        say_document(file=named, entry=entry, is_used=winner is None)
    else:
        say(added.rstrip("\n"))
        hint(f"added to {named}")
    if winner is not None:
        hint(winner)
    if file is not None and setting("prices") != named:
        hint(f"handlers and commands go by it with LANGCHAIN_TOKENS_PRICES={shlex.quote(named)}")
    hint("calls that have no cost yet get one with: langchain-tokens reprice --write")


def _since(said: str | None) -> Any:
    from langchain_tokens.pricing.pricewriting import moment_value
    from langchain_tokens.query import parse_moment

    return None if said is None else moment_value(parse_moment(said, datetime.now(UTC), "from"))


def _winner(file: Path, row: dict[str, Any]) -> str | None:
    """What another entry of the file says of the model now, where that holds and not what was added."""
    from langchain_tokens import PriceBook
    from langchain_tokens.query import parse_moment

    now = datetime.now(UTC)
    since = row.get("effective_from")
    at = now if since is None else max(now, parse_moment(since, now, "from"))
    found = PriceBook(file).rates(row["model"], row.get("provider"), at)
    wanted = PriceBook([row]).rates(row["model"], row.get("provider"), at)
    if found is None or wanted is None or found.unit_prices == wanted.unit_prices:
        return None
    return "another entry of the file holds for it now: one with a provider, or of a later date"
