# Everything runs in a virtual environment inside the checkout; `make demo` and `make test` make it themselves.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# A process for each core, which computes with one thread.
TESTS := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n logical --dist loadgroup

.PHONY: help setup demo test slow lint wheel notebooks docs coverage mutants audit clean

help:
	@echo "make setup | demo | test | slow | lint | wheel | notebooks | docs | coverage | mutants | audit | clean"

setup: $(READY)

$(READY): pyproject.toml constraints.txt mixtransfer/detection/install.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --upgrade pip
	$(VENV)/bin/pip install -c constraints.txt -e '.[dev]'
	-$(VENV)/bin/mixtransfer install-detectron2  # without it all but `detect` works
	-$(VENV)/bin/pip install -q --no-deps -c constraints.txt litert-torch litert-converter ai-edge-quantizer
	touch $@

demo: setup
	$(VENV)/bin/mixtransfer demo

test: setup
	$(TESTS)

slow: setup  # the tests that `make test` leaves out: what takes long of the README's commands and all recipes
	$(TESTS) -m slow

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

wheel: setup  # build it, install it elsewhere, use it there; ARGS=--fresh: with dependencies of its own
	$(VENV)/bin/pip install -q -c constraints.txt hatchling
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python tools/check_wheel.py $(ARGS)

notebooks: setup  # those for Jupyter and Colab, from their Markdown
	$(VENV)/bin/pip install -q -c constraints.txt jupytext
	$(VENV)/bin/jupytext --to ipynb docs/notebooks/*.md

docs: setup  # the site, into build/docs
	$(VENV)/bin/python tools/build_docs.py

coverage: setup
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m pytest -q --cov --cov-report=term:skip-covered --cov-report=html

mutants: setup  # do the tests notice faults? make mutants ARGS="data/splits.py --sample 0" for all of one module
	$(VENV)/bin/pip install -q -c constraints.txt cosmic-ray
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python tools/mutants.py $(ARGS)

audit: setup  # known vulnerabilities of what constraints.txt pins
	$(VENV)/bin/pip install -q -c constraints.txt pip-audit
	$(VENV)/bin/python tools/audit.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .coverage build
