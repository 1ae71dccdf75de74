"""What can people ask a price book? Costs, rates, the cheapest model, and newer prices on demand."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from langchain_tokens.errors import PriceError
from langchain_tokens.prices import PriceBook
from langchain_tokens.pricing.catalogue import bundled
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, GOLDEN, Golden, at

BOOK = PriceBook()
USAGE = make_usage(1_000, 500)


@pytest.mark.parametrize(
    "golden",
    [pytest.param(each, id=each.name) for each in GOLDEN if each.model and not each.raw and each.name != "G24"],
)
def test_cost_is_what_a_call_would_cost(golden: Golden) -> None:
    """Asked by people, the book says what it says for a call."""
    call = golden.call()
    assert call.usage is not None
    price = BOOK.cost(call.usage, model=golden.model, provider=golden.provider, at=golden.at)
    priced = BOOK.price(call)
    assert price.total_usd == priced.cost_usd
    assert price.status == priced.price_status
    assert (price.reason is None) == (golden.usd is not None)
    assert price.flags == priced.price_flags


def test_cost_says_what_it_rests_on() -> None:
    """A price has its parts, its rates and their source, and cannot be changed."""
    price = BOOK.cost(USAGE, model="gpt-4", provider="openai")
    assert (price.total_usd, price.input_usd, price.output_usd, price.other_usd) == (
        Decimal("0.06"),
        Decimal("0.03"),
        Decimal("0.03"),
        0,
    )
    assert (price.source, price.model, price.provider) == ("genai-prices", "gpt-4", "openai")
    assert price.unit_prices == {"input_mtok": "30", "output_mtok": "60"}
    with pytest.raises(FrozenInstanceError):
        price.total_usd = Decimal(0)  # type: ignore[misc]  # that is what must not work


def test_cost_that_is_not_known_says_why() -> None:
    """Where no price is known the amounts are None, and the reason is there to be shown."""
    price = BOOK.cost(USAGE, model="gpt-99", provider="openai")
    assert (price.total_usd, price.status) == (None, "unpriced")
    assert price.reason == "no price is known ('gpt-99' of openai)"
    assert "input and output" in str(BOOK.cost(make_usage(None, 5), model="gpt-4").reason)


def test_service_tier_of_a_cost() -> None:
    """A tier can be asked for beside the usage; a provider that was declared free costs nothing."""
    usage = make_usage(1_000_000, 0)
    flex = BOOK.cost(usage, model="gpt-5", provider="openai", at=AUTUMN, service_tier="flex")
    assert flex.total_usd == Decimal("0.625")
    assert BOOK.cost(usage, model="llama3", provider="ollama").total_usd == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda: BOOK.cost({"input_tokens": 1}, model="gpt-4"),  # type: ignore[arg-type]
        lambda: BOOK.cost(USAGE, model=None),  # type: ignore[arg-type]
        lambda: BOOK.cost(USAGE, model="gpt-4", at="now"),  # type: ignore[arg-type]
        lambda: BOOK.cheapest(USAGE),
        lambda: BOOK.cheapest(USAGE, "gpt-4"),
    ],
)
def test_wrong_questions_are_errors(ask: Callable[[], object]) -> None:
    """A question of a wrong type is an error that says what was expected."""
    with pytest.raises(PriceError, match="expected"):
        ask()


def test_rates_of_a_model() -> None:
    """Rates can be looked up, with the tiers above which others hold, for any time and service tier."""
    rates = BOOK.rates("gemini-2.5-pro", "google_genai", AUTUMN)
    assert rates is not None
    assert rates.unit_prices["output_mtok"] == "10"
    assert [(above, prices["output_mtok"]) for above, prices in rates.tiers] == [(200_000, "15")]
    before = BOOK.rates("o3", "openai", datetime(2025, 6, 9))  # noqa: DTZ001  # one without a zone is taken as UTC
    assert before is not None
    assert before.unit_prices["input_mtok"] == "10"
    flex = BOOK.rates("gpt-5", "openai", AUTUMN, service_tier="flex")
    assert flex is not None
    assert flex.unit_prices["input_mtok"] == "0.625"
    assert BOOK.rates("gpt-99") is None


def test_cheapest_and_dearest_of_some_models() -> None:
    """Of models that are named, the cheapest and the dearest for a usage; those without a price are left out."""
    names = ["gpt-4", "gpt-99", "gpt-4o-mini", "gpt-4o"]
    cheapest, dearest = BOOK.cheapest(USAGE, names), BOOK.dearest(USAGE, names, provider="openai")
    assert cheapest is not None
    assert dearest is not None
    assert (cheapest.model, dearest.model) == ("gpt-4o-mini", "gpt-4")
    assert BOOK.cheapest(USAGE, ["gpt-99"]) is None


def test_cheaper_models_of_a_provider() -> None:
    """The same usage on the provider's other models: what is cheaper, by how much, and that it is an estimate."""
    found = BOOK.cheaper_models(USAGE, "gpt-4o", "openai", AUTUMN)
    now = BOOK.cost(USAGE, model="gpt-4o", provider="openai", at=AUTUMN).total_usd
    assert now is not None
    mini = next(each for each in found if each.price.model == "gpt-4o-mini")
    assert mini.is_estimate
    assert mini.saving_usd == now - Decimal("0.00045")
    assert 0.9 < mini.saving_share < 1
    savings = [each.saving_usd for each in found]
    assert savings == sorted(savings, reverse=True)
    assert min(savings) > 0
    assert BOOK.cheaper_models(USAGE, "gpt-99", "openai") == ()
    dearest = BOOK.dearest(USAGE, provider="openai", at=AUTUMN)
    assert dearest is not None
    assert dearest.total_usd is not None
    assert dearest.total_usd > now
    offered = BOOK.ranking(USAGE, provider="openai", at=AUTUMN)
    assert [each.price for each in found] == [
        each for each in offered if each.total_usd is not None and each.total_usd < now
    ]


@contextmanager
def serving(body: bytes, *, drip: float = 0, status: int = 200) -> Iterator[str]:
    """A server on this machine that answers with a body, at once or drop by drop; its address."""
    stopped = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not drip:
                self.wfile.write(body)
                return
            for index in range(len(body)):
                if stopped.wait(drip):
                    return
                self.wfile.write(body[index : index + 1])

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data.json"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


def feed(providers: int) -> bytes:
    """A feed of prices in which gpt-4 costs 1 and 2."""
    model = {"id": "gpt-4", "match": {"equals": "gpt-4"}, "prices": {"input_mtok": 1, "output_mtok": 2}}
    rows: list[dict[str, Any]] = [
        {"id": f"p{number}", "name": "P", "api_pattern": "x", "models": []} for number in range(providers - 1)
    ]
    rows.append({"id": "openai", "name": "OpenAI", "api_pattern": "x", "models": [model]})
    return json.dumps(rows).encode()


def test_refresh_is_for_this_book_alone() -> None:
    """Newer prices hold for the book that fetched them, from then on, and are marked; the library's stay."""
    from genai_prices.data_snapshot import get_snapshot

    book, before = PriceBook(), get_snapshot()
    call = make_call(provider="openai", model="gpt-4", tokens=(1_000_000, 0), started_at=AUTUMN)
    assert book.price(call).cost_usd == 30
    with serving(feed(len(bundled().providers))) as url:
        version = book.refresh(url)
    priced = book.price(call)
    assert (priced.cost_usd, priced.price_version) == (1, version)
    assert re.search(r"\+fetched\.\d{8}T\d{6}Z$", version)
    assert PriceBook().price(call).cost_usd == 30
    assert get_snapshot() is before


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (feed(3), 200, "have 3 providers, expected at least the"),
        (b"[]", 200, "have 0 providers"),
        (b"{}", 200, "from http://127.0.0.1.* cannot be read"),
        (b"no JSON", 200, "cannot be read"),
        (b"", 500, "could not be fetched"),
    ],
)
def test_refresh_refuses_what_is_worse(body: bytes, status: int, said: str) -> None:
    """A feed that fails, or knows less, is an error in one line, and the prices stay as they were."""
    book = PriceBook()
    with serving(body, status=status) as url, pytest.raises(PriceError, match=said) as raised:
        book.refresh(url)
    assert "\n" not in str(raised.value)
    assert book.cost(USAGE, model="gpt-4", provider="openai").total_usd == Decimal("0.06")


def test_refresh_ends_in_time() -> None:
    """A server that sends a byte now and then cannot hold the caller longer than was said."""
    begun = time.monotonic()
    with serving(b"x" * 1_000, drip=0.05) as url, pytest.raises(PriceError, match=r"no answer within 0\.3 seconds"):
        PriceBook().refresh(url, timeout=0.3)
    assert time.monotonic() - begun < 3


def test_refresh_without_a_server() -> None:
    """Nobody there is an error too."""
    with pytest.raises(PriceError, match=r"could not be fetched from http://127\.0\.0\.1:9"):
        PriceBook().refresh("http://127.0.0.1:9/x", timeout=2)


def test_old_catalogue_is_warned_about_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue whose newest price is old is one warning, unless that is switched off."""
    old = replace(bundled(), newest=(datetime.now(UTC) - timedelta(days=200)).date())
    monkeypatch.setattr("langchain_tokens.pricing.catalogue.bundled", lambda: old)
    PriceBook(stale_after_days=None).load()
    PriceBook(stale_after_days=300).load()
    assert caplog.records == []
    book = PriceBook()
    book.load()
    book.load()
    assert ["200 days old" in record.getMessage() for record in caplog.records] == [True]


def test_age_of_the_catalogue_is_known() -> None:
    """The newest day that a price of the bundled catalogue starts on is in the past, and not long ago."""
    newest = bundled().newest
    assert newest is not None
    assert at(2026, 8, 1).date() < newest <= datetime.now(UTC).date()
