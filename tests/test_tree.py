"""Where inside a run did it go? Places along paths, with what was used right there and all below."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import Call
from langchain_tokens.paths import join_path, split_path
from langchain_tokens.render import UNKNOWN
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.sums import Sums
from langchain_tokens.tree import RunNode, sum_tree
from tests.builders import NOON, make_call, make_fact, random_calls

RATES = {"key", "share", "success_rate", "tokens_per_second"}
NUMBERS = [item.name for item in fields(BreakdownRow) if item.name not in RATES]
HOSTILE = st.text(st.sampled_from("a/\\;\n\x1b<"), min_size=1, max_size=4)

SHOWN = f"""\
                  calls  tokens  cost USD   own  tokens  cost USD
nl2sql                4     480  0.000600     0       {UNKNOWN}         {UNKNOWN}
  sql_generation      1     120  0.000100     1     120  0.000100
  sql_agent           2     240  0.000500     1     120  0.000200
    sql_fix           1     120  0.000300     1     120  0.000300
  sql_fix             1     120         {UNKNOWN}     1     120         {UNKNOWN}
1 of 4 calls without a price: cost not in these sums"""


def tree_of(calls: Sequence[Call], name: str | None = None) -> RunNode:
    """The tree of a run of these calls."""
    return Run(FixedRun(make_fact(name=name), calls)).tree()


def screen() -> list[Call]:
    """Calls of one run, one of them without a price; two places have the same name."""
    said = (
        ("nl2sql/sql_generation", "0.0001"),
        ("nl2sql/sql_agent", "0.0002"),
        ("nl2sql/sql_agent/sql_fix", "0.0003"),
        ("nl2sql/sql_fix", None),
    )
    return [
        make_call(path=path, cost=cost, started_at=NOON + timedelta(seconds=second))
        for second, (path, cost) in enumerate(said)
    ]


def added(rows: Sequence[BreakdownRow], name: str) -> Any:
    """A number over several rows, unknown where all are."""
    known = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    return sum(known) if known else None


def test_tree_is_shown_with_sums_of_own_and_below() -> None:
    """A printed tree has a line for each place, in the order of first calls, and says what its sums lack."""
    assert str(tree_of(screen(), "nl2sql")) == SHOWN


def test_places_are_found_by_their_names() -> None:
    """Each place knows its names from the root down, its own calls, and what it and all below used."""
    calls = screen()
    nodes = {node.path: node for _, node in tree_of(calls, "nl2sql").walk()}
    agent = nodes["nl2sql", "sql_agent"]
    assert (agent.name, agent.calls, agent.own.cost_usd) == ("sql_agent", (calls[1],), Decimal("0.0002"))
    assert (agent.subtree.calls, agent.subtree.cost_usd, agent.subtree.share) == (2, Decimal("0.0005"), 0.5)
    assert [child.calls for child in agent.children] == [(calls[2],)]
    assert nodes["nl2sql", "sql_fix"].calls == (calls[3],)


def test_children_stand_in_the_order_of_their_first_call() -> None:
    """A place begins when something first happens in it, not when it is first called itself."""
    paths = ("r/late", "r/early/deep", "r/early")
    times = (2, 1, 3)
    calls = [make_call(path=path, started_at=NOON + timedelta(seconds=time)) for path, time in zip(paths, times)]  # noqa: B905
    assert [node.label for _, node in tree_of(calls, "r").walk()] == ["r", "early", "deep", "late"]


def test_calls_without_a_path_stand_under_their_chain() -> None:
    """A call without a path is placed by its chain, and one without either is not attributed to any real name."""
    calls = [make_call(path=None, chain="fix"), make_call(path=None), make_call(path="(unattributed)")]
    root = tree_of(calls)
    assert [(node.name, node.label) for node in root.children] == [
        ("fix", "fix"),
        (None, "(unattributed)"),
        ("(unattributed)", "(unattributed)"),
    ]


def test_tree_of_an_empty_run() -> None:
    """A run without calls is its root alone, with nothing known."""
    root = tree_of([])
    assert (root.name, root.own.calls, root.subtree.total_tokens, root.children) == (None, 0, None, ())
    assert str(root).splitlines()[1].split() == ["(run)", *["0", UNKNOWN, UNKNOWN] * 2]


@settings(max_examples=100)
@given(random_calls(), st.none() | st.sampled_from(["alpha", "beta"]))
def test_own_sums_add_up_to_the_run(calls: list[Call], name: str | None) -> None:
    """Over all places the own sums are the run's total in every number, and each subtree's are those within it."""
    run = Run(FixedRun(make_fact(name=name), calls))
    root = run.tree()
    for number in NUMBERS:
        assert added([node.own for _, node in root.walk()], number) == getattr(run.total, number)
    for _, node in root.walk():
        for number in NUMBERS:
            within = [below.own for _, below in node.walk()]
            assert added(within, number) == getattr(node.subtree, number)
    assert sorted(call.call_id for _, node in root.walk() for call in node.calls) == sorted(c.call_id for c in calls)


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_paths_keep_their_names(names: list[str]) -> None:
    """Names come back from a path as they went into it, slashes and backslashes too."""
    assert split_path(join_path(names) or "") == tuple(names)


@pytest.mark.parametrize(
    ("path", "names"),
    [("a/b", ("a", "b")), (r"a\b/c", ("a\\b", "c")), ("a//b", ("a", "", "b")), ("a\\", ("a\\",)), ("", ("",))],
)
def test_any_path_can_be_split(path: str, names: tuple[str, ...]) -> None:
    """What an earlier version or an import wrote is read as far as it goes."""
    assert split_path(path) == names


def test_no_names_are_no_path() -> None:
    """A call in nothing that has a name has no path."""
    assert join_path([]) is None


def test_hostile_names_cannot_forge_lines() -> None:
    """Control characters and markup in names are shown, not run."""
    call = make_call(path=join_path(["a\nb", "<script>\x1b[31m"]))
    root = tree_of([call])
    assert len(str(root).splitlines()) == 5
    assert "\x1b" not in str(root)
    assert "<script>" not in root._repr_html_()
    assert "&lt;script&gt;" in root._repr_html_()


def test_tree_as_data() -> None:
    """A tree's plain form is JSON: names, sums with money as text, the calls' ids, and what lies below."""
    calls = screen()
    data = json.loads(json.dumps(tree_of(calls, "nl2sql").to_dict()))
    agent = data["children"][1]
    assert (agent["name"], agent["path"], agent["calls"]) == ("sql_agent", ["nl2sql", "sql_agent"], [calls[1].call_id])
    assert (agent["own"]["cost_usd"], agent["subtree"]["cost_usd"]) == ("0.0002", "0.0005")
    assert data["own"]["total_tokens"] is None


def test_a_very_deep_path_is_one_that_prints() -> None:
    """However deep a path is, its tree is shallow enough to be shown and written, and keeps all names."""
    names = [f"n{number}" for number in range(3_000)]
    root = tree_of([make_call(path=join_path(names)), make_call(path=join_path([*names, "more"]))])
    json.dumps(root.to_dict())
    deepest = [node for _, node in root.walk() if node.own.calls]
    assert len(str(root).splitlines()) > 100
    assert [(node.name or "").endswith(end) for node, end in zip(deepest, ("n2999", "more"), strict=True)] == [True] * 2


def test_a_run_of_ten_thousand_calls() -> None:
    """A tree of many calls has each of them once."""
    calls = [make_call(path=f"run/agent_{number % 7}/step_{number % 11}") for number in range(10_000)]
    root = tree_of(calls, "run")
    assert root.subtree.calls == sum(node.own.calls for _, node in root.walk()) == 10_000
    assert (len(root.children), len(root.children[0].children), root.subtree.total_tokens) == (7, 11, 1_200_000)


def test_sums_by_path_become_a_tree() -> None:
    """Groups that were summed before are placed like calls; what has no path is one place."""
    sums = [Sums(calls=number, total_tokens=number * 10) for number in (1, 2, 4)]
    root = sum_tree(zip(("a", "a/b", None), sums, strict=True))
    shown = [(node.path, node.own.calls, node.subtree.total_tokens) for _, node in root.walk()]
    assert shown == [((), 0, 70), (("a",), 1, 30), (("a", "b"), 2, 20), ((None,), 4, 40)]
