# The two commands most people need: `make demo` and `make test`. Both work on a fresh checkout with Python 3.11+
# and a C compiler; everything they install goes into .venv.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
SECONDS ?= 60
# Tests wait for servers and disks more than they compute: so many at once, and two processors are busy.
WORKERS ?= 4
ARGS    ?=

FAST := $(shell find src/beast/_fast -name '*.[ch]' ! -name _core.c -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd')

.PHONY: demo test unit lint format bench bench-check sanitize fuzz wheel lock clean help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.built ## start a server with simulated exchanges and show live prices
	@exec $(BIN)/beast serve --demo $(ARGS)

test: $(VENV)/.built ## every test: Python, C, the server from outside
	$(MAKE) --no-print-directory --silent -C tests/c test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(ARGS)

unit: $(VENV)/.built ## the fast tests only
	$(BIN)/python -m pytest tests/unit tests/project $(ARGS)

lint: $(VENV)/.built ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.built ## rewrite the Python files in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sanitize: $(VENV)/.built ## the C tests under the address, undefined-behaviour and thread sanitizers
	$(MAKE) --no-print-directory --silent -C tests/c asan
	$(MAKE) --no-print-directory --silent -C tests/c tsan

fuzz: ## every fuzzer for SECONDS (60)
	$(MAKE) --no-print-directory --silent -C tests/fuzz run SECONDS=$(SECONDS)

bench: $(VENV)/.built ## measure this machine: micro benches, ingest, then the server beside its peers
	$(BIN)/python -m pytest bench/micro --benchmark-only -q
	$(MAKE) --no-print-directory -C bench/micro/c
	$(BIN)/python -m bench.ingest.run
	$(BIN)/python -m bench.load.run $(ARGS)

bench-check: $(VENV)/.built ## a short run beside the last one: better, worse or noise
	$(BIN)/python -m bench.load.run --rounds 5 --seconds 1 --only udp-distinct --only udp-pipelined --only http-keepalive
	$(BIN)/python -m bench.compare

wheel: $(VENV)/.built ## build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation

lock: $(VENV)/.installed ## write the lock files anew (needs uv)
	uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 pyproject.toml --group dev -o requirements-dev.lock
	uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 --group emulator -o requirements-emulator.lock

clean: ## remove everything that was built or installed
	rm -rf $(VENV) build dist src/*.egg-info src/beast/_fast/*.so src/beast/_fast/_core.c tests/c/build tests/fuzz/build bench/load/build bench/micro/c/build

$(VENV)/.installed: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Beast needs Python 3.11 or newer; set PYTHON=...")'
	@command -v $${CC:-cc} >/dev/null || { echo "Beast needs a C compiler (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py pyproject.toml $(FAST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
