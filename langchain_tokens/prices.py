"""What does it cost? `PriceBook`: the user's own prices, then shipped corrections, then a catalogue, or nobody knows.

Offline unless `refresh` is called. A price that is not known, or known to be wrong, is None and `unpriced`, never 0.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_tokens.call import Call
from langchain_tokens.errors import PriceError
from langchain_tokens.pricing.bills import context_of, is_chargeable, make_bill
from langchain_tokens.pricing.callprices import CallPricer, Unpriced
from langchain_tokens.pricing.offers import (
    Alternative,
    ModelRates,
    Price,
    cheaper_of,
    free_price,
    priced,
    ranked,
    rates_of,
    unpriced,
)
from langchain_tokens.pricing.ownprices import name_set, own_entries, shipped_entries, text_table
from langchain_tokens.pricing.pricefile import read_entry
from langchain_tokens.pricing.pricelist import Entry, PriceList
from langchain_tokens.pricing.quotes import Finder, Lists
from langchain_tokens.pricing.resolve import canonical, tier_context
from langchain_tokens.pricing.withdrawals import is_offered, shipped_withdrawals
from langchain_tokens.trouble import Warnings
from langchain_tokens.usage import TokenUsage

if TYPE_CHECKING:
    from langchain_tokens.pricing.catalogue import Catalogue
    from langchain_tokens.pricing.kept import Kept

__all__ = ("PriceBook",)

_MOST_COUNTED: Final = 1024


class PriceBook:
    """What calls cost. Thread-safe; loads the catalogue when the first call is priced.

    Args:
        prices: own prices, which win over all others: a TOML or JSON file, or mappings of the same schema (see
            `langchain_tokens.pricing.pricefile`). None reads the file that `LANGCHAIN_TOKENS_PRICES` names, if that is
            set. An entry that is wrong is skipped with a warning; the others hold.
        free_providers: providers whose calls cost nothing because the user says so, such as models on own machines.
        aliases: names of Azure deployments or Bedrock profiles → names of the models behind them.
        hosts: hosts of base URLs → providers, where a call names its provider by its host.
        corrections: whether the shipped corrections of the catalogue are used, of its prices and of what can be had.
        stale_after_days: log a warning when the newest price in the catalogue is older than that; None never does.

    Raises:
        PriceError: when the file given as `prices` is missing or cannot be read, or an argument has a wrong type. For
            the file of the environment variable it is a warning.

    """

    def __init__(
        self,
        prices: Path | str | Iterable[Mapping[str, Any]] | None = None,
        *,
        free_providers: Iterable[str] = ("ollama",),
        aliases: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
        corrections: bool = True,
        stale_after_days: int | None = 180,
    ) -> None:
        self._free = name_set("free_providers", free_providers)
        self._aliases = {name.lower(): model for name, model in text_table("aliases", aliases).items()}
        self._hosts = {name.lower(): provider for name, provider in text_table("hosts", hosts).items()}
        self._stale_after = stale_after_days
        self._lock = threading.RLock()
        self._warnings = Warnings()
        self._unpriced = Unpriced()
        self._catalogue: Catalogue | None = None
        self._added: tuple[Entry, ...] = ()
        self._own = PriceList(own_entries(prices))
        self._corrections = PriceList(shipped_entries() if corrections else ())
        self._is_corrected = corrections
        self._use_lists()

    # What the package asks

    def price(self, call: Call) -> Call:
        """The call with its cost; a call that has a cost already, or cannot be priced, comes back as it is.

        A cost that the provider reported stays, with what this book makes of it beside it (`computed_cost_usd`).
        """
        return self._pricer.price(call)

    def load(self) -> None:
        """Load the catalogue, if that was not done yet."""
        self._loaded()

    # What people ask

    @property
    def unpriced_calls(self) -> Mapping[tuple[str | None, str | None], int]:
        """How often no price was known, by provider and model."""
        return self._unpriced.counts

    def cost(
        self,
        usage: TokenUsage,
        *,
        model: str,
        provider: str | None = None,
        at: datetime | None = None,
        service_tier: str | None = None,
    ) -> Price:
        """What a usage costs.

        Args:
            usage: the tokens.
            model: the model's name.
            provider: LangChain's name or the catalogue's; without one it goes by the model's name alone.
            at: when the call starts, UTC where no zone is said; None is now.
            service_tier: such as `flex` or `batch`; None takes the usage's.

        Returns:
            The price; its amounts are None, and its `reason` says why, where it is not known.

        Raises:
            PriceError: when an argument has a wrong type.

        """
        _check(usage, model)
        if provider is not None and provider in self._free:
            return free_price(provider, model)
        if not is_chargeable(usage):
            return unpriced(provider, model, "the usage does not say both input and output tokens")
        counted = usage if service_tier is None else replace(usage, service_tier=service_tier)
        quote = self._finder.find((provider, model, None, context_of(counted, None)), _moment(at))
        if quote is None:
            return unpriced(provider, model, "no price is known")
        bill = make_bill(quote, counted)
        return unpriced(provider, model, "its rates do not cover the usage") if bill is None else priced(quote, bill)

    def rates(
        self,
        model: str,
        provider: str | None = None,
        at: datetime | None = None,
        service_tier: str | None = None,
    ) -> ModelRates | None:
        """The rates of a model (USD for one million tokens) at a time; None where they are not known."""
        context = tuple(sorted(tier_context(service_tier).items()))
        quote = self._finder.find((provider, model, None, context), _moment(at))
        return None if quote is None else rates_of(quote)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an own price, which wins over all there are; costs that are known already stay as they are.

        Args:
            entry: as in a file of prices, such as `{"model": "gpt-5", "input": "1", "output": "8"}`.

        Raises:
            PriceError: when the entry is wrong; the text says what was found and what was expected.

        """
        with self._lock:
            self._added = (*self._added, read_entry(entry, "added", len(self._added) + 1))
            self._use_lists()

    def set_price(
        self,
        model: str,
        *,
        input: str | Decimal,  # noqa: A002  # as in a file of prices
        output: str | Decimal,
        provider: str | None = None,
        **more: Any,
    ) -> None:
        """Set a model's price from here on.

        Args:
            model: the model's name.
            input, output: USD for one million tokens, better as text or Decimal than as a float.
            provider: whose; None is anybody's.
            more: what else an entry can say, such as `cache_read="0.1"` or `effective_from=date(2026, 1, 1)`.

        Raises:
            PriceError: as `add`.

        """
        said = {"model": model, "provider": provider, "input": input, "output": output, **more}
        self.add({name: value for name, value in said.items() if value is not None})

    def cheapest(
        self,
        usage: TokenUsage,
        models: Iterable[str] | None = None,
        *,
        provider: str | None = None,
        at: datetime | None = None,
    ) -> Price | None:
        """The model that the usage costs least with; None where no price is known.

        Args:
            usage: the tokens.
            models: names of models; None takes all that the catalogue lists for the provider, but for those that are
                known not to be served then and that have no own price.
            provider: whose models they are.
            at: when, UTC where no zone is said; None is now.

        """
        found = self.ranking(usage, models, provider=provider, at=at)
        return found[0] if found else None

    def dearest(
        self,
        usage: TokenUsage,
        models: Iterable[str] | None = None,
        *,
        provider: str | None = None,
        at: datetime | None = None,
    ) -> Price | None:
        """The model that the usage costs most with; otherwise as `cheapest`."""
        found = self.ranking(usage, models, provider=provider, at=at)
        return found[-1] if found else None

    def cheaper_models(
        self, usage: TokenUsage, model: str, provider: str, at: datetime | None = None
    ) -> tuple[Alternative, ...]:
        """The provider's models that the same usage would cost less with, the largest saving first.

        An estimate: another model counts other tokens for the same text, and answers at another length. Models that are
        known not to be served at that time (None is now) are left out, as by `cheapest`.
        """
        moment = _moment(at)
        price = self.cost(usage, model=model, provider=provider, at=moment)
        return cheaper_of(price, self._offered(usage, provider, moment, below=price.total_usd or Decimal(0)))

    def refresh(self, url: str | None = None, timeout: float = 10) -> str:
        """Fetch a newer catalogue over the network, for this book alone; the one thing here that does.

        Args:
            url: where from; None for the catalogue's own place.
            timeout: seconds for all of it.

        Returns:
            The version that new costs will be marked with.

        Raises:
            PriceError: when it cannot be fetched, or holds fewer providers than are known. The old one stays.

        """
        return self._adopt(url, timeout).version

    def update(self, url: str | None = None, timeout: float = 10) -> str:
        """Fetch as `refresh` does, and keep what came for this user's later programs, until the library is updated.

        Returns:
            The version that new costs will be marked with.

        Raises:
            PriceError: as `refresh`, or when it cannot be kept.

        """
        from langchain_tokens.pricing.kept import keep

        feed = self._adopt(url, timeout)
        keep(feed)
        return feed.version

    def ranking(
        self,
        usage: TokenUsage,
        models: Iterable[str] | None = None,
        *,
        provider: str | None = None,
        at: datetime | None = None,
    ) -> Sequence[Price]:
        """What the usage costs with each model that a price is known for, cheapest first; otherwise as `cheapest`."""
        if isinstance(models, str):
            raise PriceError(f"found the text {models!r} for models, expected a list of names")
        moment = _moment(at)
        if models is None:
            return ranked(self._offered(usage, provider, moment))
        return ranked(self.cost(usage, model=model, provider=provider, at=moment) for model in models)

    # How

    def _offered(
        self, usage: TokenUsage, provider: str | None, at: datetime, below: Decimal | None = None
    ) -> Iterator[Price]:
        """The prices of the provider's models that can be had; a price of one's own says that one has the model.

        With `below`, those that are lower; of the others it is not asked whether they can be had.
        """
        if provider is None:
            raise PriceError("found neither models nor a provider, expected one of them")
        owner = canonical(provider, self._hosts) or ""
        withdrawals = [one for one in shipped_withdrawals() if one.provider == owner] if self._is_corrected else []
        for model in self._loaded().models(owner):
            price = self.cost(usage, model=model, provider=provider, at=at)
            if below is not None and (price.total_usd is None or price.total_usd >= below):
                continue
            if price.source == "override" or is_offered(withdrawals, owner, model, at):
                yield price

    def _use_lists(self) -> None:
        """Forget what was found in other lists or another catalogue."""
        lists = Lists(own=(PriceList(self._added), self._own), corrections=self._corrections)
        self._finder = Finder(lists, self._loaded, self._aliases, self._hosts)
        self._pricer = CallPricer(self._finder, self._free, self._unpriced)

    def _adopt(self, url: str | None, timeout: float) -> Kept:
        from langchain_tokens.pricing.catalogue import fetch, library_version, parsed
        from langchain_tokens.pricing.kept import Kept, fetched_version

        place, content = fetch(url, timeout)
        library = library_version()
        feed = Kept(content=content, version=fetched_version(library), library=library, place=place)
        newer = parsed(content, feed.version, place, self._loaded())
        with self._lock:
            self._catalogue = newer
            self._use_lists()
        return feed

    def _loaded(self) -> Catalogue:
        with self._lock:
            if self._catalogue is None:
                self._catalogue = _newest(self._warnings)
                self._warn_if_stale(self._catalogue)
            return self._catalogue

    def _warn_if_stale(self, catalogue: Catalogue) -> None:
        if self._stale_after is None or catalogue.newest is None:
            return
        age = (datetime.now(UTC).date() - catalogue.newest).days
        if age > self._stale_after:
            self._warnings.once(
                "stale",
                f"the newest price that genai-prices {catalogue.version} knows is {age} days old;"
                " update the package, or call PriceBook.refresh()",
            )


def _check(usage: object, model: object) -> None:
    if not isinstance(usage, TokenUsage) or not isinstance(model, str):
        found = f"{type(usage).__name__} for the model {model!r}"
        raise PriceError(f"found {found}, expected a TokenUsage and a model's name")


def _moment(at: object) -> datetime:
    if at is None:
        return datetime.now(UTC)
    if not isinstance(at, datetime):
        raise PriceError(f"found {at!r} for a time, expected a datetime")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _newest(warnings: Warnings) -> Catalogue:
    """The catalogue that this user fetched, where it is newer than the bundled one."""
    from langchain_tokens.pricing.catalogue import bundled, parsed
    from langchain_tokens.pricing.kept import kept

    catalogue = bundled()
    try:
        feed = kept(catalogue.version)
        return catalogue if feed is None else parsed(feed.content, feed.version, feed.place, catalogue)
    except PriceError as error:
        warnings.once("kept", "prices that were fetched are not used; the bundled ones are", error)
        return catalogue
