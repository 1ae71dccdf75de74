"""How is money reckoned? In contexts of our own: the host's may have any precision, and raise where it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import reduce, wraps
from typing import Final, ParamSpec, TypeVar

__all__ = ("less", "pico_of", "plus", "reckoned", "rounded", "sum_of", "usd_of")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_EXACT: Final = Context(prec=400, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
"""Has room for whatever a float can say, with twelve decimals."""
_USUAL: Final = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
"""What Python begins with: enough for all that a database holds, and an end for what is divided."""
_PLACES: Final = 12
_PICO_USD: Final = Decimal("1e-12")


def plus(one: Decimal, other: Decimal) -> Decimal:
    """Both together, to the last digit."""
    return _EXACT.add(one, other)


def less(one: Decimal, other: Decimal) -> Decimal:
    """One without the other, to the last digit."""
    return _EXACT.subtract(one, other)


def sum_of(amounts: Iterable[Decimal]) -> Decimal:
    """All together, to the last digit; of none it is 0."""
    return reduce(_EXACT.add, amounts, Decimal(0))


def rounded(amount: Decimal, places: int = _PLACES) -> Decimal:
    """An amount with so many decimals, half to even."""
    return _EXACT.quantize(amount, Decimal(1).scaleb(-places, _EXACT))


def pico_of(amount: Decimal) -> int:
    """US dollars as whole pico-USD, half to even."""
    return int(_EXACT.to_integral_value(_EXACT.scaleb(amount, _PLACES)))


def usd_of(pico: int) -> Decimal:
    """Pico-USD as US dollars with twelve decimals."""
    return _EXACT.multiply(pico, _PICO_USD)


def reckoned(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function in which all that is added, divided or rounded is so in Python's usual context."""

    @wraps(function)
    def reckoning(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with localcontext(_USUAL):
            return function(*args, **kwargs)

    return reckoning
