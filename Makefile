# Every target starts from a bare clone: it needs make and Python 3.11 or newer, nothing else.
PYTHON ?= python3
ARGS   ?=

VENV := .venv
UV   := .venv-lock/bin/uv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --quiet --disable-pip-version-check

# A lock is whole: nothing is left to resolve.
AS_LOCKED := --require-hashes --no-deps

# The tests start Python a thousand times. Where modules are not kept compiled each start takes
# a sixth longer, and what pytest collects twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-newest test-oldest run-newest run-oldest torture torture-short check lint format graph docs bench bench-check bench-formats bench-load bench-bars bench-market bench-overlap lock clean

help:
	@echo "make demo     make a small market, take it through the warehouse, show the answers"
	@echo "make test     run the tests but those of torture (ARGS='-k publish' goes on to pytest)"
	@echo "make test-newest, make test-oldest"
	@echo "              run those of them that lean on other packages, with the newest (the oldest)"
	@echo "              versions that pyproject.toml allows, whatever the lock says"
	@echo "make torture  run the tests that kill, break, fill and soak, in their long form (an hour or so)"
	@echo "make torture-short"
	@echo "              run them in their short form, as CI does (a few minutes)"
	@echo "make check    run every static check, then all tests, torture in its short form"
	@echo "make lint     run the static checks alone: ruff, mypy, sqlfmt"
	@echo "make format   format the Python and the SQL"
	@echo "make graph    print what the packages import of each other; fails on an upward arrow or a circle"
	@echo "make docs     build the documents into site/, every link checked"
	@echo "make bench    time the ingest beside others     (ARGS goes on to the benchmark)"
	@echo "make bench-check is the ingest's CPU within its bounds, beside polars? (a minute)"
	@echo "make bench-formats compare CSV.gz, Parquet, HDF5 and Feather (ARGS='--source FOLDER': on real files)"
	@echo "make bench-market time the day bars of a whole market, in and asked"
	@echo "make bench-overlap time an update over a link as slow as the ingest (ARGS=--short: a minute)"
	@echo "make bench-bars   time minute bars beside polars' plain ones"
	@echo "make bench-load   time the loads beside ArcticDB, and the streams"
	@echo "make lock     resolve the dependencies anew     (ARGS=--upgrade takes newer versions)"
	@echo "make clean    remove the environments, the demo and the caches; data/ stays"
	@echo
	@echo "PYTHON=python3.12 chooses another interpreter."

demo: $(VENV)/app
	$(BIN)/warehouse demo demo-warehouse

# `auto` would be one process of two where a core has two threads.
SIDE_BY_SIDE := --numprocesses=logical --dist=worksteal
RUN_TESTS    := $(BIN)/python -m pytest $(SIDE_BY_SIDE)

test: $(VENV)/app $(VENV)/dev
	$(RUN_TESTS) -m "not torture" $(ARGS)

# What leans on the ways of other packages: the interfaces, the features, the catalog, the SQL.
RANGE_TESTS := tests/sqlfolder tests/cli tests/test_api.py tests/store/test_catalog.py \
               tests/validation/test_rules.py \
               $(addprefix tests/read/test_,$(addsuffix .py,feature_values features query))

test-newest: RESOLUTION := highest
test-oldest: RESOLUTION := lowest-direct
RESOLVE = $(UV) pip compile pyproject.toml --quiet --upgrade --python .venv-$*/bin/python \
          --resolution $(RESOLUTION) --no-annotate --no-header --no-emit-index-url

# Where all that the project needs is as the lock has it, `make test` has made the same claims.
test-newest test-oldest: test-%: .venv-%/base $(UV)
	@$(RESOLVE) --output-file .venv-$*/needed.txt
	@$(RESOLVE) --group test --output-file .venv-$*/versions.txt
	@$(UV) pip freeze --python $(BIN)/python >.venv-$*/locked.txt 2>/dev/null || true
	@if grep -vxFf .venv-$*/locked.txt .venv-$*/needed.txt >.venv-$*/others.txt; then \
	  echo "Other than the lock's:" $$(cat .venv-$*/others.txt) && $(MAKE) --no-print-directory run-$*; \
	else \
	  echo "The $* versions of all" $$(grep -c == .venv-$*/needed.txt) "packages that are needed" \
	    "are the lock's, with which make test runs: nothing else to try."; \
	fi

run-newest run-oldest: run-%:
	@$(UV) pip install --quiet --python .venv-$*/bin/python -r .venv-$*/versions.txt
	@$(UV) pip install --quiet --python .venv-$*/bin/python --no-deps --no-build-isolation --editable .
	.venv-$*/bin/python -m pytest $(SIDE_BY_SIDE) -p no:cacheprovider $(RANGE_TESTS) $(ARGS)

.venv-%/base:
	@$(PYTHON) -m venv --clear --without-pip .venv-$*
	@touch $@

# The lock has Ray for the tests; PySpark is half a gigabyte, and wants Java.
$(VENV)/spark: $(VENV)/dev
	@$(PIP) install 'pyspark==4.3.0' || echo "No PySpark could be installed: its tests are skipped."
	@touch $@

torture: $(VENV)/app $(VENV)/dev $(VENV)/spark
	WAREHOUSE_TEST_LONG=1 $(BIN)/python -m pytest -m torture $(ARGS)

torture-short: $(VENV)/app $(VENV)/dev
	$(RUN_TESTS) -m torture $(ARGS)

check: lint test torture-short

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict warehouse
	$(BIN)/sqlfmt --check --diff --no-progressbar --reset-cache sql warehouse/ingest/typed

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .
	$(BIN)/sqlfmt --no-progressbar sql warehouse/ingest/typed

graph: $(VENV)/app $(VENV)/dev
	@$(BIN)/python tests/test_architecture.py

docs: $(VENV)/app $(VENV)/dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; with its search: $(BIN)/python -m http.server --directory site"

# massive-speedup has wheels for some systems only; without one the others are compared.
SPEEDUP := .venv-speedup

bench: $(VENV)/app $(VENV)/dev $(SPEEDUP)/ready
	$(BIN)/python benchmarks/ingest.py --speedup $(SPEEDUP)/bin/python $(ARGS)

bench-check: $(VENV)/app $(VENV)/dev
	$(BIN)/python benchmarks/ingest.py --check

$(SPEEDUP)/ready:
	@$(PYTHON) -m venv --clear $(SPEEDUP)
	@$(SPEEDUP)/bin/python -m pip --quiet --disable-pip-version-check install \
	  --only-binary massive-speedup 'massive-speedup==0.1.4' || echo "No massive-speedup could be installed."
	@touch $@

bench-bars: $(VENV)/app $(VENV)/dev
	$(BIN)/python benchmarks/bars.py $(ARGS)

bench-market: $(VENV)/app $(VENV)/dev
	$(BIN)/python benchmarks/market.py $(ARGS)

bench-overlap: $(VENV)/app $(VENV)/dev
	$(BIN)/python benchmarks/overlap.py $(ARGS)

# HDF5 needs PyTables, which nothing else here does: an environment of the lock's versions and it.
FORMATS := .venv-formats

bench-formats: $(FORMATS)/ready
	$(FORMATS)/bin/python benchmarks/formats.py $(ARGS)

$(FORMATS)/ready: requirements.lock
	@$(PYTHON) -m venv --clear $(FORMATS)
	@$(FORMATS)/bin/python -m pip --quiet --disable-pip-version-check install $(AS_LOCKED) -r requirements.lock
	@$(FORMATS)/bin/python -m pip --quiet --disable-pip-version-check install 'tables==3.11.1'
	@$(FORMATS)/bin/python -m pip --quiet --disable-pip-version-check install \
	  --no-deps --no-build-isolation --editable .
	@touch $@

# ArcticDB wants an older pandas than we do, so it has an environment of its own.
ARCTICDB := .venv-arcticdb

bench-load: $(VENV)/app $(VENV)/dev $(ARCTICDB)/ready
	$(BIN)/python benchmarks/load.py --arcticdb $(ARCTICDB)/bin/python $(ARGS)
	$(BIN)/python benchmarks/stream.py

$(ARCTICDB)/ready:
	@$(PYTHON) -m venv --clear $(ARCTICDB)
	@$(ARCTICDB)/bin/python -m pip --quiet --disable-pip-version-check install 'arcticdb==6.28.2' pyarrow
	@touch $@

# The environment is what the lock files say: a change in them makes it anew. `base` is enough to
# run the warehouse, `dev` adds the tools, `app` the project itself, as an editable install.
$(VENV)/base: requirements.lock requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This needs Python 3.11 or newer; $(PYTHON) is older or missing. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install $(AS_LOCKED) -r requirements.lock
	@touch $@

$(VENV)/app: $(VENV)/base pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/base
	@echo "Installing the tools into $(VENV) ..."
	@$(PIP) install $(AS_LOCKED) -r requirements-dev.lock
	@touch $@

# The same versions in both files, for every Python from 3.11 on, on Linux and macOS.
COMPILE := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
           --fork-strategy fewest --generate-hashes --no-annotate --no-emit-index-url \
           --custom-compile-command 'make lock'

lock: $(UV)
	$(COMPILE) --group build $(ARGS) --output-file requirements.lock
	$(COMPILE) --group dev $(ARGS) --constraints requirements.lock --output-file requirements-dev.lock

$(UV):
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip --quiet --disable-pip-version-check install 'uv==0.13.9'

clean:
	rm -rf .venv .venv-lock .venv-newest .venv-oldest .venv-arcticdb .venv-formats .venv-speedup demo-warehouse build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find warehouse tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
