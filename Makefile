# make run    the service on http://127.0.0.1:8080, with a local AWS beside it
# make test   everything that can run on this machine
# make deploy the pipeline and the service on AWS: make deploy REPOSITORY=owner/name (docs/deploy.md)
# make token  an access token of the local AWS: make token USER=bob
.PHONY: run token deploy test lint format clean

PYTHON ?= python3
BIN := .venv/bin

run:
	@local/run

token: USER = alice
token:
	@LOCAL_AWS_URL=http://127.0.0.1:$${LOCAL_AWS_PORT:-8081} $(PYTHON) -m local.token $(USER)

deploy: .venv/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" infra/deploy

test: .venv/installed
	@local/nginx-installed
	@$(BIN)/python -m pytest

lint: .venv/installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile local/Dockerfile
	@$(BIN)/shellcheck local/run local/nginx-installed .ci/run infra/deploy
	@$(BIN)/cfn-lint -- infra/*.yml

format: .venv/installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -m venv .venv || { echo "python3 with its venv module is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing the development tools into .venv" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
