# From nothing to a working tree: needs Python 3.11 or 3.12 with venv, and a package index. `make help` lists the rest.

# The first interpreter that runs and is of a supported version; override with `make PYTHON=/usr/bin/python3.12 …`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)

# Installed before everything else, so that the rest finds it satisfied and keeps this build (docs/install.md).
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test lint slow bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install, render a short film, put sound on it, say where the results are"
	@echo "make test    install with the developer tools and run the tests"
	@echo "make lint    ruff and mypy"
	@echo "make slow    the tests that take minutes"
	@echo "make bench   the benchmarks that print the figures of docs/: an hour or more"
	@echo "make clean   remove everything that make made"

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 found: install one, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV): one to three minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install '$(TORCH)'
	@touch $@

# One stamp for what a user needs, one for what a developer needs; both are redone when pyproject.toml changes.
$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml
	$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/synchresis render 8 --kind metal --seconds 6 --size 480x360 --fps 25 --out demo/film.mp4 --overwrite
	$(BIN)/synchresis sound demo/film.mp4 --prompt "hammer on metal" --out demo/sounded.mp4 --picture --overwrite
	@echo
	@echo "the film with its new sound   demo/sounded.mp4"
	@echo "its picture                   demo/sounded.png"
	@echo "its report                    demo/sounded.report.json"
	@echo "the recipe that remakes it    demo/sounded.recipe.json"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/watching.py synchresis/systems/pocket_weights/watcher.safetensors --stage 200 --real
	$(BIN)/python benchmarks/pocket_quality.py
	$(BIN)/python benchmarks/picture_timing.py --films 6
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/memory.py -- $(BIN)/synchresis picture {film} --overwrite --out {out}
	$(BIN)/python benchmarks/dit.py --seconds 10 --repetitions 4
	$(BIN)/python benchmarks/unet.py
	$(BIN)/python benchmarks/controlled_unet.py
	$(BIN)/python benchmarks/lova_cost.py
	$(BIN)/python benchmarks/av_align.py
	$(BIN)/python benchmarks/evaluate_memory.py

clean:
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
