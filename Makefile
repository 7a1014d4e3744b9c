# Every command works in a fresh clone: the first one makes .venv and installs the locked packages.

# Stages run plain `python`, which must be the environment's.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Modules from elsewhere would shadow the locked ones.
unexport PYTHONPATH PYTHONHOME
# Without bytecode files, compiling imports takes half of every stage's time.
unexport PYTHONDONTWRITEBYTECODE

# 3.11 first: the committed results come from it.
PYTHONS := python3.11 python3.12 python3.13 python3

.PHONY: help repro tables verify test test-unit test-integration acceptance lint types hooks \
	benchmark benchmark-check lock clean venv install install-test

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

repro: install ## reproduce every stage whose inputs changed
	dvc repro

tables: install ## reproduce tables and plots from all entries in results/
	ettin-retrieval index
	dvc repro tables

verify: install ## check ledger, recorded scores and committed tables
	ettin-retrieval verify

test: install-test ## run unit and integration tests
	pytest -n 2

test-unit: install-test ## run the unit tests and doctests
	pytest -n 2 tests/unit src

test-integration: install-test ## run whole stages, DVC and the Hub
	pytest -n 2 tests/integration

acceptance: install-test ## run tests that take many minutes or programs beyond pip
	pytest -m acceptance -rs

lint: install-test ## check style, spelling and import contracts
	ruff check
	ruff format --check
	typos
	lint-imports --no-cache

types: install-test ## check types
	mypy

hooks: install-test ## run the checks at every commit
	pre-commit install

benchmark: install-test ## measure speed and memory against peers (SCIFACT=DIR, ONLY=NAME,...)
	python -m benchmarks.run $(if $(SCIFACT),--scifact $(SCIFACT)) $(if $(ONLY),--only $(ONLY))

benchmark-check: install-test ## fail if a ratio is over 10% below the recorded one
	python -m benchmarks.run --check $(if $(SCIFACT),--scifact $(SCIFACT)) $(if $(ONLY),--only $(ONLY))

lock: venv ## refresh the lock (UPGRADE=--upgrade takes newer versions)
	python locks/refresh.py $(UPGRADE)

clean: ## remove the environment and caches (not data, models or results)
	rm -rf .venv .import_linter_cache .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src tests locks benchmarks -name __pycache__ -prune -exec rm -rf {} +

install: venv
	@python locks/install.py

install-test: venv
	@python locks/install.py --test

# pip is the last thing venv puts there, so an interrupted one is made again.
# Set PYTHON to use an interpreter of your choice.
venv:
	@test -x .venv/bin/pip && exit; \
	for python in $(or $(PYTHON),$(PYTHONS)); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; \
		then echo "Making .venv with $$("$$python" -V)"; exec "$$python" -m venv .venv; fi; \
	done; \
	echo "No Python 3.11 or newer with venv found (tried: $(or $(PYTHON),$(PYTHONS)))." >&2; exit 1
