# aiorq2: every command a developer needs. `make` alone lists them.

PYTHON ?= python3
ARGS ?=
SEEDS ?=
# Tests mostly wait, so there are more processes than cores. ARGS="-n 0" runs them in one.
PROCESSES ?= 4

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
IN_PARALLEL := -n $(PROCESSES) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup fmt check test test-all test-matrix faults soak demo bench redis chromium

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install aiorq2 with its development tools
	@:

$(STAMP): pyproject.toml scripts/create-venv
	@scripts/create-venv $(PYTHON) $(VENV)
	@echo "installing aiorq2 and its development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --editable '.[dev]'
	@touch $@

fmt: $(STAMP) ## Format, fix what can be fixed, and render the generated docs
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/python -W ignore::RuntimeWarning:runpy -m aiorq2.states --write docs/states.md

check: $(STAMP) ## Format, lint, types, layers, and freshness of the generated docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@pyright=$$($(BIN)/basedpyright --project pyproject.toml --pythonpath $(BIN)/python 2>&1) || { echo "$$pyright"; exit 1; }
	@layers=$$($(BIN)/lint-imports 2>&1) || { echo "$$layers"; exit 1; }
	@$(BIN)/python -W ignore::RuntimeWarning:runpy -m aiorq2.states --check docs/states.md
	@echo "check: all is well"

test: $(STAMP) redis ## Run the tests that are not slow
	@$(BIN)/python -m pytest -m 'not slow' $(IN_PARALLEL) $(ARGS)

test-all: $(STAMP) redis chromium ## Run every test, of the faults a selection
	@$(BIN)/python -m pytest -m 'not faults_all' $(IN_PARALLEL) $(ARGS)

faults: $(STAMP) redis ## Run every fault at full size, and print what was measured (SEEDS="1 2 3")
	@mkdir -p build && rm -f build/faults.jsonl
	@FAULTS=full FAULT_SEEDS="$(SEEDS)" FAULT_FIGURES=$(CURDIR)/build/faults.jsonl $(BIN)/python -m pytest tests/faults tests/topology $(ARGS)
	@$(BIN)/python -m tests.faults.figures build/faults.jsonl

test-matrix: $(STAMP) redis ## Run the tests about Redis on every server to be had, under sentinels and on a cluster
	@$(BIN)/python scripts/test_matrix.py $(IN_PARALLEL) $(ARGS)

soak: $(STAMP) redis ## Half an hour of 500 jobs a second; pass options with ARGS="--minutes 2", plots are in build/soak
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(BIN)/python -m pip install --quiet --no-input --editable '.[soak]'
	@$(BIN)/python -m tests.soak $(ARGS)

demo: $(STAMP) ## Count the words of the standard library, one job a file, in memory
	@$(BIN)/python examples/wordcount.py $(ARGS)

bench: $(STAMP) redis ## Measure beside other queues; pass options with ARGS="..."
	@$(BIN)/python -m benchmarks $(ARGS)

redis:
	@scripts/ensure-redis

chromium:
	@scripts/ensure-chromium
