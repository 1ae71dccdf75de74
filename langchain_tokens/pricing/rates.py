"""What do so many tokens cost at given rates? Exact sums in whole pico-USD (1e-12 USD); knows no model and no provider.

Counts are inclusive, so a rate applies to what its more special rates leave over: plain input is the input without the
cache reads, wherever cache reads have a rate of their own, and with them where they have none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from langchain_tokens.money import usd_of
from langchain_tokens.usage import TokenUsage

__all__ = ("UNITS", "Amounts", "Card", "Rates", "Steps", "counts_of", "make_rates", "usd")

Steps = Sequence[tuple[int, Decimal]]
"""Prices of one rate: (-1, usual price), then (input tokens, price of a call whose input is above them), ascending."""

INPUT, OUTPUT, OTHER = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What can have a rate."""

    rate: str
    """The rate's name, as in the catalogue; `unit_prices` of a call has these keys."""

    count: str
    """The name of the count that it prices, as `counts_of` says it."""

    per_power: int = 6
    """The price is for ten to this power of them: 6 for a million, 3 for a thousand."""

    side: int = INPUT
    within: tuple[str, ...] = ()
    """The counts that contain this one."""


# The most special ones first: what they take is no longer there for those that contain them.
UNITS: Final = (
    Unit(
        rate="cache_audio_read_mtok",
        count="cached_audio",
        within=("cache_read_tokens", "audio_input_tokens", "input_tokens"),
    ),
    Unit(rate="cache_write_1h_mtok", count="cache_write_1h_tokens", within=("cache_write_tokens", "input_tokens")),
    Unit(rate="cache_write_5m_mtok", count="cache_write_5m_tokens", within=("cache_write_tokens", "input_tokens")),
    Unit(rate="cache_read_mtok", count="cache_read_tokens", within=("input_tokens",)),
    Unit(rate="cache_write_mtok", count="cache_write_tokens", within=("input_tokens",)),
    Unit(rate="input_audio_mtok", count="audio_input_tokens", within=("input_tokens",)),
    Unit(rate="output_reasoning_mtok", count="reasoning_tokens", side=OUTPUT, within=("output_tokens",)),
    Unit(rate="output_audio_mtok", count="audio_output_tokens", side=OUTPUT, within=("output_tokens",)),
    Unit(rate="output_citation_mtok", count="citations", side=OUTPUT),  # counted beside the output, not in it
    Unit(rate="input_mtok", count="input_tokens"),
    Unit(rate="output_mtok", count="output_tokens", side=OUTPUT),
    Unit(rate="web_searches_kcount", count="web_searches", per_power=3, side=OTHER),
    Unit(rate="storage_searches_kcount", count="file_searches", per_power=3, side=OTHER),
    Unit(rate="requests_kcount", count="requests", per_power=3, side=OTHER),
)
"""The table of all that can be priced. Rates of other names price what no model call of text and audio counts."""

_COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)
_OTHER_UNITS: Final = {
    "web_search_requests": "web_searches",  # Anthropic
    "web_search_calls": "web_searches",
    "web_searches": "web_searches",
    "num_search_queries": "web_searches",  # Perplexity
    "file_search_calls": "file_searches",
    "citation_tokens": "citations",  # Perplexity
}
"""Providers' names of what is not a token of input or output → the count that it is."""
_POWER: Final = 24
_PICO_IN_UNITS: Final = 10**12
_EXACT: Final = Context(prec=120, rounding=ROUND_HALF_EVEN)  # not the host's, whose precision may be anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """A cost in whole pico-USD, each part rounded once, half to even."""

    input: int
    output: int
    other: int

    @property
    def total(self) -> int:
        """The sum of the rounded parts."""
        return self.input + self.output + self.other


@dataclass(frozen=True, slots=True)
class _Line:
    count: str
    price: int
    """1e-24 USD for one."""
    side: int
    special: tuple[int, ...]
    """The lines above this one that price a part of this count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Rates for a call of one size."""

    lines: tuple[_Line, ...]
    counts: frozenset[str]
    """The counts that have a rate."""
    texts: Mapping[str, str]
    """Name of a rate → USD for one million tokens, or for one thousand of what `_kcount` says."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing costs anything here, or nothing has a rate."""
        return not any(line.price for line in self.lines)

    def charge(self, counts: Mapping[str, int]) -> Amounts:
        """The cost of the counts.

        Raises:
            ValueError: when parts that have rates of their own are more than what they are parts of.

        """
        sums = [0, 0, 0]
        left: list[int] = []
        for line in self.lines:
            rest = counts.get(line.count, 0)
            for index in line.special:
                rest -= left[index]
            if rest < 0:
                raise ValueError(f"the parts of {line.count} exceed it by {-rest}")
            left.append(rest)
            sums[line.side] += rest * line.price
        return Amounts(input=_pico(sums[INPUT]), output=_pico(sums[OUTPUT]), other=_pico(sums[OTHER]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """All rates of a model at one time: a card for each size of a call's input."""

    steps: Mapping[str, Steps]
    above: tuple[int, ...]
    """Input tokens above which the next card holds, for all tokens of the call."""
    cards: tuple[Card, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no card has a rate above zero."""
        return all(card.is_nothing for card in self.cards)

    def card(self, input_tokens: int) -> Card:
        """The rates for a call with so much input in all."""
        return self.cards[bisect_left(self.above, input_tokens)]

    def times(self, factor: Decimal) -> Rates:
        """All rates multiplied."""
        return make_rates(
            {
                name: [(above, _EXACT.multiply(price, factor)) for above, price in steps]
                for name, steps in self.steps.items()
            }
        )


def make_rates(steps: Mapping[str, Steps]) -> Rates:
    """Make rates ready for use.

    Args:
        steps: name of a rate → its prices in USD; names that no count belongs to are left out.

    """
    known = {unit.rate: tuple(steps[unit.rate]) for unit in UNITS if unit.rate in steps}
    above = tuple(sorted({limit for prices in known.values() for limit, _ in prices[1:]}))
    return Rates(steps=known, above=above, cards=tuple(_card(known, limit) for limit in (-1, *above)))


def counts_of(usage: TokenUsage) -> dict[str, int]:
    """The counts that a usage states, by the names of `UNITS`, with what follows from them."""
    counts = {name: value for name in _COUNTED if (value := getattr(usage, name)) is not None}
    write = usage.cache_write_tokens
    split = counts.get("cache_write_5m_tokens", 0) + counts.get("cache_write_1h_tokens", 0)
    if write is not None or split:
        counts["cache_write_tokens"] = split if write is None or write < split else write
    audio, cached = counts.get("audio_input_tokens"), counts.get("cache_read_tokens")
    if audio and cached:
        # How many cached tokens were audio nobody says; the least there can be.
        shared = audio + cached - counts.get("input_tokens", 0)
        if shared > 0:
            counts["cached_audio"] = shared
    for name, value in (usage.other_units or {}).items():
        count = _OTHER_UNITS.get(name)
        if count is not None and count not in counts and (isinstance(value, int) or value.is_integer()):
            counts[count] = int(value)
    counts["requests"] = 1
    return counts


def usd(pico: int) -> Decimal:
    """Pico-USD as USD with twelve decimals."""
    return usd_of(pico)


def _card(steps: Mapping[str, Steps], limit: int) -> Card:
    """The rates that hold for a call whose input is above a limit and not above the next one."""
    lines: list[_Line] = []
    texts = {}
    for unit in UNITS:
        prices = steps.get(unit.rate)
        if prices is None:
            continue
        price = next(price for above, price in reversed(prices) if above <= limit)
        special = tuple(index for index, line in enumerate(lines) if unit.count in _CONTAINERS[line.count])
        lines.append(_Line(unit.count, _scaled(price, unit.per_power), unit.side, special))
        texts[unit.rate] = format(price.normalize(_EXACT), "f")
    return Card(lines=tuple(lines), counts=frozenset(line.count for line in lines), texts=texts)


_CONTAINERS: Final = {unit.count: unit.within for unit in UNITS}


def _scaled(price: Decimal, per_power: int) -> int:
    """A price for ten to a power as a whole number of 1e-24 USD for one."""
    return int(_EXACT.to_integral_exact(_EXACT.scaleb(price, _POWER - per_power)))


def _pico(amount: int) -> int:
    """1e-24 USD to 1e-12 USD, half to even."""
    whole, rest = divmod(amount, _PICO_IN_UNITS)
    twice = rest * 2
    return whole + (twice > _PICO_IN_UNITS or (twice == _PICO_IN_UNITS and whole % 2 == 1))
