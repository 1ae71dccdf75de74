"""How is a PostgreSQL server reached? Within limits of time, through few connections, over TLS, with no secret shown."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import event

from langchain_tokens import TokenUsageHandler
from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import encode
from langchain_tokens.errors import StoreError
from langchain_tokens.query import make_query
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import recover
from langchain_tokens.registry import REGISTRY
from langchain_tokens.store.answers import read_answer
from langchain_tokens.store.engine import RowError, reading, writing
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.trouble import Warnings
from tests.builders import make_call, make_usage
from tests.servers import Front, Server, started_server

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
SERVERS_OWN = ("0", "0", "0")
WRITING = ("30s", "10s", "1min")
READING = ("5min", "10s", "1min")
SECRET = "s3cret"  # noqa: S105  # the one that must not show
PASSWORD = f"{SECRET}:/?#[]@!$&'()*+,;=% \\\"\u732b"
WRONG = f"{SECRET}-wrong"
REFUSED = 'password authentication failed for user "app"'
END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def _add_to(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{option}"


@contextlib.contextmanager
def _store(url: str) -> Iterator[UsageStore]:
    with contextlib.closing(UsageStore(parse_target(url))) as store:
        yield store


def _limits(connection: Any) -> tuple[str, ...]:
    return tuple(connection.exec_driver_sql(f"SHOW {name}").scalar() for name in LIMITS)


def _execute(url: str, sql: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)  # type: ignore[call-overload]  # a statement of the test's own
        return cursor.fetchall() if cursor.description is not None else None


# Limits of time


@pytest.mark.parametrize(
    ("way", "is_long", "expected"),
    [(writing, False, WRITING), (reading, False, READING), (writing, True, SERVERS_OWN), (reading, True, SERVERS_OWN)],
)
def test_transactions_are_limited(
    postgresql_database: Database, way: Callable[..., Any], is_long: bool, expected: tuple[str, ...]
) -> None:
    """What we do on a server ends after a while, unless it is meant to take long; the session keeps its own limits."""
    with _store(postgresql_database.url) as store:
        for _ in range(2):
            with way(store._engine(), store.target, is_long=is_long) as connection:
                assert _limits(connection) == expected
        with store._engine().connect() as plain:
            assert _limits(plain.execution_options(isolation_level="AUTOCOMMIT")) == SERVERS_OWN


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("options=-cstatement_timeout%3D7s", ("7s", "10s", "1min")),
        ("options=-c%20statement_timeout%3D0%20-clock_timeout%3D1h", ("0", "1h", "1min")),
        (
            "options=-cstatement_timeout%3D1s%20-clock_timeout%3D2s%20-cidle_in_transaction_session_timeout%3D3s",
            ("1s", "2s", "3s"),
        ),
    ],
)
def test_the_url_says_which_limits(postgresql_database: Database, option: str, expected: tuple[str, ...]) -> None:
    """A limit in the URL's own `options` is the one that counts, also when it is none."""
    with _store(_add_to(postgresql_database.url, option)) as store:
        for way in (reading, writing):
            with way(store._engine(), store.target) as connection:
                assert _limits(connection) == expected


def test_the_environment_says_which_limits(postgresql_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one in `PGOPTIONS`."""
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=0")
    with _store(postgresql_database.url) as store, writing(store._engine(), store.target) as connection:
        assert _limits(connection) == ("30s", "0", "1min")


def test_the_server_says_which_limits(postgresql_database: Database) -> None:
    """So is one that the server gives to the role or the database."""
    ((name,),) = _execute(postgresql_database.url, "SELECT current_database()")
    _execute(postgresql_database.url, f"ALTER DATABASE {name} SET statement_timeout = '8s'")
    with _store(postgresql_database.url) as store, writing(store._engine(), store.target) as connection:
        assert _limits(connection) == ("8s", "10s", "1min")


def test_statement_that_takes_too_long_is_a_store_error(postgresql_database: Database) -> None:
    """It may work the next time, so that it is no refusal; the error says how to allow more."""
    url = _add_to(postgresql_database.url, "options=-cstatement_timeout%3D50ms")
    with _store(url) as store:
        store.add([])
        with (
            pytest.raises(StoreError, match=r"statement timeout; its URL may allow more time: \?options=") as caught,
            writing(store._engine(), store.target) as connection,
        ):
            connection.exec_driver_sql("SELECT pg_sleep(60)")
        assert not isinstance(caught.value, RowError)
        store.add([make_call()])
        assert store.breakdown().total.calls == 1


def test_lock_that_is_held_too_long_is_a_store_error(postgresql_database: Database) -> None:
    """A table that somebody keeps locked does not hold a writer for ever; it gets in once the lock is gone."""
    with _store(_add_to(postgresql_database.url, "options=-clock_timeout%3D50ms")) as store:
        store.add([])
        with psycopg.connect(postgresql_database.url) as other:
            other.execute("LOCK TABLE llm_call IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match="lock timeout"):
                store.add([make_call()])
        store.add([make_call()])
        assert store.breakdown().total.calls == 1


LIMIT_ROWS = """
CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM added) > 12 THEN PERFORM pg_sleep(60); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER take_long AFTER INSERT ON llm_call REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION take_long();
"""
"""Lets a statement with more than a dozen calls take longer than any limit."""


@pytest.mark.parametrize("way", ["recorded", "left by the dead"])
def test_batch_that_takes_too_long_is_stored_in_portions(
    postgresql_database: Database, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that a server does not take at once within its limit are all stored, each once, without a word."""
    folder, calls = tmp_path / "pending", [make_call() for _ in range(25)]
    with _store(_add_to(postgresql_database.url, "options=-cstatement_timeout%3D500ms")) as store:
        store.add([])
        _execute(postgresql_database.url, LIMIT_ROWS)
        if way == "recorded":
            recorder = Recorder(store, folder)
            recorder.pause()
            for call in calls:
                recorder.record(call)
            recorder.resume()
            assert recorder.close(30)
        else:
            folder.mkdir()
            (folder / "1-dead.jsonl").write_bytes(b"".join(map(encode, calls)))
            assert recover(folder, store, None, Warnings()) == len(calls)

        assert {call.call_id for call in store.calls()} == {call.call_id for call in calls}
    assert caplog.messages == []


def test_what_a_server_takes_at_once_is_not_sought_in_vain_again(
    postgresql_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of 500 calls of which a dozen go at once cost a few timeouts in all, and two before the first is in."""
    calls = [make_call() for _ in range(1_000)]
    tried: list[int] = []
    with _store(_add_to(postgresql_database.url, "options=-cstatement_timeout%3D300ms")) as store:
        store.add([])
        _execute(postgresql_database.url, LIMIT_ROWS)
        add = UsageStore.add

        def noted(self: UsageStore, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
            tried.append(len(calls))
            add(self, calls, runs)

        monkeypatch.setattr(UsageStore, "add", noted)
        folder = tmp_path / "pending"
        folder.mkdir()
        for number in range(2):
            lines = b"".join(map(encode, calls[number * 500 : number * 500 + 500]))
            (folder / f"{number}-dead.jsonl").write_bytes(lines)
        assert recover(folder, store, None, Warnings()) == len(calls)
        assert {call.call_id for call in store.calls(limit=2_000)} == {call.call_id for call in calls}
    assert tried[:3] == [500, 31, 1]
    assert sum(1 for count in tried if count > 12) <= 8


# Connections


def test_few_connections_stay_open(postgresql_database: Database) -> None:
    """However many threads have read at once, two connections are kept; they name the package to the server."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'langchain_tokens'"
    count += " AND datname = current_database()"
    with _store(postgresql_database.url) as store:
        store.add([make_call()])
        assert _execute(postgresql_database.url, count) == [(1,)]
        meeting = threading.Barrier(6)

        def read(_: int) -> int:
            with reading(store._engine(), store.target) as connection:
                meeting.wait(10)
                return int(connection.exec_driver_sql(count).scalar_one())

        with ThreadPoolExecutor(6) as pool:
            assert max(pool.map(read, range(6))) == 6
        _wait_until(lambda: _execute(postgresql_database.url, count) == [(2,)])
    _wait_until(lambda: _execute(postgresql_database.url, count) == [(0,)])


def test_connection_that_the_server_ended_is_not_used(postgresql_database: Database) -> None:
    """A session that was ended while nobody used it costs no batch."""
    with _store(postgresql_database.url) as store:
        store.add([make_call()])
        _execute(postgresql_database.url, END_OTHERS)
        store.add([make_call()])
        assert store.breakdown().total.calls == 2


def test_server_that_became_a_copy_is_left(postgresql_database: Database) -> None:
    """A session that takes no writes is not used again: the next try may find the server that does."""
    ((name,),) = _execute(postgresql_database.url, "SELECT current_database()")
    elsewhere = postgresql_database.url.replace(f"/{name}?", "/postgres?")
    with _store(postgresql_database.url) as store:
        store.add([make_call()])
        store._engine().dispose()
        _execute(elsewhere, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(StoreError, match="read-only transaction"):
            store.add([make_call()])
        _execute(elsewhere, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        store.add([make_call() for _ in range(500)])
        assert store.breakdown().total.calls == 501


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "",
            {
                "connect_timeout": 5,
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "tcp_user_timeout": 60_000,
                "fallback_application_name": "langchain_tokens",
            },
        ),
        (
            "?keepalives_idle=7&tcp_user_timeout=0",
            {"keepalives_idle": "7", "tcp_user_timeout": "0", "keepalives_count": 3},
        ),
        ("?application_name=shop", {"application_name": "shop", "fallback_application_name": "langchain_tokens"}),
        ("?prepare_threshold=none", {"prepare_threshold": None}),
        ("?prepare_threshold=2", {"prepare_threshold": 2}),
        (
            "?sslmode=verify-full&sslrootcert=/a/ca.pem&sslcert=/a/me.pem&sslkey=/a/me.key&sslpassword=s3cret&sslcrl=/a/crl",
            {
                "sslmode": "verify-full",
                "sslrootcert": "/a/ca.pem",
                "sslcert": "/a/me.pem",
                "sslkey": "/a/me.key",
                "sslpassword": "s3cret",
                "sslcrl": "/a/crl",
            },
        ),
        ("?password=s3cret", {"password": "s3cret"}),
        ("?host=a:1&host=b:2&target_session_attrs=read-write", {"host": "a,b", "port": "1,2"}),
    ],
)
def test_what_reaches_the_driver(query: str, expected: Mapping[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL's parameters reach the driver as they are; what they leave out has our defaults."""
    asked: list[dict[str, Any]] = []

    def connect(*_: object, **named: Any) -> None:
        asked.append(named)
        raise KeyboardInterrupt

    with _store(f"postgresql://joe@/db{query}") as store:
        monkeypatch.setattr(store._opener._engine.dialect, "connect", connect)
        with pytest.raises(KeyboardInterrupt):
            store.breakdown()
    (named,) = asked
    assert {name: named.get(name, "missing") for name in expected} == expected


def test_timeout_of_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PGCONNECT_TIMEOUT` is not overruled by our default."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "9")
    asked: list[dict[str, Any]] = []
    with _store("postgresql://joe@127.0.0.1:1/db") as store:
        event.listen(store._opener._engine, "do_connect", lambda *arguments: asked.append(dict(arguments[3])))
        with pytest.raises(StoreError, match=r"127\.0\.0\.1"):
            store.breakdown()
    assert "connect_timeout" not in asked[0]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://joe@h/db?autocommit=1", "has the option 'autocommit', which it cannot set"),
        ("postgresql://joe@h/db?row_factory=x&context=y", "has the option 'context'"),
        ("postgresql://joe@h/db?conninfo=host%3Dx", "'conninfo'"),
        ("postgresql://joe:s3c@ret@h/db", "one @ too many"),
        ("postgresql://joe/x:s3cret@h/db", "one @ too many"),
        ("postgresql://joe:s3cret@h/db?prepare_threshold=soon", "cannot be read (ValueError)"),
        ("postgresql://joe:s3cret@h/db?port=x", "cannot be read (ArgumentError)"),
        ("postgresql://joe:s3cret@h:port/db", "a port that is none"),
        ("postgresql://joe:s3cret@h:/db", "a port that is none"),
        ("postgresql://joe:s3cret@h:65536/db", "a port that is none"),
        ("postgresql://joe:s3cret@h1:1,h2:2/db", "a port that is none"),
        ("postgresql://joe:s3cret@[::1/db", "a port that is none"),
        ("postgresql://joe:s3cret", "without @HOST"),
        ("postgresql://joe:s3cret/db", "without @HOST"),
        ("postgresql://[joe:s3cret", "without @HOST"),
        ("postgresql://joe@h:s3cret/db", "a port that is none"),
        ("postgresql:/joe:s3cret@h/db", "has no ://"),
        ("postgres:joe:s3cret@h/db", "has no ://"),
        ("Postgres+psycopg:/s3cret", "has no ://"),
        ("postgresql//joe:s3cret@h/db", "has no ://"),
        ("mysql:/joe:s3cret@h/db", "has no ://"),
        (Path("postgresql://joe:s3cret@h/db"), "has no ://"),
    ],
)
def test_url_that_cannot_be_is_refused_when_it_is_named(url: str | Path, found: str) -> None:
    """A mistake that can be seen in the URL is said at once, without the password."""
    with pytest.raises(StoreError) as caught:
        UsageStore(parse_target(url))
    assert found in str(caught.value)
    assert _secrets_in(caught.value) == []


# Secrets


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that asks the role `app` for its password."""
    with started_server() as server:
        server.execute(f"CREATE ROLE app LOGIN PASSWORD {psycopg.sql.quote(PASSWORD)}")
        server.execute("GRANT ALL ON SCHEMA public TO app", "template1")
        server.let_in("local all app scram-sha-256\n")
        yield server


def _secrets_in(error: BaseException) -> list[str]:
    """Every text of an error, and of the errors behind it, that has the secret."""
    texts = ["".join(traceback.format_exception(error)), traceback.format_exc()]
    seen: list[BaseException | None] = [error]
    while seen:
        one = seen.pop()
        if one is not None:
            texts += [str(one), repr(one), repr(one.args), *getattr(one, "__notes__", ())]
            seen += [one.__cause__, one.__context__, getattr(one, "orig", None)]
    return [text for text in texts if SECRET in text]


FAILING: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "wrong password": ("postgresql://app:{wrong}@/postgres?host={folder}", {}, REFUSED),
    "wrong password in the query": ("postgresql://app@/postgres?host={folder}&password={wrong}", {}, REFUSED),
    "both, the query's wrong": ("postgresql://app:{right}@/postgres?host={folder}&password={wrong}", {}, REFUSED),
    "all in the query": ("postgresql://?user=app&password={wrong}&dbname=postgres&host={folder}", {}, REFUSED),
    "no password": ("postgresql://app@/postgres?host={folder}", {}, "no password supplied"),
    "wrong database": ("postgresql://app:{right}@/no_such?host={folder}", {}, "does not exist"),
    "wrong folder": ("postgresql://app:{right}@/postgres?host=/nowhere", {}, "No such file"),
    "wrong host": ("postgresql://app:{right}@127.0.0.1:1/postgres", {}, "refused"),
    "several hosts": ("postgresql://app:{right}@/postgres?host=127.0.0.1:1&host=127.0.0.1:2", {}, "refused"),
    "password of the environment": ("postgresql://app@/postgres?host={folder}", {"PGPASSWORD": WRONG}, REFUSED),
    "password of a file": ("postgresql://app@/postgres?host={folder}&passfile={passfile}", {}, REFUSED),
    "misspelled option": ("postgresql://app@/postgres?host={folder}&pasword={right}", {}, '"pasword"'),
    "option's name encoded": ("postgresql://app@/postgres?host={folder}&pass%77ord={wrong}", {}, REFUSED),
    "refused setting": ("postgresql://app:{right}@/postgres?host={folder}&options=-cno_such%3D1", {}, '"no_such"'),
    "wrong TLS mode": ("postgresql://app:{right}@/postgres?host={folder}&sslmode=maybe", {}, '"maybe"'),
    "wrong number": ("postgresql://app:{right}@/postgres?host={folder}&connect_timeout=soon", {}, "'soon'"),
    "wrong encoding": ("postgresql://app:{right}@/postgres?host={folder}&client_encoding=no_such", {}, '"no_such"'),
    "NUL in the password": ("postgresql://app:{right}%00@/postgres?host={folder}", {}, "connection info"),
}
"""What is wrong → the URL, variables of the environment, and what the error says."""


def _failing_url(guarded: Server, name: str, tmp_path: Path) -> str:
    passfile = tmp_path / "passwords"
    passfile.write_text(f"*:*:*:*:{WRONG}\n")
    passfile.chmod(0o600)
    return FAILING[name][0].format(
        wrong=quote(WRONG, safe=""),
        right=quote(PASSWORD, safe=""),
        folder=Path(guarded.url().partition("host=")[2]),
        passfile=passfile,
    )


@pytest.mark.parametrize("name", FAILING)
def test_secret_is_in_no_error(
    guarded: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with a URL: no error, nor one behind it, no log and no representation has the password."""
    caplog.set_level(logging.DEBUG)
    for variable, value in FAILING[name][1].items():
        monkeypatch.setenv(variable, value)
    before, url = dict(os.environ), _failing_url(guarded, name, tmp_path)
    with _store(url) as store:
        with pytest.raises(StoreError) as caught:
            store.add([make_call()])
        engine = store._opener._engine
        shown = [repr(store), str(store.target), repr(store.target), repr(engine), repr(engine.url), repr(engine.pool)]
    assert FAILING[name][2] in str(caught.value)
    assert [text for text in shown if SECRET in text] == []
    assert _secrets_in(caught.value) == []
    assert SECRET not in caplog.text
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["wrong password", "wrong password in the query", "misspelled option", "wrong host"])
def test_secret_is_in_no_statistics(
    guarded: Server, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the handler says of a store that it cannot reach has no password."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(REGISTRY, "_recorders", {})  # nobody is to wait for this store when the test is over
    handler = TokenUsageHandler(_failing_url(guarded, name, tmp_path))
    handler.record(make_usage(), model="gpt-4o-mini")
    _wait_until(lambda: "they wait in the journal" in caplog.text)
    assert handler.stats().last_error is not None
    assert SECRET not in f"{handler.stats()} {handler!r} {dataclasses.asdict(handler.stats())}"
    handler._capture.recorder.close(0.01)  # the host's own would wait for the store
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("postgresql://app:{password}@/postgres?host={folder}", {}),
        ("postgresql://app@/postgres?host={folder}&password={password}", {}),
        ("postgresql://app@/postgres?host={folder}", {"PGPASSWORD": PASSWORD}),
    ],
)
def test_password_gets_in(
    guarded: Server, url: str, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password of any characters works, percent-encoded before the host or in the query, or in the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    guarded.execute("DROP SCHEMA public CASCADE")
    guarded.execute("CREATE SCHEMA public AUTHORIZATION app")
    folder = Path(guarded.url().partition("host=")[2])
    with _store(url.format(password=quote(PASSWORD, safe=""), folder=folder)) as store:
        store.add([make_call()])
        assert store.breakdown().total.calls == 1


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities (`ca`, `other`), and certificates for `localhost` and for the client `joe`."""
    if shutil.which("openssl") is None:
        pytest.skip("makes certificates with openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        _openssl(
            folder, f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        )
    for name, extension in (("localhost", "subjectAltName=DNS:localhost"), ("joe", "basicConstraints=CA:FALSE")):
        key = "-passout pass:s3cret" if name == "joe" else "-nodes"
        _openssl(folder, f"req -newkey rsa:2048 {key} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        (folder / f"{name}.ext").write_text(extension)
        _openssl(
            folder,
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem",
        )
    return folder


def _openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def _front(database: Database, certificates: Path | None) -> Iterator[Front]:
    context = None
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
    with Front(context, Path(database.url.partition("host=")[2]) / ".s.PGSQL.5432") as front:
        yield front


def _over_tls(front: Front, database: Database, host: str, query: str) -> str:
    name = database.url.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres:{SECRET}@{host}:{front.port}/{name}?{query}"


@pytest.mark.parametrize(
    ("host", "query", "subject"),
    [
        ("127.0.0.1", "sslmode=require", None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={ca}", None),
        ("localhost", "sslmode=verify-full&sslrootcert={ca}", None),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert={ca}&sslcert={joe}.pem&sslkey={joe}.key&sslpassword=s3cret",
            "joe",
        ),
    ],
)
def test_tls_gets_in(
    postgresql_database: Database, certificates: Path, host: str, query: str, subject: str | None
) -> None:
    """The URL's TLS parameters do what libpq says: encryption, the server's certificate checked, the client's shown."""
    query = query.format(ca=certificates / "ca.pem", joe=certificates / "joe")
    with (
        _front(postgresql_database, certificates) as front,
        _store(_over_tls(front, postgresql_database, host, query)) as store,
    ):
        store.add([make_call() for _ in range(300)])
        assert store.breakdown().total.calls == 300
    shown = [certificate["subject"] if certificate else None for certificate in front.certificates]
    assert set(shown) == {None if subject is None else ((("commonName", subject),),)}


@pytest.mark.parametrize(
    ("speaks_tls", "query", "found"),
    [
        (False, "sslmode=require", "does not support SSL, but SSL was required"),
        (True, "sslmode=verify-full&sslrootcert={ca}", 'does not match host name "127.0.0.1"'),
        (True, "sslmode=verify-ca&sslrootcert={other}", "certificate verify failed"),
        (True, "sslmode=verify-ca&sslrootcert={nowhere}", 'nowhere.pem" does not exist'),
        (
            True,
            "sslmode=require&sslcert={joe}.pem&sslkey={joe}.key&sslpassword=s3cret-wrong",
            "could not load private key",
        ),
        (True, "sslmode=require&sslcert={joe}.pem&sslkey={nowhere}", "nowhere.pem"),
        (True, "sslmode=s3cure", 'invalid sslmode value: "s3cure"'),
        (True, "ssl=true&password=s3cret", 'invalid connection option "ssl"'),
        (True, "sslmode=require&ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version"),
    ],
)
def test_wrong_tls_is_one_clear_error(
    postgresql_database: Database, certificates: Path, speaks_tls: bool, query: str, found: str
) -> None:
    """What TLS does not allow is one error that says what it was, and no secret."""
    files = {name: certificates / f"{name}.pem" for name in ("ca", "other", "nowhere")}
    query = query.format(joe=certificates / "joe", **files)
    with (
        _front(postgresql_database, certificates if speaks_tls else None) as front,
        pytest.raises(StoreError) as caught,
        _store(_over_tls(front, postgresql_database, "127.0.0.1", query)) as store,
    ):
        store.add([make_call()])
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _secrets_in(caught.value) == []


def test_sums_of_many_names_are_added_up_by_one_process(postgresql_database: Database) -> None:
    """Others that would help begin too late; questions of rows, and the next transaction, may have them as before."""
    shown = "SHOW max_parallel_workers_per_gather"
    with _store(postgresql_database.url) as store:
        store.add([make_call()])
        with store._reading() as connection:
            usual = connection.exec_driver_sql(shown).scalar_one()
            read_answer(connection, make_query(("model",), {}))
            read_answer(connection, make_query(("tag:team",), {}))
            assert connection.exec_driver_sql(shown).scalar_one() == usual != "0"
            read_answer(connection, make_query(("agent", "model"), {}))
            assert connection.exec_driver_sql(shown).scalar_one() == "0"
        with store._reading() as connection:
            assert connection.exec_driver_sql(shown).scalar_one() == usual


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
