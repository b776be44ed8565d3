# Everything starts here: `make demo` runs the whole story, `make test` runs everything that proves it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo hapi test lint types contracts tests soak planted fixtures bench clean

demo: $(VENV)/.run ## the synthetic trial, from a FHIR server to outcomes and back (docs/demo.md: on a server of yours)
	@$(BIN)/fhir-msct demo demo-study

hapi: $(VENV)/.run ## a real HAPI FHIR server on this machine with the synthetic trial on it, until Ctrl+C
	@PYTHONPATH=tests $(BIN)/python -m hapi

test: lint types contracts tests ## linters, types, import contracts, all tests

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

tests: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist worksteal

soak: $(VENV)/.dev ## the long runs: ten times as many bad days
	$(BIN)/pytest -n 2 --dist worksteal -m soak

planted: $(VENV)/.dev ## plants every bug of tests/planted and says which of them the tests catch
	$(BIN)/python scripts/plant_bugs.py

fixtures: $(VENV)/.dev ## make the synthetic trial and every stage of it again
	$(BIN)/python scripts/make_trial.py
	$(BIN)/python scripts/make_stages.py

bench: $(VENV)/.dev ## the speeds we publish, as ratios in one run
	$(BIN)/python benchmarks/reader.py
	$(BIN)/python benchmarks/speed.py --write
	$(BIN)/python benchmarks/fault_matrix.py --peers build/peers

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fhir-msct needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo"; exit 3; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) demo-study build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
