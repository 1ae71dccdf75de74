"""How far apart are two samples, and how sure is that? Intervals by scipy's bootstrap and statsmodels' proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

__all__ = ("Apart", "between_medians", "between_rates", "least_sample", "rate_interval")

_RESAMPLES = 2_000
_MOST = 5_000
"""Values of a sample that are resampled; of more, a random part: the interval is then that of this part, so wider."""
_BATCH = 100
"""Resamples that are held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How far the second of two samples is from the first; a ratio is None where the first median can be zero."""

    difference: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


def least_sample(confidence: float) -> int:
    """How many values an interval for a median needs.

    Each value lies on either side of the true median with even chance, so n values are all on one side of it with a
    probability of 2 x 0.5^n. With fewer than this many even their whole range holds it too rarely.
    """
    return math.ceil(math.log2(2 / (1 - confidence)))


def between_medians(first: Sequence[float], second: Sequence[float], confidence: float, seed: int) -> Apart:
    """Difference and ratio of two medians with percentile bootstrap intervals.

    The percentile method, since the jackknife, which the accelerated one rests on, does not work for medians.

    Args:
        first: values of the sample that is compared with.
        second: values of the other.
        confidence: of each interval, 0 to 1.
        seed: of the resampling.

    """
    import numpy
    from scipy.stats import bootstrap

    random = numpy.random.default_rng(seed)
    samples = [_part(values, random) for values in (first, second)]
    has_ratio = min(samples[0]) > 0

    def apart(one: Any, other: Any, axis: int = -1) -> Any:
        before, after = numpy.median(one, axis=axis), numpy.median(other, axis=axis)
        return numpy.stack([after - before, after / before if has_ratio else after - before])

    found: Any = bootstrap(  # its types know of one number only, it can do two
        samples,
        apart,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=random,
    ).confidence_interval
    medians = [float(numpy.median(values)) for values in (first, second)]
    return Apart(
        difference=medians[1] - medians[0],
        low=float(found.low[0]),
        high=float(found.high[0]),
        ratio=medians[1] / medians[0] if has_ratio else None,
        ratio_low=float(found.low[1]) if has_ratio else None,
        ratio_high=float(found.high[1]) if has_ratio else None,
    )


def between_rates(first: tuple[int, int], second: tuple[int, int], confidence: float) -> Apart:
    """The difference of two rates with Newcombe's interval, which holds at 0 % and 100 % too.

    Args:
        first: successes, and of how many, of the sample that is compared with.
        second: the same of the other.
        confidence: of the interval, 0 to 1.

    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(*second, *first, method="newcomb", compare="diff", alpha=1 - confidence)
    difference = second[0] / second[1] - first[0] / first[1]
    return Apart(difference=difference, low=float(low), high=float(high), ratio=None, ratio_low=None, ratio_high=None)


def rate_interval(successes: int, number: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a rate."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, number, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def _part(values: Sequence[float], random: numpy.random.Generator) -> Any:
    import numpy

    known = numpy.sort(numpy.asarray(values, dtype=float))  # the interval is that of the values, in whatever order
    return known if len(known) <= _MOST else random.choice(known, _MOST, replace=False)
