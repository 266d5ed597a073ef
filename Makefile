# Two targets do everything: `make demo` shows it, `make test` proves it. Nothing is installed outside this directory
# but what PREWARM_TEST_CACHE keeps between runs (default ~/.cache/prewarm-tests).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help venv demo test unit check bench wheel clean

help:  ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml ci/venv.sh
	@PYTHON='$(PYTHON)' ci/venv.sh '$(VENV)'
	@touch $@

venv: $(VENV)/.ready  ## Make the development environment

demo: venv  ## Capture a real template, reuse it, change it, open it
	@PATH="$(abspath $(BIN)):$$PATH" ci/demo.sh

test: venv  ## Set up everything that the tests need, and run them all
	@ci/test.sh '$(VENV)' $(ARGS)

unit: venv  ## Run the tests that need nothing but Python
	@$(PYTEST) -q tests/unit $(ARGS)

check: venv  ## What CI runs before the tests: ruff, mypy, import-linter
	@ci/check.sh '$(VENV)'

bench: venv  ## Measure, as ratios against a named floor or peer
	@ci/bench.sh '$(VENV)' $(ARGS)

wheel: venv  ## Build the wheel and the sdist into dist/
	@$(BIN)/python -m pip -q --disable-pip-version-check wheel --no-deps -w dist .

clean:  ## Take away what make made here
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
