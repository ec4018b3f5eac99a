# One virtual environment in .venv; every target sets it up if it is not there yet.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export ERP_CACHE ?= $(CURDIR)/.cache

JOBS ?= 2
.PHONY: help setup demo check test test-all test-harness bench docs docs-serve reproduce lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv and install erp with all it needs (once; again when dependencies change)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)  ## train a router on real responses of small models and report what it gains
	@$(BIN)/erp train

check: $(READY)  ## lint, format, types, imports between layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY)  ## the default tests: offline, minutes
	$(BIN)/pytest -n auto --dist worksteal --durations=10

test-all: $(READY)  ## the slow tests too
	$(BIN)/pytest -n auto --dist worksteal --durations=10 -m "not gpu and not network"

# What they need clashes with what erp needs (fsspec, python-dateutil): an environment of their own, 2 GB.
HARNESS := .harness
$(HARNESS)/.ready: tests/importers/harness/requirements.txt
	$(PYTHON) -m venv $(HARNESS)
	$(HARNESS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

test-harness: $(READY) $(HARNESS)/.ready  ## run lm-eval and Inspect themselves and import what they write (5 minutes)
	ERP_HARNESS=$(CURDIR)/$(HARNESS)/bin/python $(BIN)/pytest -m harness tests/importers

bench: $(READY)  ## speed beside what one would use instead; rewrites benchmarks/RESULTS.md, SCALE.md and IMPORT.md (an hour)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.importing

reproduce: $(READY)  ## run all experiments anew on the table that ships, say how far results are from those here (JOBS=2 at a time)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python experiments/reproduce.py hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS)

docs: $(READY)  ## build the docs site into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(READY)  ## the docs site at http://127.0.0.1:8000, rebuilt as files change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

lock: pyproject.toml  ## resolve the newest versions that fit and write constraints.txt
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --disable-pip-version-check $(LOCK_EXTRA) -e ".[dev]"
	.lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//; s/ @ .*//' > constraints.txt
	rm -rf .lock

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
