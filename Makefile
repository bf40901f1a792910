# make demo    see it work          make test   run all tests (ARGS="-k name" for some, JOBS=0 for one at a time)
# make lint    ruff, mypy, imports  make bench  the table of speeds, in an environment with the peers (minutes)
# make fuzz    strange bytes and messages, longer than among the tests (SECONDS=600 for each fuzzer)
# make groups  the tests that need control groups of version 2, in a virtual machine (Debian, root; minutes)
# make lock    choose the newest version of everything, and write requirements/*.txt with their hashes
# make audit   look for known holes in what requirements/*.txt name, if their list can be reached
# make mutate  small changes that no test notices (FILES="parkcos/net/session/frames.py" SAMPLE=40 SEED=1 JOBS=2; long)
# Everything is installed into a virtual environment of its own; nothing needs to be there but Python 3.11 or later.
# DEPS says in which versions: `lock` as in requirements/*.txt; `newest` and `lowest` that pyproject.toml allows (the latter
# is in requirements/lowest.txt, for tests).  But for `newest`, pip takes only files with the hashes that are written there.

PYTHON ?= python3
DEPS   ?= lock
VENV   ?= .venv$(patsubst %,-%,$(filter-out lock,$(DEPS)))
ARGS   ?=
JOBS   ?= 3
FILES  ?=
SAMPLE ?= 300
SEED   ?= 0
SECONDS ?= 600

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
UV     := .venv-uv/bin/uv
AUDIT  := .venv-audit/bin/pip-audit
SOURCE := pyproject.toml $(wildcard scripts/*.py)

# Install parkcos with these extras: $(call install,LOCK FILE,EXTRAS).
install-lock   = $(PIP) --require-hashes -r requirements/$(1).txt && $(PIP) --no-deps --no-build-isolation -e .
install-newest = $(PIP) --upgrade --upgrade-strategy eager -e '.[$(2)]'
install-lowest = $(PIP) --require-hashes -r requirements/lowest.txt && $(PIP) --no-deps --no-build-isolation -e .
install        = $(if $(install-$(DEPS)),$(install-$(DEPS)),$(error DEPS=$(DEPS): it is lock, newest or lowest))

COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
           --custom-compile-command 'make lock'

.PHONY: demo test lint format bench lock audit mutate fuzz groups clean

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

mutate: $(VENV)/.installed-test
	$(BIN)/python -m tests.mutate --sample $(SAMPLE) --seed $(SEED) --jobs $(JOBS) $(FILES)

groups: $(VENV)/.installed-test
	$(BIN)/python -m tests.control_groups

fuzz: $(VENV)/.installed-test
	PARKCOS_FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/net/test_fuzz.py tests/security -k fuzz $(ARGS)

bench: $(VENV)/.made
	$(BIN)/python -m bench $(ARGS)

lock: $(UV)
	$(COMPILE) --upgrade -o requirements/dev.txt pyproject.toml --extra dev --extra fast --group build --group lock
	rm -f requirements/run.txt requirements/test.txt requirements/bench.txt requirements/uv.txt requirements/audit.txt \
	  requirements/lowest.txt
	$(COMPILE) -c requirements/dev.txt -o requirements/run.txt pyproject.toml --extra fast --group build
	$(COMPILE) -c requirements/dev.txt -o requirements/test.txt pyproject.toml --extra test
	$(COMPILE) -c requirements/dev.txt -o requirements/bench.txt pyproject.toml --extra fast --group bench
	$(COMPILE) -c requirements/dev.txt -o requirements/uv.txt --group lock
	$(COMPILE) -o requirements/audit.txt --group audit
	$(COMPILE) --resolution lowest-direct -o requirements/lowest.txt pyproject.toml --extra test

# What the peers in bench.txt need is theirs.
audit: $(AUDIT)
	@.venv-audit/bin/python .ci/audit.py $(filter-out requirements/bench.txt,$(wildcard requirements/*.txt))

clean:
	rm -rf .venv .venv-* bench/.venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "parkcos needs Python 3.11 or later. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(SOURCE) requirements/run.txt
	@echo "Installing parkcos into $(VENV)"
	@$(call install,run,fast)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made $(SOURCE) requirements/$(if $(filter lowest,$(DEPS)),lowest,test).txt
	@echo "Installing parkcos and what its tests need into $(VENV)"
	@$(call install,test,test)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made $(SOURCE) requirements/dev.txt
	@echo "Installing parkcos and its developers' tools into $(VENV)"
	@$(call install,dev,dev)
	@touch $@

$(UV): requirements/uv.txt
	@$(PYTHON) -m venv .venv-uv
	@.venv-uv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

$(AUDIT): requirements/audit.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@
