PORT ?= 8501
# The first interpreter at hand that TensorFlow has wheels for.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin

# TensorFlow's start-up messages; a value that is set already stays.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: app test test-all wheel image docs fuzz lint format bench browser lock clean

app: .venv/installed  ## start the dashboard on PORT
	$(BIN)/streamlit run app/streamlit_app.py --server.port $(PORT)

# Processes that share the tests: each begins with a part of its own, and then takes from the other.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal --durations 10

test: .venv/installed-dev browser  ## everything that fits into eight minutes on two cores
	$(PYTEST) -m "not slow"

test-all: .venv/installed-hub browser  ## everything; builds the wheel and tries it elsewhere
	$(PYTEST)

wheel: .venv/installed  ## build dist/*.whl, which pip install takes
	rm -rf build
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

docs: .venv/installed-docs  ## build the site of docs/ into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir site

ROOT ?= build/root

image:  ## build the image and try its cell; without an engine, its steps in a Debian root
	if command -v docker; then docker build --tag autoinit . && docker run --rm autoinit autoinit serve --check; \
	else sh deploy/without_engine.sh $(ROOT); fi

MINUTES ?= 10

fuzz: .venv/installed-dev  ## throw mutated model files and results at what reads them, for MINUTES
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed-hub browser  ## print the figures of benchmarks/
	$(BIN)/python -m benchmarks

browser: .venv/installed-dev
	bash tests/e2e/install_browser.sh

LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

lock: .venv/installed-dev  ## pin the newest versions of requirements*.in, on the oldest Python
	$(BIN)/pip install --quiet pip-tools
	$(LOCK) --output-file requirements.txt requirements.in
	$(LOCK) --output-file requirements-dev.txt requirements-dev.in
	$(LOCK) --output-file requirements-hub.txt requirements-hub.in
	$(LOCK) --output-file requirements-docs.txt requirements-docs.in

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment without pip is one whose making was cut short.
.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found." \
		"Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

.venv/installed-docs: requirements-docs.txt .venv/installed
	$(BIN)/pip install --quiet -r requirements-docs.txt
	touch $@

.venv/installed-hub: requirements-hub.txt .venv/installed-dev
	$(BIN)/pip install --quiet -r requirements-hub.txt
	touch $@
