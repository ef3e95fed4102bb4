# Every target makes what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SBOM := $(VENV)/sbom/bin/cyclonedx-py
PYTEST := $(BIN)/python -m pytest --durations=10
export RAY_USAGE_STATS_ENABLED := 0
export RAY_AUTH_MODE ?= disabled

.PHONY: setup demo test test-slow test-gpu soak settings lint licenses audit sbom docs format bench lock clean

setup: $(STAMP)

# The venv is made without ensurepip (absent on a bare Debian); the system's pip installs into it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "dakpn is ready: $(BIN)/dakpn --help"

$(SBOM): constraints.txt | $(STAMP)
	$(PYTHON) -m venv --without-pip $(VENV)/sbom
	$(PYTHON) -m pip --python $(VENV)/sbom/bin/python install --quiet --constraint constraints.txt cyclonedx-bom
	@touch $@

demo: setup
	$(BIN)/dakpn demo $(DEMO_ARGS)

test: setup
	$(PYTEST) -n 2 -m "not slow and not soak"

test-slow: setup $(SBOM)
	$(PYTEST) -n 2 -m "slow and not soak"

soak: setup
	$(PYTEST) -m soak

# Every stage and command on one GPU, with a table of figures; elsewhere a sentence that it was skipped.
test-gpu: setup
	$(BIN)/python -m tests.gpu

bench: setup
	$(BIN)/python -m benchmarks $(BENCH)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

licenses: setup
	$(BIN)/pip-licenses

# Known vulnerabilities of what constraints.txt pins; an error too where the advisories cannot be reached.
audit: setup
	$(BIN)/python .ci/audit.py --must-reach

# What an environment made from constraints.txt consists of (CycloneDX). The image brings its own.
sbom: setup $(SBOM)
	@mkdir -p build
	$(SBOM) environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python

# The API reference, from the docstrings.
docs: setup
	$(BIN)/pdoc --docformat google --output-directory build/api ./dakpn ./cluster ./workflows

# The tables of settings in the documents, from the config classes.
settings: setup
	$(BIN)/python -m tests.setting_tables

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Refresh constraints.txt from a clean resolution of pyproject.toml; torch stays pinned by hand.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv --without-pip .venv-lock
	$(PYTHON) -m pip --python .venv-lock/bin/python install --quiet pip setuptools wheel
	.venv-lock/bin/python -m pip install --quiet 'torch==2.13.0' --editable '.[dev,sbom]'
	.venv-lock/bin/python -m pip freeze --all --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) runs
