"""What does a model cost, and which would be cheaper? Prices, looked up offline; `update` alone uses the network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from langchain_tokens.pricing.offers import Price

__all__ = ("compare", "make_app", "show", "update")

Provider = Annotated[str | None, typer.Option(help="Whose model: openai, anthropic, google_genai …")]
Prices = Annotated[Path | None, typer.Option(help="A file of own prices; else $LANGCHAIN_TOKENS_PRICES.")]


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(help="What models cost.", no_args_is_help=True)
    app.command()(show)
    app.command()(compare)
    app.command()(update)
    return app


def show(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    provider: Provider = None,
    at: Annotated[str | None, typer.Option(help="When: a date such as 2026-11-01; else now.")] = None,
    prices: Prices = None,
) -> None:
    """Show a model's rates: USD for one million tokens."""
    from langchain_tokens import PriceBook
    from langchain_tokens.query import parse_moment

    found = PriceBook(prices).rates(model, provider, None if at is None else parse_moment(at, datetime.now(UTC), "at"))
    if found is None:
        typer.echo(f"no price is known for {model!r}{'' if provider is None else f' of {provider!r}'}")
        raise typer.Exit(1)
    typer.echo(f"{found.provider}/{found.model}  ({found.source} {found.version})")
    for name, rate in found.unit_prices.items():
        typer.echo(f"  {name:<28}{rate:>14}")
    for above, rates in found.tiers:
        typer.echo(f"  above {above:,} input tokens:")
        for name, rate in rates.items():
            typer.echo(f"  {name:<28}{rate:>14}")
    if found.flags:
        typer.echo(f"  {', '.join(found.flags)}")


def compare(
    input_tokens: Annotated[int, typer.Argument(help="Tokens sent.")],
    output_tokens: Annotated[int, typer.Argument(help="Tokens answered.")],
    provider: Provider = None,
    model: Annotated[list[str] | None, typer.Option(help="One of the models; else all of the provider.")] = None,
    prices: Prices = None,
) -> None:
    """Show what the same usage costs with several models, cheapest first."""
    from langchain_tokens import PriceBook, TokenUsage

    usage = TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens)
    found = PriceBook(prices).ranking(usage, model, provider=provider)
    for line in _lines(found):
        typer.echo(line)
    if not found:
        typer.echo("no price is known for any of them")
        raise typer.Exit(1)


def update(
    url: Annotated[str | None, typer.Option(help="Where from; else the catalogue's own place.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for all of it.")] = 10,
) -> None:
    """Fetch the newest prices, the only thing here that uses the network, and keep them for this user's programs."""
    from langchain_tokens import PriceBook

    typer.echo(f"prices: {PriceBook().update(url, timeout)}")


def _lines(found: Sequence[Price]) -> list[str]:
    return [f"{price.provider or ''}/{price.model:<44}{price.total_usd:>18.12f} USD" for price in found]
