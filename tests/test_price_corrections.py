"""Are the shipped corrections still needed, and does each model of the starting table get its price? Row by row."""

from __future__ import annotations

import fnmatch
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import langchain_tokens
from langchain_tokens.prices import PriceBook
from langchain_tokens.pricing.catalogue import bundled
from langchain_tokens.pricing.offers import Price
from langchain_tokens.pricing.withdrawals import is_offered, shipped_withdrawals
from langchain_tokens.usage import TokenUsage
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, at
from tests.test_price_file import EXAMPLES

DATA = Path(langchain_tokens.__file__).parent / "data"
ROWS: list[dict[str, Any]] = tomllib.loads((DATA / "corrections.toml").read_text(encoding="utf-8"))["prices"]
GONE: list[dict[str, Any]] = tomllib.loads((DATA / "withdrawn.toml").read_text(encoding="utf-8"))["withdrawn"]
BOOK, PLAIN = PriceBook(), PriceBook(corrections=False)
PROBE = make_usage(10_000, 10_000, cache_read_tokens=1_000)
AUDIO = make_usage(10_000, 10_000, audio_input_tokens=5_000, audio_output_tokens=5_000)
EXAMPLE_OF = {
    "deepseek-v4-*": "deepseek-v4-pro",
    "deepseek-flash*": "deepseek-flash",
    "gpt-4o-audio-preview*": "gpt-4o-audio-preview",
    "gpt-4o-mini-audio-preview*": "gpt-4o-mini-audio-preview",
}
"""A model that each pattern is about."""


def moment(value: Any) -> datetime:
    """A date or time of the file, in UTC."""
    aware = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return aware.astimezone(UTC)


def probed(row: dict[str, Any]) -> list[tuple[str, datetime]]:
    """Models and moments that a row is about."""
    names = [row.get("model") or EXAMPLE_OF[row["pattern"]], *row.get("aliases", [])]
    start = moment(row["effective_from"]) if "effective_from" in row else at(2026, 6, 5, 2)
    if "price_at_hour" in row:
        days = range(14) if "weekdays" in row else [0]
        first = start.replace(hour=2, minute=0)
        return [(name, first + timedelta(days=day)) for name in names for day in days]
    return [(name, start + timedelta(minutes=1)) for name in names]


def ask(book: PriceBook, row: dict[str, Any], name: str, when: datetime) -> Price:
    """What a book says."""
    usage = AUDIO if "audio_in" in row else PROBE
    return book.cost(usage, model=name, provider=row.get("provider"), at=when)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS])
def test_correction_is_still_needed(row: dict[str, Any]) -> None:
    """The catalogue says something else, or nothing, for what a row is about; once it agrees, the row can go."""
    differences = [
        ask(BOOK, row, name, when).total_usd != ask(PLAIN, row, name, when).total_usd for name, when in probed(row)
    ]
    assert any(differences), f"the catalogue agrees: remove {row['id']} ({row['remove_when']})"


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in [*ROWS, *GONE]])
def test_correction_says_where_it_is_from(row: dict[str, Any]) -> None:
    """Each row names its source, and what has to happen for it to go."""
    assert row.get("url", "").startswith("https://") or "source:" in row["note"]
    assert row["remove_when"]


def test_no_correction_is_skipped() -> None:
    """All rows are read, under names of their own."""
    assert len({row["id"] for row in [*ROWS, *GONE]}) == len(ROWS) + len(GONE)
    assert sum(1 for _ in BOOK._corrections.entries) == len(ROWS)
    assert [withdrawal.identity for withdrawal in shipped_withdrawals()] == [row["id"] for row in GONE]


def test_corrections_can_be_left_out() -> None:
    """A book without the corrections says what the catalogue says."""
    price = PLAIN.cost(PROBE, model="deepseek-chat", provider="deepseek", at=at(2026, 1, 15))
    assert (price.source, price.status) == ("genai-prices", "priced")


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in GONE])
def test_what_cannot_be_had_is_still_listed(row: dict[str, Any]) -> None:
    """The catalogue lists each as if it were served; once it marks or drops one, its name can go."""
    listed = list(bundled().models(row["provider"]))
    agreed = [name for name in row["models"] if not fnmatch.filter(listed, name)]
    assert agreed == [], f"the catalogue agrees: remove these from {row['id']} ({row['remove_when']})"


@pytest.mark.parametrize(
    ("provider", "model", "when", "is_there"),
    [
        ("openai", "gpt-oss-20b", at(2020, 1, 1), False),
        ("groq", "openai/gpt-oss-20b", at(2026, 12, 1), True),
        ("openai", "gpt-4o", at(2027, 1, 13, 23), True),
        ("openai", "gpt-4o", at(2027, 1, 14), False),
        ("openai", "GPT-4o", at(2027, 1, 14), False),
        ("azure", "gpt-4o", at(2027, 1, 14), True),
        ("openai", "gpt-4o-2024-05-13", at(2026, 10, 22, 23), True),
        ("openai", "gpt-4o-2024-05-13", at(2026, 10, 23), False),
        ("x-ai", "grok-4-fast-reasoning", at(2026, 5, 15, 18), True),
        ("x-ai", "grok-4-fast-reasoning", at(2026, 5, 15, 19), False),
        ("google", "gemini-flash-1.5-8b", at(2025, 9, 29), False),
        ("google", "gemini-2.5-flash-lite", at(2027, 1, 1), True),
        ("openai", "gpt-99", at(2027, 1, 1), True),
    ],
)
def test_models_are_gone_from_a_moment_on(provider: str, model: str, when: datetime, is_there: bool) -> None:
    """Until a model's last moment it can be had; those of another provider, and others of like names, still can."""
    assert is_offered(shipped_withdrawals(), provider, model, when) is is_there


def listed_by(book: PriceBook, when: datetime, provider: str = "openai") -> set[str]:
    """The models of a provider that a book ranks at a moment."""
    return {price.model for price in book.ranking(PROBE, provider=provider, at=when)}


def test_only_what_can_be_had_is_recommended() -> None:
    """Rankings, ends and cheaper models of a provider are of models that it serves at that time."""
    before, after = at(2027, 1, 13), at(2027, 1, 14)
    assert {"gpt-4o-mini", "gpt-5.4-nano"} <= listed_by(BOOK, before)
    assert listed_by(BOOK, before) - listed_by(BOOK, after) == {"gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini"}
    ends = [BOOK.cheapest(PROBE, provider="openai", at=after), BOOK.dearest(PROBE, provider="openai", at=after)]
    others = [item.price for item in BOOK.cheaper_models(PROBE, "gpt-4o", "openai", after)]
    assert others
    for price in [*ends, *others]:
        assert price is not None
        assert is_offered(shipped_withdrawals(), "openai", price.model, after)


def test_what_is_gone_keeps_its_price_and_can_be_named() -> None:
    """Calls that were made on such a model have their cost, and whoever names one gets it ranked."""
    later = at(2027, 6, 1)
    assert BOOK.price(make_call(model="gpt-4o", provider="openai", tokens=(1_000, 1_000))).price_status == "priced"
    named = BOOK.ranking(PROBE, ["gpt-4o", "gpt-4o-mini"], provider="openai", at=later)
    assert [price.model for price in named] == ["gpt-4o-mini", "gpt-4o"]
    assert [item.price.model for item in BOOK.cheaper_models(PROBE, "gpt-4", "openai", later)]


def test_an_own_price_says_that_one_has_the_model() -> None:
    """Who has a price of their own for a model, as of a gateway, gets it recommended; without corrections all are."""
    book = PriceBook([{"provider": "openai", "model": "gpt-oss-20b", "input": "0.01", "output": "0.02"}])
    cheapest = book.cheapest(PROBE, provider="openai")
    assert cheapest is not None
    assert (cheapest.model, cheapest.source) == ("gpt-oss-20b", "override")
    assert "gpt-oss-120b" not in listed_by(book, AUTUMN)
    assert {"gpt-oss-20b", "gpt-oss-120b", "gpt-3.5-0301"} <= listed_by(PLAIN, AUTUMN)


LISTED: list[tuple[str | None, str, str]] = [
    ("openai", "gpt-4", "30 60"),
    ("openai", "gpt-4-turbo", "10 30"),
    ("openai", "gpt-3.5-turbo", "0.5 1.5"),
    ("google_genai", "gemini-2.0-flash", "0.1 0.4"),
    ("google_genai", "gemini-2.0-flash-001", "0.1 0.4"),
    ("google_genai", "gemini-2.0-flash-exp", "0.1 0.4"),
    ("google_genai", "gemini-2.0-flash-thinking-exp", "0.1 0.4"),
    ("google_genai", "gemini-2.0-flash-lite", "0.075 0.3"),
    ("google_genai", "gemini-2.0-flash-lite-001", "0.075 0.3"),
    ("google_genai", "gemini-flash-latest", ""),
    ("google_genai", "gemini-flash-lite-latest", ""),
    ("google_genai", "gemini-2.5-flash", "0.3 2.5"),
    ("google_genai", "gemini-2.5-flash-lite", "0.1 0.4"),
    ("google_genai", "gemini-2.5-flash-lite-preview-06-17", "0.1 0.4"),
    ("google_genai", "gemini-2.5-flash-preview-05-20", "0.15 0.6"),
    ("google_genai", "gemini-2.5-pro", "1.25 10"),
    ("google_genai", "gemini-2.5-pro-preview-03-25", "1.25 10"),
    ("google_genai", "gemini-2.5-pro-preview-05-06", "1.25 10"),
    ("google_genai", "gemini-2.5-pro-preview-06-05", "1.25 10"),
    ("google_genai", "gemini-pro-latest", ""),
    ("perplexity", "sonar", "1 1"),
    ("perplexity", "sonar-pro", "3 15"),
    ("perplexity", "sonar-reasoning", "1 5"),
]
"""Models of the starting table that a catalogue knows, with the input and output rates; none where the name moves on."""
LEGACY: list[tuple[str | None, str, str]] = [
    ("google_genai", "gemini-2.0-pro-exp", "1.25 5"),
    ("google_genai", "gemini-2.0-pro-exp-02-05", "1.25 5"),
    ("google_genai", "gemini-exp-1206", "0.125 0.375"),
    ("perplexity", "llama-3.1-sonar-small-128k-chat", "0.2 0.2"),
    ("perplexity", "llama-3.1-sonar-large-128k-chat", "1 1"),
    ("perplexity", "llama-3.1-sonar-huge-128k-chat", "5 5"),
]


@pytest.mark.parametrize(("provider", "model", "rates"), LISTED + LEGACY)
def test_every_model_of_the_starting_table_has_a_price(provider: str | None, model: str, rates: str) -> None:
    """Each gets the true price where a catalogue knows it, and a shipped, marked one where none does."""
    found = BOOK.rates(model, provider, AUTUMN)
    assert found is not None
    assert ("legacy_estimate" in found.flags) == ((provider, model, rates) in LEGACY)
    assert found.source == (
        "genai-prices" if (provider, model, rates) in LISTED and "sonar" not in model else "correction"
    )
    if rates:
        said = [Decimal(found.unit_prices[name]) for name in ("input_mtok", "output_mtok")]
        assert said == [Decimal(rate) for rate in rates.split()]


@pytest.mark.parametrize("model", ["pollinations", "pollinations-mistral"])
@pytest.mark.parametrize("provider", ["pollinations", "openai", None])
@pytest.mark.parametrize("tokens", [(1_000, 1_000), None])
def test_pollinations_is_free_by_name(provider: str | None, model: str, tokens: Any) -> None:
    """The two names that the starting table declares free cost 0; other models of the provider are not known."""
    priced = BOOK.price(make_call(provider=provider, model=model, tokens=tokens))
    assert (priced.cost_usd, priced.price_status, priced.price_source) == (0, "free", "correction")
    assert BOOK.price(make_call(provider=provider, model="mistral-9", tokens=(1_000, 1_000))).cost_usd is None


def test_provider_can_be_declared_free() -> None:
    """Declared by the user, everything that the provider serves is free."""
    book = PriceBook(free_providers=("ollama", "pollinations"))
    assert book.price(make_call(provider="pollinations", model="openai")).cost_usd == 0


def test_starting_table_can_be_used_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """As a file of own prices it gives the numbers that it always gave, for all 31 of its models."""
    book = PriceBook(EXAMPLES / "starting_table.toml")
    assert caplog.records == []
    for provider, model, _ in LISTED + LEGACY:
        price = book.cost(TokenUsage(input_tokens=1_000, output_tokens=1_000), model=model, provider=provider)
        assert price.source == "override"
    assert book.cost(PROBE, model="gemini-2.5-pro", provider="google").total_usd == Decimal("0.0625")
