"""What does a model cost, and which would be cheaper? Prices, looked up offline; `update` alone uses the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import Json, Prices, with_groups
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.cli.ownprices import MISSING_EXAMPLES, SET_EXAMPLES, missing, set_price

if TYPE_CHECKING:
    from langchain_tokens.pricing.offers import ModelRates, Price

__all__ = ("compare", "make_app", "show", "update")

Owner = Annotated[str | None, typer.Option(help="Whose model: openai, anthropic, google_genai …")]
SHOW_EXAMPLES = """\b
Examples:
  langchain-tokens prices show gpt-4o --provider openai
  langchain-tokens prices show o3 --provider openai --at 2025-06-01 --json"""
COMPARE_EXAMPLES = """\b
Examples:
  langchain-tokens prices compare 10000 1000 --provider openai
  langchain-tokens prices compare 10000 1000 --model gpt-4o --model claude-sonnet-4-5"""
UPDATE_EXAMPLES = """\b
Examples:
  langchain-tokens prices update"""


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(help="What models cost.", no_args_is_help=True, rich_markup_mode=None)
    app.command(epilog=SHOW_EXAMPLES)(show)
    app.command(epilog=COMPARE_EXAMPLES)(compare)
    app.command(epilog=UPDATE_EXAMPLES)(update)
    app.command(epilog=MISSING_EXAMPLES)(with_groups(missing))
    app.command("set", epilog=SET_EXAMPLES)(set_price)
    return app


def show(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    provider: Owner = None,
    at: Annotated[str | None, typer.Option(help="When: a date such as 2026-11-01; else now.")] = None,
    prices: Prices = None,
    json: Json = False,  # an option
) -> None:
    """Show a model's rates. US dollars for one million tokens (mtok), or for one thousand (kcount)."""
    from langchain_tokens import PriceBook, TokenUsage
    from langchain_tokens.cli.names import near_models
    from langchain_tokens.errors import PriceError
    from langchain_tokens.query import parse_moment

    book = PriceBook(prices)
    moment = None if at is None else parse_moment(at, datetime.now(UTC), "at")
    found = book.rates(model, provider, moment)
    if found is not None:
        _show_rates(found, as_json=json)
        return
    price = book.cost(TokenUsage(input_tokens=0, output_tokens=0), model=model, provider=provider, at=moment)
    if price.status != "free":
        raise PriceError(near_models(book, model, provider))
    _show_free(price, as_json=json)


def compare(
    input_tokens: Annotated[int, typer.Argument(min=0, help="Tokens sent.")],
    output_tokens: Annotated[int, typer.Argument(min=0, help="Tokens answered.")],
    provider: Owner = None,
    model: Annotated[
        list[str] | None, typer.Option(help="One of the models; else all that the provider serves.")
    ] = None,
    prices: Prices = None,
    json: Json = False,  # an option
) -> None:
    """Compare what models cost for a usage. Cheapest first; an estimate, since each model counts its own way."""
    from langchain_tokens import PriceBook, TokenUsage
    from langchain_tokens.cli.names import near_models
    from langchain_tokens.errors import PriceError

    if not model and provider is None:
        raise typer.BadParameter("name models (--model, once for each) or a provider (--provider)")
    usage = TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens)
    book = PriceBook(prices)
    found = book.ranking(usage, model or None, provider=provider)
    unknown = [name for name in model or () if book.cost(usage, model=name, provider=provider).total_usd is None]
    if not found:
        raise PriceError(
            near_models(book, unknown[0], provider) if unknown else f"no model of {provider!r} is in the catalogue"
        )
    if json:
        said = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        say_document(**said, rows=[_row(price) for price in found], unpriced_models=unknown)
    else:
        say(_ranking(found))
    for name in unknown:
        hint(near_models(book, name, provider))


def update(
    url: Annotated[str | None, typer.Option(help="Where from; else the catalogue's own place.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for all of it.")] = 10,
    json: Json = False,  # an option
) -> None:
    """Fetch the newest prices. The one command that uses the network; they are kept for this user's programs."""
    from langchain_tokens import PriceBook
    from langchain_tokens.pricing.kept import kept_file

    version = PriceBook().update(url, timeout)
    if json:
        say_document(version=version, file=str(kept_file()))
        return
    say(version)
    hint(f"kept in {kept_file()}, until the library of the catalogue is updated")


def _show_rates(found: ModelRates, *, as_json: bool) -> None:
    if as_json:
        tiers = [{"above_input_tokens": above, "unit_prices": rates} for above, rates in found.tiers]
        said = {"provider": found.provider, "model": found.model, "source": found.source, "version": found.version}
        say_document(**said, unit_prices=found.unit_prices, tiers=tiers, flags=found.flags)
        return
    lines = [f"{found.provider}/{found.model}  ({found.source} {found.version})", *_lines(found.unit_prices)]
    for above, rates in found.tiers:
        lines += [f"  above {above:,} input tokens:", *_lines(rates)]
    lines += [f"  {', '.join(found.flags)}"] if found.flags else []
    lines += [] if found.unit_prices else ["  free"]
    say("\n".join(lines))


def _show_free(price: Price, *, as_json: bool) -> None:
    if as_json:
        said = {"provider": price.provider, "model": price.model, "source": price.source, "version": price.version}
        say_document(**said, unit_prices={}, tiers=[], flags=price.flags)
        return
    say(f"{price.provider}/{price.model}  ({price.source})\n  free")


def _lines(rates: Mapping[str, str]) -> list[str]:
    return [f"  {name:<28}{rate:>14}" for name, rate in rates.items()]


def _ranking(found: Sequence[Price]) -> str:
    from langchain_tokens.render import Table, text_table

    totals = [price.total_usd.normalize() for price in found if price.total_usd is not None]
    places = max(2, *(-int(total.as_tuple().exponent) for total in totals))
    names = [f"{price.provider or '(any)'}/{price.model}" for price in found]
    rows = [(name, f"{total:,.{places}f}") for name, total in zip(names, totals, strict=True)]
    return text_table(Table(headings=("model", "cost USD"), rows=tuple(rows), names=1))


def _row(price: Price) -> dict[str, Any]:
    money = ("total_usd", "input_usd", "output_usd", "other_usd")
    names = ("provider", "model", *money, "status", "source", "version", "flags")
    return {name: getattr(price, name) for name in names}
