# make demo   the whole job on the bundled sample, in an environment of its own
# make test   every check and test; what CI runs
# make bench  speed and accuracy figures, written to benchmarks/results/
# make docs   the pages of docs/ as a site, in site/
# make bench-methods   all methods, trained on the bundled sample; goes on where it was stopped

PYTHON ?= python3
VENV ?= .venv
INTEROP ?= .venv-interop
PEERS ?= .venv-peers
BIN := $(VENV)/bin
HERE := $(shell pwd | cksum | cut -d' ' -f1)
export BOXLESS_INTEROP_PYTHON = $(abspath $(INTEROP))/bin/python

.PHONY: demo test check unit browser docs bench bench-methods format clean
.DELETE_ON_ERROR:

demo: $(VENV)/.user
	$(BIN)/boxless demo --out boxless-demo

test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev $(INTEROP)/.ready browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --durations=10

# Tests that click need Chromium; where it is not there and cannot be installed, they are skipped.
browser:
	@for name in $(BOXLESS_CHROMIUM) chromium chromium-browser google-chrome chrome; do \
	  command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	else echo "no Chromium: tests that click are skipped; name one in BOXLESS_CHROMIUM" >&2; fi

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev $(PEERS)/.ready
	PYTHONPATH=$(abspath $(PEERS)) $(BIN)/python -m benchmarks

bench-methods: $(VENV)/.dev
	$(BIN)/python benchmarks/accuracy.py --methods --keep runs/bench-methods
	rm -r runs/bench-methods

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-interop .venv-peers boxless-demo site build dist .mypy_cache .ruff_cache .pytest_cache

# torch and torchvision come in one installation, so that they are built for each other.
$(VENV)/.user: $(VENV)/.self-$(HERE) pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[offline]"
	touch $@

$(VENV)/.dev: $(VENV)/.self-$(HERE) pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.user

# An environment that another clone made is kept, but its editable install must point here.
$(VENV)/.self-$(HERE): | $(BIN)/python
	rm -f $(VENV)/.self-*
	if $(BIN)/python -c "import torch" 2>/dev/null; then $(BIN)/python -m pip install --quiet --no-deps -e .; fi
	touch -d @0 $@

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "boxless needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(INTEROP)/.ready: tests/interop/requirements.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet -r tests/interop/requirements.txt
	touch $@

# A folder and no environment: the peers run on what is installed here, and change nothing of it.
$(PEERS)/.ready: benchmarks/requirements.txt | $(VENV)/.dev
	rm -rf $(PEERS)
	$(BIN)/python -m pip install --quiet --no-deps --target $(PEERS) -r benchmarks/requirements.txt
	touch $@
