"""The SQL example as a service: a day of questions over HTTP, whose numbers are those of the model's own books."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from examples.scripted import Ledger, is_exact
from examples.sql_agent import service as program
from examples.sql_agent.database import create_shop
from examples.sql_agent.question_log import CHAINS, LLMTokenLog, QuestionLog
from examples.sql_agent.scripted_model import scripted_model
from examples.sql_agent.service import SESSION, Service, create_app
from examples.sql_agent.traffic import NOWHERE, Day, print_day, run_day
from langchain_tokens import Run, TokenUsageHandler
from langchain_tokens.registry import REGISTRY
from langchain_tokens.reports import compare, findings
from tests.printed import expect_shown

README = Path(program.__file__).parent / "README.md"
QUESTION = "Customers in Mumbai?"
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
COLUMNS = (
    "session_id question intent timestamp intent_prompt_tokens intent_completion_tokens intent_total_tokens"
    " table_selection_prompt_tokens table_selection_completion_tokens table_selection_total_tokens"
    " sql_generation_prompt_tokens sql_generation_completion_tokens sql_generation_total_tokens retry_count"
    " retry_total_tokens total_prompt_tokens total_completion_tokens total_tokens estimated_cost"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A day, what the model wrote down of it, and what the program printed."""

    day: Day
    ledger: Ledger
    printed: str

    @property
    def totals(self) -> tuple[int, ...]:
        """The ledger's requests, failed ones, input, output."""
        return tuple(map(sum, zip(*self.ledger.totals().values(), strict=True)))

    def runs(self, session: str) -> list[Run]:
        """The runs of a session, oldest first."""
        return list(self.day.store.runs(session=session, limit=100))[::-1]


def zone_at_noon() -> str:
    """A time zone where no day ends while the tests run."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}".replace("+0", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A day with the scripted model, several questions at once."""
    ledger, out = Ledger(), io.StringIO()
    model = scripted_model(ledger, latency_seconds=0.002)
    day = run_day(model, tmp_path_factory.mktemp("day"), tz=zone_at_noon())
    with redirect_stdout(out):
        print_day(day)
    yield Done(day=day, ledger=ledger, printed=out.getvalue())
    day.questions.close()
    REGISTRY.drain()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """The service in this process."""
    with TokenUsageHandler(tmp_path / "tokens.db") as handler:
        questions = QuestionLog(f"sqlite:///{tmp_path / 'questions.db'}")
        shop = create_shop(tmp_path / "shop.db")
        app = create_app(Service(model=scripted_model(), shop=shop, handler=handler, questions=questions))
        with TestClient(app, base_url="http://127.0.0.1:8000", headers={SESSION: "s1"}) as client:
            client.app_state["handler"], client.app_state["questions"] = handler, questions
            yield client
        questions.close()
    REGISTRY.drain()


def normalised(text: str) -> str:
    """A text without what differs from day to day, and without where its lines end."""
    return " ".join(re.sub(r"\d{4}-\d\d-\d\d", "DATE", text).split())


def test_store_has_what_the_model_wrote_down(done: Done) -> None:
    """For each chain the store's calls, failures and tokens are those of the model's own books, and nothing is odd."""
    rows = done.day.store.breakdown("chain")
    found = {
        row.key["chain"]: (row.calls, row.failed_calls, row.input_tokens or 0, row.output_tokens or 0) for row in rows
    }
    assert done.ledger.totals() == found
    assert done.totals[:2] == (len(done.ledger.entries), 2)
    assert done.day.store.check().is_clean


def test_responses_add_up_to_the_books(done: Done) -> None:
    """What the responses of a day say together, rows of `llm_token_logs` too, is what the model used."""
    said = sum(answer["llm_token_usage"]["total_tokens_used"] for answer in done.day.answers.values())
    repaired = sum(retry["tokens"]["total_tokens"] for retry in done.day.executed["retry_token_usage"])
    rows = done.day.questions.rows()
    assert said + repaired == sum(done.totals[2:])
    assert sum(row.total_tokens or 0 for row in rows) == sum(done.totals[2:])
    assert sum(row.total_prompt_tokens or 0 for row in rows) == done.totals[2]
    assert sum(row.estimated_cost or 0 for row in rows) == done.day.store.breakdown().total.cost_usd


def test_requests_at_once_do_not_mix(done: Done) -> None:
    """Each response says what the run of its own request used, in the order in which its session asked."""
    sessions = {session for session, _ in done.day.answers}
    assert len(sessions) == 21
    for session in sessions - {"by-hand"}:
        answers = [answer["llm_token_usage"] for (owner, _), answer in done.day.answers.items() if owner == session]
        assert answers == [{"sql_fix_retries": [], **run.to_response()} for run in done.runs(session)], session


def test_response_has_the_names_that_clients_know(done: Done) -> None:
    """D2 name by name, with the store's numbers: three chains, the fixes with attempt, error and tokens, the total."""
    usage = done.day.answers["plain-1", QUESTION]["llm_token_usage"]
    calls = {call.chain: call for call in done.runs("plain-1")[0].calls}
    tokens = {chain: dict(zip(COUNTS, counts_of(call), strict=True)) for chain, call in calls.items()}
    assert usage == {
        **{chain: tokens[chain] for chain in CHAINS.values()},
        "sql_fix_retries": [{"attempt": 1, "error": "no such column: c.city", "tokens": tokens["sql_fix"]}],
        "total_tokens_used": sum(counts["total_tokens"] for counts in tokens.values()),
    }
    query, execution = done.runs("by-hand")
    assert set(done.day.answers["by-hand", "Customers in Jaipur?"]["llm_token_usage"]) == set(usage)
    fix = dict(zip(COUNTS, counts_of(execution.calls[0]), strict=True))
    entry = {"attempt": 1, "error": "no such column: c.city", "tokens": fix}
    assert (done.day.executed["retry_count"], done.day.executed["retry_token_usage"]) == (1, [entry])
    assert [run.name for run in (query, execution)] == ["POST /query", "POST /execute-sql"]


def counts_of(call: Any) -> tuple[int, int, int]:
    """Input, output and total of a call."""
    return call.usage.input_tokens, call.usage.output_tokens, call.usage.total_tokens


def test_question_has_a_row(done: Done) -> None:
    """D3 column by column: each question once, its chains' tokens as answered, what nobody knows NULL."""
    assert set(COLUMNS.split()) | {"id"} == set(LLMTokenLog.__table__.columns.keys())  # type: ignore[attr-defined]
    rows = {(row.session_id, row.question): row for row in done.day.questions.rows()}
    assert rows.keys() == done.day.answers.keys()
    for key, answer in done.day.answers.items():
        row, usage, is_by_hand = rows[key].model_dump(), answer["llm_token_usage"], key[0] == "by-hand"
        for column, chain in CHAINS.items():
            found = {kind: row[f"{column}_{kind}"] for kind in COUNTS}
            assert found == usage.get(chain, dict.fromkeys(COUNTS)), (key, chain)
        retries = done.day.executed["retry_token_usage"] if is_by_hand else usage["sql_fix_retries"]
        used = sum(retry["tokens"]["total_tokens"] for retry in retries)
        assert (row["retry_count"], row["retry_total_tokens"]) == (len(retries), used)
        assert row["total_tokens"] == usage["total_tokens_used"] + used * is_by_hand
        assert row["intent"] == answer.get("intent")


def test_daily_cost_and_its_alert(done: Done) -> None:
    """A day's row has the sums of all; each mark of the daily budget is told once, the last when it is passed."""
    day = done.day
    (row,) = day.store.timeline("day", tz=day.budget.tz)
    assert (row.calls, row.input_tokens, row.output_tokens) == (done.totals[0], *done.totals[2:])
    assert (row.cost_usd or 0) > Decimal("0.003")
    assert sorted(alert.mark for alert in day.alerts) == [0.5, 0.8, 1.0]
    assert max(alert.spent for alert in day.alerts) > Decimal("0.003")
    assert f"Budget daily: {row.cost_usd:.6f} of 0.003000 USD spent; told at 50%, 80%, 100%" in done.printed


def test_averages_show_the_dear_chain(done: Done) -> None:
    """The printed averages of each chain are those of the model's books; repairing is the dearest."""
    table = done.printed.split("On average\n")[1].split("\n\n")[0].splitlines()[1:]
    printed = {line.split()[0]: tuple(map(float, line.split()[1:])) for line in table}
    for chain, (calls, failed, given, answered) in done.ledger.totals().items():
        means = [round(count / (calls - failed), 1) for count in (given, answered, given + answered)]
        assert printed[chain] == pytest.approx((calls - failed, *means), abs=0.051), chain
    assert max(printed, key=lambda chain: printed[chain][3]) == "sql_fix"


def test_variants_are_compared(done: Done) -> None:
    """The prompt that lets names be checked uses fewer tokens on the same questions, which is more than chance."""
    found = compare(done.day.store, values=["plain", "checked"], mode="query-and-execute", measures=("tokens",))
    plain, checked = found.variants
    assert (plain.units, checked.units) == (16, 16)
    for variant in (plain, checked):
        said = [
            answer["llm_token_usage"]["total_tokens_used"]
            for (session, _), answer in done.day.answers.items()
            if session.startswith(variant.label)
        ]
        assert variant.spreads[0].mean == pytest.approx(sum(said) / len(said))
    assert found.differences[0].verdict.startswith("checked uses ")
    assert "fewer tokens than plain" in normalised(done.printed)


def test_what_was_in_vain_is_shown_with_its_remedy(done: Done) -> None:
    """D6: fixes that had to be fixed again, and the calls that failed, stand there with what mends them."""
    again = sum(row.retry_count - 1 for row in done.day.questions.rows() if row.retry_count)
    waste = {finding.chain: finding for finding in findings(done.day.store).rows if finding.is_waste}
    assert {chain: finding.calls for chain, finding in waste.items()} == {"sql_fix": again, "sql_generation": 2}
    shown = done.printed.split("In vain\n")[1]
    assert f"sql_fix: {again} calls, {waste['sql_fix'].usd:.6f} USD; " in shown
    assert shown.count("\n  -> ") == 2


@pytest.mark.skipif(not is_exact(), reason="tiktoken's table, by which the README counts, is not on this machine")
def test_readme_shows_the_real_output(done: Done) -> None:
    """The output in the README is what the program prints, but for the date."""
    expect_shown(README, "## The service", done.printed, normalised)


def test_provider_that_fails_is_counted(client: TestClient) -> None:
    """A failed question is a 502 that says what was used, has a row with NULL where nobody knows, and a failed call."""
    response = client.post("/query-and-execute", json={"question": NOWHERE})
    detail = response.json()["detail"]
    (row,) = client.app_state["questions"].rows()
    (failed,) = client.app_state["handler"].store.calls(status="error")
    assert (response.status_code, detail["message"]) == (502, "the provider did not answer in time")
    assert detail["llm_token_usage"]["sql_generation"] == dict.fromkeys(COUNTS)
    assert (row.id, row.sql_generation_total_tokens) == (detail["question_id"], None)
    assert row.total_tokens == detail["llm_token_usage"]["total_tokens_used"]
    assert (failed.chain, failed.session, failed.error_type) == ("sql_generation", "s1", "TimeoutError")


def test_query_that_answers_no_question(client: TestClient) -> None:
    """SQL may be executed without a question; a question that is not there is a 404; one session has one variant."""
    good = client.post("/execute-sql", json={"sql": "SELECT COUNT(*) AS n FROM cities"}).json()
    assert good == {
        "sql": "SELECT COUNT(*) AS n FROM cities",
        "rows": [{"n": 8}],
        "error": None,
        "retry_count": 0,
        "retry_token_usage": [],
    }
    assert client.post("/execute-sql", json={"sql": "SELECT 1", "question_id": 7}).status_code == 404
    variants = {client.post("/query", json={"question": QUESTION}).json()["variant"] for _ in range(2)}
    assert len(variants) == 1


def test_dashboard_shows_the_same(client: TestClient) -> None:
    """The service's own dashboard gives the numbers of its answers, and the document describes `llm_token_usage`."""
    answer = client.post("/query-and-execute", json={"question": QUESTION}).json()
    client.app_state["handler"].flush()
    rows: list[Mapping[str, Any]] = client.get("/usage/api/v1/breakdown", params={"by": "chain"}).json()["rows"]
    tokens = {row["chain"]: row["total_tokens"] for row in rows}
    usage = answer["llm_token_usage"]
    assert {
        chain: usage[chain]["total_tokens"] for chain in CHAINS.values() if chain in usage
    }.items() <= tokens.items()
    assert sum(tokens.values()) == usage["total_tokens_used"]
    assert "llm_token_usage" in client.get("/openapi.json").json()["components"]["schemas"]["Written"]["properties"]


def test_model_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    """The service says in one line why it cannot start."""
    assert program.main(["--model", "no_such_provider:model"]) == 2
    assert capsys.readouterr().err.startswith("sql_agent: model no_such_provider:model: ")
