# `make run` shows the project at work, `make test` checks it; each prepares .venv first, once.
# Without a GPU: make run PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
ARGS ?=

VENV := .venv
PIP_INSTALL := $(VENV)/bin/python -m pip install -q --disable-pip-version-check $(PIP_ARGS)

.PHONY: run test format clean

run: $(VENV)/run.stamp
	$(VENV)/bin/python train_render.py $(ARGS)

test: $(VENV)/test.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

format: $(VENV)/test.stamp
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV)

# The stamps, not the folder, say what is installed: an interrupted install is begun again.
$(VENV)/bin/python:
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -r requirements.txt
	touch $@

$(VENV)/test.stamp: requirements-dev.txt requirements-optional.txt requirements.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -r requirements-dev.txt
	touch $@ $(VENV)/run.stamp
