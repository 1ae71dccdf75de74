"""Where does it go, as a profiler would show it? Sums along paths, as text, folded stacks and a speedscope file."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from langchain_tokens import TokenUsageHandler, UsageStore
from langchain_tokens.breakdown import aggregate
from langchain_tokens.call import Call
from langchain_tokens.cli import main
from langchain_tokens.errors import QueryError, TokensError
from langchain_tokens.paths import join_path
from langchain_tokens.query import make_query
from langchain_tokens.reports import Profile, profile
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact, random_calls, scripted_graph

pytest_plugins = ("tests.databases",)

SHOWN = """\
path                         tokens  share   cost USD  calls  own tokens    own USD
nl2sql                          360    60%   0.000600      3           –          –
nl2sql/sql_agent                240    40%   0.000500      2         120   0.000200
chat                            120    20%          –      1         120          –
lost                            120    20%   0.000900      1         120   0.000900
nl2sql/sql_agent/sql_fix        120    20%   0.000300      1         120   0.000300
nl2sql/sql_generation           120    20%   0.000100      1         120   0.000100
total                           600   100%   0.001500      5
1 of 5 calls without a price: cost not in these sums"""  # noqa: RUF001  # the sign for unknown
FOLDED = {
    "total_tokens": {"chat": 120, "lost": 120, "nl2sql;sql_agent": 120, "nl2sql;sql_agent;sql_fix": 120},
    "cost": {"lost": 900_000_000, "nl2sql;sql_agent": 200_000_000, "nl2sql;sql_agent;sql_fix": 300_000_000},
    "duration": {"chat": 1_500},
}
# The format as its specification (src/lib/file-format-spec.ts of speedscope) describes it, sampled profiles only.
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"},
        "exporter": {"type": "string"},
        "activeProfileIndex": {"type": "integer", "minimum": 0},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": False,
                        "properties": {"name": {"type": "string"}},
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "sampled"},
                    "name": {"type": "string"},
                    "unit": {"enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]},
                    "startValue": {"type": "number"},
                    "endValue": {"type": "number"},
                    "samples": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                    "weights": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
    },
}


def known_calls() -> list[Call]:
    """Calls at five places: one without a price, one without a path."""
    said = (
        ("nl2sql/sql_generation", "0.0001"),
        ("nl2sql/sql_agent", "0.0002"),
        ("nl2sql/sql_agent/sql_fix", "0.0003"),
        ("chat", None),
    )
    calls = [make_call(path=path, cost=cost, duration_ms=1.5 if path == "chat" else None) for path, cost in said]
    return [*calls, make_call(path=None, chain="lost", cost="0.0009")]


def profile_of(calls: Sequence[Call]) -> Profile:
    """The profile of a run of these calls."""
    return profile(Run(FixedRun(make_fact(), calls)))


def stacks(folded: str) -> dict[str, int]:
    """Folded stacks as a viewer reads them: those with the same names are one."""
    read: dict[str, int] = defaultdict(int)
    for line in folded.splitlines():
        names, weight = line.rsplit(" ", 1)
        read[names] += int(weight)
    return dict(read)


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """A speedscope document, after what a schema says and what it cannot say."""
    document = json.loads(json.dumps(document, allow_nan=False))
    jsonschema.validate(document, SPEEDSCOPE)
    frames = len(document["shared"]["frames"])
    for sampled in document["profiles"]:
        assert len(sampled["samples"]) == len(sampled["weights"])
        assert sampled["endValue"] - sampled["startValue"] == sum(sampled["weights"])
        assert all(0 <= frame < frames for sample in sampled["samples"] for frame in sample)
    return document


def test_store_is_profiled(store: UsageStore) -> None:
    """A store's profile has own and inclusive sums at each place, largest first, on each kind of database."""
    store.add(known_calls(), [make_fact()])
    found = profile(store)
    assert str(found) == SHOWN
    assert found.root.subtree.cost_usd == Decimal("0.0015")
    assert profile(store, chain="lost").root.subtree.calls == 1
    assert profile(store, until=NOON).rows == ()


@pytest.mark.parametrize("measure", FOLDED)
def test_stacks_weigh_what_is_asked_for(store: UsageStore, measure: str) -> None:
    """Folded stacks have a place's own weight as a whole number; what is unknown has no line."""
    store.add(known_calls(), [make_fact()])
    found = stacks(profile(store).to_folded(measure))
    assert {name: found.get(name) for name in FOLDED[measure]} == FOLDED[measure]
    assert ("chat" in found) == (measure != "cost")


@settings(max_examples=50)
@given(random_calls())
def test_exports_hold_the_total(calls: list[Call]) -> None:
    """The weights of all stacks are the sums over the calls, in the folded form and in speedscope's."""
    found, total = profile_of(calls), aggregate(calls, make_query()).total
    assert sum(stacks(found.to_folded("calls")).values()) == total.calls == len(calls)
    assert sum(stacks(found.to_folded()).values()) == (total.total_tokens or 0)
    document = checked(found.to_speedscope())
    ends = {item["name"]: item["endValue"] for item in document["profiles"]}
    assert ends["total tokens"] == (total.total_tokens or 0)
    assert ends["cost in pico-USD"] == int((total.cost_usd or Decimal(0)).scaleb(12))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["a;b"], ["a", "b"]),
        (["a\nb"], ["a\\nb"]),
        (["a\\x3bb"], ["a;b"]),
        (["a/b"], ["a", "b"]),
        (["a\u2028b"], ["a\\u2028b"]),
        (["(unattributed)"], [None]),
        (["\\(unattributed)"], ["(unattributed)"]),
    ],
)
def test_names_do_not_merge(left: list[str], right: list[str | None]) -> None:
    """Names with separators in them stay apart from places that look alike, one line for each."""
    paths = [None if names == [None] else join_path([name or "" for name in names]) for names in (left, right)]
    calls = [make_call(path=path, tokens=(number, 0)) for number, path in enumerate(paths, start=1)]
    found = profile_of(calls)
    assert sorted(stacks(found.to_folded()).values()) == [1, 2]
    assert len(found.to_folded().splitlines()) == 2
    assert sorted(checked(found.to_speedscope())["profiles"][0]["weights"]) == [1, 2]


def test_a_frame_is_one_wherever_it_is_called() -> None:
    """A name that is called from two places is one frame of two stacks, as viewers expect of a function."""
    document = checked(profile_of([make_call(path="a/fix"), make_call(path="b/fix")]).to_speedscope("mine"))
    assert (document["name"], [frame["name"] for frame in document["shared"]["frames"]]) == ("mine", ["a", "fix", "b"])
    assert document["profiles"][0]["samples"] == [[0, 1], [2, 1]]


def test_nothing_is_an_empty_profile() -> None:
    """A profile of no calls has no places, no stacks, and is a valid file."""
    found = profile_of([])
    assert (found.rows, found.to_folded()) == ((), "")
    assert checked(found.to_speedscope())["shared"] == {"frames": []}
    assert found.to_dict()["children"] == []


def test_many_places_are_cut_off_in_text() -> None:
    """A text shows the fifty largest places and says how many more there are; data has all."""
    found = profile_of([make_call(path=f"place {number}", tokens=(number, 0)) for number in range(60)])
    assert len(found.rows) == 60
    assert "place 10 " in str(found)
    assert "place 9 " not in str(found)
    assert "and 10 more places" in str(found)


def test_names_are_escaped_in_html() -> None:
    """Markup in a name is text in a notebook."""
    assert "<b>" not in profile_of([make_call(path="<b>x")])._repr_html_()


@pytest.mark.parametrize("source", [None, [], "sqlite://"])
def test_other_sources_are_refused(source: Any) -> None:
    """What is no store, handler or run is an error that says what is expected."""
    with pytest.raises(TokensError, match="expected a UsageStore, a TokenUsageHandler or a Run"):
        profile(source)


def test_wrong_questions_are_refused() -> None:
    """An unknown filter or measure is an error that says what there is."""
    with pytest.raises(QueryError, match="unknown filter 'chian'"):
        profile(Run(FixedRun(make_fact(), [])), chian="x")
    with pytest.raises(QueryError, match="unknown measure 'money'; allowed: total_tokens"):
        profile_of([]).to_folded("money")


def test_handler_store_and_run_agree(tmp_path: Path) -> None:
    """A real run has the same profile in a handler, its store, and by itself."""
    handler = TokenUsageHandler(tmp_path / "tokens.db")
    scripted_graph().invoke({"question": "?"}, {"callbacks": [handler]})
    handler.flush()
    expected = "nl2sql;sql_fix 15\nnl2sql;sql_generation 15\n"
    run = handler.last_run
    assert run is not None
    assert [profile(source).to_folded() for source in (handler, handler.store, run)] == [expected] * 3
    assert profile(handler.store, run=run.run_id).to_folded() == expected
    assert profile(handler.store, run="other").to_folded() == ""
    handler.close()


# The command


@pytest.fixture
def seeded(tmp_path: Path) -> str:
    """A database file with the known calls."""
    name = str(tmp_path / "usage.db")
    store = UsageStore(parse_target(name))
    store.add([*known_calls(), make_call(run_id="other", path="a\x1b;b")], [make_fact(), make_fact("other")])
    store.close()
    return name


def run_command(*arguments: object) -> int:
    """Run the command, and give its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["profile", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_command_shows_a_run(seeded: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The text of the command is the profile's, of one run where that is asked for."""
    assert run_command("--db", seeded, "--run", "run-1") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Profile · run=run-1 · UTC"
    assert [line.split() for line in lines] == [line.split() for line in SHOWN.splitlines()]


@pytest.mark.parametrize("form", ["folded", "speedscope", "json"])
def test_command_writes_each_format(form: str, seeded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each format is the same on stdout and in a file; a control character of a name reaches neither."""
    assert run_command("--db", seeded, "--format", form) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    goal = tmp_path / "profile.out"
    assert run_command("--db", seeded, "--format", form, "-o", goal) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"wrote the profile to {goal}\n")
    assert run_command("--db", seeded, "--format", form, "-o", goal) == 1
    assert "is there already, and was left as it is" in capsys.readouterr().err
    assert run_command("--db", seeded, "--format", form, "-o", goal, "--force") == 0
    if form == "folded":
        assert r"a\x1b\x3bb 120" in shown.splitlines()
        assert goal.read_text() == shown
    elif form == "speedscope":
        assert checked(json.loads(shown)) == json.loads(goal.read_text())
    else:
        assert goal.read_text() == shown
        assert json.loads(shown)["root"]["subtree"]["calls"]


def test_command_says_why_there_is_nothing(seeded: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a call that matches nothing is shown but a hint."""
    assert run_command("--db", seeded, "--since", (NOON + timedelta(days=1)).isoformat()) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert re.match("no call matches; the newest in .* is of 2026-11-20", said.err)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--format", "folded", "--measure", "x"), 2, "'x' is not one of 'total_tokens'"),
        (("-o", "/missing/folder/x"), 1, "is in a folder that does not exist"),
        (("--format", "svg"), 2, "'svg' is not one of"),
    ],
)
def test_command_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, said: str, seeded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong format, measure or file is one line on stderr."""
    assert run_command("--db", seeded, *arguments) == code
    assert said in capsys.readouterr().err
