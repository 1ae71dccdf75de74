"""Are the sums exact? The own arithmetic against the catalogue's engine, to the last pico-USD, and what must always hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.prices import PriceBook
from langchain_tokens.pricing.bills import context_of, make_bill
from langchain_tokens.pricing.catalogue import Catalogue, bundled
from langchain_tokens.pricing.quotes import Quote
from langchain_tokens.pricing.rates import make_rates, usd
from langchain_tokens.usage import TokenUsage
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, SONNET

BOOK = PriceBook()
PICO = Decimal("1e-12")


@cache
def catalogue() -> Catalogue:
    """The bundled catalogue."""
    return bundled()


@cache
def models() -> list[tuple[str, str]]:
    """All models of the catalogue, with their providers."""
    return [(provider.id, model.id) for provider in catalogue().snapshot.providers for model in provider.models]


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    """A usage that does not contradict itself."""
    total = draw(st.integers(1, 2_000_000))
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    output = draw(st.integers(0, 200_000))
    reasoning = draw(st.integers(0, output))
    searches = draw(st.none() | st.integers(0, 9))
    return make_usage(
        total,
        output,
        cache_read_tokens=draw(st.sampled_from([None, read])),
        cache_write_tokens=write,
        cache_write_1h_tokens=draw(st.none() | st.integers(0, write)),
        audio_input_tokens=draw(st.none() | st.integers(0, total - write)),
        reasoning_tokens=reasoning,
        audio_output_tokens=draw(st.none() | st.integers(0, output - reasoning)),
        other_units=None if searches is None else {"web_search_requests": searches},
        service_tier=draw(st.sampled_from([None, "flex", "priority", "batch", "fast"])),
    )


def engines_price(provider: str, model: str, at: datetime, usage: TokenUsage) -> tuple[Decimal, Decimal, Decimal]:
    """What the library's own engine makes of it: input, output and other, each rounded once."""
    from genai_prices import Usage

    names = {
        "cache_read_tokens": "cache_read_tokens",
        "cache_write_tokens": "cache_write_tokens",
        "cache_write_1h_tokens": "cache_write_1h_tokens",
        "audio_input_tokens": "input_audio_tokens",
        "audio_output_tokens": "output_audio_tokens",
        "reasoning_tokens": "output_reasoning_tokens",
    }
    counts = {name: value for field, name in names.items() if (value := getattr(usage, field)) is not None}
    if "input_audio_tokens" in counts and "cache_read_tokens" in counts:
        shared = counts["input_audio_tokens"] + counts["cache_read_tokens"] - (usage.input_tokens or 0)
        counts["cache_audio_read_tokens"] = max(0, shared)
        counts["cache_audio_write_tokens"] = 0
    said = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        web_searches=(usage.other_units or {}).get("web_search_requests", 0),
        **counts,
    )
    found = catalogue().snapshot.calc(said, model, provider, None, at, dict(context_of(usage, None)) or None)
    other = found.total_price - found.input_price - found.output_price
    parts = (found.input_price, found.output_price, other)
    input_price, output_price, rest = (part.quantize(PICO, ROUND_HALF_EVEN) for part in parts)
    return input_price, output_price, rest


def agrees(provider: str, model: str, at: datetime, usage: TokenUsage) -> bool:
    """Whether both engines say the same, wherever ours says something; and whether it does."""
    listed = catalogue().find(provider, model, at, dict(context_of(usage, None)))
    if listed is None or listed.is_standard:
        return False
    quote = Quote(rates=listed.rates, provider=provider, model=model, source="", version="", context=None, flags=())
    bill = make_bill(quote, usage)
    if bill is None or "reduced_usage" in bill.flags:
        return False
    ours = tuple(usd(part) for part in (bill.amounts.input, bill.amounts.output, bill.amounts.other))
    assert ours == engines_price(provider, model, at, usage), (provider, model, at, usage)
    assert usd(bill.amounts.total) == sum(ours)
    return True


@given(data=st.data(), usage=usages(), day=st.integers(0, 900), minute=st.integers(0, 1_439))
@settings(max_examples=400, deadline=None)
def test_own_arithmetic_is_the_engines(data: st.DataObject, usage: TokenUsage, day: int, minute: int) -> None:
    """For any model, time, tier and usage, the cost is the one that the catalogue's own engine computes."""
    provider, model = data.draw(st.sampled_from(models()))
    moment = datetime(2024, 9, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)
    agrees(provider, model, moment, usage)


@pytest.mark.filterwarnings("ignore:No price variant")  # of an older engine, where it has none for a tier
@pytest.mark.parametrize("tokens", [(10_000, 1_000), (300_001, 5_000)])
def test_every_model_of_the_catalogue_comes_out_the_same(tokens: tuple[int, int]) -> None:
    """All models are priced as the engine does, with everything that a usage can say, below and above the tiers."""
    given, answered = tokens
    plain = make_usage(given, answered, cache_read_tokens=given // 3, cache_write_tokens=given // 3)
    full = replace(
        plain,
        cache_write_1h_tokens=given // 5,
        audio_input_tokens=given // 2,
        audio_output_tokens=answered // 5,
        reasoning_tokens=answered // 2,
        other_units={"web_search_requests": 3},
    )
    same = [sum(agrees(provider, model, AUTUMN, usage) for provider, model in models()) for usage in (plain, full)]
    assert same[0] > len(models()) * 0.8
    assert same[1] > 10


def test_times_of_the_catalogue_are_whole_minutes() -> None:
    """What is remembered for a minute holds for all of it: no price of the catalogue changes within one."""
    constraints = [
        item.constraint
        for provider in catalogue().snapshot.providers
        for model in provider.models
        for item in (*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ()))
    ]
    times = [time for each in constraints if hasattr(each, "start_time") for time in (each.start_time, each.end_time)]
    assert times
    assert all(time.second == 0 and time.microsecond == 0 for time in times)


def test_repeated_model_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was priced is not looked up again on the same day, and an unknown one neither."""
    asked: list[str] = []
    find = Catalogue.find

    def counted(self: Catalogue, provider: str | None, model: str, *more: Any) -> Any:
        asked.append(model)
        return find(self, provider, model, *more)

    monkeypatch.setattr(Catalogue, "find", counted)
    book = PriceBook()
    for hour in range(24):
        for model in ("gpt-4o", "gpt-99"):
            book.price(make_call(provider="openai", model=model, started_at=AUTUMN.replace(hour=hour)))
    assert asked == ["gpt-4o", "gpt-99"]


def test_what_is_remembered_follows_the_clock() -> None:
    """Rates that depend on the hour are those of each call's own hour, also for a model that was just priced."""
    call = make_call(provider="deepseek", model="deepseek-v4-pro", tokens=(10_000, 1_000))
    costs = [BOOK.price(replace(call, started_at=AUTUMN.replace(hour=hour))).cost_usd for hour in (2, 12, 2, 0, 4)]
    assert costs == [Decimal(text) for text in ("0.01716", "0.00858", "0.01716", "0.00858", "0.00858")]


@given(pico=st.integers(0, 10**24))
def test_pico_usd_round_trips(pico: int) -> None:
    """Whole pico-USD become a Decimal with twelve decimals and come back the same, whatever the host's precision is."""
    amount = usd(pico)
    assert amount.as_tuple().exponent == -12
    assert int(amount.scaleb(12)) == pico


@given(count=st.integers(0, 10**9), price=st.decimals(0, 1_000, places=18))
def test_parts_are_rounded_half_to_even_once(count: int, price: Decimal) -> None:
    """A rate with many decimals is exact until the one rounding at the end."""
    from decimal import localcontext

    amounts = make_rates({"input_mtok": [(-1, price)]}).card(count).charge({"input_tokens": count})
    with localcontext(prec=60):
        assert usd(amounts.total) == (price * count / 1_000_000).quantize(PICO, ROUND_HALF_EVEN)


@given(usage=usages())
@settings(max_examples=100, deadline=None)
def test_details_do_not_raise_the_cost(usage: TokenUsage) -> None:
    """Saying what the input consists of makes a call cheaper or leaves it, cache writes alone make it dearer."""
    known = replace(usage, service_tier=None, audio_input_tokens=None, audio_output_tokens=None, other_units=None)
    plain = make_usage(known.input_tokens, known.output_tokens)
    without_writes = replace(known, cache_write_tokens=None, cache_write_1h_tokens=None)
    for model in (SONNET, "claude-haiku-4-5"):
        bound, less, all_of_it = (
            BOOK.cost(each, model=model, provider="anthropic", at=AUTUMN).total_usd
            for each in (plain, without_writes, known)
        )
        assert bound is not None
        assert less is not None
        assert all_of_it is not None
        assert less <= bound
        assert all_of_it >= less


def test_hosts_decimal_context_changes_nothing() -> None:
    """An application that computes with six digits gets the same cost as any other."""
    from decimal import localcontext

    call = make_call(provider="openai", model="gpt-4o", tokens=(123_456_789, 987_654))
    with localcontext(prec=6):
        assert BOOK.price(call).cost_usd == BOOK.price(replace(call)).cost_usd
        rounded = BOOK.price(call)
    assert rounded.cost_usd == Decimal("318.5185125")
