"""Which names can follow `--agent` and the like? Those in the database, looked up while somebody types."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from langchain_tokens.errors import TokensError

__all__ = (
    "complete_agents",
    "complete_chains",
    "complete_models",
    "complete_modes",
    "complete_providers",
    "complete_sessions",
)


def complete_agents(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Agents."""
    return _names(context, "agent", incomplete)


def complete_chains(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Chains."""
    return _names(context, "chain", incomplete)


def complete_models(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Models."""
    return _names(context, "model", incomplete)


def complete_modes(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Modes."""
    return _names(context, "mode", incomplete)


def complete_providers(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Providers."""
    return _names(context, "provider", incomplete)


def complete_sessions(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Sessions."""
    return _names(context, "session", incomplete)


def _names(context: typer.Context, dimension: str, incomplete: str) -> Sequence[str]:
    """The names that begin so, those with the most tokens first; none where nothing can be looked up.

    An error has no place on a line that somebody is typing: the command itself will say it.
    """
    from langchain_tokens.cli.settings import setting
    from langchain_tokens.store.naming import names_like
    from langchain_tokens.store.target import parse_target

    try:
        target = parse_target(context.params.get("database") or setting("db"))
        found = names_like(target, dimension, incomplete)
    except TokensError:
        return ()
    return [name for name in found if name.isprintable()]
