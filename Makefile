# Every target does its own set-up: Python 3.11 or later and make are all it takes.
PYTHON ?= python3
BIN := .venv/bin
# Files tested at the same time: they mostly wait, for leases and for processes to start.
JOBS ?= 5
# Set it to fail below the floors of coverage as well: CI does, measuring takes a quarter more.
COVERAGE ?=
.DEFAULT_GOAL := help
# Options of the demo: --console to look at it in a browser, --no-kill.
DEMO ?=
# Tests start hundreds of interpreters: without its bytecode each would compile the library again.
export PYTHONDONTWRITEBYTECODE =
# The engines of the conformance suite that `make test` leaves out.
TOPOLOGIES ?= cluster cluster-in-process sentinel rabbitmq
# What is run once more on the lowest versions that pyproject.toml allows.
OLDEST_TESTS := tests/fundamentals tests/conformance tests/topologies/test_scripts_in_a_cluster.py \
	tests/unit/ledger tests/unit/models tests/unit/engines tests/engines/test_connecting.py \
	tests/engines/test_several_brokers.py tests/cli/test_cli.py tests/http/test_console.py
RABBITMQ := /usr/lib/rabbitmq/bin/rabbitmq-server
.PHONY: help install demo test test-topologies test-servers test-oldest test-web test-tracers check worker bench chaos clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

install: .venv/dev  ## everything a contributor needs

demo: .venv/demo  ## watch an agent survive the death of its worker
	$(BIN)/evented-agent demo $(DEMO)

test: .venv/dev  ## all tests, on servers and workers of their own
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=)
	$(if $(COVERAGE),$(BIN)/python -m tests.support.coverage_floor)

test-topologies: test-servers test-oldest  ## a Redis cluster, Sentinels, RabbitMQ, the oldest dependencies

test-servers: .venv/dev
	@test -x $(RABBITMQ) || test "$(filter rabbitmq,$(TOPOLOGIES))" = "" || { echo "RabbitMQ is \
		missing. On Debian: apt install rabbitmq-server; without it: make test-topologies \
		TOPOLOGIES='cluster cluster-in-process sentinel'"; exit 1; }
	CONFORMANCE_ENGINES="$(TOPOLOGIES)" \
		$(BIN)/pytest -n $(JOBS) --dist loadfile tests/topologies tests/conformance

test-oldest: .venv/oldest/done
	CONFORMANCE_ENGINES="in-process redis-threads redis-prefork sentinel" \
		.venv/oldest/bin/python -m pytest -n $(JOBS) --dist loadfile $(OLDEST_TESTS)

test-web: .venv/web tests/web/clients/node_modules  ## pages in a real Chromium, official clients, hostile requests
	@command -v chromium || command -v chromium-browser || command -v chrome \
		|| { echo "Chromium is missing; on Debian: apt install chromium"; exit 1; }
	@# One at a time: the tests of requests share one id, and pytest-xdist would run one of them.
	$(BIN)/pytest tests/web

test-tracers: .venv/tracers/done  ## what Logfire and Langfuse see of runs
	.venv/tracers/bin/python -m pytest tests/tracers

check: .venv/dev  ## format, lint, types, their completeness, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.support.type_completeness
	$(BIN)/lint-imports

worker: .venv/dev  ## a worker for the agents of tasks/
	$(BIN)/celery -A tasks worker -P threads -c 100 -Q agents -E --loglevel INFO

bench: .venv/dev  ## measure, beside the raw client
	$(BIN)/python -m benchmarks

chaos: .venv/dev  ## disturb workers under 200 dialogs and 1,000 messages; long walks of the protocol, laws
	$(BIN)/python -m tests.workload --pause 0.05 --chaos 1 2 3
	$(BIN)/python -m tests.workload.inbox --chaos 1 2 3
	$(BIN)/python -m tests.workload.tree --chaos 1 2 3
	TEST_WALKS=20 $(BIN)/pytest -n $(JOBS) --timeout 3000 tests/protocol \
		tests/durability/test_tree_zombies.py -k "machine or zombies"
	TEST_WALKS=20 $(BIN)/pytest -n $(JOBS) --timeout 3000 tests/unit -m hypothesis

clean:  ## forget the virtual environment
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "venv is missing; on Debian: apt install python3-venv"; exit 1; }
	@# Older pips know no dependency groups.
	@$(BIN)/python -m pip install --quiet --upgrade pip

.venv/demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[local,web]"
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[local,cli,cost,flower,web,http,mcp,otel]" --group dev
	@# Only its data and simulators are used; its dependencies are gigabytes.
	$(BIN)/python -m pip install --quiet --no-deps bfcl-eval==2026.3.23
	@touch $@ .venv/demo

# pip resolves to the newest only.
.venv/oldest/done: export UV_SYSTEM_CERTS = 1
.venv/oldest/done: .venv/dev pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/oldest
	$(BIN)/uv pip install --quiet --python .venv/oldest --resolution lowest-direct \
		--editable ".[local,cli,cost,flower,web,http,mcp]"
	$(BIN)/uv pip freeze --quiet --python .venv/oldest --exclude-editable > .venv/oldest/lowest.txt
	$(BIN)/uv pip install --quiet --python .venv/oldest --group test \
		--constraints .venv/oldest/lowest.txt
	@touch $@

.venv/tracers/done: .venv/dev pyproject.toml
	@$(BIN)/python -m venv --without-pip --clear .venv/tracers
	$(BIN)/python -m pip --python .venv/tracers install --quiet --editable ".[local,otel]" \
		--group test-tracers
	@touch $@

.venv/web: .venv/dev pyproject.toml
	$(BIN)/python -m pip install --quiet --group test-web
	@touch $@

tests/web/clients/node_modules: .venv/web tests/web/clients/package.json tests/web/clients/package-lock.json
	$(BIN)/python -m tests.support.node
	@touch $@
