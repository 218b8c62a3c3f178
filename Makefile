# Two commands matter: `make report` and `make test`. Each makes .venv first if it has to.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Each target installs what it needs, in the versions of requirements.lock.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq -c requirements.lock

# The first Python on the PATH that this project runs on; `make report PYTHON=...` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$python && break; done)

# `make report PROFILE=smoke|quick|paper`; left out, `awm report` decides.
PROFILE ?=
# `make report RETRAIN=1` trains everything anew.
RETRAIN ?=
# `make test PYTEST_ARGS="-k report"`
PYTEST_ARGS ?= -n auto --dist loadfile

.PHONY: help report test attack bench lab app lint clean

help:
	@echo 'make report [PROFILE=smoke|quick|paper] [RETRAIN=1]'
	@echo '              run the notebooks and write images/ and report/index.html'
	@echo '              (PROFILE left out: paper where its artefacts are committed, else quick;'
	@echo '              RETRAIN=1: use no trained artefact, train everything from scratch)'
	@echo 'make test     run the tests   [PYTEST_ARGS="-k report"]'
	@echo 'make bench    measure simulator, closed loop, dream, training and collection against their'
	@echo '              peers, and write report/benchmarks.html (EnvPool takes part if installed)'
	@echo 'make lab      open the notebooks in JupyterLab'
	@echo 'make app      open the inspector with Voilà: rollouts, latents, dreams, attention, evolution'
	@echo 'make lint     check style, format and types'
	@echo 'make clean    remove caches and build products; with PROFILE=smoke|quick|paper also'
	@echo '              that profile'\''s data/. Keeps data/pretrained, images/, report/, $(VENV)'
	@echo 'make attack   damage 10,000 files and kill 100 runs: about half an hour'
	@echo 'make help     this text'
	@echo
	@echo 'Each makes $(VENV) first and installs into it what it needs, in the versions of'
	@echo 'requirements.lock (PYTHON=... picks the interpreter). More commands, one for each stage: $(BIN)/awm --help'

report: $(VENV)/.core
	$(BIN)/awm report $(if $(PROFILE),--profile '$(PROFILE)') \
		$(if $(filter-out 0 no false,$(RETRAIN)),--retrain)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

attack: $(VENV)/.test
	AWM_ATTACK=10000 AWM_KILLS=100 $(BIN)/python -m pytest -n0 -rP tests/store/test_attack.py tests/store/test_kills.py

bench: $(VENV)/.test
	for name in simulator closed_loop dreaming training collection scaling page; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; done

lab: $(VENV)/.core
	$(BIN)/jupyter lab --notebook-dir=notebooks

app: $(VENV)/.app
	$(BIN)/voila app/inspector.ipynb --Voila.auto_token=True

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

# Installed again only when the pinned versions or the package's metadata change.
$(VENV)/.core: requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: Python 3.11, 3.12 or 3.13 is needed, and none is on the PATH" \
			"(python3 is: $$(python3 --version 2>&1))." \
			"Install one, or name it: make $(or $(MAKECMDGOALS),report) PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "error: Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		exit 2; \
	}
	@echo 'installing requirements.lock into $(VENV) (this once; it takes some minutes)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation -e .
	@touch $@

# What an extra of pyproject.toml needs besides.
$(VENV)/.test $(VENV)/.app: $(VENV)/.%: $(VENV)/.core
	@$(PIP_INSTALL) --no-build-isolation -e '.[$*]'
	@touch $@

clean:
	@case '$(PROFILE)' in \
		'') ;; \
		smoke|quick|paper) echo 'removing data/$(PROFILE)'; rm -rf 'data/$(PROFILE)' ;; \
		*) echo "error: there is no profile '$(PROFILE)'. Choose one of: smoke, quick, paper." >&2; \
			exit 2 ;; \
	esac
	@echo 'removing caches and build products (kept: data/, images/, report/, $(VENV))'
	@rm -rf build dist .pytest_cache .ruff_cache .report-*
	@find app awm notebooks tests benchmarks \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} + 2>/dev/null || true
