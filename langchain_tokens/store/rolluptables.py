"""Which sums are kept beside the rows? By hour, day and month: in combinations of names, and by one name at a time.

Each is kept in the transaction that changes the rows (see `rollups`). A missing name is the empty text there: a key
cannot hold NULL. Moments are the texts that breakdowns show: `2026-11-23T10:00Z`, `2026-11-23`, `2026-11`; UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from langchain_tokens.store.tables import METADATA

__all__ = (
    "ALL",
    "BY_NAME",
    "CALLERS",
    "CALLER_COLUMNS",
    "COUNTS",
    "CUBES",
    "CUBE_COLUMNS",
    "LAST_DAY",
    "MANY",
    "NAMED",
    "NAMES",
    "ROLLUPS",
    "STATE",
    "SUMMED",
    "Rollup",
    "Step",
)

Step = Literal["hour", "day", "month", "ever"]
COUNTS = (
    "calls",
    "failed_calls",
    "succeeded_calls",
    "cached_calls",
    "estimated_calls",
    "unpriced_calls",
    "calls_without_usage",
)
"""Columns that count calls."""
SUMMED = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_cost",
    "saved_cost",
    "wasted_cost",
    "duration_us",
    "timed_output_tokens",
    "timed_us",
)
"""Columns that sum what calls may not know: tokens, pico-USD and microseconds; NULL where no call knows it."""
CUBE_COLUMNS = ("mode", "agent_name", "chain_name", "path", "model_name", "provider", "status", "attempt")
"""Names that are few enough to be summed in every combination."""
CALLER_COLUMNS = ("agent_name", "chain_name", "path", "model_name", "provider")
"""Those of them that say who called which model: what is asked for most, and in far fewer combinations."""
BY_NAME = ("dimension", "name")
LAST_DAY = "last_day"
"""Column of the sums of all time of a name: no call of it is of a later day; what is gone since may be. An index has it
beside what names are ordered by, so that those of earlier days are passed over without a look at their days.
"""
ALL = "all"
"""The dimension of the rows that sum everything; its name is the empty text."""
MANY: Mapping[str, str] = {"session": "session_id", "user": "user_id"}
"""Dimension → column of calls, where names can be so many that each is summed for itself only."""
NAMED: Mapping[str, str] = {
    **MANY,
    "agent": "agent_name",
    "chain": "chain_name",
    "mode": "mode",
    "model": "model_name",
    "path": "path",
    "provider": "provider",
    "status": "status",
    "attempt": "attempt",
}
"""The same for all dimensions that are summed by themselves, too, so that no combinations have to be added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """One table of sums."""

    table: Table
    step: Step
    """How much time a row sums."""
    keys: tuple[str, ...]
    """The columns of its primary key, in order."""
    finer: Rollup | None
    """What its rows are sums of; None for calls, of which hours of the names in `MANY` are sums, too."""

    @property
    def has_last_day(self) -> bool:
        """Whether its rows say what their last day is."""
        return self.step == "ever"


def _rollup(
    name: str,
    step: Step,
    names: tuple[str, ...],
    finer: Rollup | None,
    indexes: Mapping[str, tuple[str, ...]] | None = None,
) -> Rollup:
    moment = () if step == "ever" else (step,)
    keys = ("dimension", *moment, "name") if names == BY_NAME else (*moment, *names)
    table = Table(
        name,
        METADATA,
        *(
            Column(key, Integer() if key == "attempt" else Text(), primary_key=True, autoincrement=False)
            for key in keys
        ),
        *(Column(count, BigInteger(), nullable=False) for count in COUNTS),
        *(Column(summed, BigInteger(), nullable=True) for summed in SUMMED),
        *([Column(LAST_DAY, Text(), nullable=False)] if step == "ever" else []),
        *(Index(f"ix_{name}_{of}", *columns) for of, columns in (indexes or {}).items()),
        sqlite_with_rowid=False,
    )
    return Rollup(table=table, step=step, keys=keys, finer=finer)


def _combined(suffix: str, names: tuple[str, ...], finest: Rollup | None = None) -> Mapping[Step, Rollup]:
    """Tables of names in every combination."""
    hour = _rollup(f"usage_hourly{suffix}", "hour", names, finest)
    day = _rollup(f"usage_daily{suffix}", "day", names, hour)
    return {"hour": hour, "day": day, "month": _rollup(f"usage_monthly{suffix}", "month", names, day)}


def _named(finest: Rollup) -> Mapping[Step, Rollup]:
    """Tables of one name at a time. Indexes give the days of a name, and names with the most by last day."""
    ranks = {rank: ("dimension", rank, LAST_DAY) for rank in ("total_tokens", "total_cost")}
    hour = _rollup("usage_hourly_by_name", "hour", BY_NAME, finest)
    day = _rollup("usage_daily_by_name", "day", BY_NAME, hour, {"day": ("dimension", "name", "day")})
    return {"hour": hour, "day": day, "ever": _rollup("usage_by_name", "ever", BY_NAME, day, ranks)}


CUBES = _combined("", CUBE_COLUMNS)
CALLERS = _combined("_by_caller", CALLER_COLUMNS, CUBES["hour"])
NAMES = _named(CUBES["hour"])
ROLLUPS = (*CUBES.values(), *CALLERS.values(), *NAMES.values())
"""All of them, in the order in which a transaction changes them: so no two can wait for each other."""
STATE = Table(
    "usage_state", METADATA, Column("name", Text(), primary_key=True), Column("value", Text(), nullable=False)
)
"""What else is to be known of the whole store: `rows_since`, the hour before which rows were deleted and sums kept."""
