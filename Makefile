# Everything runs in .venv, which the first target that needs it makes. Settings:
#   PYTHON=python3.12   the interpreter of a new .venv (3.11 or newer); default: the first one found
#   WORKERS=4           how many processes run the tests; default: one a processor core, for test-all one more; at most 8
#   TORCH_INDEX=URL     where the CPU-only build of PyTorch is looked for when the configured package index lacks it
# On Linux the default build of PyTorch brings gigabytes of CUDA libraries, so a machine without an NVIDIA GPU gets the CPU build.

VENV := .venv
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
HAS_TORCH = from importlib.metadata import version; import sys; sys.exit(version("torch").split("+")[0] != "$(TORCH_VERSION)")
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$p && exit; done; echo python3)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH := torch==$(TORCH_VERSION)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
WORKERS ?= logical
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder
METADATA := setup.cfg pyproject.toml constraints.txt

# Else each process of the tests compiles every module again, for half a minute in all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all soak lint bench bench-all clean

help:
	@echo "make demo      the whole pipeline on the embedded generator, into demo/"
	@echo "make test      the fast tests;  make test-all  all of them"
	@echo "make soak      50 faults of each kind (FAULTS=200 make soak: more), and a table of what they came to"
	@echo "make lint      ruff and mypy; .pre-commit-config.yaml has them too"
	@echo "make bench     speed and memory beside a baseline;  make bench-all  every table of docs/performance.md"
	@echo "make clean     remove .venv, demo/ and caches"

setup: $(VENV)/installed

demo: setup
	$(BIN)/dgan demo --out demo

test: setup
	$(PYTEST) -m "not slow"

# Slow tests wait for processes that they have started: with one test a core, a quarter of the time was idle.
test-all: WORKERS := $(if $(filter logical,$(WORKERS)),$$(( $$(getconf _NPROCESSORS_ONLN) + 1 )),$(WORKERS))
test-all: setup
	$(PYTEST)

soak: setup
	FAULTS=$${FAULTS:-50} $(PYTEST) tests/faults

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks

bench-all: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks --all

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: $(METADATA)
	@$(PYTHON) -c '$(IS_NEW_ENOUGH)' 2>/dev/null || \
	{ echo "error: $(PYTHON) is missing or older than Python 3.11; install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -c 'import pip; $(IS_NEW_ENOUGH)' 2>/dev/null || { echo "creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python -c '$(HAS_TORCH)' 2>/dev/null || { $(INSTALL_TORCH); }
	@echo "installing dgan and its tools into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	@$(PIP) install -c constraints.txt -e '.[dev,bench]'
	@touch $@

# The label +cpu is of builds for Linux alone; other systems have no CUDA libraries to avoid.
define INSTALL_TORCH
if [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1; then \
	echo "installing $(TORCH)"; $(PIP) install -c constraints.txt "$(TORCH)"; \
else \
	echo "installing $(TORCH)+cpu"; \
	$(PIP) install -c constraints.txt "$(TORCH)+cpu" 2>/dev/null || \
	$(PIP) install -c constraints.txt --retries 1 --timeout 20 --extra-index-url "$(TORCH_INDEX)" "$(TORCH)+cpu" 2>/dev/null || \
	{ echo "no CPU-only build of $(TORCH) found: installing the default build, which may bring CUDA libraries (gigabytes)"; \
	  $(PIP) install -c constraints.txt "$(TORCH)"; }; \
fi
endef
