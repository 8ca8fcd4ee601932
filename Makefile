# The front door for people who build. `make help` lists it.

VENV   ?= .venv
PYTHON ?= python3
PY     := $(VENV)/bin/python
AGENT  := build/firmware/posix/ygg-agent
PIP    := $(PY) -m pip install -q --disable-pip-version-check
STAMP  := $(VENV)/.installed
FUZZ_S ?= 60
HOSTILE_S ?= 300
# Most tests wait for processes: three workers keep two cores busy. A file stays with one worker.
PYTEST ?= -n 3 --dist loadfile
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup lock gen fmt lint types imports protos-check protos-release prose hooks release test test-inside test-python test-docker test-c agent demo docs drawings still up down size power-proof mutants fuzz hostile bench creds clean

help: ## what there is to make
	@grep -hE '^[a-z][a-z %-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup: ## Debian packages and the virtual environment; says what it installs
	@deploy/setup.sh
	@$(MAKE) --no-print-directory $(STAMP)
	@! test -d .git || git config --get core.hooksPath >/dev/null || echo "  to check the messages of your commits:  make hooks"

hooks: ## check the message of each commit in this checkout
	git config core.hooksPath tools/hooks

$(STAMP): pyproject.toml deploy/locks/dev.txt hatch_build.py $(shell find protos -name '*.proto' 2>/dev/null)
	@test -x $(PY) || { echo "  making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "  installing the Python packages (first time: a minute)"
	@$(PIP) --require-hashes -r deploy/locks/tools.txt
	@$(PIP) --require-hashes --no-build-isolation -r deploy/locks/dev.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(PY) hatch_build.py >/dev/null 2>&1
	@touch $@

lock: ## versions and hashes of all Python packages, deploy/locks; UPGRADE=1 takes newer ones
	@deploy/lock.sh $(if $(UPGRADE),--upgrade)

gen: $(STAMP) ## generate gen/ from protos/, and code and reference of errors from their catalogue
	@$(PY) hatch_build.py 2>/dev/null
	@$(PY) -m tools.error_catalogue

fmt: $(STAMP) ## format Python, C and protos
	ruff format .
	ruff check -q --fix .
	find firmware -name '*.[ch]' -exec clang-format -i {} +
	cd protos && buf format -w

lint: $(STAMP) protos-check imports ## every static check but types
	ruff format --check .
	ruff check .
	find firmware -name '*.[ch]' -exec clang-format --dry-run --Werror {} +
	$(PY) -m tools.prose --check

prose: $(STAMP) ## how often the habits in tools/prose.toml occur, and where
	@$(PY) -m tools.prose

types: $(STAMP) ## mypy, strict
	mypy services ygg hatch_build.py tools tests bench docs

imports: $(STAMP)
	lint-imports

protos-check: $(STAMP)
	cd protos && buf lint && buf format -d --exit-code
	cd protos && buf breaking --against released.binpb

protos-release: $(STAMP) ## at a release: today's protos become what later ones must not break
	cd protos && buf build --exclude-source-info -o released.binpb

release: $(STAMP) ## VERSION=0.2.0: changelog, wheel, firmware sizes, checksums in dist/, commit and tag; DRY_RUN=1 only builds
	@test -n "$(VERSION)" || { echo "  which version?  make release VERSION=MAJOR.MINOR.PATCH" >&2; exit 2; }
	@$(PY) -m tools.release $(VERSION) $(if $(DRY_RUN),--dry-run)

agent: $(AGENT) ## the posix agent, as ygg-agent in $(VENV)/bin

$(AGENT): $(STAMP) FORCE
	@$(MAKE) --no-print-directory -C firmware PYTHON=$(CURDIR)/$(PY) all
	@test ! -w $(VENV)/bin || ln -sfn $(CURDIR)/$(AGENT) $(VENV)/bin/ygg-agent
FORCE:

demo: setup agent ## the main job on real parts, no containers; KEEP=1 keeps it running
	@$(PY) -m ygg demo $(if $(KEEP),--keep)

docs: $(STAMP) ## the documents as a searchable site, build/docs
	@$(PY) -m sphinx -q -W --keep-going -d build/docs-cache -b html docs build/docs
	@echo "  build/docs/index.html"

drawings: $(STAMP) ## docs/drawings/*.svg from the text files beside them
	@$(PY) -m docs.site.drawings

still: setup agent ## docs/drawings/demo.svg from a run of the demo
	@{ echo '$$ make demo'; $(PY) -m ygg demo; } | sed 's/ *$$//' >docs/drawings/demo.terminal
	@$(PY) -m docs.site.drawings

test: ## the whole suite, in containers
	@deploy/run-tests.sh

test-inside: lint types test-c test-python ## the whole suite but what needs a Docker engine, right here

test-docker: $(STAMP) ## the tests that start containers of their own; deploy/run-tests.sh runs it in the test image
	$(PY) -m pytest -m docker tests

test-python: $(STAMP) agent ## unit, contract, integration and e2e tests
	$(PY) -m pytest -m 'not docker' $(PYTEST)

test-c: $(STAMP) ## the C tests under ASan and UBSan
	$(MAKE) -C firmware PYTHON=$(CURDIR)/$(PY) test

size: $(STAMP) ## flash and static RAM of core, wire and nanopb on rv32imc
	@$(MAKE) --no-print-directory -C firmware PYTHON=$(CURDIR)/$(PY) size

power-proof mutants: $(STAMP) ## power cut at every flash operation, twice over; the same with each check of the boot deleted
	@$(MAKE) --no-print-directory -C firmware PYTHON=$(CURDIR)/$(PY) $@

fuzz: $(STAMP) ## FUZZ_S seconds of libFuzzer and hypothesis each
	$(MAKE) -C firmware PYTHON=$(CURDIR)/$(PY) fuzz FUZZ_S=$(FUZZ_S)
	$(PY) -m tests.fuzz --seconds $(FUZZ_S)

hostile: $(STAMP) agent ## every hostile request to every RPC, then HOSTILE_S seconds of mutations
	HOSTILE_S=$(HOSTILE_S) $(PY) -m pytest -q tests/integration/hostile

bench: bench-demo bench-startup bench-link bench-registry bench-loki bench-ota ## every benchmark; writes bench/RESULTS.md

bench-%: $(STAMP) agent ## one benchmark; BENCH_QUICK=1 is the short one
	@$(PY) -c 'import asyncpg' 2>/dev/null || { echo "  installing what only benchmarks need"; \
		$(PIP) --require-hashes --no-build-isolation -r deploy/locks/bench.txt; }
	$(PY) -m bench.$*

up: ## the mesh in containers
	@deploy/offline/docker.sh && deploy/offline/base-image.sh
	docker compose up -d --wait --build

down: ## stop the containers; the data stays
	docker compose --profile demo --profile s3 down

creds: ## what grpcurl and `ygg --context compose` need to talk to the containers
	@deploy/creds.sh

clean: ## everything that was built; not the data of a mesh
	rm -rf build gen dist $(STAMP)
