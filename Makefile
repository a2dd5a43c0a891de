# One entry for everything: `make demo`, `make quick`, `make test`, `make setup`, `make check`, `make docs`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: exhaustive torture walkthrough cluster setup demo docs example quick test check lint format types clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt xraycls/loaders/_kernels.c
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "xraycls needs Python 3.11, 3.12 or 3.13; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/python -m uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev]' || \
		$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

# Every step of the SSD example, on so little that its last words are what falls short.
example: setup
	rm -rf build/example
	@PATH="$(CURDIR)/$(BIN):$$PATH" FILMS=96 OTHERS=64 SIZE=64 FIRST=1 EPOCHS=1 AGAIN=1 sh examples/siim_ssd.sh build/example || \
		test -d build/example/found/images_annotated

# The pages, as a site in build/site; a broken link is an error.
docs: setup
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# While you work: lint, types and the fast tests of the stages that differ from main.
quick: check
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not walkthrough and not exhaustive and not cluster" $$($(BIN)/python -m tests.quick)

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not exhaustive and not walkthrough and not cluster"

# The whole way: the wheel in an empty environment, notebooks, kills, engines beside each other, long walks of commands.
walkthrough: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "walkthrough and not exhaustive"

# Sweeps by Ray Tune on a cluster of two processes, with a killed worker and a killed driver. Ray is 200 MB, so it isn't in
# the extra "dev"; the tests are stopped after ten minutes.
cluster: setup
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt 'ray[tune]'
	timeout 600 $(BIN)/python -m pytest -m cluster tests/workflows/test_sweep_ray.py

# What make test leaves out: every network on every backbone, whole sets of real films, benchmark scripts, several
# processes; over an hour on two cores.
exhaustive: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m exhaustive

# The campaign of tests/robustness: a kill at every instant of every writer, 100,000 damaged files for the readers.
torture: setup
	$(BIN)/python -m tests.robustness

check: lint types

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
