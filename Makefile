# Everything happens in .venv and demo/; nothing but Python (3.11 - 3.13) and make has to be there.

FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c '$(FITS)' >/dev/null 2>&1 && echo $(name))))
VENV := .venv
INSTALLED := $(VENV)/.installed
SNE := $(VENV)/bin/sne

# The set blocks work on small matrices: threads of one process get in each other's way.
export OMP_NUM_THREADS ?= 1
# What other packages would write to the home folder stays here; pip keeps its cache.
export HF_HOME := $(CURDIR)/$(VENV)/huggingface
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help:
	@echo "make demo   make a zoo of trained networks, train a predictor on a part, predict the rest"
	@echo "make test   run the tests"
	@echo "make lint   ruff and pyright"
	@echo "make clean  remove .venv, demo and what the tools left"

$(INSTALLED): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "needs Python 3.11, 3.12 or 3.13 with venv; name it: make PYTHON=/path/to/python" >&2; exit 1; fi
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

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
