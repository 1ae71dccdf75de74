"""What will the next days bring? A generalised linear model of the days so far, by statsmodels, and draws from it.

What a day uses is a number of calls, each of some size: a sum of Poisson many gamma amounts, which is what a Tweedie
distribution with a power between 1 and 2 describes. Its mean here is a level, times a factor for the weekday where
there are two weeks to tell it from, times growth by the week where four weeks show one beyond doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

__all__ = ("LEAST_DAYS", "Projection", "project")

LEAST_DAYS = 7
"""Complete days below which nothing is said about chance: not even each weekday was seen."""
_DAYS_FOR_TREND = 28
_SURE_OF_TREND = 0.01
_POWER = 1.5
_DRAWS = 20_000
_AT_ONCE = 1_000
"""Of them in one go: their numbers stay in a processor's cache, which saves a third of the time."""
_SETTLED = 1e-12
"""The change of a parameter below which the fit is done: no digit that is shown depends on it."""
_STEPS = 200
_WEEK = 7
_NOTHING = 1e-9
_TOO_UNSURE = 1.5
"""Of the logarithm of a level: more than seven times up or down within an 80 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What days to come are expected to use together, and draws of what they may."""

    expected: float
    draws: numpy.ndarray[Any, Any] | None
    """None where the days differ by so much that nothing can be said about it."""
    has_weekdays: bool
    has_trend: bool = False


def project(days: Sequence[int], values: Sequence[float], ahead: Sequence[int], seed: int) -> Projection:
    """Project what some days to come use together.

    Args:
        days: the days that are known, as ordinals: they differ by one a day, and by seven for a weekday.
        values: what each used; at least `LEAST_DAYS` of them.
        ahead: the days to come, at least one.
        seed: of the draws.

    """
    import numpy

    with numpy.errstate(over="ignore", invalid="ignore"):  # what grows for long is infinite, and not said
        return _projected(days, values, ahead, seed)


def _projected(days: Sequence[int], values: Sequence[float], ahead: Sequence[int], seed: int) -> Projection:
    import numpy

    known, amounts, coming = (numpy.asarray(part, dtype=float) for part in (days, values, ahead))
    has_weekdays, unit = _have_two_each(known), float(amounts.mean())
    if has_weekdays:  # a weekday on which nothing was ever used has no logarithm, and nothing to expect
        used = [day % _WEEK for day, amount in zip(known, amounts, strict=True) if amount > 0]
        kept = numpy.isin(known % _WEEK, used)
        known, amounts, coming = known[kept], amounts[kept], coming[numpy.isin(coming % _WEEK, used)]
    if unit == 0 or not len(coming):
        return Projection(expected=0.0, draws=numpy.zeros(_DRAWS), has_weekdays=has_weekdays)
    certain = _certain(known, amounts, coming, has_weekdays=has_weekdays)
    if certain is not None:
        return Projection(expected=certain, draws=numpy.full(_DRAWS, certain), has_weekdays=has_weekdays)
    fit, has_trend = _fitted(known, amounts / unit, has_weekdays=has_weekdays)
    design = _design(coming, known, has_weekdays=has_weekdays, has_trend=has_trend)
    draws = _drawn(fit, design, numpy.random.default_rng(seed))
    return Projection(
        expected=float(numpy.exp(design @ fit.params).sum()) * unit,
        draws=None if draws is None else draws * unit,
        has_weekdays=has_weekdays,
        has_trend=has_trend,
    )


def _certain(known: Any, amounts: Any, coming: Any, *, has_weekdays: bool) -> float | None:
    """What the days to come use where all days (of a weekday) are exactly alike, so that nothing is left to fit."""
    import numpy

    design = _design(known, known, has_weekdays=has_weekdays, has_trend=False)
    means = amounts @ design / design.sum(axis=0)
    if not numpy.allclose(design @ means, amounts, rtol=_NOTHING, atol=0):
        return None
    return float((_design(coming, known, has_weekdays=has_weekdays, has_trend=False) @ means).sum())


def _have_two_each(days: Any) -> bool:
    """Whether each weekday is there twice."""
    import numpy

    return bool((numpy.bincount((days % _WEEK).astype(int), minlength=_WEEK) > 1).all())


def _fitted(days: Any, amounts: Any, *, has_weekdays: bool) -> tuple[Any, bool]:
    from statsmodels.genmod.families import Tweedie
    from statsmodels.genmod.families.links import Log
    from statsmodels.genmod.generalized_linear_model import GLM

    def fit(*, has_trend: bool) -> Any:
        design = _design(days, days, has_weekdays=has_weekdays, has_trend=has_trend)
        model = GLM(amounts, design, family=Tweedie(link=Log(), var_power=_POWER))
        return model.fit(tol=_SETTLED, tol_criterion="params", maxiter=_STEPS)

    if len(days) >= _DAYS_FOR_TREND:
        growing = fit(has_trend=True)
        if growing.pvalues[-1] < _SURE_OF_TREND:
            return growing, True
    return fit(has_trend=False), False


def _design(days: Any, known: Any, *, has_weekdays: bool, has_trend: bool) -> Any:
    """A column for each weekday that is known, or one for all, and one for the weeks since the middle of them."""
    import numpy

    weekdays = sorted(set(known % _WEEK)) if has_weekdays else []
    columns = [(days % _WEEK == weekday).astype(float) for weekday in weekdays] or [numpy.ones(len(days))]
    if has_trend:
        columns.append((days - known.mean()) / _WEEK)
    return numpy.column_stack(columns)


def _drawn(fit: Any, design: Any, random: numpy.random.Generator) -> Any:
    """Sums over the days to come, drawn with what the fit does not know: its parameters, and how much days vary.

    Few days fit their own model better than they will fit the next days; so the spread is that of each day around what
    the others say of it.
    """
    import numpy

    left_out = fit.resid_pearson / (1 - fit.get_hat_matrix_diag())
    spread = float(numpy.mean(left_out**2))
    covariance = fit.cov_params() / fit.scale
    if numpy.sqrt(spread * numpy.diagonal(covariance).max()) > _TOO_UNSURE:
        return None
    spreads = spread * fit.df_resid / random.chisquare(fit.df_resid, _DRAWS)
    # By Cholesky's factor, which there is only one of: that of numpy's own way has signs that processors disagree on.
    shifts = random.multivariate_normal(numpy.zeros(len(fit.params)), covariance, _DRAWS, method="cholesky")
    logarithms = (fit.params + shifts * numpy.sqrt(spreads)[:, None]) @ design.T
    return numpy.concatenate(
        [
            _summed(logarithms[start : start + _AT_ONCE], spreads[start : start + _AT_ONCE, None], random)
            for start in range(0, _DRAWS, _AT_ONCE)
        ]
    )


def _summed(logarithms: Any, spreads: Any, random: numpy.random.Generator) -> Any:
    """A sum of days for each line: of days with these logarithms of their means."""
    import numpy

    means = numpy.exp(logarithms)
    variances = spreads * means**_POWER
    return random.gamma(means**2 / variances, variances / means).sum(axis=1)
