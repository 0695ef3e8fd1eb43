# make demo | test | test-oldest | docs | bench | clean — each sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint test-oldest docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.package
	$(BIN)/python examples/plot_01_first_classifier.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "skcnn needs Python 3.10 or newer; name one with: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.package: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --editable '.[test]'
	touch $@

$(VENV)/.docs: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --editable '.[docs]'
	touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build docs/auto_examples docs/generated
