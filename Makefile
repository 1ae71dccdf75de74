# Everything a contributor runs. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
TIKTOKEN_CACHE_DIR ?= $(wildcard ../shared/tiktoken_cache)
export TIKTOKEN_CACHE_DIR

.DEFAULT_GOAL := help
.PHONY: help demo test lint types layers check format clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --allow-existing --python "$(PYTHON)" .venv; else $(PYTHON) -m venv .venv; fi
	@if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python -e .; else $(BIN)/python -m pip install --quiet --upgrade pip && $(BIN)/python -m pip install --quiet -e .; fi
	@touch $@

.venv/.made-dev: .venv/.made
	@if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python --group dev -e .; else $(BIN)/python -m pip install --quiet --group dev -e .; fi
	@touch $@

demo: .venv/.made  ## run the example: a multi-agent graph over a real database, and where its tokens went
	@$(BIN)/python -m examples.sql_agent $(ARGS)

test: .venv/.made-dev  ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/.made-dev  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.made-dev  ## mypy, strict
	$(BIN)/mypy

layers: .venv/.made-dev  ## who may import whom
	$(BIN)/lint-imports

check: lint types layers test  ## all that CI runs

format: .venv/.made-dev  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made here
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
