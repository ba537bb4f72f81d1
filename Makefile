# make demo | test | test-interop | check | bench | bench-game | bench-model | bench-sae | bench-judge: each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
export TORCHINDUCTOR_CACHE_DIR ?= $(CURDIR)/$(VENV)/inductor

.PHONY: demo test test-interop check bench bench-game bench-model bench-sae bench-judge clean

demo: $(VENV)/installed
	$(BIN)/othellolens demo --out demo --replace

test: $(VENV)/installed-dev
	scripts/check
	$(BIN)/python -m pytest

# Our model against TransformerLens' on the same weights, and our SAEs against those of sae-lens,
# dictionary-learning and sparsify; nothing comes from a model hub.
test-interop: .venv-tl3/installed .venv-tl4/installed .venv-saes/installed
	HF_HUB_OFFLINE=1 .venv-tl3/bin/python -m pytest -c interop/models/pytest.ini interop/models
	HF_HUB_OFFLINE=1 .venv-tl4/bin/python -m pytest -c interop/models/pytest.ini interop/models
	HF_HUB_OFFLINE=1 .venv-saes/bin/python -m pytest -c interop/saes/pytest.ini interop/saes

.venv-tl3/installed: TL := 3.9.0
.venv-tl4/installed: TL := 4.3.0
.venv-tl3/installed .venv-tl4/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check -c constraints.txt \
		-e . transformer-lens==$(TL) pytest
	touch $@

# Two of these pin versions that exclude one another, for parts that are not used here.
.venv-saes/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check -c constraints.txt \
		-e . sae-lens==6.54.12 natsort schedulefree zstandard pytest
	$(@D)/bin/pip install -q --disable-pip-version-check --no-deps \
		dictionary-learning==0.1.0 eai-sparsify==1.3.3
	touch $@

check: $(VENV)/installed-dev
	scripts/check

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

bench-game: $(VENV)/installed .venv-peers/installed
	$(BIN)/python benchmarks/game.py
	$(BIN)/python benchmarks/game.py --disk $(VENV)/games
	rm -r $(VENV)/games

bench-model: .venv-tl3/installed
	.venv-tl3/bin/python benchmarks/model.py

bench-sae: .venv-saes/installed
	.venv-saes/bin/python benchmarks/sae.py

bench-judge: $(VENV)/installed
	$(BIN)/python benchmarks/judge.py

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
	rm -rf $(VENV) .venv-peers .venv-tl3 .venv-tl4 demo
