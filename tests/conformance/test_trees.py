"""Do trees of real runs show where calls were made? Graphs, agents in graphs, and names that hold a slash."""

from __future__ import annotations

from pathlib import Path

from langchain_tokens import TokenUsageHandler
from langchain_tokens.tree import RunNode
from tests.conformance.builders import asks, chain, config, line_of, looping
from tests.conformance.models import ScriptedModel


def shape(root: RunNode) -> list[tuple[int, str, int, int]]:
    """Depth, name, own calls and all calls below, for each place."""
    return [(depth, node.label, node.own.calls, node.subtree.calls) for depth, node in root.walk()]


def test_tree_of_a_graph_with_an_agent_in_it(tmp_path: Path) -> None:
    """A graph's nodes, a loop inside an inner graph and a named chain stand where they ran, in memory and stored."""
    agent = looping("sql_fix", asks(), 4, name="sql_agent")  # the turn before counts
    graph = line_of(("plan", asks(chain(name="planner"))), ("sql_agent", agent), ("answer", asks()), name="nl2sql")
    handler = TokenUsageHandler(tmp_path / "tokens.db")
    graph.invoke({"q": "q", "turns": 0}, config(handler))
    expected = [
        (0, "nl2sql", 0, 5),
        (1, "plan", 0, 1),
        (2, "planner", 1, 1),
        (1, "sql_agent", 0, 3),
        (2, "sql_fix", 3, 3),
        (1, "answer", 1, 1),
    ]
    run = handler.last_run
    assert run is not None
    assert shape(run.tree()) == expected
    assert handler.flush()
    assert shape(handler.store.runs(run=run.run_id)[0].tree()) == expected
    handler.close()


def test_a_slash_in_a_name_makes_no_place(tmp_path: Path) -> None:
    """A chain that is called `read/write` is one place, beside a chain `write` in `read`."""
    handler = TokenUsageHandler(tmp_path / "tokens.db")
    graph = line_of(("read", asks(chain(name="write"))), ("other", asks(chain(name="read/write"))), name="app")
    graph.invoke({"q": "q"}, config(handler))
    run = handler.last_run
    assert run is not None
    assert [call.path for call in run.calls] == ["app/read/write", r"app/other/read\/write"]
    assert shape(run.tree())[1:] == [(1, "read", 0, 1), (2, "write", 1, 1), (1, "other", 0, 1), (2, "read/write", 1, 1)]
    handler.close()


def test_a_model_alone_is_a_place_without_a_name(tmp_path: Path) -> None:
    """A bare call has nothing that names it."""
    handler = TokenUsageHandler(tmp_path / "tokens.db")
    ScriptedModel().invoke("question", config(handler))
    run = handler.last_run
    assert run is not None
    assert shape(run.tree()) == [(0, "(unattributed)", 0, 1), (1, "(unattributed)", 1, 1)]
    handler.close()
