"""Moments and money are what the databases read, however they were made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from langchain_tokens.store.rows import to_pico
from langchain_tokens.store.tuples import offset_moment, plain_moment


class Own(datetime):
    """A datetime of somebody's own, as libraries have."""


MOMENTS = {
    "UTC": datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC),
    "a whole second": datetime(2026, 11, 23, 10, tzinfo=UTC),
    "a zone": datetime(2026, 7, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    "an odd offset": datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    "the first year": datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC),
    "the last moment": datetime.max.replace(tzinfo=UTC),
    "another class": Own(2026, 11, 23, 10, 0, 0, 5, tzinfo=UTC),
    "another class, a whole second": Own(2026, 11, 23, 10, tzinfo=timezone(timedelta(hours=-3))),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_moments_are_written_in_utc(moment: datetime) -> None:
    """Both forms say the same moment: plainly with all digits, and with its offset."""
    utc = moment.astimezone(UTC)
    assert plain_moment(moment) == f"{utc.replace(tzinfo=None).isoformat(' ', 'microseconds')}"
    assert datetime.fromisoformat(offset_moment(moment)) == utc
    assert offset_moment(moment).endswith("+00:00")


@pytest.mark.parametrize(
    ("amount", "pico"),
    [
        ("0", 0),
        ("1e-12", 1),
        ("0.0000000000005", 0),
        ("0.0000000000015", 2),
        ("-0.0000000000025", -2),
        ("1234567.123456789012", 1_234_567_123_456_789_012),
    ],
)
def test_money_becomes_whole_pico(amount: str, pico: int) -> None:
    """Exactly; what is finer is rounded to the nearest, halves to even."""
    assert to_pico(Decimal(amount)) == pico
