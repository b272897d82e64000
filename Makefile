PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test check bench chaos docs format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: .venv/.run ## Start everything on http://127.0.0.1:8000 (PORT=… moves it)
	@$(BIN)/python scripts/run.py

test: .venv/.dev ## Run the whole test suite
	$(BIN)/python -m pytest

check: .venv/.dev ## Format, lint, types, import contracts, spelling, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(MAKE) test

bench: .venv/.bench ## Measure the service beside its peers (ARGS=--quick for a minute of it)
	$(BIN)/python -m benchmarks.run $(ARGS)

chaos: .venv/.dev ## Break things under load and print what the service did (ARGS="--quick faults" for a part)
	$(BIN)/python -m chaos $(ARGS)

docs: .venv/.dev ## Write the settings into README.md and .env.example
	$(BIN)/python scripts/docs.py

format: .venv/.dev ## Format the code and mend what a tool can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was installed and cached; data/ and .env stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

.venv/.run: requirements.txt requirements-run.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-run.txt
	@touch $@

.venv/.dev: requirements.txt requirements-run.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv/.bench: requirements-bench.txt .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
