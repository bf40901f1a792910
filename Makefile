# make demo    see it work          make test   run all tests (ARGS="-k name" for some, JOBS=0 for one at a time)
# make lint    ruff, mypy, imports  make bench  the table of speeds, in an environment with the peers (minutes)
# Everything is installed into a virtual environment of its own; nothing needs to be there but Python 3.11 or later.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
JOBS   ?= 3

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SOURCE := pyproject.toml $(wildcard scripts/*.py)

.PHONY: demo test lint format bench clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict parkcos
	PYTHONPATH=. $(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.made
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) bench/.venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "parkcos needs Python 3.11 or later. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(SOURCE)
	@echo "Installing parkcos into $(VENV)"
	@$(PIP) -e '.[fast]' 2>/dev/null || $(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made $(SOURCE)
	@echo "Installing parkcos and what its tests need into $(VENV)"
	@$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made $(SOURCE)
	@echo "Installing parkcos and its developers' tools into $(VENV)"
	@$(PIP) -e '.[dev]'
	@touch $@
