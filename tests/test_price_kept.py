"""Prices that a user fetched: kept for later programs, used while they are newer, and never fetched unless asked."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from langchain_tokens import Call, PriceBook
from langchain_tokens.errors import PriceError
from langchain_tokens.pricing.catalogue import bundled, library_version
from langchain_tokens.pricing.kept import Kept, fetched_version, keep, kept, kept_file
from tests.builders import make_call
from tests.golden_prices import AUTUMN
from tests.test_price_people import feed, serving

BUNDLED_USD = Decimal(30)
FETCHED_USD = Decimal(1)


def a_call() -> Call:
    """A call that costs 30 dollars by the bundled prices, and 1 dollar by those of the feed."""
    return make_call(provider="openai", model="gpt-4", tokens=(1_000_000, 0), started_at=AUTUMN)


def whole_feed() -> bytes:
    """A feed that knows as many providers as the bundled catalogue."""
    return feed(len(bundled().providers))


def fetched() -> str:
    """Fetch prices from this machine and keep them; the version that costs are marked with."""
    with serving(whole_feed()) as url:
        return PriceBook().update(url)


def make_kept(content: bytes | None = None, library: str | None = None) -> Kept:
    """A feed as it is kept."""
    return Kept(
        content=whole_feed() if content is None else content,
        version=fetched_version("1"),
        library=library_version() if library is None else library,
        place="http://127.0.0.1/data.json",
    )


def test_later_programs_use_what_was_fetched() -> None:
    """A new book prices by the kept feed, offline, and its version says that and when it was fetched."""
    assert PriceBook().price(a_call()).cost_usd == BUNDLED_USD
    version = fetched()
    priced = PriceBook().price(a_call())
    assert (priced.cost_usd, priced.price_version, priced.price_source) == (FETCHED_USD, version, "genai-prices")
    assert re.fullmatch(rf"{re.escape(library_version())}\+fetched\.\d{{8}}T\d{{6}}Z", version)


def test_book_that_fetched_uses_it_at_once() -> None:
    """`update` is for the book itself, too; another that was loaded before keeps what it had."""
    before, book = PriceBook(), PriceBook()
    before.load()
    with serving(whole_feed()) as url:
        book.update(url)
    assert (book.price(a_call()).cost_usd, before.price(a_call()).cost_usd) == (FETCHED_USD, BUNDLED_USD)


def test_refresh_keeps_nothing() -> None:
    """`refresh` leaves no file."""
    with serving(whole_feed()) as url:
        PriceBook().refresh(url)
    assert not kept_file().exists()


def test_own_prices_and_corrections_still_win() -> None:
    """A kept feed takes the catalogue's place, and no other's."""
    fetched()
    book = PriceBook([{"provider": "openai", "model": "gpt-4", "input": "7", "output": "7"}])
    assert book.price(a_call()).cost_usd == 7


@pytest.mark.parametrize("library", ["0.0.1", "99.0", ""])
def test_feed_of_another_library_version_is_ignored(library: str, caplog: pytest.LogCaptureFixture) -> None:
    """After an update of the library the bundled prices are the newer ones; that is no trouble."""
    keep(make_kept(library=library))
    assert PriceBook().price(a_call()).cost_usd == BUNDLED_USD
    assert caplog.records == []


HEAD = json.dumps({"version": "1+fetched.20261101T000000Z", "library": library_version(), "place": "here"}).encode()
SPOILT: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no JSON": lambda: b"\x00\xff\n[]",
    "no object": lambda: b"[]\n[]",
    "no version": lambda: b"{}\n[]",
    "wrong types": lambda: HEAD.replace(b'"here"', b"5") + b"\n" + whole_feed(),
    "head alone": lambda: HEAD,
    "truncated": lambda: (HEAD + b"\n" + whole_feed())[:-100],
    "fewer providers": lambda: HEAD + b"\n" + feed(3),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_spoilt_file_is_one_warning(spoilt: str, caplog: pytest.LogCaptureFixture) -> None:
    """A kept file that cannot be used is warned about once, and the bundled prices hold."""
    kept_file().parent.mkdir(parents=True)
    kept_file().write_bytes(SPOILT[spoilt]())
    book = PriceBook()
    assert [book.price(a_call()).cost_usd for _ in range(3)] == [BUNDLED_USD] * 3
    (record,) = caplog.records
    assert "prices that were fetched are not used; the bundled ones are" in record.getMessage()


def test_spoilt_file_is_mended_by_the_next_update() -> None:
    """Fetching anew replaces what could not be read."""
    kept_file().parent.mkdir(parents=True)
    kept_file().write_bytes(b"rubbish")
    fetched()
    assert PriceBook().price(a_call()).cost_usd == FETCHED_USD


def test_file_that_cannot_be_opened_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Where something else than a file is in its place, the bundled prices hold."""
    kept_file().mkdir(parents=True)
    assert PriceBook().price(a_call()).cost_usd == BUNDLED_USD
    assert ["cannot be read" in record.getMessage() for record in caplog.records] == [True]


def test_denied_permissions(caplog: pytest.LogCaptureFixture) -> None:
    """A file that may not be read is one warning; a folder that may not be written is an error of `update`."""
    fetched()
    kept_file().chmod(0)
    if os.access(kept_file(), os.R_OK):
        pytest.skip("this user may read and write everything")
    assert PriceBook().price(a_call()).cost_usd == BUNDLED_USD
    assert len(caplog.records) == 1
    kept_file().parent.chmod(0o500)
    with pytest.raises(PriceError, match="cannot be kept in"):
        keep(make_kept())
    kept_file().parent.chmod(0o700)


def test_folder_that_cannot_be_made_is_an_error_of_update_alone() -> None:
    """Where nothing can be kept, `update` says so in one line; the book has the prices all the same, others go on."""
    kept_file().parent.parent.mkdir(parents=True, exist_ok=True)
    kept_file().parent.write_text("a file in the folder's place", encoding="utf-8")
    book = PriceBook()
    with serving(whole_feed()) as url, pytest.raises(PriceError, match="cannot be kept in") as raised:
        book.update(url)
    assert "\n" not in str(raised.value)
    assert (book.price(a_call()).cost_usd, PriceBook().price(a_call()).cost_usd) == (FETCHED_USD, BUNDLED_USD)


@pytest.mark.parametrize(("body", "status"), [(b"[]", 200), (b"no JSON", 200), (b"", 500)])
def test_update_that_fails_leaves_what_was_kept(body: bytes, status: int) -> None:
    """A feed that cannot be used is an error, and the file stays as it was."""
    version = fetched()
    before = kept_file().read_bytes()
    with serving(body, status=status) as url, pytest.raises(PriceError):
        PriceBook().update(url)
    assert kept_file().read_bytes() == before
    assert PriceBook().price(a_call()).price_version == version


def test_write_that_fails_leaves_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full half-way leaves the file that was there, and nothing beside it."""
    fetched()
    before = kept_file().read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PriceError, match="No space left on device"):
        keep(make_kept())
    assert [path.name for path in kept_file().parent.iterdir()] == [kept_file().name]
    assert kept_file().read_bytes() == before


def test_readers_never_see_half_a_file() -> None:
    """While others keep feeds again and again, a reader finds a whole one each time."""
    feeds = [make_kept(content=bytes([65 + number]) * 500_000) for number in range(3)]
    keep(feeds[0])
    stopped = threading.Event()

    def keep_on(feed_: Kept) -> None:
        while not stopped.is_set():
            keep(feed_)

    threads = [threading.Thread(target=keep_on, args=(each,)) for each in feeds]
    for thread in threads:
        thread.start()
    try:
        found = [kept(library_version()) for _ in range(200)]
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert {each.content for each in found if each is not None} <= {each.content for each in feeds}
    assert None not in found
    assert [path.name for path in kept_file().parent.iterdir()] == [kept_file().name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has folders of its own")
@pytest.mark.parametrize(
    ("said", "folder"),
    [("elsewhere", "elsewhere"), ("", "home/.local/share"), (None, "home/.local/share")],
)
def test_folder_is_the_users_own(
    said: str | None, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`XDG_DATA_HOME` is honoured; without it the usual folder below the home is."""
    if said is None:
        monkeypatch.delenv("XDG_DATA_HOME")
    else:
        monkeypatch.setenv("XDG_DATA_HOME", said and str(tmp_path / said))
    fetched()
    assert kept_file() == tmp_path / folder / "langchain_tokens" / "prices.json"
    assert kept_file().exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has folders of its own")
def test_relative_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `XDG_DATA_HOME` counts as none, as its specification says: it would be another in each folder."""
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    assert kept_file() == tmp_path / "home/.local/share/langchain_tokens/prices.json"


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Who has no home has kept nothing, and gets bundled prices; `update` says what to set."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert PriceBook().price(a_call()).cost_usd == BUNDLED_USD
    assert caplog.records == []
    with pytest.raises(PriceError, match=r"no folder to keep fetched prices in: .*; set "):
        keep(make_kept())


def no_home() -> Path:
    """What Python does for a user id that nobody knows."""
    raise RuntimeError("Could not determine home directory.")


def test_nothing_is_fetched_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, pricing and asking reach for no network, with a kept feed, without one, and with a spoilt one."""

    def refuse(*_: object) -> None:
        raise AssertionError("something was fetched")

    fetched()
    monkeypatch.setattr("langchain_tokens.pricing.catalogue._attempt", refuse)
    for spoil in (lambda: None, lambda: kept_file().write_bytes(b"rubbish"), kept_file().unlink):
        spoil()
        book = PriceBook()
        book.load()
        assert book.price(a_call()).cost_usd is not None
        assert book.rates("gpt-4", "openai") is not None
        assert book.rates("unheard-of") is None
