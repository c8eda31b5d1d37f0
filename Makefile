# Every command of this repository. Each target first sets up what it needs: a virtual environment in .venv, and nothing
# outside of it. PYTHON=… names the Python for it; without one, tools/venv.sh finds a Python that is new enough.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= 4
comma := ,
export PYTHONDONTWRITEBYTECODE :=  # or each gateway that a test starts would compile all its modules again

# `outdated`, a target without a file, if .venv has to be made again: its Python is gone, or PYTHON is another one.
OUTDATED := $(shell tools/venv.sh state $(VENV) "$(PYTHON)")

.DEFAULT_GOAL := help
.PHONY: help install demo generators test coverage scenarios chaos hostile clients check format docs bench bench-against bench-more bench-lists last-release lock sbom base-image clean outdated

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

install: $(STAMP)  ## set up .venv from requirements-dev.lock; PYTHON=path chooses the Python, also of the targets below

$(STAMP): requirements-dev.lock pyproject.toml $(OUTDATED)
	@tools/venv.sh make $(VENV) "$(PYTHON)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)  ## make a video through the sandbox; IMAGE=path, PROMPT=text, MODEL=name, SERVE=1 keeps the server
	@$(BIN)/video-gateway demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(PROMPT),--prompt "$(PROMPT)") \
		$(if $(MODEL),--model "$(MODEL)") $(if $(SERVE),--serve)

test: $(STAMP)  ## run every test
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder

coverage: $(STAMP)  ## run every test and measure the coverage; takes 1.5 times as long
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95

GENERATORS := tests/generators
generators: $(STAMP)  ## make clients of openapi/openapi.json with the usual generators, and use them; needs Node
	@test -d $(GENERATORS)/.venv || $(BIN)/python -m venv $(GENERATORS)/.venv
	$(GENERATORS)/.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(GENERATORS)/requirements.txt
	npm install --prefix $(GENERATORS)/node --no-audit --no-fund --no-package-lock --silent
	$(BIN)/python -m tests.generators.run

scenarios: $(STAMP)  ## print a table of provider behaviours and their outcome, each row checked with the sandbox
	$(BIN)/python -m tests.e2e.scenarios

chaos: $(STAMP)  ## kill the gateway at every dangerous moment under load, audit what it bought; DB=postgres CLIENTS= SEED= ROUNDS= ROUND= WINDOWS=a,b
	DB=$(DB) CLIENTS=$(CLIENTS) SEED=$(SEED) ROUNDS=$(ROUNDS) ROUND=$(ROUND) WINDOWS=$(WINDOWS) $(BIN)/python -m tests.chaos

hostile: $(STAMP)  ## attack a gateway, print what each attack costs, renew docs/hostile.md; STRICT=1 counts times, PARTS=shares,log; 4 minutes
	$(BIN)/python -m tests.hostile $(if $(STRICT),--strict) $(subst $(comma), ,$(PARTS))

clients: $(STAMP)  ## run client packages of Python and Node against the gateway, renew their tables in docs/clients.md
	$(BIN)/python -m tests.clients

check: $(STAMP)  ## lint, types, import rules, OpenAPI document, unclear phrases
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/video-gateway openapi --check openapi/openapi.json
	$(BIN)/python tools/prose.py

format: $(STAMP)  ## format the code, renew openapi/openapi.json
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/video-gateway openapi --output openapi/openapi.json

bench: $(STAMP)  ## measure the whole gateway process beside yardsticks, renew docs/figures.md; QUICK=1 PEERS=1 PARTS=requests,polls; 12 minutes
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(PEERS),--peers) $(subst $(comma), ,$(PARTS))

bench-against: $(STAMP)  ## the same beside the gateway of another checkout, in alternation: BASE=path QUICK=1 PARTS=; prints only
	$(BIN)/python -m bench --against "$(BASE)" $(if $(QUICK),--quick) $(subst $(comma), ,$(PARTS))

bench-more: $(STAMP)  ## archiving, notices, listeners, webhooks, intervals of polls; 7 minutes
	$(BIN)/python bench/archive.py
	$(BIN)/python bench/notice.py
	$(BIN)/python bench/listeners.py
	$(BIN)/python bench/webhooks.py
	$(BIN)/python -m bench.readings

bench-lists: $(STAMP)  ## lists of 1,000,000 generations beside lists of 1,000, and the health check meanwhile; 8 minutes
	$(BIN)/python -m bench.lists

BUILD := build/last-release
last-release: $(STAMP)  ## renew the wheel of the last release, which tests run beside this version; COMMIT=tag of the release
	@test -n "$(COMMIT)" || { echo "name the commit of the release: make last-release COMMIT=v0.1.0"; exit 2; }
	rm -rf $(BUILD) && mkdir -p $(BUILD)
	git archive "$(COMMIT)" | tar -x -C $(BUILD)
	cd $(BUILD) && SOURCE_DATE_EPOCH=1767225600 $(abspath $(BIN))/python -m hatchling build -t wheel -d dist
	rm -f tests/upgrade/*.whl
	mv $(BUILD)/dist/*.whl tests/upgrade/
	rm -rf $(BUILD)

COMPILE := pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host
lock: $(STAMP)  ## renew the lock files: versions with hashes, without the URL of an index
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-tools
	$(BIN)/$(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(BIN)/$(COMPILE) --constraint requirements-dev.lock --extra postgres --output-file requirements.lock pyproject.toml
	$(BIN)/$(COMPILE) --constraint requirements-dev.lock --extra postgres --extra demo --output-file requirements-demo.lock pyproject.toml

SBOM := cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible --output-format JSON
sbom: $(STAMP)  ## write what the images contain to build/, as CycloneDX, from the lock files
	@mkdir -p build
	$(BIN)/$(SBOM) --output-file build/video-gateway.cdx.json requirements.lock
	$(BIN)/$(SBOM) --output-file build/video-gateway-demo.cdx.json requirements-demo.lock

base-image:  ## compare the digest of the base image in Dockerfile with the registry's; needs docker
	tools/base_image.sh Dockerfile

clean:  ## remove everything that the targets made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist demo-output

docs: $(STAMP)  ## renew docs/generations.md from the sandbox
	$(BIN)/python docs/make.py
