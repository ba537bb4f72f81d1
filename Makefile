# make demo | test | check | bench | bench-game: each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
export TORCHINDUCTOR_CACHE_DIR ?= $(CURDIR)/$(VENV)/inductor

.PHONY: demo test check bench bench-game clean

demo: $(VENV)/installed
	$(BIN)/othellolens demo --out demo --replace

test: $(VENV)/installed-dev
	scripts/check
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	scripts/check

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

bench-game: $(VENV)/installed .venv-peers/installed
	$(BIN)/python benchmarks/game.py
	$(BIN)/python benchmarks/game.py --disk $(VENV)/games
	rm -r $(VENV)/games

# The peers of the benchmarks, in an environment of their own.
.venv-peers/installed: $(BIN)/python
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q --disable-pip-version-check pgx==2.6.0 creversi-python==0.1.0 numba
	touch $@

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
	rm -rf $(VENV) .venv-peers demo
