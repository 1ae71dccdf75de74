"""What does a difference mean? A sentence for each pair and measure, or why there is too little to say one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from langchain_tokens.render import counted
from langchain_tokens.reports.quantities import Number, as_number, percent, shown, sure
from langchain_tokens.reports.resampling import Apart, between_medians, between_rates, least_sample
from langchain_tokens.reports.samples import Sample, UnitKind

__all__ = ("SUCCESS", "Difference", "Phrase", "differences", "phrase")

SUCCESS = "success_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """How a measure is spoken of: `b uses 12 % fewer tokens`."""

    noun: str
    verb: str
    more: str
    less: str


_PHRASES: Mapping[str, Phrase] = {
    "tokens": Phrase(noun="tokens", verb="uses", more="more tokens", less="fewer tokens"),
    "input_tokens": Phrase(noun="input tokens", verb="uses", more="more input tokens", less="fewer input tokens"),
    "output_tokens": Phrase(noun="output tokens", verb="uses", more="more output tokens", less="fewer output tokens"),
    "cost_usd": Phrase(noun="cost USD", verb="costs", more="more", less="less"),
    "duration_ms": Phrase(noun="ms in calls", verb="takes", more="more time in calls", less="less time in calls"),
    "tokens_per_second": Phrase(
        noun="output tokens/s", verb="writes", more="more tokens per second", less="fewer tokens per second"
    ),
    "calls": Phrase(noun="calls", verb="makes", more="more calls", less="fewer calls"),
}


def phrase(measure: str) -> Phrase:
    """How a measure, or a result of the application, is spoken of."""
    own = Phrase(noun=measure, verb="has", more=f"more {measure}", less=f"fewer {measure}")
    return _PHRASES.get(measure, own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far variant `b` is from `a` in one measure: medians, for `success_rate` rates. None: too little data."""

    measure: str
    a: str
    b: str
    known_a: int
    """Runs or calls of `a` that know the number."""
    known_b: int
    difference: Number | None
    """`b` less `a`, in the measure's own unit."""
    low: Number | None
    high: Number | None
    ratio: float | None
    """`b` for each `a`; None where that can be zero."""
    ratio_low: float | None
    ratio_high: float | None
    confidence: float
    """Of this one interval."""
    is_clear: bool | None
    """Whether the interval leaves "no difference" out."""
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """What is compared: one measure of two variants, `size_a` and `size_b` of whose runs or calls know it."""

    measure: str
    a: str
    b: str
    size_a: int
    size_b: int
    unit: UnitKind
    confidence: float

    @property
    def sizes(self) -> str:
        return f", {self.size_b:,} and {counted(self.size_a, self.unit)}"

    @property
    def interval(self) -> str:
        return f"{sure(self.confidence)} interval"

    @property
    def is_too_little(self) -> bool:
        return min(self.size_a, self.size_b) < least_sample(self.confidence)


def differences(
    samples: Sequence[Sample], measures: Sequence[str], unit: UnitKind, confidence: float, seed: int
) -> tuple[Difference, ...]:
    """Each variant against the first, measure by measure; the confidence is that of all intervals of a measure."""
    others = samples[1:]
    each = 1 - (1 - confidence) / (len(others) or 1)
    found = []
    for other in others:
        found += [_of_measure(samples[0], other, _Asked(measure, unit, each, seed)) for measure in measures]
        found.append(_of_success(samples[0], other, _Asked(SUCCESS, unit, each, seed)))
    return tuple(found)


class _Asked(NamedTuple):
    measure: str
    unit: UnitKind
    confidence: float
    seed: int


def _pair(first: Sample, other: Sample, sizes: Sequence[int], asked: _Asked) -> _Pair:
    return _Pair(
        measure=asked.measure,
        a=first.label,
        b=other.label,
        size_a=sizes[0],
        size_b=sizes[1],
        unit=asked.unit,
        confidence=asked.confidence,
    )


def _of_measure(first: Sample, other: Sample, asked: _Asked) -> Difference:
    values = [sample.known(asked.measure) for sample in (first, other)]
    pair = _pair(first, other, [len(known) for known in values], asked)
    if pair.is_too_little:
        return _difference(pair, None, _too_little(pair, (len(first.units), len(other.units))))
    apart = between_medians(values[0], values[1], asked.confidence, asked.seed)
    return _difference(pair, apart, _verdict(pair, apart) + pair.sizes)


def _of_success(first: Sample, other: Sample, asked: _Asked) -> Difference:
    clean = [sum(item.is_clean for item in sample.units) for sample in (first, other)]
    sizes = [len(sample.units) for sample in (first, other)]
    pair = _pair(first, other, sizes, asked)
    if pair.is_too_little:
        return _difference(pair, None, _too_little(pair, (sizes[0], sizes[1])))
    apart = between_rates((clean[0], sizes[0]), (clean[1], sizes[1]), asked.confidence)
    rates = [percent(good / size) for good, size in zip(clean, sizes, strict=True)]
    start = "" if _is_clear(apart) else "no clear difference in success: "
    said = f"{start}{pair.b} has {rates[1]} of {pair.unit}s without failure, {pair.a} {rates[0]}"
    between = f"({pair.interval} {_points(apart.low)} to {_points(apart.high)} points)"
    return _difference(pair, apart, f"{said} {between}{pair.sizes}")


def _points(part: float) -> str:
    """Points of a hundred with their sign; of what rounds to nothing there is none."""
    return f"{part * 100:+.0f}" if round(part * 100) else "0"


def _difference(pair: _Pair, apart: Apart | None, verdict: str) -> Difference:
    return Difference(
        measure=pair.measure,
        a=pair.a,
        b=pair.b,
        known_a=pair.size_a,
        known_b=pair.size_b,
        difference=None if apart is None else as_number(pair.measure, apart.difference),
        low=None if apart is None else as_number(pair.measure, apart.low),
        high=None if apart is None else as_number(pair.measure, apart.high),
        ratio=None if apart is None else apart.ratio,
        ratio_low=None if apart is None else apart.ratio_low,
        ratio_high=None if apart is None else apart.ratio_high,
        confidence=pair.confidence,
        is_clear=None if apart is None else _is_clear(apart),
        verdict=verdict,
    )


def _is_clear(apart: Apart) -> bool:
    return apart.low > 0 or apart.high < 0


def _verdict(pair: _Pair, apart: Apart) -> str:
    said = phrase(pair.measure)
    if apart.difference == apart.low == apart.high == 0:
        return f"{pair.b} and {pair.a}: the same {said.noun}"
    if apart.ratio is None or apart.ratio_low is None or apart.ratio_high is None:
        return _verdict_without_ratio(pair, apart)
    low, high = apart.ratio_low, apart.ratio_high
    if not _is_clear(apart):
        ends = f"{_change(low)} to {_change(high)}"
        return f"{pair.b} and {pair.a}: no clear difference in {said.noun} ({pair.interval} {ends})"
    word = said.more if apart.ratio > 1 else said.less
    ends = " to ".join(percent(end - 1) for end in ((low, high) if apart.ratio > 1 else (high, low)))
    return f"{pair.b} {said.verb} {percent(apart.ratio - 1)} {word} than {pair.a} ({pair.interval} {ends})"


def _verdict_without_ratio(pair: _Pair, apart: Apart) -> str:
    noun = phrase(pair.measure).noun
    ends = (apart.low, apart.high, apart.difference)
    low, high, by = (shown(as_number(pair.measure, end), pair.measure) for end in ends)
    if not _is_clear(apart):
        return f"{pair.b} and {pair.a}: no clear difference in {noun} ({pair.interval} {low} to {high})"
    return f"{pair.b} and {pair.a} differ in {noun} by {by} ({pair.interval} {low} to {high})"


def _change(ratio: float) -> str:
    return f"{'+' if ratio > 1 else '-'}{percent(ratio - 1)}" if ratio != 1 else percent(0)


def _too_little(pair: _Pair, units: tuple[int, int]) -> str:
    noun = "" if units == (pair.size_a, pair.size_b) else f" in {phrase(pair.measure).noun}"
    return (
        f"too little data to compare {pair.b} with {pair.a}{noun}: {pair.size_b:,} and "
        f"{counted(pair.size_a, pair.unit)}, {least_sample(pair.confidence)} of each are needed"
    )
