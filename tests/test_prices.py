"""What does it cost? Golden cases with rates from the providers' pages, and what must stay without a price."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.call import Call
from langchain_tokens.prices import PriceBook
from tests.builders import make_call, make_usage

BOOK = PriceBook()
SONNET = "claude-sonnet-4-5-20250929"
AUTUMN = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One case: who, when, how much, and the price by hand; None where the package cannot know it."""

    name: str
    provider: str | None
    model: str
    tokens: tuple[int, int]
    usd: str | None
    at: datetime = AUTUMN
    details: dict[str, Any] = field(default_factory=dict)

    def call(self) -> Call:
        """The call to price."""
        return make_call(
            provider=self.provider,
            model=self.model,
            requested_model=self.model,
            started_at=self.at,
            usage=make_usage(*self.tokens, **self.details),
        )


def at(year: int, month: int, day: int, hour: int = 0) -> datetime:
    """A moment in UTC."""
    return datetime(year, month, day, hour, tzinfo=UTC)


CACHED = {"cache_read_tokens": 10_000, "reasoning_tokens": 2_000}
GOLDEN = [
    Golden(name="G01", provider="openai", model="gpt-4", tokens=(1_000, 500), usd="0.06"),
    Golden(name="G02", provider="openai", model="gpt-4-turbo", tokens=(2_000, 1_000), usd="0.05"),
    Golden(name="G03", provider="openai", model="gpt-3.5-turbo", tokens=(10_000, 2_000), usd="0.008"),
    Golden(
        name="G04",
        provider="openai",
        model="gpt-4o-2024-08-06",
        tokens=(10_000, 1_000),
        details={"cache_read_tokens": 4_000},
        usd="0.03",
    ),
    Golden(
        name="G05",
        provider="openai",
        model="gpt-4o-mini",
        tokens=(100_000, 5_000),
        details={"cache_read_tokens": 50_000},
        usd="0.01425",
    ),
    Golden(name="G06", provider="openai", model="o3", tokens=(1_000, 1_000), at=at(2025, 6, 9), usd="0.05"),
    Golden(
        name="G08",
        provider="openai",
        model="o4-mini",
        tokens=(5_000, 8_000),
        details={"reasoning_tokens": 6_000},
        usd="0.0407",
    ),
    Golden(
        name="G09",
        provider="openai",
        model="gpt-5",
        tokens=(20_000, 3_000),
        details=CACHED | {"service_tier": "default"},
        usd="0.04375",
    ),
    Golden(
        name="G10",
        provider="openai",
        model="gpt-5",
        tokens=(20_000, 3_000),
        details=CACHED | {"service_tier": "flex"},
        usd="0.021875",
    ),
    Golden(
        name="G13",
        provider="openai",
        model="gpt-5.6-luna",
        tokens=(10_000, 1_000),
        details={"cache_write_tokens": 4_000, "cache_read_tokens": 2_000},
        usd="0.00304",
    ),
    Golden(
        name="G15",
        provider="anthropic",
        model=SONNET,
        tokens=(10_000, 1_000),
        details={"cache_read_tokens": 2_000, "cache_write_tokens": 3_000, "cache_write_5m_tokens": 3_000},
        usd="0.04185",
    ),
    Golden(
        name="G15 without the split of writes",
        provider="anthropic",
        model=SONNET,
        tokens=(10_000, 1_000),
        details={"cache_read_tokens": 2_000, "cache_write_tokens": 3_000},
        usd="0.04185",
    ),
    Golden(
        name="G16",
        provider="anthropic",
        model=SONNET,
        tokens=(10_000, 1_000),
        details={"cache_read_tokens": 2_000, "cache_write_tokens": 3_000, "cache_write_1h_tokens": 3_000},
        usd="0.0486",
    ),
    Golden(name="G18", provider="anthropic", model="claude-haiku-4-5-20251001", tokens=(100_000, 10_000), usd="0.15"),
    Golden(name="G19", provider="anthropic", model="claude-opus-4-1-20250805", tokens=(1_000, 1_000), usd="0.09"),
    Golden(
        name="G20",
        provider="anthropic",
        model="claude-3-haiku-20240307",
        tokens=(10_000, 1_000),
        at=at(2025, 1, 15),
        usd="0.00375",
    ),
    Golden(
        name="G23",
        provider="anthropic",
        model="claude-sonnet-4-5",
        tokens=(1_000, 100),
        details={"other_units": {"web_search_requests": 3}},
        usd="0.0345",
    ),
    Golden(
        name="G24",
        provider="anthropic",
        model="claude-haiku-4-5",
        tokens=(1_000_000, 1_000_000),
        details={"service_tier": "batch"},
        usd="3.00",
    ),
    Golden(
        name="G25",
        provider="google_genai",
        model="gemini-2.0-flash",
        tokens=(10_000, 1_000),
        at=at(2025, 6, 1),
        usd="0.0014",
    ),
    Golden(
        name="G26",
        provider="google_genai",
        model="gemini-2.0-flash-lite",
        tokens=(10_000, 1_000),
        at=at(2025, 6, 1),
        usd="0.00105",
    ),
    Golden(
        name="G28",
        provider="google_genai",
        model="gemini-2.5-flash",
        tokens=(10_000, 500),
        details={"audio_input_tokens": 8_000},
        usd="0.00985",
    ),
    Golden(name="G29", provider="google_genai", model="gemini-2.5-flash-lite", tokens=(10_000, 1_000), usd="0.0014"),
    Golden(
        name="G29 with a prefix",
        provider="google_genai",
        model="models/gemini-2.5-flash-lite",
        tokens=(10_000, 1_000),
        usd="0.0014",
    ),
    Golden(name="G30", provider="google_genai", model="gemini-2.5-pro", tokens=(200_000, 1_000), usd="0.26"),
    Golden(name="G30 Vertex", provider="google_vertexai", model="gemini-2.5-pro", tokens=(200_000, 1_000), usd="0.26"),
    Golden(name="G32", provider="perplexity", model="sonar", tokens=(1_000, 500), at=at(2026, 6, 1), usd=None),
    Golden(
        name="G34",
        provider="perplexity",
        model="sonar-deep-research",
        tokens=(33, 102_468),
        at=at(2026, 6, 1),
        details={"reasoning_tokens": 95_305, "other_units": {"citation_tokens": 20_016, "num_search_queries": 30}},
        usd=None,
    ),
    Golden(
        name="G35",
        provider="deepseek",
        model="deepseek-chat",
        tokens=(10_000, 1_000),
        at=at(2026, 1, 15),
        details={"cache_read_tokens": 4_000},
        usd=None,
    ),
    Golden(
        name="G35 of nobody's",
        provider=None,
        model="deepseek-chat",
        tokens=(10_000, 1_000),
        at=at(2026, 1, 15),
        usd=None,
    ),
    Golden(
        name="G35 in capitals",
        provider="deepseek",
        model="DeepSeek-Chat",
        tokens=(10_000, 1_000),
        at=at(2026, 1, 15),
        usd=None,
    ),
    Golden(
        name="G37",
        provider="deepseek",
        model="deepseek-v4-pro",
        tokens=(10_000, 1_000),
        at=at(2026, 11, 20, 2),
        usd="0.01716",
    ),
    Golden(name="G37 off peak", provider="deepseek", model="deepseek-v4-pro", tokens=(10_000, 1_000), usd="0.00858"),
    Golden(
        name="G39",
        provider="deepseek",
        model="deepseek-v4-pro",
        tokens=(10_000, 1_000),
        at=at(2026, 11, 21, 2),
        usd=None,
    ),
    Golden(
        name="G39 off peak",
        provider="deepseek",
        model="deepseek-v4-pro",
        tokens=(10_000, 1_000),
        at=at(2026, 11, 21, 12),
        usd="0.00858",
    ),
    Golden(
        name="G37 from before there were peaks",
        provider="deepseek",
        model="deepseek-v4-pro",
        tokens=(10_000, 1_000),
        at=at(2026, 6, 5, 2),
        usd=None,
    ),
    Golden(
        name="G40",
        provider="groq",
        model="llama-3.3-70b-versatile",
        tokens=(10_000, 1_000),
        at=at(2026, 6, 1),
        usd="0.00669",
    ),
    Golden(
        name="G41",
        provider="mistralai",
        model="mistral-large-2411",
        tokens=(10_000, 1_000),
        at=at(2025, 6, 1),
        usd="0.026",
    ),
    Golden(
        name="G41 by its alias",
        provider="mistralai",
        model="mistral-large-latest",
        tokens=(10_000, 1_000),
        at=at(2026, 6, 1),
        usd=None,
    ),
    Golden(
        name="G41 by its alias, of nobody's",
        provider=None,
        model="mistral-large-latest",
        tokens=(10_000, 1_000),
        at=at(2026, 6, 1),
        usd=None,
    ),
    Golden(
        name="G43",
        provider="bedrock_converse",
        model=f"us.anthropic.{SONNET}-v1:0",
        tokens=(10_000, 1_000),
        usd="0.0495",
    ),
    Golden(
        name="G46 audio",
        provider="openai",
        model="gpt-4o-audio-preview",
        tokens=(1_000, 1_000),
        details={"audio_input_tokens": 500},
        usd=None,
    ),
    Golden(
        name="G46 audio, dated",
        provider="openai",
        model="gpt-4o-audio-preview-2025-06-03",
        tokens=(1_000, 1_000),
        details={"audio_input_tokens": 500},
        usd=None,
    ),
    Golden(
        name="G46 audio of a model without a rate for it",
        provider="openai",
        model="gpt-4o",
        tokens=(1_000, 1_000),
        details={"audio_output_tokens": 500},
        usd=None,
    ),
    Golden(
        name="G47",
        provider="google_genai",
        model="gemini-2.0-pro-exp",
        tokens=(1_000, 1_000),
        at=at(2025, 2, 6),
        usd=None,
    ),
    Golden(name="G48", provider="pollinations", model="openai", tokens=(1_000, 1_000), usd=None),
    Golden(
        name="a tier that the model has no rates for",
        provider="openai",
        model="gpt-4",
        tokens=(1_000, 500),
        details={"service_tier": "flex"},
        usd=None,
    ),
    Golden(
        name="a tier from before its rates",
        provider="openai",
        model="gpt-5",
        tokens=(1_000, 500),
        at=at(2026, 3, 1),
        details={"service_tier": "priority"},
        usd=None,
    ),
    Golden(name="an unknown model", provider="openai", model="gpt-99-foo", tokens=(1_000, 500), usd=None),
    Golden(name="an unknown provider", provider="acme", model="gpt-4o", tokens=(1_000, 500), usd=None),
    Golden(name="a subscription", provider="openai-codex", model="gpt-5", tokens=(1_000, 500), usd=None),
    Golden(name="no model", provider="openai", model="", tokens=(1_000, 500), usd=None),
    Golden(
        name="a free route", provider="openrouter", model="deepseek/deepseek-r1:free", tokens=(10_000, 1_000), usd="0"
    ),
]


def _case(golden: Golden) -> Any:
    return pytest.param(golden, id=golden.name)


@pytest.mark.parametrize("golden", [_case(golden) for golden in GOLDEN])
def test_golden_cost(golden: Golden) -> None:
    """A call costs what its provider's page says, to the last digit, or nothing is said about its cost."""
    call = golden.call()
    priced = BOOK.price(call)
    assert priced.cost_usd == (None if golden.usd is None else Decimal(golden.usd))
    assert (priced is call) == (golden.usd is None)
    assert priced.price_status == ("unpriced" if golden.usd is None else "priced")
    assert priced.price_source == (None if golden.usd is None else "genai-prices")


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
    """A cost that the provider reported, or that was priced before, is not touched."""
    call = make_call(provider="openai", model="gpt-4o", cost="9", price_status="reported")
    assert BOOK.price(call) is call
    once = BOOK.price(make_call(provider="openai", model="gpt-4o"))
    assert BOOK.price(once) is once


def test_served_model_is_priced_before_the_requested_one() -> None:
    """The model that answered is what is paid; the requested one stands in where that is unknown."""
    call = make_call(provider="openai", model="gpt-4o-mini", requested_model="gpt-4", tokens=(1_000_000, 0))
    assert BOOK.price(call).cost_usd == Decimal("0.15")
    assert BOOK.price(replace(call, model="my-alias")).cost_usd == Decimal(30)
    assert BOOK.price(replace(call, model=None)).cost_usd == Decimal(30)


def test_price_is_that_of_the_calls_own_time() -> None:
    """A price that changed is the one in force when the call started."""
    call = make_call(provider="openai", model="o3", tokens=(1_000, 1_000))
    costs = [BOOK.price(replace(call, started_at=moment)).cost_usd for moment in (at(2025, 6, 9), at(2025, 6, 12))]
    assert costs == [Decimal("0.05"), Decimal("0.01")]


def test_catalogue_of_the_application_is_not_touched() -> None:
    """The library's own snapshot, which belongs to the application, is neither read nor replaced."""
    from genai_prices.data_snapshot import get_snapshot

    before = get_snapshot()
    PriceBook().price(make_call(provider="openai", model="gpt-4o"))
    assert get_snapshot() is before


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
