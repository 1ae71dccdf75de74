"""Are the shipped corrections still needed, and does each model of the starting table get its price? Row by row."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import langchain_tokens
from langchain_tokens.prices import PriceBook
from langchain_tokens.pricing.offers import Price
from langchain_tokens.usage import TokenUsage
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, at
from tests.test_price_file import EXAMPLES

FILE = Path(langchain_tokens.__file__).parent / "data" / "corrections.toml"
ROWS: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["prices"]
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


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS])
def test_correction_says_where_it_is_from(row: dict[str, Any]) -> None:
    """Each row names its source, and what has to happen for it to go."""
    assert row.get("url", "").startswith("https://") or "source:" in row["note"]
    assert row["remove_when"]


def test_no_correction_is_skipped() -> None:
    """All rows are read, under names of their own."""
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert sum(1 for _ in BOOK._corrections.entries) == len(ROWS)


def test_corrections_can_be_left_out() -> None:
    """A book without the corrections says what the catalogue says."""
    price = PLAIN.cost(PROBE, model="deepseek-chat", provider="deepseek", at=at(2026, 1, 15))
    assert (price.source, price.status) == ("genai-prices", "priced")


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
