from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from langchain_tokens.dashboard import create_app
from langchain_tokens.dashboard.counts import Counts
from langchain_tokens.dashboard.kept import Kept
from langchain_tokens.dashboard.live import Pace
from langchain_tokens.query import Query, make_query
from langchain_tokens.reports import profile
from langchain_tokens.store.stamping import Stamps
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.watching import make_watch
from tests.builders import make_call
from tests.dashboards import INTENT, make_client

pytest_plugins = ("tests.databases",)
API = "/api/v1"
LABELS = '{provider="(none)",model="(none)",agent="(none)",chain="(unattributed)"}'


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Maker:
    """Makes answers, and counts them."""

    def __init__(self, content: bytes = b"{}") -> None:
        self.times, self.content = 0, content

    def __call__(self) -> bytes:
        self.times += 1
        return self.content


@pytest.fixture
def file(tmp_path: Path) -> Iterator[UsageStore]:
    """A store in a file with a call."""
    store = UsageStore(parse_target(tmp_path / "kept.db"))
    store.add([make_call(session="s-1")])
    yield store
    store.close()


def twin(store: UsageStore) -> UsageStore:
    """Another process's store on the same database."""
    return UsageStore(parse_target(store.target.url))


CHANGES: tuple[Callable[[UsageStore], object], ...] = (
    lambda store: store.add([make_call()]),
    lambda store: store.delete(session="s-1"),
    lambda store: store.delete(until="2100-01-01"),
)


@pytest.mark.parametrize("is_own", [True, False], ids=["here", "elsewhere"])
def test_stamps_change_with_the_data(store: UsageStore, is_own: bool) -> None:
    """A stamp stays while nothing is written, and is another one after each change, whoever makes it."""
    store.add([make_call(session="s-1")])
    stamps = Stamps(store)
    if store.target.is_memory:
        assert stamps.now() is None
        return
    other = store if is_own else twin(store)

    def still() -> object:
        """A stamp that reading leaves as it is; a server may be at its own housekeeping for a moment."""
        for _ in range(50):
            stamp = stamps.now()
            assert other.breakdown().total.calls == len(other.calls())
            if stamps.now() == stamp:
                return stamp
        raise AssertionError("reading changes the stamp")

    for change in CHANGES:
        before = still()
        change(other)
        assert stamps.now() != before
        assert still() != before
    other.close()


def test_stamps_tell_another_file_in_the_place(file: UsageStore, tmp_path: Path) -> None:
    """A file that takes another's place has another stamp, although it may have as many commits."""
    stamps = Stamps(file)
    before = stamps.now()
    other = UsageStore(parse_target(tmp_path / "other.db"))
    other.add([make_call()])
    other.close()
    file.close()
    (tmp_path / "other.db").rename(tmp_path / "kept.db")
    assert stamps.now() not in (before, None)


def test_an_answer_is_given_again_while_nothing_changes(file: UsageStore) -> None:
    """The second to ask gets the first one's answer; after a commit it is made anew."""
    kept, make = Kept(file, Clock()), Maker()
    first = kept.get("a", make, 60)
    assert kept.get("a", make, 60) is first
    assert kept.get("b", Maker(b"[]"), 60).content == b"[]"
    assert make.times == 1
    file.add([make_call()])
    assert kept.get("a", make, 60) is not first
    assert make.times == 2


def test_an_answer_holds_for_its_time(file: UsageStore) -> None:
    """A range moves on: what is older than was allowed is made anew, and so is what is asked for fresh."""
    clock, make = Clock(), Maker()
    kept = Kept(file, clock)
    for now, is_fresh, times in ((100.0, False, 1), (100.9, False, 1), (101.0, False, 2), (101.1, True, 3)):
        clock.now = now
        kept.get("a", make, 1, is_fresh=is_fresh)
        assert make.times == times


def test_one_makes_what_many_ask_for(file: UsageStore) -> None:
    """Pages that ask at the same time wait for one of them, instead of all reading the same."""
    kept, make, begun, go_on = Kept(file), Maker(), threading.Event(), threading.Event()

    def slowly() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return make()

    threads = [threading.Thread(target=kept.get, args=("a", slowly, 60)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert make.times == 1


async def test_those_who_wait_for_one_answer_take_no_threads(file: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """More clients than there are threads ask one slow question: it is made once, and another is answered meanwhile."""
    made, begun, go_on = Maker(), threading.Event(), threading.Event()

    def slowly(*args: Any, **filters: Any) -> Any:
        made()
        begun.set()
        assert go_on.wait(30)
        return profile(*args, **filters)

    monkeypatch.setattr("langchain_tokens.dashboard.numbers.profile", slowly)
    app = create_app(file)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        waiting = [asyncio.create_task(client.get(f"{API}/profile")) for _ in range(20)]
        try:
            assert await asyncio.to_thread(begun.wait, 10)
            status = await asyncio.wait_for(client.get(f"{API}/status"), 10)
        finally:
            go_on.set()
            answers = await asyncio.gather(*waiting)
    assert status.status_code == 200
    assert {answer.status_code for answer in answers} == {200}
    assert made.times == 1


def test_an_error_is_not_kept(file: UsageStore) -> None:
    """Who asks after a failure gets an answer."""
    kept = Kept(file)

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept.get("a", fail, 60)
    assert kept.get("a", Maker(), 60).content == b"{}"


def test_answers_take_only_so_much_memory(file: UsageStore) -> None:
    """Those that were asked for longest ago go, so that some megabytes stay."""
    kept, size = Kept(file), 3_000_000
    makers = [Maker(bytes(size)) for _ in range(4)]
    for index, make in enumerate(makers):
        kept.get(str(index), make, 60)
        kept.get("0", makers[0], 60)  # is asked for all the time
    assert [make.times for make in makers] == [1, 1, 1, 1]
    for index, make in enumerate(makers):
        kept.get(str(index), make, 60)
    assert makers[0].times == 1
    assert makers[1].times == 2


def test_empty_places_are_few(file: UsageStore) -> None:
    """Questions that fail do not pile up."""
    kept = Kept(file)

    def fail() -> bytes:
        raise ValueError("no")

    for index in range(1_100):
        with pytest.raises(ValueError, match="no"):
            kept.get(str(index), fail, 60)
    assert len(kept._places) == 1_000


QUESTIONS = ("overview", "breakdown?by=session", "calls", "dimensions", "timeline", "status", "prices")


def asked(client: TestClient, question: str) -> Any:
    """An answer, but for what changes with the time."""
    document = client.get(f"{API}/{question}").json()
    return {name: value for name, value in document.items() if name not in {"now", "current_since"}}


def test_clear_history_is_seen_at_once(store: UsageStore) -> None:
    """After a deletion no answer is one from before, on any database."""
    store.add([make_call(session="s-1", model="gpt-4o")])
    client = make_client(store)
    before = {question: asked(client, question) for question in QUESTIONS}
    gone = client.delete(f"{API}/history", params={"until": "2100-01-01", "confirm": 1}, headers=INTENT)
    assert gone.json() == {"calls": 1}
    after = {question: asked(client, question) for question in QUESTIONS}
    unchanged = [question for question in QUESTIONS if after[question] == before[question]]
    assert unchanged == []
    assert after == {question: asked(make_client(store), question) for question in QUESTIONS}


def test_what_others_store_is_seen_at_once(store: UsageStore) -> None:
    """A call that another process stores is in the next answer, although the same was asked just before."""
    store.add([make_call()])
    client = make_client(store)
    other = store if store.target.is_memory else twin(store)
    for count in range(1, 5):
        assert client.get(f"{API}/overview").json()["total"]["calls"] == count
        assert f"langchain_tokens_calls_total{LABELS} {count}\n" in client.get("/metrics").text
        other.add([make_call()])
    other.close()


def test_a_kept_answer_is_compressed_once_and_tagged(file: UsageStore) -> None:
    """The same body and tag for all who ask, packed for those who can unpack, and nothing for who has it."""
    file.add([make_call(session=f"s-{index}") for index in range(50)])
    client = make_client(file)
    plain = client.get(f"{API}/breakdown?by=session", headers={"Accept-Encoding": "identity"})
    packed = client.get(f"{API}/breakdown?by=session", headers={"Accept-Encoding": "gzip"})
    assert (plain.headers.get("content-encoding"), packed.headers["content-encoding"]) == (None, "gzip")
    assert plain.content == packed.content
    assert plain.headers["etag"] == packed.headers["etag"]
    has_it = client.get(f"{API}/breakdown?by=session", headers={"If-None-Match": plain.headers["etag"]})
    assert (has_it.status_code, has_it.content) == (304, b"")


class Counting:
    """Counts runs, and takes its time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.times, self._clock, self._seconds = 0, clock, seconds

    def __call__(self, _: object, __: Query, calls: int) -> tuple[int, int]:
        self.times += 1
        self._clock.now += self._seconds
        return calls, self.times


@pytest.mark.parametrize(
    ("seconds", "later", "calls", "times"),
    [
        pytest.param(0.05, 4.9, 7, 1, id="what takes long is given again for a while"),
        pytest.param(0.05, 5.1, 7, 2, id="and then counted anew"),
        pytest.param(5.0, 9.9, 7, 1, id="for ten seconds at most"),
        pytest.param(5.0, 10.1, 7, 2, id="and no longer"),
        pytest.param(0.05, 1.0, 8, 1, id="also where calls have come"),
        pytest.param(0.05, 1.0, 6, 2, id="but not where some have gone"),
        pytest.param(0.001, 0.0, 7, 2, id="what takes a moment is counted each time"),
    ],
)
def test_runs_of_a_large_store_are_counted_now_and_then(seconds: float, later: float, calls: int, times: int) -> None:
    """How long numbers are given again depends on how long it took to count them."""
    clock = Clock()
    count = Counting(clock, seconds)
    counts, query = Counts(count, clock), make_query()
    counts.get("all", None, query, 7)
    clock.now += later
    counts.get("all", None, query, calls)
    assert count.times == times


def test_counts_are_forgotten() -> None:
    """After a deletion runs and sessions are counted anew, and of another question anyway."""
    clock = Clock()
    count = Counting(clock, 1.0)
    counts, query = Counts(count, clock), make_query()
    for question in ("a", "b", "a"):
        counts.get(question, None, query, 7)
    assert count.times == 2
    counts.forget()
    counts.get("a", None, query, 7)
    assert count.times == 3


def test_an_app_that_is_gone_leaves_no_connection(file: UsageStore) -> None:
    """What looked at a file lets go of it, with no warning of an open connection."""
    client: TestClient | None = make_client(file)
    assert client is not None
    assert client.get(f"{API}/overview").status_code == 200
    client = None


def test_changes_that_follow_each_other_are_told_together() -> None:
    """The first is told at once, those within the gap after it once at its end, and nothing where nothing happened."""
    clock = Clock()
    pace = Pace(0.5, clock)
    told = []
    for has_changed in (False, True, False, True, True, False, False, False, False, True):
        if has_changed:
            pace.mark()
        told.append(pace.is_time())
        clock.now += 0.125
    assert told == [False, True, False, False, False, True, False, False, False, True]


def test_a_file_that_comes_is_a_change(tmp_path: Path) -> None:
    """A page that was open before the first call was stored hears of it; the first look tells of nothing."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    watch = make_watch(store)
    assert [watch.has_changed(), watch.has_changed()] == [False, False]
    store.add([make_call()])
    assert [watch.has_changed(), watch.has_changed()] == [True, False]
    watch.close()
    store.close()
