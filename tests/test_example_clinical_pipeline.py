"""The clinical pipeline example: what it prints is what the store has, and what the models themselves counted."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from langchain_core.exceptions import OutputParserException

from examples.clinical_pipeline.components import EXTRACTOR, MAPPER, StrictMcodeMapper, StrictNlpExtractor
from examples.clinical_pipeline.direct import by_request, by_sdk, extract_directly
from examples.clinical_pipeline.local_server import serve
from examples.clinical_pipeline.main import QUOTA, Pipeline, main
from examples.clinical_pipeline.notes import NOTES
from examples.clinical_pipeline.past import BAD_DAY, record_past
from examples.clinical_pipeline.scripted_model import CAST, scripted_model
from examples.providers import real_model
from examples.scripted import Ledger, is_exact
from langchain_tokens import Run, TokenUsage, TokenUsageHandler, UsageStore, open_store, track
from langchain_tokens.reports import compare
from langchain_tokens.testing import ScriptedChatModel
from tests.printed import ROOT, Printed, expect_shown, printed, rows_of, settled, table_below

MODELS = [player.model for player in CAST]
FIRST, AGAIN, DIRECT, QUOTED = (
    "First pass",
    "The same notes again, from LangChain's cache",
    "Without LangChain",
    "With a quota",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the program left behind."""

    printed: Printed
    store: UsageStore
    ledger: Ledger

    def run(self, name: str) -> Run:
        """The operation of that name."""
        (run,) = [run for run in self.store.runs() if run.name == name]
        return run


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of the program."""
    folder, ledger = tmp_path_factory.mktemp("clinical"), Ledger()
    said = printed(main, ["--db", str(folder / "tokens.db")], ledger)
    assert said.code == 0, said.err
    return Outcome(printed=said, store=open_store(folder / "tokens.db"), ledger=ledger)


def without_cached(outcome: Outcome, dimension: str) -> dict[str, tuple[int, ...]]:
    """Calls that models answered: number, failed, input and output tokens by a dimension of the store."""
    rows = rows_of(outcome.store.breakdown(dimension, status=["ok", "error"]))
    return {name: row[:4] for name, row in rows.items() if name != "total"}


def test_components_are_counted_as_the_models_count(outcome: Outcome) -> None:
    """By component and in total, the printed table equals the store, and calls that were not cached the ledger."""
    shown = table_below("The whole process, by component", outcome.printed.out)
    assert shown == rows_of(outcome.store.breakdown("chain"))
    assert set(shown) == {EXTRACTOR, MAPPER, "total"}
    assert without_cached(outcome, "chain") == outcome.ledger.totals()
    assert shown["total"][4] == sum(entry.input_tokens + entry.output_tokens for entry in outcome.ledger.entries)


def test_models_are_counted_as_they_count(outcome: Outcome) -> None:
    """By provider and model, the printed table equals the store, and calls that were not cached the ledger."""
    shown = table_below("The whole process, by provider and model", outcome.printed.out)
    assert shown == rows_of(outcome.store.breakdown("provider", "model"))
    assert set(shown) == {*(f"{player.provider} {player.model}" for player in CAST), "total"}
    assert without_cached(outcome, "model") == outcome.ledger.totals("model")


def test_each_operation_begins_at_nothing(outcome: Outcome) -> None:
    """What is printed of the first pass and of the second is of that operation alone, by component and in total."""
    for title in (FIRST, AGAIN):
        assert table_below(title, outcome.printed.out) == rows_of(outcome.run(title).breakdown("chain"))
    first = outcome.run(FIRST)
    part = outcome.printed.out.split("StrictNlpExtractor alone: ")[1].split(" tokens")[0].replace(",", "")
    assert int(part) == first.breakdown("chain")[EXTRACTOR].total_tokens
    assert 0 < int(part) < (first.total.total_tokens or 0)


def test_second_pass_is_seen_and_not_charged(outcome: Outcome) -> None:
    """Answers from the cache are six calls that used and cost nothing, and say what they saved; no model was asked."""
    first, again = outcome.run(FIRST).total, outcome.run(AGAIN)
    assert (again.total.calls, again.total.cached_calls, again.total.total_tokens, again.total.cost_usd) == (6, 6, 0, 0)
    assert again.total.saved_cost_usd == first.cost_usd
    assert {call.status for call in again.calls} == {"cached"}
    assert f"Of 6 calls 6 from the cache, which saved {first.cost_usd:.6f} USD" in outcome.printed.out
    asked = outcome.store.breakdown(status="ok").total.calls
    assert asked == len(outcome.ledger.entries) == outcome.store.breakdown().total.calls - 6


def test_calls_without_langchain_are_counted(outcome: Outcome) -> None:
    """Both direct calls are in the operation with the server's own numbers, its cache too, and two usages add up."""
    run = outcome.run(DIRECT)
    shown = table_below("A provider's API without LangChain", outcome.printed.out)
    assert shown == rows_of(run.breakdown("provider", "model", "chain"))
    usages = [call.usage for call in run.calls]
    added = sum((usage for usage in usages if usage is not None), TokenUsage())
    assert (added.input_tokens, added.output_tokens, added.total_tokens) == shown["total"][2:]
    assert added.cache_read_tokens == (64 if is_exact() else added.cache_read_tokens)
    assert [call.usage_source for call in run.calls] == ["provider"] * 2
    said = f"{added.input_tokens} input, {added.output_tokens} output, {added.total_tokens} total; "
    assert f"Two usages added: {said}{added.cache_read_tokens} of the input" in outcome.printed.out


@pytest.mark.parametrize("way", ["an SDK's object", "a dict"])
def test_any_response_is_read(tmp_path: Path, way: str) -> None:
    """An object of the OpenAI SDK and a plain dict are recorded alike, with DeepSeek's cached tokens and price."""
    if way == "an SDK's object":
        pytest.importorskip("openai")
    ledger, player = Ledger(), CAST[2]
    with ExitStack() as stack:
        handler = stack.enter_context(TokenUsageHandler(tmp_path / "tokens.db"))
        url = stack.enter_context(serve(player, ledger))
        complete = by_request(url) if way == "a dict" else stack.enter_context(by_sdk(url))
        said = [extract_directly(complete, player.model, note, handler) for note in NOTES[:2]]
        calls = handler.store.calls(order="started_at")
    assert [call.usage for call in calls] == [usage for _, usage in said]
    assert [(call.usage.input_tokens, call.usage.output_tokens) for call in calls if call.usage is not None] == [
        (entry.input_tokens, entry.output_tokens) for entry in ledger.entries
    ]
    assert [(call.provider, call.model, call.chain) for call in calls] == [("deepseek", player.model, EXTRACTOR)] * 2
    assert [len(entities) for entities, _ in said] == [5, 4]
    hits = [usage.cache_read_tokens or 0 for _, usage in said]
    assert hits[0] == 0 < hits[1]


def test_providers_own_client_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--model` it is the provider's client of LangChain that asks, and what is stored is what the server counted."""
    pytest.importorskip("langchain_openai")
    ledger = Ledger()
    with serve(CAST[0], ledger) as url, TokenUsageHandler(tmp_path / "tokens.db") as handler:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "none is needed here")
        found = Pipeline(real_model("openai:gpt-4o"), handler).process(NOTES[0])
        stored = rows_of(handler.store.breakdown("chain"))
    assert found == {"entities": 5, "mappings": 5}
    assert {name: row[:4] for name, row in stored.items() if name != "total"} == ledger.totals()


def test_quota_stops_before_the_call(outcome: Outcome) -> None:
    """The operation ends below its quota, where the next call might pass it, and what is printed is what was used."""
    run = outcome.run(QUOTED)
    used = run.total.total_tokens or 0
    assert 0 < used <= QUOTA
    assert run.status == "error"
    assert all(call.status == "ok" for call in run.calls)
    assert f"before it asked: {used:,} of {QUOTA:,} used" in outcome.printed.out
    assert f"of 8 notes read, {used:,} tokens in {run.total.calls} calls" in outcome.printed.out


def column(text: str, name: str) -> list[str]:
    """The cells of a row of the comparison, one for each model."""
    (line,) = re.findall(rf"^{re.escape(name)} +(.+)$", text, re.MULTILINE)
    return re.split(r" {2,}", line.strip())


def test_models_are_compared_on_the_same_notes(outcome: Outcome) -> None:
    """Runs, tokens, cost, time and the application's own counts stand side by side, as the store and the models say."""
    text = outcome.printed.out.split("3 models on the same 8 notes\n")[1].split("\n\n")[0]
    runs = [run for run in outcome.store.runs() if run.mode == "comparison"]
    by_model = {model: [run for run in runs if run.calls[0].model == model] for model in MODELS}
    tokens = [sum(run.total.total_tokens or 0 for run in by_model[model]) for model in MODELS]
    counted = outcome.store.breakdown("model", mode="comparison")

    assert column(text, "runs") == ["8", "8", "8"]
    assert tokens == [counted[model].total_tokens for model in MODELS]
    assert [int(cell) for cell in re.findall(r"^  mean +(\d+) +(\d+) +(\d+)$", text, re.MULTILINE)[0]] == [
        pytest.approx(total / 8, abs=0.51) for total in tokens
    ]
    entities = [float(cell) for cell in column(text, "tokens per entities")]
    assert all(each > 50 for each in entities)
    assert "gpt-4o-mini costs " in " ".join(outcome.printed.out.split())
    assert "ms in calls, median" in text


def found_by(model_number: int, tmp_path: Path) -> tuple[Sequence[int], Sequence[int]]:
    """What a model finds in the notes: entities and mappings of each."""
    model = scripted_model(CAST[model_number], Ledger())
    extractor, mapper = StrictNlpExtractor(model), StrictMcodeMapper(model)
    with track(tmp_path / "tokens.db"):
        entities = [extractor.extract(note) for note in NOTES]
        return [len(each) for each in entities], [len(mapper.map(each)) for each in entities]


def test_own_counts_are_those_of_the_components(outcome: Outcome, tmp_path: Path) -> None:
    """The comparison's entities and mappings are what the components return for each model, and so is what one took."""
    text = outcome.printed.out.split("3 models on the same 8 notes\n")[1].split("\n\n")[0]
    counted = outcome.store.breakdown("model", mode="comparison")
    for place, model in enumerate(MODELS):
        entities, mappings = found_by(place, tmp_path)
        tokens = counted[model].total_tokens or 0
        assert float(column(text, "tokens per entities")[place]) == pytest.approx(tokens / sum(entities), abs=0.5)
        assert float(column(text, "tokens per mappings")[place]) == pytest.approx(tokens / sum(mappings), abs=0.5)


def test_outcomes_may_be_given_by_a_function(outcome: Outcome) -> None:
    """The application's results can be looked up by the run's id, and a variant's total is their sum."""
    ids = {run.run_id for run in outcome.store.runs() if run.mode == "comparison"}
    found = compare(
        outcome.store,
        "model",
        values=MODELS[:2],
        mode="comparison",
        measures=["tokens"],
        outcomes=lambda run_id: {"entities": 3} if run_id in ids else None,
    )
    assert [variant.outcomes[0].total for variant in found.variants] == [24, 24]


def test_six_weeks_are_what_was_made(outcome: Outcome, tmp_path: Path) -> None:
    """The printed months are the sums of the calls that were made up for them."""
    with TokenUsageHandler(tmp_path / "past.db") as handler:
        ledger = record_past(handler)
    shown = table_below("Six weeks until 2025-10-20, by month", outcome.printed.out)
    assert list(shown) == ["2025-09", "2025-10", "total"]
    assert shown["total"][:4] == (
        len(ledger.entries),
        0,
        sum(entry.input_tokens for entry in ledger.entries),
        sum(entry.output_tokens for entry in ledger.entries),
    )


def test_outlook_projects_warns_and_recommends(outcome: Outcome) -> None:
    """The month is projected with an interval above what is spent, the bad day is the one finding, and a model that was
    tried is named with what it saves.
    """
    out = outcome.printed.out
    projection = out.split("What the month will come to\n")[1].split("\n\n")[0]
    spent, projected, low, high = (Decimal(amount) for amount in re.findall(r"\d+\.\d{6}", projection))
    assert spent < low < projected < high
    assert f"Unusual days\n{BAD_DAY:%Y-%m-%d} chain {EXTRACTOR}: " in out
    assert "1 finding among " in " ".join(out.split())
    total = Decimal(out.split("Six weeks until")[1].split("\ntotal ")[1].split("\n")[0].split()[-1])
    instead = re.findall(r"^(\S+) +([\d.]+) USD instead of ([\d.]+)$", out, re.MULTILINE)
    assert [name for name, _, _ in instead] == MODELS[1:]
    assert all(Decimal(other) < Decimal(now) == total for _, other, now in instead)
    assert re.search(r"^gpt-4o-mini instead of gpt-4o saves 9\d%$", out, re.MULTILINE)


def test_strict_components_refuse_what_is_no_json(tmp_path: Path) -> None:
    """An answer that is no JSON is an error, and its tokens are counted all the same."""
    with track(tmp_path / "tokens.db") as operation, pytest.raises(OutputParserException):
        StrictNlpExtractor(ScriptedChatModel("Sure! Here it is.")).extract(NOTES[0])
    assert operation.breakdown("chain")[EXTRACTOR].calls == 1
    assert (operation.total.total_tokens or 0) > 0


def test_readme_shows_the_real_output(outcome: Outcome) -> None:
    """The output in the example's README is what the program prints, but for money, times, and what chance decides."""
    if not is_exact():
        pytest.skip("tiktoken's table is not on this machine: characters are counted, and the README's are tokens")
    page = ROOT / "examples/clinical_pipeline/README.md"
    expect_shown(page, "## What it prints", outcome.printed.out, without_chance)


def without_chance(text: str) -> str:
    """A text without the times of calls, the intervals that are drawn, and the sentences that rest on them."""
    text = re.sub(r"^ms in calls, median.*\n  mean.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"(USD per mappings[^\n]*\n).*?(?=\nThe whole process)", r"\1", text, count=1, flags=re.DOTALL)
    return re.sub(r"at most [\d,]+", "at most N", settled(re.sub(r"at\nmost", "at most", text)))


def test_model_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown model is one line on stderr and exit code 2, and no store is made."""
    monkeypatch.setattr(sys, "argv", ["clinical_pipeline", "--model", "nonsense", "--db", str(tmp_path / "tokens.db")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.clinical_pipeline", run_name="__main__")
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("clinical_pipeline: model nonsense: ")
    assert not (tmp_path / "tokens.db").exists()
