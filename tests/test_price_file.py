"""What can be written by hand? Own prices as files and arguments: which wins, what is refused, and how that is said."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens.errors import PriceError, TokensError
from langchain_tokens.prices import PriceBook
from tests.builders import make_call, make_usage
from tests.golden_prices import AUTUMN, SONNET

EXAMPLES = Path(__file__).parent.parent / "examples" / "prices"
GOOD = {"provider": "openai", "model": "gpt-5", "input": "1", "output": "2"}
MILLIONS = (1_000_000, 1_000_000)


def cost(book: PriceBook, model: str = "gpt-5", provider: str | None = "openai", **more: Any) -> Decimal | None:
    """What a million tokens each way cost."""
    usage = make_usage(*more.pop("tokens", MILLIONS), service_tier=more.pop("tier", None))
    call = make_call(**{"provider": provider, "model": model, "usage": usage, "started_at": AUTUMN, **more})
    return book.price(call).cost_usd


def book_of(*entries: Mapping[str, Any]) -> PriceBook:
    """A book of which every entry is good."""
    return PriceBook(list(entries))


@pytest.mark.parametrize(
    ("entry", "found", "expected"),
    [
        ("text", "str", "a table"),
        ({**GOOD, "inptu": "1"}, "'inptu'", "did you mean 'input'"),
        ({**GOOD, "xyzzy": "1"}, "'xyzzy'", "expected one of"),
        ({"model": "gpt-5"}, "none of them", "one of input, free, multiplier"),
        ({**GOOD, "free": True}, "input and free", "one of"),
        ({"model": "gpt-5", "free": False}, "free = False", "true"),
        ({"input": "1", "output": "2"}, "neither model nor pattern", "one of them"),
        ({"multiplier": "0.9"}, "without provider", "the provider"),
        ({"model": "gpt-5", "input": "1"}, "input without output", "both"),
        ({**GOOD, "cache_write_1h": "1"}, "cache_write_1h without cache_write", "both"),
        ({**GOOD, "input": "cheap"}, "input = 'cheap'", "a number of USD"),
        ({**GOOD, "input": "-1"}, "input = '-1'", "not negative"),
        ({**GOOD, "input": "NaN"}, "input = 'NaN'", "a number"),
        ({**GOOD, "input": True}, "input = True", "a number"),
        ({**GOOD, "input": None}, "input = None", "a number"),
        ({**GOOD, "input": "1e-19"}, "input = '1e-19'", "at most 18 decimals"),
        ({**GOOD, "model": ""}, "model = ''", "text"),
        ({**GOOD, "provider": 7}, "provider = 7", "text"),
        ({**GOOD, "aliases": [1]}, "aliases = [1]", "a list of names"),
        ({**GOOD, "effective_from": "soon"}, "effective_from = 'soon'", "a date"),
        ({**GOOD, "effective_to": "2026-01-01T00:00:30Z"}, "effective_to", "whole minutes"),
        ({**GOOD, "tiers": [{"input": "2"}]}, "above = None", "a whole number"),
        ({**GOOD, "tiers": [{"above": 5, "cache_read": "2"}]}, "'cache_read' in tiers", "rates that the entry has"),
        ({**GOOD, "tiers": "many"}, "tiers = 'many'", "a list of tables"),
        ({**GOOD, "request_per_1k": {"high": "5"}}, "request_per_1k for ['high']", "low"),
        ({**GOOD, "weekdays": ["someday"]}, "weekdays = ['someday']", "monday"),
    ],
)
def test_wrong_entry_is_skipped_and_named(
    entry: Any, found: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong entry is left out with a warning that says where it is, what was found and what was expected."""
    book = PriceBook([entry, GOOD])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    text = caplog.records[0].getMessage()
    assert "prices, entry 1" in text
    assert found in text
    assert expected in text
    assert cost(book) == 3


def test_wrong_entry_of_a_file_is_named_by_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a TOML file the warning has the file's name and the line of the entry; the entries around it hold."""
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[prices]]\nmodel = "a"\ninput = "1"\noutput = "1"\n\n'
        '[[prices]]\nmodel = "b"\ninput = "x"\noutput = "1"\n\n'
        '[[prices]]\nmodel = "c"\ninput = 0.1\noutput = 2\n'
    )
    book = PriceBook(file)
    assert "prices.toml, entry 2 (line 6): found input = 'x'" in caplog.records[0].getMessage()
    assert [cost(book, name) for name in "abc"] == [2, None, Decimal("2.1")]


@pytest.mark.parametrize("wrap", [True, False])
def test_json_says_the_same(tmp_path: Path, wrap: bool) -> None:
    """A JSON file has the same entries, under `prices` or bare; numbers are taken by what they look like."""
    rows = [{"model": "a", "input": 0.1, "output": 0.2}]
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"prices": rows} if wrap else rows))
    assert cost(PriceBook(str(file)), "a") == Decimal("0.3")


@pytest.mark.parametrize(
    "case",
    [
        ("missing.toml", None, "there is no file of prices at"),
        ("broken.toml", "[[prices", "neither TOML nor JSON"),
        ("broken.json", "{", "neither TOML nor JSON"),
        ("other.toml", "rates = 1", "expected a list of [[prices]]"),
        ("bytes.toml", b"\xff\xfe", "cannot be read"),
    ],
)
def test_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: tuple[str, Any, str]
) -> None:
    """Named in the code it is an error; named by the environment it is one warning, and the host goes on."""
    name, text, said = case
    file = tmp_path / name
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PriceError, match=re.escape(said)):
        PriceBook(file)
    monkeypatch.setenv("LANGCHAIN_TOKENS_PRICES", str(file))
    book = PriceBook()
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert cost(book, "gpt-4") == 90


def test_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LANGCHAIN_TOKENS_PRICES` is read where no prices are given, and only there."""
    file = tmp_path / "prices.toml"
    file.write_text('[[prices]]\nmodel = "a"\ninput = "1"\noutput = "1"\n')
    monkeypatch.setenv("LANGCHAIN_TOKENS_PRICES", str(file))
    assert cost(PriceBook(), "a") == 2
    assert cost(PriceBook([]), "a") is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"prices": 5},
        {"prices": {"model": "a"}},
        {"free_providers": "ollama"},
        {"free_providers": [1]},
        {"free_providers": None},
        {"aliases": ["a"]},
        {"aliases": {"a": 1}},
        {"hosts": "localhost"},
    ],
)
def test_wrong_arguments_are_errors(arguments: dict[str, Any]) -> None:
    """An argument of a wrong type is an error of the package that says what was expected."""
    with pytest.raises(TokensError, match="expected"):
        PriceBook(**arguments)


PRECEDENCE: list[tuple[str, list[dict[str, Any]], str]] = [
    (
        "exact before pattern",
        [{"model": "gpt-5", "input": "1", "output": "0"}, {"pattern": "gpt-5*", "input": "9"}],
        "1",
    ),
    ("longer pattern", [{"pattern": "gpt-*", "input": "9"}, {"pattern": "gpt-5*", "input": "1"}], "1"),
    ("alias is exact", [{"pattern": "gpt-5*", "input": "9"}, {"model": "x", "aliases": ["GPT-5"], "input": "1"}], "1"),
    ("said provider", [{"model": "gpt-5", "input": "9"}, {"provider": "openai", "model": "gpt-5", "input": "1"}], "1"),
    ("other provider", [{"model": "gpt-5", "input": "1"}, {"provider": "azure", "model": "gpt-5", "input": "9"}], "1"),
    (
        "later date",
        [
            {"model": "gpt-5", "effective_from": "2026-06-01", "input": "1"},
            {"model": "gpt-5", "effective_from": "2026-01-01", "input": "9"},
        ],
        "1",
    ),
    (
        "not yet",
        [
            {"model": "gpt-5", "effective_from": "2026-01-01", "input": "1"},
            {"model": "gpt-5", "effective_from": "2027-01-01", "input": "9"},
        ],
        "1",
    ),
    (
        "not any more",
        [{"model": "gpt-5", "input": "1"}, {"model": "gpt-5", "effective_to": "2026-11-20T12:00Z", "input": "9"}],
        "1",
    ),
    ("last of equals", [{"model": "gpt-5", "input": "9"}, {"model": "gpt-5", "input": "1"}], "1"),
    ("catalogue's name", [{"provider": "OpenAI", "model": "GPT-5", "input": "1"}], "1"),
]


@pytest.mark.parametrize(("entries", "usd"), [pytest.param(*case[1:], id=case[0]) for case in PRECEDENCE])
def test_which_entry_wins(entries: list[dict[str, Any]], usd: str) -> None:
    """Exact names win over patterns, longer patterns over shorter, said providers over any, later dates over earlier."""
    book = book_of(*({"output": "0", **entry} for entry in entries))
    assert cost(book) == Decimal(usd)


def test_override_beats_catalogue_and_correction() -> None:
    """An own price is used for what the catalogue lists, for what is corrected, and for a model that was requested."""
    book = book_of(GOOD, {"model": "deepseek-chat", "input": "7", "output": "0"})
    priced = book.price(make_call(provider="openai", model="gpt-5", tokens=MILLIONS))
    assert (priced.cost_usd, priced.price_source) == (3, "override")
    assert priced.price_version is not None
    assert priced.price_version.startswith("prices#1@")
    assert cost(book, "deepseek-chat", "deepseek", started_at=datetime(2026, 1, 15, tzinfo=UTC)) == 7
    assert cost(book, "gpt-5-2025-08-07", requested_model="gpt-5") == 3


def test_tier_of_an_entry_is_for_that_tier() -> None:
    """Rates for a service tier are used at that tier only; usual rates stand in for another one, and say so."""
    book = book_of(GOOD, {**GOOD, "service_tier": "flex", "input": "0.5", "output": "1"})
    assert [cost(book, tier=tier) for tier in (None, "default", "flex")] == [3, 3, Decimal("1.5")]
    usage = make_usage(*MILLIONS, service_tier="priority")
    priced = book.price(make_call(provider="openai", model="gpt-5", usage=usage))
    assert (priced.cost_usd, priced.price_flags) == (3, ("standard_estimate",))


def test_tiers_of_an_entry_are_for_the_whole_call() -> None:
    """Above a limit of input tokens, and not at it, the other rates hold for all tokens; the rest stays as it is."""
    book = book_of({**GOOD, "tiers": [{"above": 500_000, "output": "9"}, {"above": 200_000, "input": "3"}]})
    costs = [cost(book, tokens=(given, 0)) for given in (200_000, 200_001, 500_001)]
    assert costs == [Decimal("0.2"), Decimal("0.600003"), Decimal("1.500003")]
    assert cost(book, tokens=(500_001, 1_000_000)) == Decimal("10.500003")


def test_all_rates_of_an_entry() -> None:
    """Each rate prices its own part, and a fee for a request is charged once for a call."""
    book = book_of(
        {
            "model": "all",
            "input": "1",
            "output": "10",
            "cache_read": "0.1",
            "cache_write": "1.25",
            "cache_write_1h": "2",
            "audio_in": "5",
            "audio_out": "50",
            "reasoning": "20",
            "request_per_1k": "5",
            "web_search_per_1k": "7",
        }
    )
    usage = make_usage(
        5_000_000,
        3_000_000,
        cache_read_tokens=1_000_000,
        cache_write_tokens=2_000_000,
        cache_write_1h_tokens=1_000_000,
        audio_input_tokens=1_000_000,
        audio_output_tokens=1_000_000,
        reasoning_tokens=1_000_000,
        other_units={"web_search_requests": 2},
    )
    priced = book.price(make_call(provider="acme", model="all", usage=usage))
    assert priced.input_cost_usd == Decimal("0.1") + Decimal("1.25") + 2 + 5 + 1
    assert priced.output_cost_usd == 10 + 50 + 20
    assert priced.other_cost_usd == Decimal("0.005") + Decimal("0.014")


def test_multiplier_is_for_the_catalogue() -> None:
    """A provider's factor changes what the catalogue says, not a price that was negotiated, and is marked."""
    book = book_of(GOOD, {"provider": "openai", "multiplier": "0.5"}, {"provider": "openai", "multiplier": "1.1"})
    call = make_call(provider="openai", model="gpt-4", tokens=(1_000, 500), started_at=AUTUMN)
    priced = book.price(call)
    assert (priced.cost_usd, priced.price_flags) == (Decimal("0.033"), ("multiplier",))
    assert priced.unit_prices == {"input_mtok": "16.5", "output_mtok": "33"}
    assert cost(book) == 3
    assert cost(book, SONNET, "anthropic", tokens=(1_000, 1_000)) == Decimal("0.018")


def test_free_by_an_entry() -> None:
    """A model that is declared free costs 0, whether or not its usage is known; its neighbours are unknown."""
    book = book_of({"pattern": "house-*", "free": True})
    for call in (make_call(provider="vllm", model="house-1"), make_call(provider="vllm", model="house-1", tokens=None)):
        priced = book.price(call)
        assert (priced.cost_usd, priced.price_status, priced.price_source) == (0, "free", "override")
    assert cost(book, "rented-1", "vllm") is None


def test_aliases_and_hosts_name_what_is_behind_them() -> None:
    """A deployment's name stands for its model, and a host for its provider; nothing else is taken for them."""
    book = PriceBook(aliases={"my-deployment": "gpt-4", "gpt-4o": "gpt-4"}, hosts={"models.acme.example": "openai"})
    assert cost(book, "My-Deployment", "azure") == 90
    assert cost(book, "gpt-4o", "openai") == 90
    assert cost(book, "gpt-4", "https://models.acme.example:8443/v1") == 90
    assert cost(book, "gpt-4", "other.acme.example") is None


def test_price_can_be_changed_later() -> None:
    """A price that is added wins from then on; a wrong one is an error, and changes nothing."""
    book = PriceBook()
    before = cost(book)
    book.set_price("gpt-5", input="1", output="2")
    assert cost(book) == 3 != before
    book.add({"pattern": "*", "input": "0", "output": "7"})
    assert cost(book) == 3
    assert cost(book, "anything", "anybody") == 7
    with pytest.raises(PriceError, match="added, entry 3: found input = 'x', expected"):
        book.set_price("gpt-5", input="x", output="2")
    assert cost(book) == 3


def test_example_file_holds(caplog: pytest.LogCaptureFixture) -> None:
    """Each entry of the example is good, and does what its comment says."""
    book = PriceBook(EXAMPLES / "prices.toml")
    assert caplog.records == []
    assert cost(book) == 9
    assert cost(book, tier="flex") == Decimal("4.5")
    assert cost(book, "contoso-chat-eu", "azure", tokens=(200_001, 0)) == Decimal("0.5000025")
    assert cost(book, SONNET, "anthropic", tokens=(1_000, 1_000)) == Decimal("0.01584")
    assert cost(book, "house-llama:latest", "vllm") == 0
