"""Is the documentation whole? The site builds strictly and loads nothing from elsewhere, every public name has its entry,
pictures are as what they show, and the flags that pages explain are those of the code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import langchain_tokens
from docs.pictures.draw import FOLDER, pictures
from tests.golden import IS_RENEWED

ROOT = Path(langchain_tokens.__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = (
    "langchain_tokens",
    "langchain_tokens.reports",
    "langchain_tokens.testing",
    "langchain_tokens.integrations.agent",
    "langchain_tokens.integrations.fastapi",
    "langchain_tokens.integrations.otel",
    "langchain_tokens.store.adoption",
    "langchain_tokens.store.totals",
)
NAMES = [f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__]
_ENTRY = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""Tag → the attribute by which a page loads something."""
_FLAG = re.compile(r"flags?(?:\.add\(|\.append\(|\.update\(|=\(|=)f?\"([a-z]\w+)")
"""How the code mostly writes a flag."""
_CODE = "\n".join(
    file.read_text(encoding="utf-8")
    for pattern in ("*.py", "data/corrections.toml")
    for file in Path(langchain_tokens.__file__).parent.rglob(pattern)
)
_FLAG_TABLES = re.compile(r"^\| `(?:usage|price)_flags` \|.*?\n\n", re.MULTILINE | re.DOTALL)


class Page(HTMLParser):
    """What a page of the site loads, and the places that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads, and its name."""
        said = dict(attrs)
        self.loaded.append(said.get(_LOADED.get(tag, "")) or "")
        self.places.add(said.get("id") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as strictly as can be: a broken link or an unknown name is an error."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings_handlers") is None:
        why = "the site was not built: mkdocs-material and mkdocstrings-python are not installed"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    silent = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=silent, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_is_whole_and_loads_nothing_from_elsewhere(site: Path) -> None:
    """Each page is built; scripts, styles, fonts and pictures are the site's own; public names can be linked to."""
    pages = {file.stem: Page(file.read_text(encoding="utf-8")) for file in site.glob("*.html")}
    assert {page.stem for page in DOCS.glob("*.md")} | {"404"} == set(pages)
    assert [loaded for page in pages.values() for loaded in page.loaded if re.match(r"\w*:?//", loaded)] == []
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert [found for style in styles for found in re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]*", style)] == []
    places = {place for page in pages.values() for place in page.places}
    assert [name for name in NAMES if name not in places] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module: str) -> None:
    """The reference has one entry for each public name, and none for what there is not."""
    said = [name for page in DOCS.glob("api*.md") for name in _ENTRY.findall(page.read_text(encoding="utf-8"))]
    assert len(said) == len(set(said))
    assert [name for name in NAMES if name.rpartition(".")[0] == module and name not in said] == []
    mine = [name.rpartition(".")[2] for name in said if name.rpartition(".")[0] == module]
    assert [name for name in mine if not hasattr(importlib.import_module(module), name)] == []


def test_pictures_show_what_runs() -> None:
    """Drawn again, from runs made now, the pictures are the files."""
    for name, picture in pictures().items():
        if IS_RENEWED:
            (FOLDER / name).write_text(picture, encoding="utf-8")
        assert picture == (FOLDER / name).read_text(encoding="utf-8"), f"UPDATE_GOLDEN=1 draws {name} anew"


def test_pages_explain_the_flags_of_the_code() -> None:
    """Flags that the code puts on calls are explained on the pages on counts and prices, and no others are."""
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("exact.md", "prices.md")) + "\n"
    rows = re.findall(r"^\| (`[^|]+) \| ", "".join(_FLAG_TABLES.findall(pages)), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([a-z]\w+)", row)} - {"usage_flags", "price_flags"}
    assert len(told) > len(set(_FLAG.findall(_CODE)))
    assert set(_FLAG.findall(_CODE)) - told == set()
    known = _CODE.replace("estimated_{side}", "estimated_input estimated_output")
    assert [name for name in sorted(told) if not re.search(rf"\b{name}\b", known)] == []
