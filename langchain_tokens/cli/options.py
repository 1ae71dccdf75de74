"""Which options do several commands share?"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ("Database", "Json", "Since", "Until", "filters")

Database = Annotated[
    str | None,
    typer.Option("--db", help="A path or URL; else $LANGCHAIN_TOKENS_URL, else langchain_tokens.db here."),
]
Json = Annotated[bool, typer.Option("--json", "-j", help="Print one JSON document.")]
Since = Annotated[str | None, typer.Option(help="From when on: 7d, 24h, 2026-11-01.")]
Until = Annotated[str | None, typer.Option(help="Until when: 2026-11-01.")]


def filters(**said: str | None) -> dict[str, str]:
    """The filters that were given."""
    return {name: value for name, value in said.items() if value is not None}
