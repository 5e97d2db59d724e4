# `make demo` runs the default experiment, `make test` runs the tests and checks; both make .venv first.
# `make docs` builds the site into .site. `make findings` runs the experiments of docs/findings.md over three seeds,
# and writes that page.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test docs findings clean

demo: .venv/demo
	$(BIN)/compat run specs/routing.yaml

test: .venv/test
	$(BIN)/python -m pytest -n 2 --dist loadgroup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/test
	$(BIN)/mkdocs build

findings: .venv/test
	$(BIN)/compat run specs/critical_step.yaml
	$(BIN)/compat run specs/routing.yaml --set "seeds=[0,1,2]"
	$(BIN)/compat run specs/layers.yaml
	$(BIN)/python docs/findings.py results.db

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot]"
	touch $@

.venv/test: .venv/demo plugins/compat-ray/pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" --editable plugins/compat-ray
	touch $@

clean:
	rm -rf .venv .site .compat results.db*
