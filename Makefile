# Works on a machine that has nothing but make and Python 3.11 or newer: every
# target that needs .venv makes it first, once per change of the lock.

PYTHON ?= python3
# Tests wait more than they compute: two workers for each of two cores.
WORKERS ?= 4
PYTEST_ARGS ?=
SOAK ?= full

VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced

# An active environment, or a uv set up for another project, must not redirect the installation.
unexport VIRTUAL_ENV
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
export UV_HTTP_TIMEOUT ?= 180
# The build tool comes from the lock, hash-checked, not from a temporary environment without one.
export UV_NO_BUILD_ISOLATION := 1

# A company's own authority is known to the system alone, not to uv, an old pip or npm.
CA_BUNDLE := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt \
  /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem))
ifneq ($(CA_BUNDLE),)
export UV_SYSTEM_CERTS ?= true
export PIP_CERT ?= $(CA_BUNDLE)
export NODE_EXTRA_CA_CERTS ?= $(CA_BUNDLE)
endif

# The tests of a file stay together: they share what is dear to start.
RUN_TESTS = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Prints the uv of uv.lock as a pip requirement with its hashes.
UV_REQUIREMENT = import tomllib; \
  packages = tomllib.load(open("uv.lock", "rb"))["package"]; \
  uv = next(package for package in packages if package["name"] == "uv"); \
  print("uv==" + uv["version"], *("--hash=" + wheel["hash"] for wheel in uv["wheels"]))

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint types docs unit wheel-test soak engine format bench lock clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

setup: $(SYNCED) ## install the locked dependencies into .venv (the others do it too)

demo: $(SYNCED) ## see it work: an offline gateway, no keys needed
	@$(BIN)/llmswitch try

test: lint types docs unit wheel-test ## everything that must pass before a commit lands

lint: $(SYNCED) ## ruff, that imports go one way, that the lock fits pyproject.toml and names only PyPI
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/uv lock --check --quiet
	@! grep -oE '[a-z]+://[^/"]+/' uv.lock | grep -vxE 'https://(pypi|files\.pythonhosted)\.org/' || \
	  { echo 'error: uv.lock names another host than PyPI -> unset UV_DEFAULT_INDEX and UV_INDEX, then run: make lock' >&2; exit 1; }

types: $(SYNCED) ## mypy --strict
	$(BIN)/mypy

docs: $(SYNCED) ## build the manual into build/docs; a broken link fails
	@# Without --clean, which would empty .cache, where the clients of the tests are.
	$(BIN)/zensical build --strict

unit: $(SYNCED) ## pytest with branch coverage (WORKERS=4, PYTEST_ARGS=...)
	$(RUN_TESTS) --cov -m 'not soak' $(PYTEST_ARGS)

wheel-test: $(SYNCED) ## build the wheel and use it in a clean environment, far from the checkout
	sh tests/wheel_smoke.sh

soak: $(SYNCED) ## what takes minutes: load, kills, broken machines, old clients (SOAK=small: a few rounds of each)
	SOAK=$(SOAK) $(RUN_TESTS) -m soak $(PYTEST_ARGS)

engine: $(SYNCED) ## what is relied on of LiteLLM, with the oldest, the newest and a newer one (30 minutes)
	WORKERS=$(WORKERS) $(BIN)/python -m tests.contract $(PYTEST_ARGS)

format: $(SYNCED) ## let ruff format and fix what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(SYNCED) ## measure the gateway, and others beside it (20 minutes)
	$(BIN)/python -m bench

lock: $(SYNCED) ## renew uv.lock after a change of pyproject.toml (LOCK_ARGS=--upgrade for newer versions)
	$(BIN)/uv lock $(LOCK_ARGS)

clean: ## remove .venv and everything generated
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SYNCED): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: `$(PYTHON)` is not Python 3.11 or newer -> install one, or name it: make PYTHON=python3.12' >&2; exit 1; }
	@echo 'Setting up $(VENV) from uv.lock (once per change of the lock) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@$(BIN)/python -c '$(UV_REQUIREMENT)' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	@# Twice, because without isolation the project can only be built once the build tool is there.
	@$(BIN)/uv sync --frozen --inexact --compile-bytecode --no-install-project $$([ -t 2 ] || echo --quiet)
	@$(BIN)/uv sync --frozen --quiet
	@touch $@
