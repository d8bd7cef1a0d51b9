# Everything a person does here. `make` alone prints this list.
# Each target installs what it needs first; the second time there is nothing to install.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := .venv/bin
CODE := virtscale services events schemas projections replay lab
SEEDS ?= 1000
# libvirt waits until a guest that ended is reaped, which process 1 of a container may do late or never.
TESTED := $(BIN)/python tools/reaped $(BIN)/python -m pytest
# Guest images and kernels are built once and kept here.
export VIRTSCALE_CACHE ?= $(HOME)/.cache/virtscale

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: bootstrap ## start everything on this machine, in the foreground; Ctrl-C ends it (HOSTS=2 for two hypervisors)
	@$(BIN)/virtscale up $(if $(HOSTS),--hosts $(HOSTS)) $(ARGS)

.PHONY: demo
demo: bootstrap ## play a morning of demand on real guests in ten minutes (ARGS="--twin": a day in memory)
	@$(BIN)/virtscale demo day $(ARGS)

.PHONY: test
test: bootstrap checks ## check and test everything (ARGS="-k words" goes to pytest)
	@$(TESTED) $(or $(ARGS),-n 2)

.PHONY: test-long
test-long: bootstrap ## the tests that need more than a few minutes
	@$(TESTED) -m long $(ARGS)
	@VIRTSCALE_LAWS=many $(TESTED) --timeout 3600 tests/laws $(ARGS)

.PHONY: simulate
simulate: bootstrap ## run the simulation: SEEDS=100000 many seeds, or SEED=17 one
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

.PHONY: model
model: bootstrap ## walk through every interleaving of the small worlds (ARGS="--quick", ARGS="--only stock")
	@$(BIN)/python -m tests.model $(ARGS)

.PHONY: mutants
mutants: bootstrap ## alter the gate's rules in every small way and see that a test notices (docs/mutants.md)
	@tools/mutants

# bench-activation runs bench/activation.py, bench-cold-start runs bench/cold_start.py.
bench-%: bootstrap ## run bench/NAME.py (make bench-activation)
	@$(BIN)/python -m bench.$(subst -,_,$*) $(ARGS)

.PHONY: bench-forecast
bench-forecast: bootstrap ## set the forecaster beside other autoscalers' rules: TRACES=DIR, a folder per trace
	@test -n "$(TRACES)" || { echo "Say where the traces are, a folder for each: make bench-forecast TRACES=DIR" >&2; exit 2; }
	@$(BIN)/python -c 'import matplotlib, statsforecast' 2>/dev/null || { \
		echo "installing the Python packages of requirements-peers.lock" >&2; \
		$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-peers.lock; }
	@$(BIN)/python -m bench.forecast --traces "$(TRACES)" $(ARGS)

.PHONY: checks
checks: bootstrap ## the checks alone: style, types, imports, dependencies, documents
	@$(MAKE) -k -j2 --output-sync=target check-types check-style check-format check-imports check-deps documents-check

.PHONY: check-style check-format check-types check-imports check-deps documents-check
check-style:
	@tools/check style $(BIN)/ruff check --quiet --output-format concise .
check-format:
	@tools/check format $(BIN)/ruff format --quiet --diff .
check-types:
	@tools/check types $(BIN)/basedpyright
check-imports:
	@tools/check imports $(BIN)/lint-imports
check-deps:
	@tools/check deps $(BIN)/deptry $(CODE)
documents-check:
	@tools/check documents $(BIN)/python -m virtscale.documents --check

.PHONY: documents
documents: bootstrap ## write the generated documents anew: JSON Schema, AsyncAPI, permissions
	@$(BIN)/python -m virtscale.documents

.PHONY: format
format: bootstrap ## put the code into the house's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lock
lock: bootstrap ## resolve the dependencies anew (ARGS="--upgrade" for newer ones)
	@tools/lock $(ARGS)

.PHONY: bootstrap
bootstrap: ## install what is missing: Debian packages, Python packages in .venv
	@tools/bootstrap

.PHONY: clean
clean: ## forget the environment and every cache of this directory
	rm -rf .venv .cache .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
