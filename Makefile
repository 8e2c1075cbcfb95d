# PYTHON: 3.11 or 3.12. TORCH: a version, or `installed` for the one that PYTHON imports.
PYTHON ?= python3
TORCH ?= 2.13.0

.PHONY: help setup demo test lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv with everything in it (make setup TORCH=2.12.0, TORCH=installed)
	@$(PYTHON) tools/setup_env.py $(TORCH)

demo: setup  ## train a small detector on the built-in shapes
	.venv/bin/python tools/demo.py

test: setup  ## run the tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

lint: setup  ## check code and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:  ## remove .venv and what training and the demo wrote
	rm -rf .venv .venv.lock work_dirs data/shapes
