"""A program that says nothing of handlers is tracked: through a runner, or with one call and an environment variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_tokens
from langchain_tokens import Call, open_store

ROOT = Path(langchain_tokens.__file__).parents[1]
PROGRAM = """
import sys
{imports}
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

usage = {{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}
model = GenericFakeChatModel(messages=(AIMessage("ok", usage_metadata=usage) for _ in range(9)))
chain = RunnableLambda(lambda text: model.invoke(text).content, name="outer")
chain.invoke("a")
model.invoke("b")
{more}
print(__name__, sys.argv[1:])
"""
INSTALL = "from langchain_tokens.auto import install; install()"
INSIDE = """
from langchain_tokens import TokenUsageHandler, track
chain.invoke("c", {"callbacks": [TokenUsageHandler("other.db")]})
with track("third.db", session="s1"):
    chain.invoke("d")
"""


def run(*words: str, tracked: str | None = None, imports: str = "", more: str = "", url: str = "") -> tuple[str, str]:
    """What a program prints, on both streams, that is run as these words say."""
    Path("app.py").write_text(PROGRAM.format(imports=imports, more=more), encoding="utf-8")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LANGCHAIN_TOKENS")}
    given = {"LANGCHAIN_TOKENS": tracked, "LANGCHAIN_TOKENS_URL": url or None, "PYTHONPATH": str(ROOT)}
    environment = {**plain, **{name: value for name, value in given.items() if value is not None}}
    ended = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    return ended.stdout.strip(), ended.stderr.strip()


def stored(path: str = "langchain_tokens.db") -> list[Call]:
    """The calls that a file in the working directory holds, oldest first."""
    return list(open_store(path).calls(order="started_at")) if Path(path).exists() else []


@pytest.mark.parametrize("words", [("app.py",), ("-m", "app")])
def test_program_is_run_as_python_runs_it(words: tuple[str, ...]) -> None:
    """Its calls are stored, each once, and the program has its own name and arguments."""
    printed, trouble = run("-m", "langchain_tokens.auto", *words, "--fast", "1")
    assert (printed.split(" ", 1)[0], "['--fast', '1']" in printed, trouble) == ("__main__", True, "")
    assert [call.chain for call in stored()] == ["outer", None]
    assert {call.usage.total_tokens for call in stored() if call.usage is not None} == {15}


@pytest.mark.parametrize(
    ("imports", "tracked", "count"),
    [
        (INSTALL, "1", 2),
        (INSTALL, None, 0),
        (INSTALL, "0", 0),
        (INSTALL, "false", 0),
        ("import langchain_tokens.auto", "1", 0),
    ],
)
def test_call_and_variable_track_together(imports: str, tracked: str | None, count: int) -> None:
    """The one call tracks while the variable is set; neither does anything alone, and no database is made then."""
    run("app.py", imports=imports, tracked=tracked)
    assert len(stored()) == count
    assert Path("langchain_tokens.db").exists() == (count > 0)


def test_handlers_and_blocks_come_first() -> None:
    """What has a handler, or is in a block with a store, is stored there and nowhere else."""
    run("app.py", imports=INSTALL, tracked="1", more=INSIDE)
    assert [len(stored(path)) for path in ("langchain_tokens.db", "other.db", "third.db")] == [2, 1, 1]


def test_program_goes_on_where_nothing_can_be_stored() -> None:
    """A store that cannot be opened is logged once, and the program is as without us."""
    printed, trouble = run("app.py", imports=INSTALL, tracked="1", url="mysql://nowhere/db")
    assert printed.startswith("__main__")
    assert trouble.count("nothing can be tracked") == 1


def test_runner_says_what_it_needs() -> None:
    """Without a program it says how it is used."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("-m", "langchain_tokens.auto")
    assert "usage: python -m langchain_tokens.auto" in failed.value.stderr
