"""What do budgets keep? What calls that go on now may still need, and what was told; spending is the calls' own sums.

A reservation is one row for each open call, with its names, whatever budgets it was made for: so every budget of every
process sees it. It goes in the transaction that stores the call, or lapses when its process renews it no more.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Table, Text

from langchain_tokens.store.tables import METADATA, UtcDateTime

__all__ = ("RESERVATIONS", "TOLD")

RESERVATIONS = Table(
    "budget_reservation",
    METADATA,
    Column("call_id", Text(), primary_key=True),
    Column("run_id", Text(), nullable=False),
    Column("session_id", Text(), nullable=True),
    Column("chain_name", Text(), nullable=True),
    Column("agent_name", Text(), nullable=True),
    Column("mode", Text(), nullable=True),
    Column("user_id", Text(), nullable=True),
    Column("model_name", Text(), nullable=True),
    Column("provider", Text(), nullable=True),
    Column("tags", JSON(none_as_null=True), nullable=True),
    Column("started_at", UtcDateTime(), nullable=False),
    Column("cost", BigInteger(), nullable=True),
    Column("tokens", BigInteger(), nullable=False),
    Column("process", Text(), nullable=False),
    Column("expires_at", UtcDateTime(), nullable=False),
)
"""Money in pico-USD; NULL for a model without a price."""
TOLD = Table(
    "budget_told",
    METADATA,
    Column("account", Text(), primary_key=True),
    Column("mark", Text(), primary_key=True),
    Column("times", BigInteger(), nullable=False),
    Column("told_at", UtcDateTime(), nullable=False),
)
"""Which marks of which account were told, by whichever process; and how many calls were stopped (`stopped`)."""
