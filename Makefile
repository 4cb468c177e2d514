# Two commands: `make run` starts the platform, `make test` proves it. The rest serves people who work on it.

# The first Python new enough; PYTHON=… chooses another.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; exit; }; done; echo python3)
endif
IN_VENV = .venv/bin/python
WITH_SERVERS = exec $(IN_VENV) -m config.embedded.exec
THROWAWAY = $(WITH_SERVERS) --throwaway --

.DEFAULT_GOAL := help
.PHONY: help run test check lint format bench drill drills screenshots vendor clean python runtime tools

help:  ## say what there is
	@awk '/^[a-z]+:.*## / {split($$1, name, ":"); sub(/.*## /, ""); printf "make %-12s %s\n", name[1], $$0}' Makefile

run: runtime  ## start the platform and everything it needs; Ctrl-C stops it
	@exec $(IN_VENV) -m config.embedded.run

test: tools  ## run every check and every test, on servers of its own
	@$(THROWAWAY) sh .ci/check

lint: tools  ## the checks alone, without tests
	@$(THROWAWAY) sh .ci/check --lint-only

format: tools  ## put the code in its shape
	@$(IN_VENV) -m ruff check --fix --quiet . ; $(IN_VENV) -m ruff format .

bench: tools  ## measure: NAME=orders-http, or all without NAME
	@$(WITH_SERVERS) -- python manage.py bench $(NAME)

drill: tools  ## run one: NAME=feed-faults or 6, SEED=1, SABOTAGE=1 for its negative control
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && DATA_DIR="$$folder" $(IN_VENV) -m config.embedded.exec -- \
	python manage.py drill $(NAME) --seed $(or $(SEED),1) $(if $(SABOTAGE),--sabotage)

drills: tools  ## every drill in its full dose
	@$(THROWAWAY) python -m pytest -m long -n 0

screenshots: tools  ## take the pictures of the README
	@$(THROWAWAY) python -m tests.screenshots

vendor: tools  ## fetch what the pages are made of again, and check it (needs npm)
	@$(IN_VENV) deploy/refresh_vendor.py

clean:  ## remove what was built; the database in .data stays
	rm -rf .venv staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .data/tests

python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Tickhouse needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo missing); PYTHON=/path/to/python3.11 chooses another." >&2; exit 1; }

runtime: python
	@"$(PYTHON)" -I config/embedded/install.py requirements.txt

tools: python
	@"$(PYTHON)" -I config/embedded/install.py requirements.txt requirements-dev.txt
