# make run: the service on http://127.0.0.1:8080, with a local AWS beside it
# make test: everything that can run on this machine
.PHONY: run test lint format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PORT ?= 8080

run: $(VENV)/installed
	@bin/run

# lint and test need the same tools
$(VENV)/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -m venv $(VENV) || { echo "python3 with its venv module is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

test: $(VENV)/installed
	@$(BIN)/python -m pytest

lint: $(VENV)/installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

format: $(VENV)/installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
