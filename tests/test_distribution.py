"""Does a stranger get all of it, and nothing else? The wheel and the source distribution, and the wheel in a venv alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langchain_tokens"
BESIDES_CODE = {
    "langchain_tokens/py.typed",
    "langchain_tokens/data/corrections.toml",
    "langchain_tokens/dashboard/static/index.html",
    "langchain_tokens/dashboard/static/echarts.js",
    "langchain_tokens/dashboard/static/echarts.LICENSE.txt",
    "langchain_tokens/store/migrations/versions/v0001_calls_and_runs.py",
}
"""Some of what is no module that anybody imports."""
_IN_A_SOURCE = ("langchain_tokens", "tests", "examples", "benchmarks", "docs")
_BESIDE_THEM = {
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "mkdocs.yml",
    "pyproject.toml",
    "PKG-INFO",
    ".gitignore",
}
_UNREACHABLE = ("failed to fetch", "packages were unavailable", "could not find a version")
"""How uv and pip speak of a registry that they do not reach. CI has installed all the rest from it: there it is no excuse."""
_PROGRAMS = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
"""Those of this environment before those of the machine."""
ALONE = """
import json
from langchain_core.prompts import ChatPromptTemplate
from langchain_tokens import TokenUsageHandler, open_store
from langchain_tokens.errors import MissingExtraError
from langchain_tokens.reports import forecast
from langchain_tokens.testing import ScriptedChatModel

with TokenUsageHandler() as handler:
    chain = ChatPromptTemplate.from_messages(["{q}"]) | ScriptedChatModel("hello", usage=(100, 20))
    chain.invoke({"q": "hi"}, {"callbacks": [handler], "run_name": "greeting"})
    total = handler.breakdown("chain").total
store = open_store()


def agents(): from langchain_tokens.integrations.agent import BudgetMiddleware
def fastapi(): import langchain_tokens.integrations.fastapi
def otel(): import langchain_tokens.integrations.otel
def postgres(): open_store("postgresql://app@db.example.com/usage")
def analytics(): forecast(store)
def export(): store.export("calls.parquet")
def export_pandas(): store.breakdown("chain").to_pandas()


said = {}
for ask in (agents, fastapi, otel, postgres, analytics, export, export_pandas):
    try:
        ask()
    except MissingExtraError as error:
        said[ask.__name__] = str(error)
print(json.dumps([json.loads(store.breakdown("chain").to_json()), total.total_tokens, said]))
"""


def files_of(*folders: Path) -> set[str]:
    """The files below folders, by their paths from the root, without what Python leaves there."""
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: it is in the group dev")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def alone(wheel: Path) -> Iterator[Path]:
    """A virtual environment that has the wheel and what it needs, and no extra; not in memory, for it is large."""
    with tempfile.TemporaryDirectory(prefix="alone-") as folder:
        python, uv = Path(folder) / "bin" / "python", shutil.which("uv", path=_PROGRAMS)  # a third of pip's time
        make = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        subprocess.run([*make, folder], check=True, capture_output=True)
        done = subprocess.run([*install, wheel], check=False, capture_output=True, text=True)
        is_unreachable = done.returncode and any(sign in " ".join(done.stderr.lower().split()) for sign in _UNREACHABLE)
        if is_unreachable and not os.environ.get("CI"):
            pytest.skip("the package registry cannot be reached")
        assert done.returncode == 0, done.stderr
        yield python.parent


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in the test's own folder, with nothing of this checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(words, check=False, capture_output=True, text=True, env=environment, timeout=60)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, migration, price, static file and mark is there; no test, example, page or cache is."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    about = {name.split(".dist-info/")[1] for name in names if ".dist-info/" in name}
    assert {name for name in names if ".dist-info/" not in name} == files_of(PACKAGE)
    assert names >= BESIDES_CODE
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_wheel_says_what_it_is(wheel: Path) -> None:
    """Its licence, its page, its extras, its command and its plugin."""
    said = metadata(wheel)
    assert (said["Name"], said["License-Expression"], said["Requires-Python"]) == ("langchain_tokens", "MIT", ">=3.11")
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    extras = {"agents", "all", "analytics", "dashboard", "docs", "export", "fastapi", "otel", "postgres"}
    assert set(said.get_all("Provides-Extra", [])) == extras
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        points = archive.read(name).decode().split()
    assert points == [
        *("[console_scripts]", "langchain-tokens", "=", "langchain_tokens.cli:main"),
        *("[pytest11]", "langchain_tokens", "=", "langchain_tokens.pytest_plugin"),
    ]


def test_source_distribution_has_what_its_tests_need(built: Path) -> None:
    """The package, its tests with all their files, what they run, and how to run them; and no cache."""
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = files_of(*(ROOT / name for name in _IN_A_SOURCE if (ROOT / name).is_dir()))
    assert {name for name in names if name.startswith(_IN_A_SOURCE)} == expected
    assert {name for name in names if not name.startswith(_IN_A_SOURCE)} == _BESIDE_THEM


def test_wheel_alone_counts_and_names_missing_extras(alone: Path) -> None:
    """Without any extra, a chain is counted and stored; what needs an extra says which."""
    done = run(alone / "python", "-c", ALONE)
    assert done.returncode == 0, done.stderr
    document, total, said = json.loads(done.stdout)
    assert [(row["chain"], row["calls"], row["total_tokens"]) for row in document["rows"]] == [("greeting", 1, 120)]
    assert total == 120
    extras = ("agents", "fastapi", "otel", "postgres", "analytics", "export", "export_pandas")
    missing = {name for name in extras if f"'langchain_tokens[{name.split('_')[0]}]'" not in said.get(name, "")}
    assert missing == set(), said


def test_command_alone(alone: Path) -> None:
    """The command is on the path; where there is no database it says what makes one, and makes none itself."""
    command = alone / "langchain-tokens"
    assert "Usage: langchain-tokens" in run(command, "--help").stdout
    done = run(command, "report")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no database of langchain_tokens" in done.stderr
    assert "TokenUsageHandler() in callbacks= makes it" in done.stderr
    assert list(Path().iterdir()) == []
    done = run(command, "dashboard", "--no-open")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'langchain_tokens[dashboard]'" in done.stderr
