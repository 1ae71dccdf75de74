"""The stock analysis example: what it prints is what the store has, and what the model itself counted."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import sqlite3
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableConfig

from examples.scripted import Ledger, is_exact
from examples.stock_analysis.charts import CHARTS, SIZE, draw_chart
from examples.stock_analysis.graph import CHAINS, Question, build_graph
from examples.stock_analysis.main import main
from examples.stock_analysis.market import SYMBOLS, make_history
from examples.stock_analysis.month import BAD_DAY, PastCall, make_month
from examples.stock_analysis.scripted_model import FAILS, SAYS_NO_USAGE, ScriptedAnalyst
from examples.stock_analysis.table import create_old_table, migrate, open_table, read_analyses
from langchain_tokens import Call, Run, TokenUsageHandler, UsageStore, label, open_store
from tests.printed import ROOT, Printed, expect_shown, printed, rows_of, table_below

ESTIMATE_IS_OFF_BY = 0 if is_exact() else 60
"""Tokens that the estimate of the one call without usage may differ by from what the model counted; characters say
little of a text with many numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the program left behind."""

    printed: Printed
    store: UsageStore
    ledger: Ledger
    table: Path

    @property
    def runs(self) -> Sequence[Run]:
        """The analyses, in the order of the shares."""
        found = {run.name: run for run in self.store.runs()}
        return [found[f"stock analysis {symbol}"] for symbol in SYMBOLS]

    def call(self, symbol: str, chain: str) -> Call:
        """One call of an analysis."""
        (call,) = [call for call in self.runs[SYMBOLS.index(symbol)].calls if call.chain == chain]
        return call


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of the program with its default shares."""
    folder, ledger = tmp_path_factory.mktemp("stock"), Ledger()
    arguments = ["--db", str(folder / "tokens.db"), "--table", str(folder / "application.db")]
    said = printed(main, arguments, ledger)
    assert said.code == 0, said.err
    return Outcome(printed=said, store=open_store(folder / "tokens.db"), ledger=ledger, table=folder / "application.db")


def test_printed_tokens_are_those_of_the_store_and_of_the_model(outcome: Outcome) -> None:
    """By chain and in total, the printed table equals the store, and the store what the model counted itself,
    and so is the estimate of the one answer without usage.
    """
    shown = table_below("Tokens by chain, over 4 analyses", outcome.printed.out)
    stored = rows_of(outcome.store.breakdown("chain"))
    counted = outcome.ledger.totals()

    assert shown == stored
    assert set(shown) == {*CHAINS, "total"}
    for chain in CHAINS:
        calls, failed, given, answered = counted[chain]
        off = abs(stored[chain][2] - given)
        assert stored[chain][:2] == (calls, failed)
        assert off <= (ESTIMATE_IS_OFF_BY if chain == SAYS_NO_USAGE[1] else 0)
        assert stored[chain][3] == answered
    assert shown["total"][:2] == (24, 1)


def test_each_analysis_has_its_own_calls(outcome: Outcome) -> None:
    """Four analyses at once: each is a run with its id, one call of each chain, and the agent's name; together they are
    all there is.
    """
    assert [run.name for run in outcome.runs] == [f"stock analysis {symbol}" for symbol in SYMBOLS]
    assert len({run.run_id for run in outcome.runs}) == len(SYMBOLS)
    for run in outcome.runs:
        assert sorted(str(call.chain) for call in run.calls) == sorted(CHAINS)
        assert {(call.agent, call.run_id) for call in run.calls} == {("stock_analysis", run.run_id)}
    together = sum(run.total.total_tokens or 0 for run in outcome.runs)
    assert together == outcome.store.breakdown().total.total_tokens


def test_analysis_with_a_failing_chart_goes_on(outcome: Outcome) -> None:
    """The refused call is failed, with its error; the other five of that analysis succeed, and it ends as usual."""
    symbol, chain = FAILS
    failed, run = outcome.call(*FAILS), outcome.runs[SYMBOLS.index(symbol)]

    assert (failed.status, failed.error_message) == ("error", "503 Service Unavailable: the model is overloaded")
    assert (failed.usage, failed.cost_usd, failed.usage_source) == (None, None, "missing")
    assert f"stock analysis {symbol}, {chain}: error, {failed.error_message}" in outcome.printed.out
    assert (run.status, run.total.calls, run.total.failed_calls) == ("ok", 6, 1)
    assert [row.success_rate for row in run.breakdown("chain") if row.key["chain"] != chain] == [1.0] * 5
    with closing(sqlite3.connect(outcome.table)) as connection:
        query = "SELECT decision FROM stock_analyses WHERE analysis_id = ?"
        assert f"Not counted: {chain}" in connection.execute(query, (run.run_id,)).fetchone()[0]


def test_call_without_usage_is_estimated_and_marked(outcome: Outcome) -> None:
    """An answer without token counts is in the sums by an estimate, which the call, the summary, the breakdown and the
    application's row all call one.
    """
    call, run = outcome.call(*SAYS_NO_USAGE), outcome.runs[SYMBOLS.index(SAYS_NO_USAGE[0])]
    assert call.usage is not None
    assert (call.usage_source, call.status) == ("estimated", "ok")
    assert [name.partition(":")[0] for name in call.usage_flags] == ["estimated_input", "estimated_output"]
    assert run.total.estimated_calls == 1
    assert "Estimated, not told by the provider: the tokens of 1 call" in run.summary()
    assert run.totals()["token_usage_breakdown"][SAYS_NO_USAGE[1]]["estimated_calls"] == 1
    assert [other.usage_source for other in run.calls].count("provider") == 5


def test_each_call_has_its_time(outcome: Outcome) -> None:
    """Every call has a time stamp and a duration within those of its analysis; the decision comes after the rest."""
    for run in outcome.runs:
        assert run.ended_at is not None
        assert (run.duration_ms or 0) >= 40
        assert all(run.started_at <= call.started_at <= run.ended_at for call in run.calls)
        assert all((call.duration_ms or 0) >= 20 for call in run.calls)
        assert max(run.calls, key=lambda call: call.started_at).chain == "final_decision"


@pytest.mark.parametrize("number", range(len(SYMBOLS)))
def test_summary_reads_line_by_line(outcome: Outcome, number: int) -> None:
    """The printed summary has title, id, seconds, calls, tokens with separators, then each chain with its success."""
    run, counted = outcome.runs[number], {}
    text = outcome.printed.out.split(f"Token usage of {run.name}\n")[1].split("\n\nToken usage")[0]
    head, chains = text.split("\n\n")[0].splitlines(), text.split("By chain:\n")[1].split("\n\n")[0].splitlines()
    total = run.total

    assert head[0] == f"Run: {run.run_id}"
    assert head[1] == f"Duration: {(run.duration_ms or 0) / 1000:.2f} s"
    assert (
        head[2] == f"Calls: {total.calls} ({total.calls - total.failed_calls} successful, {total.failed_calls} failed)"
    )
    assert (
        head[3] == f"Tokens: {total.input_tokens:,} input, {total.output_tokens:,} output, {total.total_tokens:,} total"
    )
    assert "," in head[3].split(" input")[0]
    pattern = re.compile(r"  (\w+): 1 call, (\S+) input, (\S+) output, (\S+) total, success rate ([01])/1")
    for line in chains:
        found = pattern.match(line)
        assert found is not None, line
        counted[found[1]] = tuple(found.groups()[1:])
    for call in run.calls:
        said = ("\u2013", "\u2013", "\u2013", "0")
        if call.usage is not None:
            usage = call.usage
            said = (f"{usage.input_tokens:,}", f"{usage.output_tokens:,}", f"{usage.total_tokens:,}", "1")
        assert counted[str(call.chain)] == said


def test_totals_are_on_the_applications_rows(outcome: Outcome) -> None:
    """Each analysis' row has the totals of its run and what each chain used; the row from before has 0 and `{}`."""
    engine = open_table(outcome.table)
    before, *rows = read_analyses(engine)
    engine.dispose()

    names = ("total_input_tokens", "total_output_tokens", "total_tokens", "llm_calls_count", "token_usage_breakdown")
    assert [getattr(before, name) for name in names] == [0, 0, 0, 0, {}]
    assert [row.analysis_id for row in rows] == [run.run_id for run in outcome.runs]
    for row, run in zip(rows, outcome.runs, strict=True):
        assert {name: getattr(row, name) for name in names} == run.totals()
        assert set(CHAINS) <= set(row.token_usage_breakdown)
        printed_row = re.search(rf"^{row.symbol} .*6 chains$", outcome.printed.out, re.MULTILINE)
        assert printed_row is not None
        assert f" {row.total_tokens:,} " in printed_row[0]


def test_table_from_before_goes_on(tmp_path: Path) -> None:
    """Rows are added by the old program after the migration as before it, and a second migration changes nothing."""
    path = tmp_path / "application.db"
    engine = open_table(path)
    create_old_table(engine)
    migrate(engine)
    migrate(engine)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO stock_analyses (analysis_id, symbol, decision) VALUES ('x', 'HOOLI', 'SELL')")
        connection.commit()
        stored = connection.execute("SELECT total_tokens, token_usage_breakdown FROM stock_analyses").fetchall()
    assert [(row.symbol, row.total_tokens, row.token_usage_breakdown) for row in read_analyses(engine)] == [
        ("ACME", 0, {}),
        ("HOOLI", 0, {}),
    ]
    assert [(total, json.loads(text)) for total, text in stored] == [(0, {}), (0, {})]
    engine.dispose()


def known(calls: Sequence[PastCall], name: str) -> int:
    """The sum of a count over the calls that know it."""
    return sum(call.usage[name] for call in calls if call.usage is not None)


def test_month_is_what_was_made(outcome: Outcome) -> None:
    """The printed weeks, success rates and speeds of the month are those of the calls that were made up for it."""
    calls = make_month()
    weeks: dict[str, list[PastCall]] = {}
    for call in calls:
        weeks.setdefault("{}-W{:02}".format(*call.started_at.isocalendar()), []).append(call)
    expected = {
        name: (len(mine), sum(call.usage is None for call in mine), known(mine, "prompt_tokens"))
        for name, mine in {**weeks, "total": list(calls)}.items()
    }
    shown = table_below("October, by week", outcome.printed.out)
    assert {name: row[:3] for name, row in shown.items()} == expected

    lines = outcome.printed.out.split("Success and efficiency by chain\n")[1].split("\n\n")[0].splitlines()[1:]
    for line in lines:
        chain, count, success, tokens, speed = line.replace(",", "").split()
        mine = [call for call in calls if call.chain == chain]
        answered = [call for call in mine if call.usage is not None]
        used = known(mine, "prompt_tokens") + known(mine, "completion_tokens")
        seconds = sum(call.duration_ms for call in answered) / 1_000
        assert (int(count), success) == (len(mine), f"{len(answered) / len(mine):.1%}")
        assert int(tokens) == pytest.approx(used / len(answered), abs=0.51)
        assert float(speed) == pytest.approx(known(mine, "completion_tokens") / seconds, abs=0.06)
    assert len(lines) == len(CHAINS)


def test_month_shows_growth_and_the_bad_day(outcome: Outcome) -> None:
    """The trend grows as the month does, the dearest chain leads, and the day that went wrong is the one finding."""
    unusual = " ".join(outcome.printed.out.split("Unusual days\n")[1].split())
    assert "\nTrend: Grows by " in outcome.printed.out
    dearest, hours = outcome.printed.out.split("Where most of the cost goes\n")[1].split("\n\n")[0].splitlines()[::3]
    calls = make_month()
    units = {chain: [call for call in calls if call.chain == chain] for chain in CHAINS}
    costs = {
        chain: known(mine, "prompt_tokens") + 4 * known(mine, "completion_tokens") for chain, mine in units.items()
    }
    first = max(costs, key=lambda chain: costs[chain])  # GPT-4o's answers cost four times its prompts
    assert dearest == f"{first}: {costs[first] / sum(costs.values()):.0%} of the cost, in {len(units[first])} calls"
    busiest = Counter(call.started_at.hour for call in calls).most_common(1)[0]
    assert hours == f"Busiest hour: {busiest[0]}:00 UTC, {busiest[1]} calls of {len(calls)}"
    assert unusual.startswith(f"{BAD_DAY:%Y-%m-%d} chain indicator_summary: ")
    assert "Longer inputs: " in unusual
    assert "1 finding among " in unusual


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_many_analyses_leave_nothing_open(tmp_path: Path, way: str) -> None:
    """Twelve analyses at once, in threads or tasks: each id has its own six calls, and nothing is held open after."""
    ledger, ids = Ledger(), [uuid4() for _ in range(12)]
    graph = label(build_graph(ScriptedAnalyst(ledger)), agent="stock_analysis")
    questions = [Question(symbol=SYMBOLS[number % 4]) for number in range(12)]
    with TokenUsageHandler(tmp_path / "tokens.db") as handler:
        configs = [RunnableConfig(callbacks=[handler], run_id=run_id, run_name=str(run_id)) for run_id in ids]
        if way == "batch":
            graph.batch(questions, configs)
        else:
            asyncio.run(graph.abatch(questions, configs))
        runs = [handler.run(run_id) for run_id in ids]
        assert [(run.name, run.total.calls) for run in runs] == [(str(run_id), 6) for run_id in ids]
        assert all(run.status == "ok" for run in runs)
        assert len(handler._capture.runs) == 0
        stored, counted = rows_of(handler.store.breakdown("chain")), ledger.totals()
        for chain in set(CHAINS) - {SAYS_NO_USAGE[1]}:
            assert stored[chain][:4] == counted[chain]


@pytest.mark.parametrize("chain", CHARTS)
def test_charts_are_real_pictures(chain: str) -> None:
    """Each chart is a whole PNG of 1024 by 1024 pixels, of several colours, and another for another share."""
    picture = draw_chart(make_history("ACME"), chain)
    parts, position = {}, 8
    while position < len(picture):
        (length,) = struct.unpack(">I", picture[position : position + 4])
        kind, data = picture[position + 4 : position + 8], picture[position + 8 : position + 8 + length]
        (check,) = struct.unpack(">I", picture[position + 8 + length : position + 12 + length])
        assert check == zlib.crc32(kind + data)
        parts[kind], position = data, position + 12 + length
    pixels = zlib.decompress(parts[b"IDAT"])
    assert struct.unpack(">II", parts[b"IHDR"][:8]) == (SIZE, SIZE)
    assert len(pixels) == SIZE * (SIZE + 1)
    assert len(set(pixels)) >= 3
    assert picture != draw_chart(make_history("HOOLI"), chain)


def test_readme_shows_the_real_output(outcome: Outcome) -> None:
    """The output in the example's README is what the program prints, but for ids, durations and prices."""
    if not is_exact():
        pytest.skip("tiktoken's table is not on this machine: characters are counted, and the README's are tokens")
    expect_shown(ROOT / "examples/stock_analysis/README.md", "## What it prints", outcome.printed.out)


def test_model_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown model is one line on stderr and exit code 2, and no store is made."""
    monkeypatch.setattr(sys, "argv", ["stock_analysis", "--model", "nonsense", "--db", str(tmp_path / "tokens.db")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.stock_analysis", run_name="__main__")
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("stock_analysis: model nonsense: ")
    assert not (tmp_path / "tokens.db").exists()
