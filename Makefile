# make demo   the embedded benchmark, from nothing to its table     make check   format, lint and types, as CI runs them
# make test   the whole test suite                                  make perf    how fast stacks train on this machine
#
# PYTHON=python3.12        another interpreter for .venv (3.11 or newer)
# TORCH_INDEX=URL          where pip looks for torch besides its usual index; empty: nowhere else
# ARGS="-n 0 -k registry"  handed on to pytest, to `pzsl-bench run` or to the benchmark

PYTHON ?= python3
TORCH_INDEX ?= auto
ARGS ?=
CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help demo test check perf

help:
	@sed -n '1,6s/^# \{0,1\}//p' Makefile

demo: .venv/installed
	.venv/bin/pzsl-bench run --grid quick $(ARGS)
	@echo 'To open MLflow: .venv/bin/mlflow ui, then the address above.'

test: .venv/installed-dev
	.venv/bin/pytest -n logical --dist worksteal --durations 10 $(ARGS)

# mypy cannot see through the hook of an editable install, so it gets the package as a tree of links.
check: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	@rm -rf build/types && mkdir -p build/types/pzsl_bench
	@cd build/types/pzsl_bench && ln -s ../../../bench/* ../../../methods ../../../datasets .
	MYPYPATH=build/types .venv/bin/mypy

perf: .venv/installed
	.venv/bin/python tools/perf.py $(ARGS)

.venv/installed: EXTRAS =
.venv/installed-dev: EXTRAS = [dev]

# PyPI's torch for Linux brings several GB of CUDA: without an NVIDIA driver the CPU builds are preferred, if they can be reached.
.venv/installed .venv/installed-dev: pyproject.toml .venv/bin/python
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
	@index='$(TORCH_INDEX)'; \
	if [ "$$index" = auto ]; then \
	  index=; \
	  if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && .venv/bin/python -c \
	    'import sys, urllib.request as web; web.urlopen(sys.argv[1], timeout=5)' $(CPU_INDEX)/torch/ 2>/dev/null; \
	  then index=$(CPU_INDEX); fi; \
	fi; \
	set -x; .venv/bin/python -m pip install -e '.$(EXTRAS)' $${index:+--extra-index-url "$$index"}
	@touch .venv/installed $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '$(PYTHON) is missing or older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
