# make demo | test | check | bench: each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
export TORCHINDUCTOR_CACHE_DIR ?= $(CURDIR)/$(VENV)/inductor

.PHONY: demo test check bench clean

demo: $(VENV)/installed
	$(BIN)/othellolens demo --out demo --replace

test: $(VENV)/installed-dev
	scripts/check
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	scripts/check

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "OthelloLens needs Python >= 3.11: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo
