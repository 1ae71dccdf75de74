"""What does it cost? Golden cases with rates from the providers' pages, and what must stay without a price."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.prices import PriceBook
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, GOLDEN, SONNET, Golden, at

BOOK = PriceBook()


KNOWN_CATALOGUE = tuple(int(part) for part in version("genai-prices").split(".")[:3])


def _case(golden: Golden) -> Any:
    needed = tuple(int(part) for part in golden.since.split("."))
    too_old = pytest.mark.skipif(
        needed > KNOWN_CATALOGUE, reason=f"genai-prices {golden.since} is the first to know it"
    )
    return pytest.param(golden, id=golden.name, marks=too_old)


@pytest.mark.parametrize("golden", [_case(golden) for golden in GOLDEN])
def test_golden_cost(golden: Golden) -> None:
    """A call costs what its provider's page says, to the last digit, or nothing is said about its cost."""
    call = golden.call()
    priced = BOOK.price(call)
    assert priced.cost_usd == (None if golden.usd is None else Decimal(golden.usd))
    assert (priced is call) == (golden.usd is None)
    assert priced.price_status == ("unpriced" if golden.usd is None else golden.status)
    assert priced.price_source == (None if golden.usd is None else golden.source)
    assert priced.price_flags == golden.flags


def test_parts_of_a_cost_add_up() -> None:
    """Input, output and other cost make the total, and the rates that were used stand beside it."""
    golden = next(golden for golden in GOLDEN if golden.name == "G23")
    priced = BOOK.price(golden.call())
    assert (priced.input_cost_usd, priced.output_cost_usd, priced.other_cost_usd) == (
        Decimal("0.003"),
        Decimal("0.0015"),
        Decimal("0.03"),
    )
    assert priced.unit_prices is not None
    assert priced.unit_prices["input_mtok"].startswith("3")
    assert priced.price_version


@pytest.mark.parametrize("provider", ["ollama", "here"])
def test_declared_provider_is_free(provider: str) -> None:
    """Calls to a provider that was declared free cost 0, with or without usage; others are unknown."""
    book = PriceBook(free_providers=("ollama", "here"))
    for call in (make_call(provider=provider, model="llama3"), make_call(provider=provider, tokens=None)):
        priced = book.price(call)
        assert (priced.cost_usd, priced.price_status, priced.price_source) == (Decimal(0), "free", "declared")
    assert book.price(make_call(provider="other", model="llama3")).cost_usd is None


def test_free_is_never_inferred() -> None:
    """Without a declaration, a model on an own machine has no price."""
    assert PriceBook(free_providers=()).price(make_call(provider="ollama", model="llama3")).cost_usd is None


def test_cached_call_costs_nothing() -> None:
    """A call that LangChain's cache answered reached no provider."""
    priced = BOOK.price(make_call(provider="openai", model="gpt-4o", tokens=(0, 0), status="cached"))
    assert (priced.cost_usd, priced.price_status) == (Decimal(0), "free")


@pytest.mark.parametrize(
    "more",
    [
        {"tokens": None},
        {"tokens": (None, 5)},
        {"tokens": (5, None)},
        {"tokens": (0, 5)},
        {"usage_flags": ("cache_outside_input",)},
        {"usage_flags": ("detail_above_total:reasoning_tokens",)},
        {"usage_flags": ("nonsense:input_tokens",)},
        {"usage_flags": ("rounds_above_usage",)},
        {"usage_flags": ("total_mismatch",)},
    ],
)
def test_unknown_or_contradictory_usage_has_no_price(more: dict[str, Any]) -> None:
    """What is not known, or contradicts itself, is not priced: None, never 0."""
    call = make_call(provider="openai", model="gpt-4o", **more)
    assert BOOK.price(call) is call
    assert (call.cost_usd, call.price_status) == (None, "unpriced")


def test_price_that_is_known_stays() -> None:
    """A call that was priced before is not touched, whatever the book says by now."""
    once = BOOK.price(make_call(provider="openai", model="gpt-4o"))
    dearer = PriceBook([{"model": "gpt-4o", "input": "1000", "output": "1000"}])
    assert dearer.price(once) is once
    free = BOOK.price(make_call(provider="ollama", model="llama3"))
    assert dearer.price(free) is free


def test_reported_cost_stays_beside_the_computed_one() -> None:
    """What the provider says a call costs is its cost; what the book makes of it stands beside it, computed once."""
    call = make_call(provider="openai", model="gpt-4o", tokens=(1_000_000, 0), cost="9", price_status="reported")
    priced = BOOK.price(call)
    assert (priced.cost_usd, priced.price_status) == (Decimal(9), "reported")
    assert priced.computed_cost_usd == Decimal("2.5")
    assert (priced.priced_provider, priced.priced_model) == ("openai", "gpt-4o")
    assert BOOK.price(priced) is priced
    unknown = replace(call, model="gpt-99", requested_model=None)
    book = PriceBook()
    assert book.price(unknown) is unknown
    assert book.unpriced_calls == {}


def test_provider_cache_saves_the_difference_to_plain_input() -> None:
    """Cache reads save what they cost less than plain input; cache writes save nothing, and cost nothing here."""
    usage = make_usage(10_000, 1_000, cache_read_tokens=4_000, cache_write_tokens=5_000, cache_write_1h_tokens=5_000)
    call = make_call(provider="anthropic", model=SONNET, started_at=AUTUMN, usage=usage)
    assert BOOK.price(call).saved_cost_usd == Decimal("0.0108")
    only_written = replace(call, usage=replace(usage, cache_read_tokens=0))
    assert BOOK.price(only_written).saved_cost_usd == 0
    unsaid = replace(call, usage=replace(usage, cache_read_tokens=None))
    assert BOOK.price(unsaid).saved_cost_usd is None


def test_cached_call_saved_all_of_its_cost() -> None:
    """An answer from LangChain's cache cost nothing and saved what the call would have cost."""
    call = make_call(
        provider="openai", model="gpt-4", tokens=(0, 0), status="cached", saved_usage=make_usage(1_000, 500)
    )
    priced = BOOK.price(call)
    assert (priced.cost_usd, priced.saved_cost_usd, priced.price_status) == (0, Decimal("0.06"), "free")


def test_a_price_says_what_it_rests_on() -> None:
    """Rates, source, version, provider, model and context stand beside a cost, so that it can be checked by hand."""
    priced = BOOK.price(next(golden for golden in GOLDEN if golden.name == "G10").call())
    assert (priced.priced_provider, priced.priced_model) == ("openai", "gpt-5")
    assert priced.price_context == {"service_tier": "flex"}
    assert priced.price_version == version("genai-prices")
    assert priced.unit_prices is not None
    assert priced.unit_prices["input_mtok"] == "0.625"
    above = BOOK.price(next(golden for golden in GOLDEN if golden.name == "G30 above the tier").call())
    assert above.unit_prices is not None
    assert above.unit_prices["input_mtok"] == "2.5"


def test_first_unknown_model_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """A model without a price is logged once as a warning, and counted each time."""
    book = PriceBook()
    call = next(golden for golden in GOLDEN if golden.name == "G47").call()
    for _ in range(3):
        book.price(call)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "gemini-2.0-pro-exp" in warned[0]
    assert book.unpriced_calls == {("google_genai", "gemini-2.0-pro-exp"): 3}


def test_tokens_of_another_model_are_not_in_the_price() -> None:
    """Where a tool used another model, the price is that of this model's tokens alone, and says so."""
    priced = BOOK.price(make_call(provider="openai", model="gpt-4", usage_flags=("several_models",)))
    assert priced.price_flags == ("other_model_not_priced",)


def test_overlapping_parts_are_priced_without_them() -> None:
    """Parts that cannot all be in the whole are left out of the price, which says so."""
    usage = make_usage(1_000, 100, reasoning_tokens=500)
    call = make_call(provider="perplexity", model="sonar-deep-research", usage=replace(usage, output_tokens=100))
    priced = BOOK.price(call)
    assert (priced.cost_usd, priced.price_flags) == (Decimal("0.0028"), ("reduced_usage",))


def test_served_model_is_priced_before_the_requested_one() -> None:
    """The model that answered is what is paid; the requested one stands in where that is unknown."""
    call = make_call(provider="openai", model="gpt-4o-mini", requested_model="gpt-4", tokens=(1_000_000, 0))
    assert BOOK.price(call).cost_usd == Decimal("0.15")
    assert BOOK.price(replace(call, model="my-alias")).cost_usd == Decimal(30)
    assert BOOK.price(replace(call, model=None)).cost_usd == Decimal(30)


@pytest.mark.parametrize(
    ("provider", "served", "requested"),
    [
        ("openrouter", "x-ai/grok-nobody-knows", "google/gemini-2.0-flash-exp:free"),
        ("openrouter", "x-ai/grok-nobody-knows", "openai/gpt-4o"),
        ("openrouter", "grok-nobody-knows", "deepseek/deepseek-r1:free"),
    ],
)
def test_requested_model_does_not_stand_in_for_another(provider: str, served: str, requested: str) -> None:
    """Where a router served another model than was asked for, the price of the one that was asked for is no answer."""
    call = make_call(provider=provider, model=served, requested_model=requested)
    assert BOOK.price(call) is call


def test_price_is_that_of_the_calls_own_time() -> None:
    """A price that changed is the one in force when the call started."""
    call = make_call(provider="openai", model="o3", tokens=(1_000, 1_000))
    costs = [BOOK.price(replace(call, started_at=moment)).cost_usd for moment in (at(2025, 6, 9), at(2025, 6, 12))]
    assert costs == [Decimal("0.05"), Decimal("0.01")]


def test_catalogue_of_the_application_is_not_touched() -> None:
    """The library's own snapshot, which belongs to the application, is neither read nor replaced."""
    from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot

    emptied = DataSnapshot(providers=[], from_auto_update=True)
    set_custom_snapshot(emptied)
    try:
        priced = PriceBook().price(make_call(provider="openai", model="gpt-4o"))
        assert get_snapshot() is emptied
    finally:
        set_custom_snapshot(None)
    assert priced.price_status == "priced"


def test_pricing_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new book loads its catalogue and prices without opening a socket."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert PriceBook().price(make_call(provider="openai", model="gpt-4o")).price_status == "priced"


def test_catalogue_is_loaded_by_the_first_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a book, and pricing what needs no catalogue, does not load it."""
    for name in [name for name in sys.modules if name.startswith("genai_prices")]:
        monkeypatch.delitem(sys.modules, name)
    book = PriceBook()
    book.price(make_call(provider="ollama"))
    book.price(make_call(tokens=None))
    assert "genai_prices" not in sys.modules


def test_book_is_for_all_threads() -> None:
    """Threads that price at once with a new book get the same answers."""
    book, call = PriceBook(), make_call(provider="openai", model="gpt-4o")
    with ThreadPoolExecutor(4) as pool:
        costs = {priced.cost_usd for priced in pool.map(book.price, [call] * 20)}
    assert costs == {BOOK.price(call).cost_usd}


MODELS = st.sampled_from(
    [("openai", "gpt-5"), ("openai", "gpt-4o"), ("anthropic", SONNET), ("google_genai", "gemini-2.5-flash")]
)


@given(who=MODELS, tokens=st.tuples(st.integers(2, 50_000), st.integers(0, 50_000)), part=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_cached_input_is_never_dearer(who: tuple[str, str], tokens: tuple[int, int], part: float) -> None:
    """Reading a part of the input from the cache does not raise the cost, and no known usage costs nothing."""
    call = make_call(provider=who[0], model=who[1], started_at=AUTUMN, tokens=tokens)
    cached = replace(call, usage=make_usage(*tokens, cache_read_tokens=int(tokens[0] * part)))
    full, less = BOOK.price(call).cost_usd, BOOK.price(cached).cost_usd
    assert full is not None
    assert less is not None
    assert 0 < less <= full


@given(who=MODELS, first=st.integers(1, 50_000), second=st.integers(1, 50_000))
@settings(max_examples=60, deadline=None)
def test_cost_is_that_of_its_parts(who: tuple[str, str], first: int, second: int) -> None:
    """Below every tier, two calls cost what one with the tokens of both does."""
    calls = [
        make_call(provider=who[0], model=who[1], started_at=AUTUMN, tokens=(count, count))
        for count in (first, second, first + second)
    ]
    one, other, both = (BOOK.price(call).cost_usd for call in calls)
    assert one is not None
    assert other is not None
    assert one + other == both


@given(tokens=st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)))
@settings(max_examples=30, deadline=None)
def test_flex_is_half_price(tokens: tuple[int, int]) -> None:
    """The flex tier of gpt-5 costs half of the default one."""
    default, flex = (
        BOOK.price(
            make_call(provider="openai", model="gpt-5", started_at=AUTUMN, usage=make_usage(*tokens, service_tier=tier))
        ).cost_usd
        for tier in ("default", "flex")
    )
    assert default is not None
    assert flex is not None
    assert flex * 2 == default


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_pricing_never_fails(data: st.DataObject) -> None:
    """Whatever is said, pricing gives a call back, and a cost that is not negative, or none."""
    counts = st.none() | st.integers(-5, 2**63 - 1)
    call = make_call(
        provider=data.draw(st.none() | st.sampled_from(["openai", "anthropic", "google_genai", "x"])),
        model=data.draw(st.none() | st.sampled_from(["gpt-5", "gpt-4o", SONNET, "gemini-2.5-flash"]) | st.text()),
        usage=make_usage(
            data.draw(counts),
            data.draw(counts),
            cache_read_tokens=data.draw(counts),
            cache_write_tokens=data.draw(counts),
            cache_write_1h_tokens=data.draw(counts),
            audio_input_tokens=data.draw(counts),
            reasoning_tokens=data.draw(counts),
            service_tier=data.draw(st.none() | st.text(max_size=5)),
        ),
    )
    priced = BOOK.price(call)
    assert (priced.cost_usd is None) == (priced.price_status == "unpriced")
    assert priced.cost_usd is None or priced.cost_usd >= 0
