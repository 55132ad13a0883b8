# The two commands: `make demo` runs the whole product on a simulated plant, `make test` proves it.
# Needs Python 3.11 or newer and make; everything else is installed into .venv (and, for tests, with apt where root).

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
ROUNDS ?= 10
MINUTES ?= 30
SEED ?= 1
DAYS ?= 30
SEEDS ?= 20

.PHONY: help demo install test lint bench drills soak simulate lock nodeset clean

help:
	@echo "make demo [ARGS='--speed 10 --no-browser']   run a simulated site: plant, control, OPC UA server, panel"
	@echo "make test                                   install what tests need and run all of them"
	@echo "make install                                make .venv with the command 'ems'"
	@echo "make drills [ROUNDS=10]                     do to a running site what may go wrong, again and again"
	@echo "make simulate [DAYS=30 SEEDS=20]            random sites with random faults in virtual time; invariants hold, or it fails"
	@echo "make soak [MINUTES=30 SEED=1]               random drills and clients for long; flat memory, no slip, or it fails"
	@echo "make lint | bench | lock | nodeset | clean"

demo: .venv/installed
	@$(BIN)/ems demo $(ARGS)

install: .venv/installed
	@echo "installed: $(BIN)/ems"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; found: $$($(PYTHON) --version)"; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { rm -rf .venv; sh tests/system.sh python3-venv && $(PYTHON) -m venv .venv; }

.venv/installed: .venv/bin/python requirements.lock pyproject.toml
	@echo "installing into .venv (once, about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/tested: .venv/installed requirements-test.lock tests/peers/package-lock.json tests/system.sh
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@sh tests/system.sh chromium fonts-dejavu-core mbpoll nodejs npm postgresql || true
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix tests/peers || \
		echo "npm could not install node-opcua: tests against it will be skipped"; fi
	@touch $@

# A whole running site for each test: one after the other. All else shares the cores.
ALONE := tests/drills tests/e2e tests/soak

test: .venv/tested lint
ifdef ARGS
	@$(BIN)/pytest $(ARGS)
else
	@$(BIN)/pytest -q -n auto --dist loadfile $(ALONE:%=--ignore=%); shared=$$?; $(BIN)/pytest -q $(ALONE) && exit $$shared
endif

lint: .venv/tested
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/tested
	@$(BIN)/ems bench control
	@$(BIN)/ems bench opcua
	@$(BIN)/ems bench idle

drills: .venv/tested
	@$(BIN)/pytest tests/drills --rounds $(ROUNDS) $(ARGS)

simulate: .venv/tested
	@$(BIN)/python -m tests.simulation --days $(DAYS) --seeds $(SEEDS)

soak: simulate
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

# Lock files carry versions and hashes, and no address of any index.
lock: .venv/bin/python
	@$(BIN)/pip install --quiet pip-tools
	@$(BIN)/pip-compile $(LOCK) --output-file requirements.lock pyproject.toml
	@$(BIN)/pip-compile $(LOCK) --extra test --constraint requirements.lock --output-file requirements-test.lock pyproject.toml
LOCK := --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links --build-deps-for editable --resolver=backtracking

nodeset: .venv/installed
	@$(BIN)/python -m nodesets.generate

clean:
	rm -rf .venv build dist ./*.egg-info tests/peers/node_modules
