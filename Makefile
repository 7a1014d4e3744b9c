# Every command here works from a fresh clone: it makes .venv and installs the
# locked packages the first time, and goes straight to work after that.

# Stages run plain `python`, and it must be the environment's.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Modules from elsewhere would shadow the locked ones.
unexport PYTHONPATH PYTHONHOME
# Without bytecode files every stage would compile all it imports anew: half of its time.
unexport PYTHONDONTWRITEBYTECODE

# 3.11 first: the lock is resolved for it and the committed results come from it.
PYTHONS := python3.11 python3.12 python3.13 python3

.PHONY: help repro tables verify test acceptance lint types benchmark benchmark-check lock clean venv install install-test

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

repro: install ## reproduce every stage whose inputs changed
	dvc repro

tables: install ## reproduce the result tables only, from all rows that are in results/
	python -m ettin_retrieval.results
	dvc repro tables

verify: install ## check the ledger against the recorded scores
	ettin-retrieval verify
	python -m ettin_retrieval.tables --check

test: install-test ## run the tests
	pytest

acceptance: install-test ## run the tests that take many minutes
	pytest -m acceptance

lint: install-test ## check style
	ruff check
	ruff format --check

types: install-test ## check types
	mypy

benchmark: install-test ## measure speed and memory against peers (SCIFACT=DIR, ONLY=NAME,...)
	python -m benchmarks.run $(if $(SCIFACT),--scifact $(SCIFACT)) $(if $(ONLY),--only $(ONLY))

benchmark-check: install-test ## fail where a ratio is over 10% below the recorded one
	python -m benchmarks.run --check $(if $(SCIFACT),--scifact $(SCIFACT)) $(if $(ONLY),--only $(ONLY))

lock: venv ## refresh the lock (UPGRADE=--upgrade takes newer versions)
	python locks/refresh.py $(UPGRADE)

clean: ## remove the environment and caches (not data, models or results)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
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
