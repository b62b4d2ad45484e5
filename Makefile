# nodeplane: 'make demo' shows it working, 'make test' tests it; both install what is missing first.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help setup venv demo test check bench lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Debian packages (root) and .venv
	@scripts/setup

venv:
	@scripts/setup --venv-only

demo: setup ## a three-node cluster; a client reaches a service by name
	@$(BIN)/netns-lab demo

test: setup ## everything: pure tables, namespaces, the lab
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: venv ## ruff, mypy --strict, layers; no root
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports

bench: setup ## every figure that the README quotes, as JSON lines
	@for script in $$(grep -l __main__ bench/[a-z]*.py); do $(BIN)/python $$script $(BENCH_ARGS) || exit 1; done

lock: venv ## renew requirements.lock from pyproject.toml
	@$(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv
	@.venv/lock/bin/uv pip compile --quiet --upgrade --extra lab --extra dev --generate-hashes --no-annotate \
		--no-header --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock

clean: ## remove labs, the virtualenv and caches
	@test ! -x $(BIN)/netns-lab || $(BIN)/netns-lab down --all
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
