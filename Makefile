# Every target works on a fresh machine: what it needs comes from `setup`, which runs once.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup test demo fix docs freeze clean

setup: $(READY)

# pip and hatchling come first: the pip of an older Python knows no dependency groups.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt pip hatchling
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --group dev --editable .
	touch $@

test: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile

demo: setup
	$(BIN)/cpt

fix: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup
	$(BIN)/python docs/generate.py

# Takes the versions that are installed now; the CPU build of torch has a tag that PyPI does not.
freeze: setup
	{ sed '/^$$/q' constraints.txt; $(PIP) freeze --all --exclude-editable --exclude setuptools \
		| sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv dist build
