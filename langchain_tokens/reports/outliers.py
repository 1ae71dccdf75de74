"""Which of many amounts are not like the others? Logarithms against a robust middle and spread, by statsmodels.

Amounts of use vary by factors, so their logarithms are looked at. The middle is the median of amounts of the same kind
(weekends, hours of the day); the spread is Qn, which half the amounts could be wrong for without harm, as for the
median absolute deviation, but which needs far fewer amounts to be as exact. A number of calls varies by chance alone,
so the spread is never taken as smaller than that of a Poisson number of that size. What is left is compared with a t
distribution, and all comparisons of a report are corrected together: in usual use, the chance that it has any finding
at all is at most the rate that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ("LEAST", "Judged", "judge", "most_unusual")

LEAST = 8
"""Amounts below which the others do not tell what is usual."""
_LEAST_ALIKE = 4
"""The same among those of the same kind."""
_EXACT = 2_000
"""Amounts up to which Qn is used; of more, the median absolute deviation is exact enough, and takes less time."""
_EFFICIENCY = {True: 0.82, False: 0.37}
"""How much of its amounts each of the two makes use of, compared with the standard deviation (Rousseeuw and Croux)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One amount: how likely one at least as large is, and what the others lead to expect."""

    place: int
    """Which of the amounts that were given."""
    probability: float
    middle: float
    spread: float
    """Of the logarithm."""
    freedom: float

    @property
    def expected(self) -> float:
        """The amount in the middle."""
        return math.exp(self.middle)

    def limit(self, probability: float) -> float:
        """The amount that is exceeded with a probability."""
        from scipy.stats import t

        return math.exp(self.middle + self.spread * float(t.isf(probability, self.freedom)))


def judge(
    amounts: Sequence[float], calls: Sequence[int], kinds: Sequence[Hashable], judged: Sequence[bool] | None = None
) -> list[Judged]:
    """Compare each amount with the others of its kind.

    Args:
        amounts: what was used, above 0.
        calls: how many calls each is of.
        kinds: which amounts are alike, such as those of weekends.
        judged: which are complete, so that they tell what is usual; all are judged. None is all.

    Returns:
        The amounts of kinds with enough others; none where there are too few altogether.

    """
    import numpy
    from scipy.stats import median_abs_deviation, t
    from statsmodels.robust.scale import qn_scale

    whole = numpy.ones(len(amounts), dtype=bool) if judged is None else numpy.asarray(judged, dtype=bool)
    logs, sizes = numpy.log(numpy.asarray(amounts, dtype=float)), numpy.asarray(calls, dtype=float)
    middles = _middles(logs, sizes, kinds, whole)
    usable = numpy.array([kind in middles for kind in kinds], dtype=bool)
    if (whole & usable).sum() < LEAST:
        return []
    rests = numpy.array(
        [log - middles[kind].log if kind in middles else 0.0 for log, kind in zip(logs, kinds, strict=True)]
    )
    others = rests[whole & usable]
    is_exact = len(others) <= _EXACT
    if is_exact:
        spread = float(qn_scale(others)) * _of_few(len(others))
    else:
        spread = float(median_abs_deviation(others, scale="normal"))
    freedom = max(2.0, _EFFICIENCY[is_exact] * len(others) - 2 - len(middles))
    places = [int(place) for place in numpy.flatnonzero(usable)]
    owns = [_own_spread(spread, middles[kinds[place]], is_part=bool(whole[place])) for place in places]
    likely = t.sf(rests[places] / numpy.array(owns), freedom)
    return [
        Judged(place=place, probability=float(chance), middle=middles[kinds[place]].log, spread=own, freedom=freedom)
        for place, own, chance in zip(places, owns, likely, strict=True)
    ]


def most_unusual(probabilities: Sequence[float], rate: float) -> list[int]:
    """Which of all comparisons of a report are findings.

    By Benjamini and Hochberg: where all is usual, the chance of any finding is at most `rate`; where some is not, at
    most that part of the findings is expected to be false.
    """
    from scipy.stats import false_discovery_control

    if not probabilities:
        return []
    return [place for place, adjusted in enumerate(false_discovery_control(probabilities)) if adjusted <= rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Middle:
    log: float
    calls: float
    number: int


def _own_spread(spread: float, alike: _Middle, *, is_part: bool) -> float:
    """The spread of one amount; where it has no part in the middle, that is as uncertain as a median is, too."""
    least = 1 / math.sqrt(alike.calls + 2)
    return (max(least, spread)) * (1.0 if is_part else math.sqrt(1 + math.pi / 2 / alike.number))


def _of_few(number: int) -> float:
    """What makes Qn of few normal values right on average (Croux and Rousseeuw 1992)."""
    return number / (number + (1.4 if number % 2 else 3.8))


def _middles(logs: Any, calls: Any, kinds: Sequence[Hashable], whole: Any) -> dict[Hashable, _Middle]:
    """The middle of each kind that has enough amounts."""
    import numpy

    places: dict[Hashable, list[int]] = {}
    for place, kind in enumerate(kinds):
        if whole[place]:
            places.setdefault(kind, []).append(place)
    return {
        kind: _Middle(log=float(numpy.median(logs[of])), calls=float(numpy.median(calls[of])), number=len(of))
        for kind, of in places.items()
        if len(of) >= _LEAST_ALIKE
    }
