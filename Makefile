# One short target a chore; each does its own set-up. Override: make PYTHON=python3.12 PIP_ARGS=…
EXTRAS ?= api,worker,flower,embedded,dev
PIP_ARGS ?=
FITS := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore

.PHONY: help demo up chaos test lint types audit format unit clean
.DEFAULT_GOAL := help

help: ## what there is
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 10

demo: $(READY) ## the whole service on demo data, and what it ranks
	@$(BIN)/python -m demo

up: $(READY) ## the service in the foreground, until Ctrl-C
	@$(BIN)/repick up

chaos: $(READY) ## faults in real processes: [SEED=n] [MINUTES=m] [JOBS=n] [CHAOS_JSON=file]
	@$(BIN)/python -m benchmarks.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2) \
		--jobs $(or $(JOBS),0) $(if $(CHAOS_JSON),--json $(CHAOS_JSON))

test: lint types ## lint, types, import contracts and every test; PROCESSES=n of them at once
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --ignore tests/acceptance
	$(BIN)/pytest tests/acceptance

unit: $(READY) ## the quick tests alone
	$(BIN)/pytest tests/unit

lint: $(READY) ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## mypy, strict
	$(BIN)/mypy

audit: $(READY) ## published flaws of what is installed, from the network as well
	$(BIN)/pytest -q tests/unit/test_dependencies.py
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) pip-audit
	@$(BIN)/python -m pip list --local --exclude-editable --format=freeze >$(VENV)/installed.txt
	@sed 's/+.*//' $(VENV)/installed.txt >$(VENV)/audited.txt # advisories know no local builds
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r $(VENV)/audited.txt

format: $(READY) ## what ruff can put right by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## everything that was built; never the data in .repick
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { \
		echo "Repick needs Python 3.11 or newer with its venv module"; \
		echo "(Debian, Ubuntu: apt install python3-venv; macOS: brew install python)."; \
		echo "To name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into $(VENV): minutes the first time, for the model libraries"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[$(EXTRAS)]'
	@touch $@
