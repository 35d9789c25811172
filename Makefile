# make run    the service on http://127.0.0.1:8080, with a local AWS beside it
# make test   everything that can run on this machine
# make deploy the pipeline and the service on AWS: make deploy REPOSITORY=owner/name (docs/deploy.md)
# make token  an access token of the local AWS: make token USER=bob
#
# What takes long, and keeps its result in docs/figures.md or docs/attacks.md:
# make bench    this image beside others, and how its cost grows
# make attack   10,000 slow clients
# make rolling  20 replacements behind a load balancer
# make chaos    200 random kills (as root)
# make soak     1,000,000 requests
.PHONY: run token deploy test lint format clean bench attack rolling chaos soak image

PYTHON ?= python3
BIN := .venv/bin

run:
	@local/run

token: USER = alice
token:
	@$(PYTHON) -m local.token $(USER)

deploy: .venv/installed
	@PATH="$$PATH:$(CURDIR)/$(BIN)" infra/deploy

test: .venv/installed
	@local/nginx-installed
	@$(BIN)/python -m pytest -n 2

lint: .venv/installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile local/Dockerfile
	@$(BIN)/shellcheck local/run local/nginx-installed .ci/run infra/deploy
	@$(BIN)/cfn-lint -- infra/*.yml
	@$(BIN)/python -m tests.lint_nginx

format: .venv/installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/installed image
	@$(BIN)/python -m bench.compare
	@$(BIN)/python -m bench.growth
	@$(BIN)/python -m bench.start --write

attack rolling soak: .venv/installed image
	@$(BIN)/python -m bench.$@

chaos: .venv/installed image
	@$(BIN)/python -m bench.chaos --image

image:
	@docker build -q -t tinystacks/flask-crud-app:latest . >/dev/null

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -m venv .venv || { echo "python3 with its venv module is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing the development tools into .venv" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
