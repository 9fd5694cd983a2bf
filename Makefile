# Everything a person types. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
ARGS ?=

.PHONY: help up test fast traces lint docs bench lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{ printf "  %-8s %s\n", $$1, $$2 }'

up: $(VENV)/.project ## install and run the quick start (ARGS="--once" ends after the tour)
	@$(BIN)/fleetcube up $(ARGS)

test: $(VENV)/.dev ## every check and every test; a tier whose tool or data is missing is skipped loudly
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest

fast: $(VENV)/.dev ## the fast tier only
	@$(BIN)/python -m pytest -m "not traces and not slow"

traces: $(VENV)/.dev ## the tests on the real traces in ../shared/data
	@$(BIN)/python -m pytest -m traces

lint: $(VENV)/.dev ## style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev ## write the generated pages of docs/
	@$(BIN)/python scripts/make_docs.py

bench: $(VENV)/.dev ## measure, and write bench/report.json and bench/report.md
	@$(BIN)/python bench/run.py

lock: $(VENV)/.uv ## resolve requirements/*.txt anew from pyproject.toml
	@$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(COMPILE) pyproject.toml --extra lake requirements/build.in -o requirements/project.txt
	@$(COMPILE) pyproject.toml --extra lake --extra dev requirements/build.in -c requirements/project.txt -o requirements/dev.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment: Python's own venv, then uv (locked by hash), then the locked packages, then this checkout.
$(VENV)/.uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit("fleetcube needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=python3.11 or newer." if sys.version_info < (3, 11) else 0)'
	@echo "fleetcube: making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.project: $(VENV)/.uv requirements/project.txt pyproject.toml
	@echo "fleetcube: installing the locked packages"
	@$(INSTALL) --require-hashes -r requirements/project.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.project requirements/dev.txt
	@echo "fleetcube: installing the locked packages for tests"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
