"""Which models can no longer be had of their provider, or never could? What they cost is another matter.

The catalogue lists many of them as if they were served, since it has prices for calls of long ago. The shipped rows are
those of `data/withdrawn.toml`; they keep a model out of recommendations, and change no price.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

__all__ = ("Withdrawal", "is_offered", "shipped_withdrawals")


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Models that a provider does not serve."""

    identity: str
    provider: str
    """The catalogue's name."""
    models: tuple[str, ...]
    """Names as the catalogue has them, in small letters; `*` stands for anything."""
    since: datetime | None
    """From when on (UTC); None where it never did."""

    def holds(self, provider: str, model: str, at: datetime) -> bool:
        """Whether it is about a model at a moment (aware)."""
        if provider != self.provider or (self.since is not None and self.since > at):
            return False
        return any(fnmatchcase(model.lower(), name) for name in self.models)


def is_offered(withdrawals: Iterable[Withdrawal], provider: str, model: str, at: datetime) -> bool:
    """Whether a model can be had at a moment, as far as is known.

    Args:
        withdrawals: what is known.
        provider: the catalogue's name.
        model: the catalogue's name.
        at: an aware time.

    """
    return not any(withdrawal.holds(provider, model, at) for withdrawal in withdrawals)


@functools.cache
def shipped_withdrawals() -> tuple[Withdrawal, ...]:
    """What the package brings along; read once, and not before models are ranked."""
    from importlib.resources import files

    text = (files("langchain_tokens") / "data" / "withdrawn.toml").read_text(encoding="utf-8")
    return tuple(_withdrawal(row) for row in tomllib.loads(text)["withdrawn"])


def _withdrawal(row: Mapping[str, Any]) -> Withdrawal:
    return Withdrawal(
        identity=row["id"], provider=row["provider"], models=tuple(row["models"]), since=_moment(row.get("since"))
    )


def _moment(said: date | datetime | None) -> datetime | None:
    """The start of a day, UTC, where no time is said."""
    if said is None or isinstance(said, datetime):
        return said
    return datetime(said.year, said.month, said.day, tzinfo=UTC)
