# The only interface: `make help` lists what there is. Needs nothing but python3 (3.11 or newer) and make.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help dev demo qstash test check bench lock docs build test-runtime bootstrap synth diff deploy-secrets deploy destroy clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: .venv/desk  ## run everything on this machine: Postgres, QStash, functions, mailbox
	@$(BIN)/jobs dev $(ARGS)

demo: .venv/desk  ## enqueue one of everything, wait until all is settled, print the table
	@$(BIN)/jobs demo

qstash: .venv/desk  ## run the local QStash alone, for an app of any language
	@$(BIN)/jobs qstash $(ARGS)

test: .venv/test  ## run all tests, two files at a time
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/test  ## format, lint, types, architecture, generated docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m infra.docs --check

docs: .venv/test  ## renew what is made from the code: parts of the docs, the picture, the list of logical ids
	@$(BIN)/python -m infra.docs
	@$(BIN)/python -m infra.aws.drawing
	@$(BIN)/python -m tests.infra.logical_ids

bench: .venv/test  ## measure, print the table, write build/benchmarks.json
	@$(BIN)/python -m tests.benchmarks $(ARGS)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header pyproject.toml
IN_LAYER = $$(grep -oE '^[a-z0-9-]+' requirements/layer.txt | sed 's/^/--no-emit-package /')

GROUPS = $(shell $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"])')
# The functions for which there is a group of their name, in pyproject.toml.
WITH_LIBRARIES = $(filter $(subst _,-,$(patsubst functions/%/handler.py,%,$(wildcard functions/*/handler.py))),$(GROUPS))
RUNS_ALL = --extra enqueue --extra serve $(addprefix --group ,$(WITH_LIBRARIES))

# The tests' requirements are the widest, so they are solved first, and the others are cut out of them.
lock: .venv/bin/python  ## renew the pinned requirements
	@$(BIN)/python -m pip install --quiet 'uv==0.13.9'
	@$(COMPILE) --upgrade $(RUNS_ALL) --group test --output-file requirements/test.txt
	@$(COMPILE) --constraint requirements/test.txt --extra enqueue --extra serve --output-file requirements/layer.txt
	@$(COMPILE) --constraint requirements/test.txt $(RUNS_ALL) --group desk --output-file requirements/desk.txt
	@$(COMPILE) --constraint requirements/test.txt $(RUNS_ALL) --group desk --group aws --output-file requirements/deploy.txt
	@mkdir -p infra/deployment && $(COMPILE) --constraint requirements/test.txt --group deployment $(IN_LAYER) --output-file infra/deployment/requirements.txt
	@$(foreach group,$(WITH_LIBRARIES),$(COMPILE) --constraint requirements/test.txt --group $(group) $(IN_LAYER) --output-file functions/$(subst -,_,$(group))/requirements.txt &&) true

build: .venv/deploy  ## build what a deployment uploads: make build [CONTEXT="-c architecture=x86_64"]
	@$(BIN)/python -m infra.build $(patsubst architecture=%,--architecture %,$(filter architecture=%,$(CONTEXT))) $(ARGS)

test-runtime: .venv/test  ## run the built packages on Lambda's own runtime, emulated
	@$(BIN)/python -m pytest tests/integration/build tests/runtime $(ARGS)

# CDK's command line is fetched by the Node of a Python package, in the version that infra/aws/node.py pins.
CDK = $(BIN)/python -m infra.aws.node
OF_STAGE = -c stage=$(STAGE) $(CONTEXT)
OR_UNPROTECT = || { $(BIN)/python -m infra.aws.after_failure; exit 1; }
# Every stack that a stage can have, whatever the context said when it was deployed.
OF_ANY_STAGE = -c database=aurora -c reserved_concurrency=options -c aurora_max_acu=256

bootstrap: .venv/deploy  ## prepare an AWS account and region for CDK, once
	@$(BIN)/python -m infra.aws.bootstrap

synth: .venv/deploy build  ## make the CloudFormation of a stage: make synth STAGE=staging [CONTEXT="-c name=value"]
	@$(CDK) synth --quiet $(OF_STAGE)

diff: .venv/deploy build  ## what a deployment of the stage would change
	@$(CDK) diff $(OF_STAGE)

deploy-secrets: .venv/deploy build  ## deploy the stage's secrets alone, empty, to be filled before the rest
	@$(CDK) deploy Secrets --exclusively --require-approval never $(OF_STAGE) $(OR_UNPROTECT)

deploy: .venv/deploy build  ## deploy the stage: migrations, functions, schedules, and a probe that goes the whole way
	@$(CDK) deploy --all --require-approval never --outputs-file build/outputs-$(STAGE).json $(OF_STAGE) $(OR_UNPROTECT)

destroy: .venv/deploy build  ## remove the stage; its secrets, files and a snapshot of Aurora stay
	@$(CDK) destroy App Database $(OF_STAGE) $(OF_ANY_STAGE)

clean:  ## remove the virtual environment, local state and build results
	@if [ -x $(BIN)/jobs ]; then $(BIN)/jobs clean; fi
	rm -rf .venv .local build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.13" if sys.version_info < (3, 11) else 0)'
	@echo "Creating .venv ..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

# `jobs` is a word of the shell as well; once .venv is activated, this checkout's command is meant.
define JOBS_OF_THE_SHELL
jobs() {
    if [ -x "$${VIRTUAL_ENV:-}/bin/jobs" ]; then "$$VIRTUAL_ENV/bin/jobs" "$$@"; else command jobs "$$@"; fi
}
endef
export JOBS_OF_THE_SHELL

# A stamp for each purpose: the pinned requirements and this checkout, importable, with the `jobs` command.
.venv/desk .venv/deploy .venv/test: .venv/%: requirements/%.txt pyproject.toml | .venv/bin/python
	@echo "Installing what '$*' needs (once; about half a minute) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/$*.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m infra.cli "$$@"\n' > $(BIN)/jobs && chmod +x $(BIN)/jobs
	@grep -q '^jobs()' $(BIN)/activate || printf '%s\n' "$$JOBS_OF_THE_SHELL" >> $(BIN)/activate
	@touch $@
