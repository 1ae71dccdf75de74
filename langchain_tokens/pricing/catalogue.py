"""What does the bundled catalogue say? The one place that knows genai-prices: a private copy, read offline.

The library's own active snapshot belongs to the application, and is neither read nor replaced.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from langchain_tokens.errors import PriceError
from langchain_tokens.pricing.rates import UNITS, Rates, make_rates

__all__ = ("Catalogue", "Listed", "bundled", "fetch", "library_version", "parsed")

_OTHER_USE = re.compile(
    r"(?:^|[-/_.])(?:ada|babbage|curie|davinci|tts|image|imagen|dall-e|audio|whisper|transcribe|realtime|embed(?:ding)?s?"
    r"|moderation|rerank|safeguard|guard|robotics|computer-use|live|streaming|veo|sora|vision|native)(?:$|[-/_.:0-9])",
    re.IGNORECASE,
)
"""Parts of names of models that are for something else than chat; the catalogue does not tell them apart."""
_USUAL = frozenset({"default"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the catalogue lists for a model at a moment."""

    provider: str
    model: str
    rates: Rates
    is_standard: bool
    """Whether others were asked for of a kind that the catalogue does not have for the model."""
    changes_within_day: bool
    """Whether the model's rates depend on the time of the day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A snapshot of all prices."""

    snapshot: Any
    version: str
    newest: date | None
    """The latest day, not in the future, that a price in it starts on: how new it is at least."""
    providers: frozenset[str]
    """The names of all providers in it."""

    def find(self, provider: str | None, model: str, at: datetime, context: Mapping[str, str]) -> Listed | None:
        """The rates of a model at a moment, or None where there are none for it, or none that hold.

        Args:
            provider: the catalogue's own name; None lets it go by the model's name alone.
            model: a name the model goes by.
            at: an aware time.
            context: what else the price depends on, such as `{"service_tier": "flex"}`.

        """
        try:
            owner, found = self.snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        kinds = _kinds(owner, found)
        asked = {name: value for name, value in context.items() if name in kinds}
        if asked and not _has_variant(found, asked, at):
            return None  # it has rates of that kind, but none for this one, or none for that time
        return Listed(
            provider=owner.id,
            model=found.id,
            rates=_rates(found.get_prices(at, asked or None)),
            is_standard=len(asked) < len(context),
            changes_within_day=_changes_within_day(found),
        )

    def models(self, provider: str) -> Iterator[str]:
        """The names of a provider's models that answer in text and are not about to be switched off."""
        for owner in self.snapshot.providers:
            if owner.id == provider:
                names = (model.id for model in owner.models if not model.deprecated)
                yield from (name for name in names if not _OTHER_USE.search(name))


@cache
def bundled() -> Catalogue:
    """The catalogue that the installed library brings along, read once. Reads no network."""
    from genai_prices import __version__
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return _catalogue(DataSnapshot(providers=providers, from_auto_update=False), __version__)


def fetch(url: str | None, timeout: float) -> tuple[str, bytes]:
    """Fetch the newest prices over the network.

    Args:
        url: where from; None for the library's own place.
        timeout: seconds for all of it.

    Returns:
        Where they came from, and what was sent.

    Raises:
        PriceError: when nothing comes in that time.

    """
    from genai_prices import UpdatePrices

    place = url or UpdatePrices().url
    outcome: list[Any] = []
    # In a thread of its own: the client's timeout is for each piece, and a slow sender could feed it pieces for ever.
    thread = threading.Thread(
        target=lambda: outcome.append(_attempt(place, timeout)), daemon=True, name="langchain_tokens:fetch"
    )
    thread.start()
    thread.join(timeout)
    content = outcome[0] if outcome else TimeoutError(f"no answer within {timeout:g} seconds")
    if isinstance(content, Exception):
        raise PriceError(f"prices could not be fetched from {place}: {_said(content)}") from content
    return place, content


def parsed(content: bytes, version: str, place: str, than: Catalogue) -> Catalogue:
    """The catalogue that a feed of prices holds.

    Args:
        content: JSON as the library's own feed has it.
        version: what costs are to be marked with.
        place: where it came from, for errors.
        than: the one it is to replace.

    Raises:
        PriceError: when it cannot be read, or holds fewer providers.

    """
    from genai_prices import types
    from genai_prices.data_snapshot import DataSnapshot

    try:
        providers = types._providers_from_raw(json.loads(content))  # what the library's own `fetch` does with it
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise PriceError(f"prices from {place} cannot be read: {_said(error)}") from error
    had, has = len(than.snapshot.providers), len(providers)
    if has < had:
        raise PriceError(f"prices from {place} have {has} providers, expected at least the {had} that are known")
    return _catalogue(DataSnapshot(providers=providers, from_auto_update=False), version)


def library_version() -> str:
    """The version of the library that the catalogue comes with."""
    from genai_prices import __version__

    return __version__


def _attempt(place: str, timeout: float) -> bytes | Exception:
    import httpx2

    try:
        answer = httpx2.get(place, timeout=timeout)
        answer.raise_for_status()
    except Exception as error:  # noqa: BLE001  # handed to the caller's thread, which raises it
        return error
    return answer.content


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _catalogue(snapshot: Any, version: str) -> Catalogue:
    today = datetime.now(UTC).date()
    starts = (
        item.constraint.start_date
        for provider in snapshot.providers
        for model in provider.models
        if isinstance(model.prices, list)
        for item in model.prices
        if hasattr(item.constraint, "start_date")
    )
    return Catalogue(
        snapshot=snapshot,
        version=version,
        newest=max((day for day in starts if day <= today), default=None),
        providers=frozenset(provider.id for provider in snapshot.providers),
    )


def _kinds(owner: Any, model: Any) -> frozenset[str]:
    """What the rates of a provider's model depend on, such as `service_tier`."""
    if not any(model is one for one in owner.models):
        return frozenset()  # another provider's entry stands in, and its variants are not this provider's
    return frozenset(
        name for variant in model.price_variants or () for name, value in variant.when.items() if value not in _USUAL
    )


def _has_variant(model: Any, context: Mapping[str, str], at: datetime) -> bool:
    return any(
        all(context.get(name) == value for name, value in variant.when.items())
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants
    )


def _changes_within_day(model: Any) -> bool:
    prices = model.prices if isinstance(model.prices, list) else ()
    return any(hasattr(item.constraint, "start_time") for item in (*prices, *(model.price_variants or ())))


def _rates(price: Any) -> Rates:
    held = vars(price)
    return make_rates({unit.rate: _steps(held[unit.rate]) for unit in UNITS if held.get(unit.rate) is not None})


def _steps(rate: Any) -> list[tuple[int, Any]]:
    tiers = [(tier.start, tier.price) for tier in getattr(rate, "tiers", ())]
    return [(-1, getattr(rate, "base", rate)), *tiers]
