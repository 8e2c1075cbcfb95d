# The environment of `make setup` in an image.
#
#   docker build -t convnext-mm .
#   docker run --rm -v "$PWD/data:/app/data" -v "$PWD/work_dirs:/app/work_dirs" convnext-mm \
#       .venv/bin/python tools/doctor.py
#
# For a GPU: an image of CUDA with nvcc, and the PyTorch build for the same CUDA.
#
#   docker build -t convnext-mm:cuda \
#       --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 --build-arg INDEX= \
#       --build-arg TORCH_CUDA_ARCH_LIST="8.0 9.0" .
#   docker run --rm --gpus all convnext-mm:cuda .venv/bin/python tools/doctor.py

ARG BASE=debian:12-slim
FROM ${BASE}

# Debian 12 has Python 3.11, Ubuntu 24.04 has 3.12. The row `default` allows both.
# Debian removes old versions of its packages, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates g++ git make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 user && install -d -o user -g user /app
USER 10001
WORKDIR /app

# `make setup` reads these files only, so that another change does not compile MMCV again.
COPY --chown=user Makefile setup.py pyproject.toml README.md ./
COPY --chown=user tools/setup_env.py tools/
COPY --chown=user constraints constraints
COPY --chown=user convnext_mm/__init__.py convnext_mm/

ARG ROW=default
# An index beside PyPI. This one has PyTorch without CUDA; empty, PyPI's PyTorch has CUDA.
ARG INDEX=https://download.pytorch.org/whl/cpu
# Without a GPU in sight, MMCV compiles its CUDA operators only if it is told for which ones.
ARG TORCH_CUDA_ARCH_LIST=
RUN if [ -n "$INDEX" ]; then export PIP_EXTRA_INDEX_URL="$INDEX"; fi \
    && if [ -n "$TORCH_CUDA_ARCH_LIST" ]; then export TORCH_CUDA_ARCH_LIST FORCE_CUDA=1; fi \
    && export PIP_NO_CACHE_DIR=1 \
    && make setup ROW="$ROW" \
    && rm -rf "$HOME/.cache"

COPY --chown=user . .
CMD [".venv/bin/python", "tools/doctor.py"]
