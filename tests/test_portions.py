"""How much goes at once to a server that ends what takes too long? Found in a few steps, remembered, tried again rarely."""

from __future__ import annotations

import pytest

from langchain_tokens.portions import Portions

ALLOWED = 30.0


def delivered(portions: Portions, count: int, *, fits: float, each: float) -> list[int]:
    """Portions in which so many facts were tried, on a server that takes some seconds for each and ends large ones."""
    tried = []
    while count:
        size = portions.of(count)
        tried.append(size)
        if size > fits or size * each > ALLOWED:
            portions.note_too_slow(size, ALLOWED)
        else:
            portions.note_stored(size, size * each)
            count -= size
    return tried


def in_vain(tried: list[int], fits: float) -> int:
    return sum(1 for size in tried if size > fits)


def test_all_goes_at_once_where_nothing_is_too_slow() -> None:
    """Where no statement was ended, batches are whole."""
    assert delivered(Portions(), 4_000, fits=10_000, each=0.0) == [4_000]


@pytest.mark.parametrize(
    ("fits", "each", "most_seconds"),
    [
        (12, 0.001, 9 * ALLOWED),
        (100, 0.001, 6 * ALLOWED),
        (1_500, 0.001, 5 * ALLOWED),
        (4_000, 0.1, 2 * ALLOWED),  # 300 of them within the time
        (4_000, 10.0, 4 * ALLOWED),  # three of them
    ],
)
def test_descent_is_steep_and_remembered(fits: int, each: float, most_seconds: float) -> None:
    """Two steps down at most until the first is stored, but for one at a time; a few more, in vain, in all batches after."""
    portions = Portions()
    first = delivered(portions, 2_000, fits=fits, each=each)
    bound = min(fits, ALLOWED / each)
    assert next(number for number, size in enumerate(first) if size <= bound) <= 3
    later = [size for _ in range(3) for size in delivered(portions, 2_000, fits=fits, each=each)]
    assert in_vain([*first, *later], bound) * ALLOWED <= most_seconds


def test_a_server_that_is_fast_again_gets_whole_batches() -> None:
    """After a time in which little went through, portions grow until all goes at once."""
    portions = Portions()
    delivered(portions, 2_000, fits=40, each=0.1)
    for _ in range(20):
        tried = delivered(portions, 2_000, fits=10_000, each=0.001)
    assert tried == [2_000]


def test_a_portion_that_no_longer_fits_gets_smaller() -> None:
    """What went through before may be too much later; then the next is smaller again."""
    portions = Portions()
    delivered(portions, 2_000, fits=100, each=0.001)
    tried = delivered(portions, 500, fits=5, each=0.001)
    assert in_vain(tried, 5) <= 6
    assert sum(size for size in tried if size <= 5) == 500


def test_one_that_is_too_slow_alone_stays_one() -> None:
    """There is no smaller portion than one fact."""
    portions = Portions()
    for _ in range(9):
        portions.note_too_slow(portions.of(2_000), ALLOWED)
    assert portions.of(2_000) == 1
