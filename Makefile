# Everything from a clean clone, with nothing installed by hand: Python 3.11 or newer, a C++ compiler.
PYTHON ?= python3
# Other machines: the CPU build of torch comes from PyTorch's own CPU index; see README, "Install".
TORCH_ARGS ?=
# What `make bench` measures on; `make demo` makes this one.
DATA ?= demo/dataset
# Processes that run tests at the same time, of one thread each.
WORKERS ?= 2
SPREAD := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# The browser that opens the pages, the emulation of AVX-512, and what the kernels and sandbox need.
DEBIAN := chromium g++ libseccomp2 libsimde-dev util-linux
VENV := venv
BIN := $(VENV)/bin
PEERS := build/peers/venv

.DEFAULT_GOAL := help
.PHONY: help setup packages demo test test-fast check bench peers docs lock

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make venv/ with every pinned package

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one: make PYTHON=python3.11 setup")'
	test -x $(BIN)/python3 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python3 -m pip install --quiet --disable-pip-version-check --no-deps $(TORCH_ARGS) torch==2.13.0
	$(BIN)/python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

packages: ## Debian packages that tests need and pip does not bring (as root)
	apt-get install --yes --no-install-recommends $(DEBIAN)

demo: setup ## Log to verdict on the embedded model, in minutes
	$(BIN)/journeyman demo

test: setup ## Every test: unit, end to end, and slow on SmolLM2 and real llama.cpp
	$(BIN)/journeyman llama-cpp
	$(BIN)/python3 -m pytest $(SPREAD)

test-fast: setup ## Unit tests without a model, llama.cpp or the sandbox's attacks: within 90 s
	$(BIN)/python3 -m pytest $(SPREAD) tests/unit -m "not slow"

check: setup ## Format, lint, types, order of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Speed, side by side, last line JSON
	$(BIN)/python3 benchmarks/train_step.py --data $(DATA) --rows 4 --repetitions 2 --no-hf

peers: $(PEERS)/.ready ## Make build/peers/venv/ with TRL, which `make bench` then measures, too

$(PEERS)/.ready: benchmarks/peers/requirements.txt
	test -x $(PEERS)/bin/python3 || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps $(TORCH_ARGS) torch==2.13.0
	$(PEERS)/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

docs: setup ## Write docs/commands.md from the commands' own help
	$(BIN)/python3 docs/make_commands.py

lock: setup ## Pin every package again from pyproject.toml
	$(BIN)/python3 -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-package torch --python-version 3.11 --quiet --no-header --output-file requirements.lock
