# Everything runs from a bare clone: each target first makes .venv with the pinned packages.
#   make demo PYTHON=python3.12     another interpreter

PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.stamp
UV     := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup test test-long demo lint docs bench smac-env clean

help:
	@echo "make demo    train HAPPO and MAPPO-S on a small battle, print a table, draw a picture"
	@echo "make test    run the tests"
	@echo "make test-long  run the large ones: twenty kills, resuming, command lines by the hundred, robots and battles"
	@echo "make bench   measure the speed (hamljax bench)"
	@echo "make lint    check the style and the types"
	@echo "make docs    the pages and the reference as a site in docs/_site"
	@echo "make setup   only make $(VENV)"
	@echo "make smac-env   make .venv-smac, an environment of its own for StarCraft's SMAC"
	@echo "make clean   remove $(VENV)"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
	  { echo "hamljax needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not one of them; try: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifneq ($(UV),)
	$(UV) pip install --python $(VENV)/bin/python -c constraints.txt -e '.[dev]'
else
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
endif
	@touch $@

test: $(STAMP)
	$(VENV)/bin/python -m pytest -q

test-long: $(STAMP)
	$(VENV)/bin/python -m pytest -q -m long

demo: $(STAMP)
	$(VENV)/bin/python experiments/demo.py

docs: $(STAMP)
	$(VENV)/bin/python -m sphinx -q -E docs docs/_site
	@echo "open docs/_site/contents.html"

bench: $(STAMP)
	$(VENV)/bin/hamljax bench

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# SMAC needs a protobuf that wandb cannot live with, and some of its versions a numpy that still has numpy.bool.
# Python 3.8 to 3.10 parse that protobuf fastest; later ones work too.
SMAC_PYTHON ?= $(firstword $(foreach p,python3.10 python3.9 python3.8 $(PYTHON),$(if $(shell $(p) -c 1 2>/dev/null && echo yes),$(p))))

smac-env: .venv-smac/.stamp

.venv-smac/.stamp:
	$(SMAC_PYTHON) -m venv .venv-smac
	.venv-smac/bin/python -m pip install --disable-pip-version-check -q pysc2 'protobuf<3.21' 'numpy<2' 'numpy<1.24; python_version < "3.12"'
	@.venv-smac/bin/python -c 'from pysc2 import maps, run_configs; from pysc2.lib import protocol'
	@touch $@
	@echo "SMAC itself: .venv-smac/bin/python -m pip install git+https://github.com/oxwhirl/smac.git; then: hamljax doctor"

clean:
	rm -rf $(VENV) .venv-smac
