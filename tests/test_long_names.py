"""Names of any length are kept, in memory and in every database, as one and the same shorter name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_tokens import TokenUsageHandler, open_store, track
from langchain_tokens.breakdown import Breakdown
from langchain_tokens.call import bounded_call, bounded_fact
from langchain_tokens.codec import decode, encode
from langchain_tokens.shortening import MOST_BYTES, shortened
from tests.builders import make_call, make_fact
from tests.models import Reply, ScriptedChat, in_turn

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

LENGTH = 10_000
FILTERS = ("agent", "chain", "mode", "model", "provider", "session", "user")
USAGE = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}


def hostile(mark: str) -> str:
    """A name that no compression makes fit, with characters of one to four bytes."""
    digests = "".join(sha256(f"{mark} {number}".encode()).hexdigest() for number in range(LENGTH // 60))
    return "".join(f"{part}é猫🧨" for part in (digests[start : start + 9] for start in range(0, len(digests), 9)))[
        :LENGTH
    ]


NAMES = {name: hostile(name) for name in (*FILTERS, "run_id")}
OTHERS = {name: value[:-1] + "?" for name, value in NAMES.items()}
"""Names that differ from the first at their very end."""
TAGS = {hostile("key"): hostile("value"), "🧨": "🧨" * LENGTH}


@pytest.fixture
def handler(lasting_database: Database, tmp_path: Path) -> Iterator[TokenUsageHandler]:
    """A handler on each kind of database."""
    with closing(TokenUsageHandler(lasting_database.url, journal=tmp_path / "journal")) as made:
        yield made


def rows(answer: Breakdown) -> list[tuple[Any, int, int | None]]:
    """What a breakdown says, in any order."""
    return sorted((str(dict(row.key)), row.calls, row.total_tokens) for row in answer)


def say(handler: TokenUsageHandler, *, user: str | None = None, **more: Any) -> None:
    """Record a call."""
    with track(handler.store, user=user):
        handler.record(USAGE, **more)


def hold(handler: TokenUsageHandler, calls: int) -> None:
    """All calls are stored, memory and store say the same by every dimension, and sums are those of the rows."""
    assert handler.flush(60)
    stats = handler.stats()
    assert (stats.refused, stats.dropped, stats.pending) == (0, 0, 0)
    store = open_store(handler.store.target.url)
    assert store.breakdown().total.calls == calls
    for by in (*FILTERS, "path", "run"):
        assert rows(store.breakdown(by)) == rows(handler.breakdown(by))
    assert rows(store.breakdown(*FILTERS[:5], "path")) == rows(handler.breakdown(*FILTERS[:5], "path"))
    assert store.check().is_clean
    store.close()


def test_enormous_names_are_kept_alike(handler: TokenUsageHandler) -> None:
    """In each dimension alone and in all of them at once; two that differ at their ends only stay two."""
    for name, value in NAMES.items():
        say(handler, **{name: value})
        say(handler, **{name: OTHERS[name]})
    for names in (NAMES, OTHERS):
        say(handler, tags=TAGS, **names)
    hold(handler, 2 * len(NAMES) + 2)
    store = handler.store
    for name in FILTERS:
        for names in (NAMES, OTHERS):
            assert store.breakdown(**{name: names[name]}).total.calls == 2
            assert handler.breakdown(**{name: names[name]}).total.calls == 2
        (call,) = store.calls(limit=1, **{name: NAMES[name], "chain": NAMES["chain"], "agent": NAMES["agent"]})
        assert getattr(call, name) == shortened(NAMES[name], name)
        assert store.breakdown(name)[NAMES[name]].calls == 2
        assert call.tags == TAGS
    assert len(store.runs(run=NAMES["run_id"])) == 1
    ((key, value), _) = TAGS.items()
    for source in (store, handler):
        assert source.breakdown(f"tag:{key}")[value].calls == 2
        assert source.breakdown(tags=TAGS).total.calls == 2


def test_enormous_names_from_langchain_are_kept_alike(handler: TokenUsageHandler) -> None:
    """Names in metadata, of a `track()` block and of runs, and a path of many of them."""
    model = ScriptedChat(script=in_turn(Reply(usage=USAGE)))
    chain: Any = RunnableLambda(model.invoke)
    for number in range(8):
        chain = RunnableLambda(chain.invoke, name=hostile(f"level {number}"))
    metadata = {f"tokens_{name}": NAMES[name] for name in ("chain", "agent", "mode", "session", "user")}
    chain.invoke("hi", config={"callbacks": [handler], "metadata": metadata})
    with track(handler.store, run=hostile("run"), session=NAMES["session"], user=NAMES["user"]):
        handler.record(USAGE, chain=NAMES["chain"])
    hold(handler, 2)


@pytest.mark.parametrize("dimension", MOST_BYTES)
def test_short_name_is_kept_as_it_is(dimension: str) -> None:
    """Up to the bound a name is whole, beyond it it has the bound's length, its own beginning and a mark."""
    most = MOST_BYTES[dimension]
    for name in ("", "a", "a" * most, "é" * (most // 2), "🧨" * (most // 4)):
        assert shortened(name, dimension) == name
    for name in ("a" * (most + 1), "🧨" * most, hostile("x")):
        kept = shortened(name, dimension)
        assert most - 4 < len(kept.encode()) <= most
        head, mark = kept.split("…")
        assert name.startswith(head)
        assert len(mark) == 16
        assert shortened(kept, dimension) == kept
        assert shortened(name + "b", dimension) != kept
    assert shortened("\ud800" * most, dimension).encode() != shortened("\udfff" * most, dimension).encode()


def test_dimension_without_a_bound_keeps_its_name() -> None:
    """Tags stand in no key."""
    assert shortened("x" * LENGTH, "tag:team") == "x" * LENGTH


def test_record_with_usual_names_is_the_same_object() -> None:
    """Nothing is made anew for names of usual length."""
    call, fact = make_call(session="s", chain="c" * 60), make_fact(session="s")
    assert bounded_call(call) is call
    assert bounded_fact(fact) is fact


def test_journal_of_an_earlier_version_is_read_with_shorter_names() -> None:
    """What it wrote in full is kept as it would be now."""
    call = make_call(session=NAMES["session"], path=hostile("path"))
    fact = make_fact(NAMES["run_id"], user=NAMES["user"])
    assert decode(encode(call)) == bounded_call(call)
    assert decode(encode(fact)) == bounded_fact(fact)
    assert bounded_call(call).session == shortened(NAMES["session"], "session")
