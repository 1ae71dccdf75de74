"""A folder that is named for the journal: where it is, and whose records are in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from langchain_tokens import TokenUsageHandler, open_store
from langchain_tokens.codec import encode
from langchain_tokens.errors import StoreError
from langchain_tokens.store.target import parse_target
from tests.builders import make_call
from tests.crew import Crew

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

LONG = 60.0
"""Seconds that no test takes: a limit for what must come soon."""
LEAVE = """
os.chdir({before!r})
handler = TokenUsageHandler(StuckStore(path), journal=Path({journal!r}))
os.chdir({after!r})
record(handler, 2)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A program that is killed before its calls are in the database."""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """The helper process."""
    with Crew() as started:
        yield started


def left_behind(crew: Crew, database: Path, journal: Path, *, before: Path, after: Path | None = None) -> list[str]:
    """The calls that a killed process left in a journal; `before` is where it starts, `after` where it goes on."""
    program = LEAVE.format(before=str(before), journal=str(journal), after=str(after or before))
    (ended,) = crew.run((database, program))
    assert ended.code == -signal.SIGKILL
    assert len(ended.acknowledged) == 2
    return sorted(ended.acknowledged)


def delivered(database: str | Path, journal: Path) -> list[str]:
    """The calls that are in a database, beside its own, when a handler with this journal has recorded one."""
    with TokenUsageHandler(database, journal=journal) as handler:
        own = handler.record(None).call_id
        assert handler.flush(LONG)
    with closing(open_store(database)) as store:
        return sorted({call.call_id for call in store.calls()} - {own})


@pytest.mark.parametrize("journal", ["journal", "a/../journal", "~/journal"])
def test_journal_stays_where_it_was_named(
    crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    """A relative folder means the working directory of the moment it was given, wherever the process goes then."""
    for folder in ("a", "other"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    named = tmp_path / "journal" if journal.startswith("~") else Path(journal)
    left = left_behind(crew, tmp_path / "usage.db", named, before=tmp_path, after=tmp_path / "other")
    monkeypatch.chdir(tmp_path)

    assert list((tmp_path / "other").iterdir()) == []
    assert delivered("usage.db", Path(journal)) == left


def test_journal_of_a_user_that_there_is_not() -> None:
    """Where `~NAME` is nobody's, the error says so."""
    with pytest.raises(StoreError, match=r"the journal '~nobody-is-called-so/j' cannot be found: .*expected a folder"):
        TokenUsageHandler(":memory:", journal=Path("~nobody-is-called-so/j"))


def test_relative_state_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `XDG_STATE_HOME` means the working directory of the moment the store was named."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.chdir(tmp_path)
    folder = parse_target("postgresql://u@h/db").journal_folder
    assert folder is not None
    assert folder.parent == tmp_path / "state" / "langchain_tokens"


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without an entry in the list of users, and without an environment, as in many containers."""
    pwd = pytest.importorskip("pwd")

    def no_entry(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)


def test_server_without_a_home_folder(
    postgresql_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a home folder a server is read and written, with a journal where one is named; else the error says how to
    name one.
    """
    without_home(monkeypatch)
    url = postgresql_database.url
    for number, journal in enumerate((False, tmp_path / "journal"), start=1):
        with TokenUsageHandler(url, journal=journal) as handler:
            handler.record(None)
            assert handler.flush(LONG)
            assert handler.store.breakdown().total.calls == number
    with closing(open_store(url)) as store:
        assert store.breakdown().total.calls == 2
    with pytest.raises(StoreError, match=r"no home folder; set XDG_STATE_HOME .*, or say journal=Path"):
        TokenUsageHandler(url)


@pytest.mark.parametrize("kind", ["a named folder", "the other's own folder", "its own folder, the other's too"])
def test_stores_that_share_a_folder(crew: Crew, tmp_path: Path, kind: str) -> None:
    """What a killed process left for one store is delivered into that, whichever is opened first."""
    own = {"a named folder": "journals", "the other's own folder": "a.db.pending"}.get(kind, "b.db.pending")
    folder, first, second = tmp_path / own, tmp_path / "a.db", tmp_path / "b.db"
    of_first = left_behind(crew, first, folder, before=tmp_path)
    of_second = left_behind(crew, second, folder, before=tmp_path)

    assert delivered(first, folder) == of_first
    assert delivered(second, folder) == of_second
    assert not folder.exists()


def test_servers_that_share_a_folder(postgresql_database: Database, crew: Crew, tmp_path: Path) -> None:
    """A server is not given what was left for a file, whose calls stay."""
    folder = tmp_path / "journals"
    left = left_behind(crew, tmp_path / "a.db", folder, before=tmp_path)
    with TokenUsageHandler(postgresql_database.url, journal=folder) as handler:
        handler.record(None)
        assert handler.flush(LONG)
        assert handler.store.breakdown().total.calls == 1
    assert delivered(tmp_path / "a.db", folder) == left


def test_journal_of_an_earlier_version_in_a_shared_folder(tmp_path: Path) -> None:
    """A file without a mark, as earlier versions wrote it, is delivered by whoever comes first, as it was."""
    call = make_call()
    (tmp_path / "journals").mkdir()
    (tmp_path / "journals" / f"123-{'0' * 32}.jsonl").write_bytes(encode(call))
    assert delivered(tmp_path / "a.db", tmp_path / "journals") == [call.call_id]
    assert not (tmp_path / "journals").exists()


def test_journal_of_a_moved_database(crew: Crew, tmp_path: Path) -> None:
    """What waits is delivered also where the database and its journal were moved, or renamed, together."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = tmp_path / "old" / "usage.db", tmp_path / "new" / "usage.db"
    left = left_behind(crew, old, old.parent / "journals", before=tmp_path)
    left += left_behind(crew, old, old.with_name("usage.db.pending"), before=tmp_path)
    for path in old.parent.iterdir():
        path.rename(new.parent / path.name)

    assert delivered(new, new.parent / "journals") == sorted(left)
    again = left_behind(crew, new, new.with_name("usage.db.pending"), before=tmp_path)
    new.rename(new.with_name("other.db"))
    new.with_name("usage.db.pending").rename(new.with_name("other.db.pending"))
    with closing(open_store(new.with_name("other.db"))) as store:
        assert {call.call_id for call in store.calls()} >= {*left, *again}


def test_one_store_has_one_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a file or a server is named, what waits for it is its own; another's is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "usage.db")
    (tmp_path / "folder").symlink_to(tmp_path / "journals")
    urls = ("usage.db", tmp_path / "usage.db", f"sqlite:///{tmp_path}/usage.db?timeout=5", "sqlite:///link.db")
    folders = (tmp_path / "journals", tmp_path / "folder")
    assert len({parse_target(url).mark_in(folder) for url in urls for folder in folders}) == 1
    servers = ("postgresql://app:one@h/db", "postgres://app:two@h/db", "postgresql+psycopg://app:three@h/db")
    assert len({parse_target(url).mark_in(tmp_path) for url in servers}) == 1
    others = (urls[0], "other.db", ":memory:", servers[0], "postgresql://app@h/other", "postgresql://app@other/db")
    marks = {parse_target(url).mark_in(tmp_path / "journals") for url in others}
    assert len(marks) == len(others)
    assert not any("." in mark for mark in marks)
