# Every target sets up what it needs in .venv; a second run installs nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
SETUP  := settings.ini setup.py constraints.txt

.PHONY: help quickstart demo test lab docs clean
help:
	@echo "make quickstart   a dataset from the demo sources; ends with the path of an HTML report"
	@echo "make demo         a small generator trained from scratch on the demo's templates, and what it writes (about five minutes)"
	@echo "make test         notebooks clean and in step with the modules, nbdev_test, pytest"
	@echo "make lab          JupyterLab with this project's kernel"
	@echo "make docs         all notebooks and the quickstart's report as a searchable site in site/"

$(VENV)/python.ok:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "instructgen needs Python 3.11 or newer; found $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/base.ok: $(VENV)/python.ok $(SETUP)
	@echo "installing instructgen and what it needs into $(VENV) (once, some minutes)"
	@$(PIP) torch
	@$(PIP) setuptools wheel
	@$(PIP) -e .
	@touch $@

$(VENV)/dev.ok: $(VENV)/base.ok
	@echo "installing the development tools into $(VENV) (once)"
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/docs.ok: $(VENV)/base.ok
	@echo "installing the documentation tools into $(VENV) (once)"
	@$(PIP) -e '.[docs]'
	@touch $@

quickstart: $(VENV)/base.ok
	@$(BIN)/instructgen run quickstart

demo: $(VENV)/base.ok
	@$(BIN)/instructgen run bonito_model

test: $(VENV)/dev.ok
	@$(BIN)/python tests/check_notebooks.py
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nbdev_test --n_workers 2
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests

lab: $(VENV)/base.ok
	@$(BIN)/jupyter lab --notebook-dir=. nbs/reports/quickstart.ipynb

docs: $(VENV)/docs.ok
	@rm -rf build/quickstart
	@$(BIN)/instructgen run quickstart --out build/quickstart
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python nbs/_site/build.py build/quickstart

clean:
	rm -rf $(VENV) build dist site _docs _proc *.egg-info
