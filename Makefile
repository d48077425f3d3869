# Everything is written to .venv and demo/; only Python (3.11 to 3.13) and make have to be installed.

FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c '$(FITS)' >/dev/null 2>&1 && echo $(name))))
VENV := .venv
INSTALLED := $(VENV)/.installed
SNE := $(VENV)/bin/sne

# The set blocks work on small matrices, for which the threads of one process slow each other down.
export OMP_NUM_THREADS ?= 1
# Keeps here what other packages would write to the home folder, except the cache of pip.
export HF_HOME := $(CURDIR)/$(VENV)/huggingface
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs clean

help:
	@echo "make demo   train 160 small networks, train a predictor on a part of them, predict the others (a few minutes)"
	@echo "make test   run the tests on two cores (a few minutes)"
	@echo "make lint   check style and types with ruff and pyright"
	@echo "make docs   build the documentation in build/site"
	@echo "make clean  remove .venv, demo, and the files that the tools have left"

$(INSTALLED): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11, 3.12 or 3.13 with venv was not found; name one: make PYTHON=/path/to/python" >&2; exit 1; fi
	@if ! [ -x $(VENV)/bin/pip ]; then rm -rf $(VENV); fi
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh examples/demo.sh

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n 2

lint: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

docs: $(INSTALLED)
	$(VENV)/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
