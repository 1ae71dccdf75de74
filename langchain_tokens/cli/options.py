"""Which options do several commands share?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_tokens.query import make_query

__all__ = (
    "Agent",
    "Chain",
    "Database",
    "Json",
    "Model",
    "Prices",
    "Provider",
    "Session",
    "Since",
    "Until",
    "filters",
)

Database = Annotated[
    str | None,
    typer.Option("--db", help="A path or URL; else $LANGCHAIN_TOKENS_URL, else langchain_tokens.db here."),
]
Json = Annotated[bool, typer.Option("--json", "-j", help="Print one JSON document.")]
Since = Annotated[str | None, typer.Option(help="From when on: 7d, 24h, today, 2026-11-01.")]
Until = Annotated[str | None, typer.Option(help="Until when, itself excluded: 2026-11-01.")]
Session = Annotated[str | None, typer.Option(help="Only calls of this session.")]
Agent = Annotated[str | None, typer.Option(help="Only calls of this agent.")]
Chain = Annotated[str | None, typer.Option(help="Only calls of this chain.")]
Model = Annotated[str | None, typer.Option(help="Only calls that this model served.")]
Provider = Annotated[str | None, typer.Option(help="Only calls of this provider.")]
Prices = Annotated[Path | None, typer.Option(help="A file of own prices; else $LANGCHAIN_TOKENS_PRICES.")]


def filters(**said: str | None) -> dict[str, str]:
    """The filters that were given, checked: a wrong one is wrong whatever the database holds.

    Raises:
        QueryError: for a wrong one.

    """
    given = {name: value for name, value in said.items() if value is not None}
    make_query((), given)
    return given
