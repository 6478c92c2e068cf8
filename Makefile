# On a machine with Python 3.11 or later and make: `make up` runs it, `make test` tests it.
# Paths stay relative, so that a checkout on a path with a space works.

.DEFAULT_GOAL := up
.PHONY: up test lint bench requirements clean
.NOTPARALLEL:

PYTHON ?= $(shell for p in python3.11 python3; do "$$p" -c "" 2>/dev/null && echo "$$p" && break; done)
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check
ARGS ?=

# An environment whose Python is gone is made again.
ifneq ($(shell .venv/bin/python -c "print(1)" 2>/dev/null),1)
.venv/.made: remake
.PHONY: remake
remake: ;
endif

up: .venv/.installed
	@.venv/bin/python manage.py up $(ARGS)

test: .venv/.installed-dev
	@.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	@# Without a server Django warns that it cannot compare with applied migrations.
	.venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

bench: .venv/.installed-bench
	@.venv/bin/python -m bench $(ARGS)

# requirements*.in say what the project uses; these pin all that it needs.
requirements: .venv/.installed-dev
	.venv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url \
		--output-file requirements.txt requirements.in $(ARGS)
	.venv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url \
		--output-file requirements-dev.txt requirements-dev.in $(ARGS)
	.venv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url \
		--output-file requirements-bench.txt requirements-bench.in $(ARGS)

# Stops the embedded servers and erases their data with all that was made.
clean:
	@if [ -x .venv/bin/python ] && [ -e var/servers.json ]; then \
		.venv/bin/python manage.py stack reset --yes; fi
	rm -rf .venv var staticfiles .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: Python 3.11 or later is needed, and there is no python3" >&2; exit 1; fi
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
		echo "error: Python 3.11 or later is needed; $(PYTHON) is older" >&2; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { \
		echo "Making .venv with $(PYTHON) …"; \
		"$(PYTHON)" -m venv --clear .venv || { \
			echo "error: Python's venv module is incomplete (on Debian: apt-get install python3-venv)" >&2; \
			exit 1; }; }
	@touch $@

.venv/.installed: .venv/.made requirements.txt
	@echo "Installing requirements.txt into .venv (a minute or two the first time) …"
	@$(PIP) install --progress-bar off -r requirements.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	@echo "Installing requirements-dev.txt into .venv …"
	@$(PIP) install --progress-bar off -r requirements.txt -r requirements-dev.txt
	@touch $@

.venv/.installed-bench: .venv/.installed requirements-bench.txt
	@echo "Installing requirements-bench.txt into .venv …"
	@$(PIP) install --progress-bar off -r requirements.txt -r requirements-bench.txt
	@touch $@
