"""What has been found out of past hours and days? Tables of answers that rows gave, kept until a call changes them.

Unlike the sums in `rolluptables` they are not made when calls come, but when somebody first asks. Whatever changes
calls or runs first deletes the periods that it may touch (see `unsettling`), in the same transaction.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from langchain_tokens.store.rolluptables import COUNTS
from langchain_tokens.store.rolluptables import SUMMED as ROLLUP_SUMMED
from langchain_tokens.store.tables import METADATA, UtcDateTime

__all__ = ("LOCAL", "SETTLED", "SUMMED", "WASTE", "WHO", "past_step")

WHO = ("chain_name", "agent_name", "model_name", "provider")
"""Whose calls were in vain."""
_COUNTED = ("calls", "known_calls", "priced_calls")
SUMMED = ("calls", "total_tokens", "known_calls", "total_cost", "priced_calls")
"""What is summed of them: calls, tokens, calls that know theirs, pico-USD, calls that know theirs."""
SETTLED = Table(
    "usage_settled",
    METADATA,
    Column("step", Text(), primary_key=True),
    Column("since", UtcDateTime(), primary_key=True),
    Column("until", UtcDateTime(), nullable=False),
    Index("ix_usage_settled_until", "until"),
)
"""The hours, days and months, and the days, weeks and months of zones (`step`), of which one of the other tables holds
all that there is; what these hold of others is void.
"""
WASTE = Table(
    "usage_waste",
    METADATA,
    Column("step", Text(), primary_key=True),
    Column("since", UtcDateTime(), primary_key=True),
    *(Column(name, Text(), primary_key=True) for name in ("kind", "mode", *WHO)),
    *(Column(name, BigInteger(), nullable=name not in _COUNTED) for name in SUMMED),
    sqlite_with_rowid=False,
)
"""Calls that were in vain by when, how and whose, as `waste.read_rows` finds them; a missing name is the empty text."""
LOCAL = Table(
    "usage_local",
    METADATA,
    Column("step", Text(), primary_key=True),
    Column("since", UtcDateTime(), primary_key=True),
    Column("name", Text(), primary_key=True),
    *(Column(name, BigInteger(), nullable=False) for name in COUNTS),
    *(Column(name, BigInteger(), nullable=True) for name in ROLLUP_SUMMED),
    sqlite_with_rowid=False,
)
"""What calls add up to in days, weeks and months of zones, by one name at a time; a missing one is the empty text. And
on all past days of a range, by users.
"""


def past_step(dimension: str) -> str:
    """What the past days of a range are called, of which is kept what each name had."""
    return f"days by {dimension}"
