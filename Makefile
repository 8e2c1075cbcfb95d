# ROW: a set of versions in constraints/. PYTHON: a Python that the row allows.
# TORCH: a version other than the row's, or `installed` for the PyTorch of PYTHON.
PYTHON ?= python3
ROW ?= default
TORCH ?=

.PHONY: help setup demo test lint matrix docs links gpu-kit clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-8s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install everything into .venv (make setup ROW=onedl, TORCH=2.12.0, TORCH=installed)
	@$(PYTHON) tools/setup_env.py --row $(ROW) $(TORCH)

demo: setup  ## train a small detector on the built-in shapes
	.venv/bin/python tools/demo.py

test: setup  ## run the tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

lint: setup  ## check code and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

matrix:  ## test the wheel in a row of docs/compatibility.md (make matrix ROW=oldest)
	@$(PYTHON) tools/matrix.py $(ROW)

docs: setup  ## build the documentation into docs/_build/html; warnings are errors
	OMP_NUM_THREADS=1 .venv/bin/python -m sphinx -q -W --keep-going -n -b html docs docs/_build/html

links: setup  ## check the links to other sites
	.venv/bin/python -m sphinx -q -b linkcheck docs docs/_build/links

gpu-kit: setup  ## pack benchmarks/gpu.py for a GPU machine without network
	.venv/bin/python benchmarks/gpu_kit.py

clean:  ## remove .venv, the built documentation, and the output of training and demo
	rm -rf .venv .venv.lock build docs/_build work_dirs data/shapes gpu_kit gpu_kit.tar.gz
