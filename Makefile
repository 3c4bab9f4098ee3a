# Everything a developer does, by name. Needs Python 3.11 or newer and make; `make demo` and `make test` do the rest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# What .venv was made from: it is brought up to date when the lock or the project's own description is newer.
STAMP := $(VENV)/.up-to-date
# The tool that writes the lock. It is needed for nothing else, so it lives in a folder of its own.
LOCKER := uv==0.13.9

# Passed on to the program behind a target, as in: make test ARGS="tests/core -k retry"
ARGS ?=

.PHONY: help
help:  ## list what make can do (this)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP)  ## build .venv from requirements.lock, or bring it up to date

$(STAMP): requirements.lock pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh $(VENV)
	@touch $@

.PHONY: demo
demo: $(STAMP)  ## see it work: thousands of real files, failures, retries, a killed process (under a minute)
	@$(BIN)/celeriac demo $(ARGS)

.PHONY: fmt
fmt: $(STAMP)  ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: check
check: $(STAMP)  ## exactly CI's static part: ruff, formatting, mypy, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: $(STAMP)  ## run all tests; private Redis and RabbitMQ are started where their programs are found or can be had
	@$(BIN)/python tools/run_tests.py $(ARGS)

.PHONY: bench
bench: $(STAMP)  ## measure beside other task queues and the broker's own limit (ARGS="--short", "--guard", "--help")
	@$(BIN)/python -m bench $(ARGS)

.PHONY: torture
torture: $(STAMP)  ## break brokers, workers and connections, and count what becomes of the tasks
	@$(BIN)/celeriac torture $(or $(ARGS),--all)

.PHONY: docs
docs: $(STAMP)  ## build the documentation into build/docs
	$(BIN)/sphinx-build -q -W --keep-going -b html -d build/doctrees docs build/docs
	@echo "see build/docs/index.html"

.PHONY: lock
lock:  ## renew requirements.lock: the newest versions that pyproject.toml allows
	@tools/lock.sh "$(LOCKER)"

.PHONY: clean
clean:  ## remove what was built, but not .venv
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests tools docs -name __pycache__ -type d -prune -exec rm -rf {} +
