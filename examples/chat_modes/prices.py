"""What does a model cost? Every name that the old tracker listed, and what the owner changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from langchain_tokens import PriceBook, TokenUsage

__all__ = ("LISTED", "LookedUp", "look_up", "make_prices")

LISTED: Mapping[str, Sequence[str]] = {
    "openai": ("gpt-4", "gpt-4-turbo", "gpt-3.5-turbo"),
    "google_genai": (
        "gemini-2.0-flash",
        "gemini-2.0-flash-001",
        "gemini-2.0-flash-exp",
        "gemini-2.0-flash-thinking-exp",
        "gemini-2.0-flash-lite",
        "gemini-2.0-flash-lite-001",
        "gemini-flash-latest",
        "gemini-flash-lite-latest",
        "gemini-2.0-pro-exp",
        "gemini-2.0-pro-exp-02-05",
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash-lite-preview-06-17",
        "gemini-2.5-flash-preview-05-20",
        "gemini-2.5-pro",
        "gemini-2.5-pro-preview-03-25",
        "gemini-2.5-pro-preview-05-06",
        "gemini-2.5-pro-preview-06-05",
        "gemini-pro-latest",
        "gemini-exp-1206",
    ),
    "perplexity": (
        "sonar",
        "sonar-pro",
        "sonar-reasoning",
        "llama-3.1-sonar-small-128k-chat",
        "llama-3.1-sonar-large-128k-chat",
        "llama-3.1-sonar-huge-128k-chat",
    ),
    "pollinations": ("pollinations", "pollinations-mistral"),
}
"""Provider → the models that the old tracker had a price for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """What one model costs; US dollars, None where nobody knows."""

    provider: str
    model: str
    input_usd: Decimal | None
    """For a million tokens of input."""
    output_usd: Decimal | None
    """For a million tokens of output."""


def make_prices() -> PriceBook:
    """The price book of the application, with what the owner has agreed upon with a provider."""
    prices = PriceBook()
    prices.set_price("gpt-4-turbo", provider="openai", input="9.00", output="27.00")
    return prices


def look_up(prices: PriceBook) -> Sequence[LookedUp]:
    """The prices of all listed models, a small usage of each, so that no tier for long inputs counts."""
    usage = TokenUsage(input_tokens=1_000, output_tokens=1_000, total_tokens=2_000)
    found = []
    for provider, models in LISTED.items():
        for model in models:
            price = prices.cost(usage, model=model, provider=provider)
            given, answered = (None if part is None else part * 1000 for part in (price.input_usd, price.output_usd))
            found.append(LookedUp(provider=provider, model=model, input_usd=given, output_usd=answered))
    return found
