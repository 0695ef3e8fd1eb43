# make demo | test | test-machines | test-oldest | docs | bench | clean — each sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint test-machines test-seeds test-oldest docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.package
	$(BIN)/python examples/plot_01_first_classifier.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --durations=25

# What trains, with the instructions of older processors, with two threads, and without oneDNN.
test-machines: $(VENV)/.test
	$(BIN)/python tests/stress/machines.py

# Each test of learning with 20 seeds, and its smallest margin. The other scripts of tests/stress
# damage files, kill fits and fuzz models for as long as is asked; each explains itself.
test-seeds: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python tests/stress/lucky_seeds.py -n 2

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

# The contract again on the oldest scikit-learn, laid over the same environment.
test-oldest: $(VENV)-oldest/.test
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/python -m pytest -n 2 --dist worksteal --durations=25 tests/test_common.py tests/test_classifiers.py

$(VENV)-oldest/.test: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)-oldest
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(VENV)-oldest/below
	cp $(VENV)-oldest/below "$$($(VENV)-oldest/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	$(VENV)-oldest/bin/python -m pip install 'scikit-learn==1.6.*'
	touch $@

bench: $(VENV)/.test
	$(BIN)/python examples/benchmarks/fashion_mnist.py
	$(BIN)/python examples/benchmarks/import_time.py
	$(BIN)/python examples/benchmarks/prediction_batches.py
	$(BIN)/python examples/benchmarks/engine.py
	$(BIN)/python examples/benchmarks/overheads.py
	$(BIN)/python examples/benchmarks/files.py
	$(BIN)/python examples/benchmarks/bfloat16_accuracy.py
	$(BIN)/python examples/benchmarks/speedrun.py
	$(BIN)/python examples/benchmarks/search.py
	$(BIN)/python examples/benchmarks/checkpoint_cost.py
	$(BIN)/python examples/benchmarks/every_network.py
	$(BIN)/python examples/benchmarks/first_fit.py
	$(BIN)/python examples/benchmarks/find_lr.py
	$(BIN)/python examples/benchmarks/published_table.py

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist docs/_build docs/auto_examples docs/generated
