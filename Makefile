# Everything a person types. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
ARGS ?=
# Tests run in as many processes as there are cores; those of a file share its lakes, so they stay together.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile
# The S3 server that tests run against.
S3SERVER := v1.8.0
# The JDBC driver that asks the endpoint in tests.
PGJDBC := 42.7.8

# Compiled once: else each start of a command compiles every library that it imports, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up test fast traces spark lint docs bench chdb bench-cubes bench-sql bench-queries bench-clients bench-superset superset superset-stop superset-user superset-check superset-env airflow airflow-env airflow-stop bench-airflow lock jars s3 s3server clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{ printf "  %-8s %s\n", $$1, $$2 }'

up: $(VENV)/.project ## install and run the quick start (ARGS="--once" ends after the tour)
	@$(BIN)/fleetcube up $(ARGS)

superset: $(VENV)/.project superset-env ## start Superset with its dashboards over the lake (ARGS="--lake DIR --port 8088")
	@$(BIN)/python superset/manage.py start $(ARGS)

superset-stop: $(VENV)/.project ## end Superset and its endpoint
	@$(BIN)/python superset/manage.py stop $(ARGS)

superset-user: $(VENV)/.project superset-env ## let a person in (ARGS="ada --role site --tenant oslo"; roles admin, analyst, site)
	@$(BIN)/python superset/manage.py user $(ARGS)

superset-check: $(VENV)/.project superset-env ## compare what Superset holds with superset/assets/
	@$(BIN)/python superset/manage.py check $(ARGS)

superset-env: $(VENV)/superset/.done

test: $(VENV)/.dev ## every check and every test; a tier whose tool or data is missing is skipped loudly
	@$(MAKE) --no-print-directory lint
	@if command -v mvn >/dev/null; then $(MAKE) --no-print-directory jars; else echo "fleetcube: no Maven, so no jars for Spark"; fi
	@$(MAKE) --no-print-directory superset-env
	@$(MAKE) --no-print-directory airflow-env
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory s3server || true; else echo "fleetcube: no Go, so no S3 server for tests"; fi
	@$(PYTEST)

fast: $(VENV)/.dev ## the fast tier only, under a minute: no Java, no traces, no S3 server, nothing slow
	@$(PYTEST) --hypothesis-profile=fast -m "not traces and not slow and not spark and not jdbc and not s3 and not superset and not airflow"

spark: $(VENV)/.dev $(VENV)/jars/.done ## the tests of the Spark engine (needs Java)
	@$(BIN)/python -m pytest -m spark

s3: $(VENV)/.dev $(VENV)/.s3server-$(S3SERVER) ## the tests of lakes in an object store (needs Go)
	@$(BIN)/python -m pytest -m s3

traces: $(VENV)/.dev ## the tests on the real traces in ../shared/data
	@$(BIN)/python -m pytest -m traces

lint: $(VENV)/.dev ## style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

jars: $(VENV)/jars/.done $(VENV)/jdbc/.done-$(PGJDBC) ## fetch Delta's jars for Spark, and the JDBC driver for tests (needs Maven)

s3server: $(VENV)/.s3server-$(S3SERVER) ## build the S3 server for tests, versitygw (needs Go)

docs: $(VENV)/.dev ## write the generated pages of docs/
	@$(BIN)/python scripts/make_docs.py

airflow: $(VENV)/.project $(VENV)/airflow/.done ## install and start Airflow over the lake (ARGS="--port 8081"); see docs/airflow.md
	@$(BIN)/python scripts/manage_airflow.py $(ARGS) start

airflow-stop: $(VENV)/.project ## end what `make airflow` has started
	@$(BIN)/python scripts/manage_airflow.py $(ARGS) stop

airflow-env: $(VENV)/airflow/.done ## install Airflow, in an environment of its own

bench: $(VENV)/.dev ## measure, and write bench/report.json and bench/report.md
	@$(BIN)/python bench/run.py

bench-airflow: $(VENV)/.dev $(VENV)/airflow/.done ## measure Airflow's tasks over an interval of 100,000 rows, and write bench/airflow.json and bench/airflow.md
	@$(BIN)/python bench/run_airflow.py $(ARGS)

chdb: $(VENV)/chdb/.done ## install chDB in an environment of its own, for bench-cubes to compare with

bench-cubes: $(VENV)/.dev ## measure builds, and write bench/cubes.json and bench/cubes.md (ARGS="--rows 10000000")
	@$(BIN)/python bench/run_cubes.py $(ARGS)

bench-sql: $(VENV)/.dev ## measure questions, and write bench/sql.json and bench/sql.md (ARGS="--rows 10000000")
	@$(BIN)/python bench/run_sql.py $(ARGS)

bench-queries: $(VENV)/.dev ## compare random queries over random cubes with raw rows, and write bench/queries.json and .md (ARGS="--queries 20000")
	@$(BIN)/python bench/run_queries.py $(ARGS)

bench-clients: $(VENV)/.dev ## measure 50 clients beside a build, and write bench/clients.json and bench/clients.md (ARGS="--seconds 30")
	@$(BIN)/python bench/run_clients.py $(ARGS)

bench-superset: $(VENV)/.dev superset-env ## measure dashboards, and write bench/superset.json and bench/superset.md
	@$(BIN)/python bench/run_superset.py $(ARGS)

lock: $(VENV)/.uv ## resolve requirements/*.txt anew from pyproject.toml
	@$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(COMPILE) pyproject.toml --extra lake --extra s3 requirements/build.in -o requirements/project.txt
	@$(COMPILE) pyproject.toml --extra lake --extra s3 --extra spark --extra dev requirements/build.in -c requirements/project.txt -o requirements/dev.txt
	@$(COMPILE) requirements/airflow.in -o requirements/airflow.txt
	@$(COMPILE) requirements/superset.in -o requirements/superset.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Its pins are not the project's.
$(VENV)/airflow/.done: $(VENV)/.uv requirements/airflow.txt
	@echo "fleetcube: installing Airflow in $(VENV)/airflow"
	@$(PYTHON) -m venv $(VENV)/airflow
	@$(BIN)/uv pip install --quiet --python $(VENV)/airflow/bin/python --require-hashes -r requirements/airflow.txt
	@touch $@

# Its pins are not the project's.
$(VENV)/chdb/.done: $(VENV)/.uv requirements/chdb.txt
	@$(PYTHON) -m venv $(VENV)/chdb
	@$(BIN)/uv pip install --quiet --python $(VENV)/chdb/bin/python --require-hashes -r requirements/chdb.txt
	@touch $@

# Nor are Superset's. Its pages ask an outside host for a picture that counts visits; that is taken out.
$(VENV)/superset/.done: $(VENV)/.uv requirements/superset.txt superset/untrack.py
	@echo "fleetcube: installing Superset in an environment of its own"
	@$(PYTHON) -m venv $(VENV)/superset
	@$(BIN)/uv pip install --quiet --python $(VENV)/superset/bin/python --require-hashes -r requirements/superset.txt
	@$(VENV)/superset/bin/python superset/untrack.py
	@touch $@

# Two jars, without what they depend on: Spark has the rest.
$(VENV)/jars/.done: $(VENV)/.uv
	@for jar in delta-spark_4.1_2.13 delta-storage; do \
	  mvn --quiet --batch-mode dependency:copy -Dartifact=io.delta:$$jar:4.4.0 -DoutputDirectory=$(CURDIR)/$(VENV)/jars || exit 1; \
	done
	@touch $@

# In a folder of its own: Spark takes every jar of its folder.
$(VENV)/jdbc/.done-$(PGJDBC): $(VENV)/.uv
	@mvn --quiet --batch-mode dependency:copy -Dartifact=org.postgresql:postgresql:$(PGJDBC) -DoutputDirectory=$(CURDIR)/$(VENV)/jdbc
	@touch $@

$(VENV)/.s3server-$(S3SERVER): $(VENV)/.uv
	@echo "fleetcube: building the S3 server for tests"
	@GOBIN=$(CURDIR)/$(BIN) go install github.com/versity/versitygw/cmd/versitygw@$(S3SERVER)
	@touch $@

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
