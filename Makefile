# Tidegate. `make` alone lists what there is; whatever a target needs, it sets up by itself.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
SHELL := bash
MAKEFLAGS += --no-print-directory

VENV    := .venv
BIN     := $(VENV)/bin
# Stamps: newer than what they were installed from, or installed again.
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
BENCH   := $(VENV)/.bench-installed
# In an environment of its own, for its pins are not ours.
LITELLM := .venv-litellm/.installed

PROTOS  := $(wildcard proto/tidegate/*/*.proto)
SOURCES := $(wildcard services operator charts tests bench)
# The release that the protocol must stay compatible with, once there is one.
RELEASE  = $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)
AGAINST  = .git\#tag=$(RELEASE),subdir=proto
# Narrowed down by `make unit TESTS=tests/unit/chassis` and the like.
TESTS    = tests/$@
# Test processes beside each other, each with modules of its own; 0: all in one, for a debugger.
PARALLEL = 3
# Those of the cache need data sets: `make bench-cache`.
BENCHES := $(filter-out cache_% operator_%,$(patsubst bench/%.py,%,$(wildcard bench/[a-z]*.py)))

PIP     := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
           --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)
# What the image holds of it: no plots, and the build backend apart.
IMAGE   := pyproject.toml --extra cache --extra local --extra operator --extra otel
OURS    := pyproject.toml --extra cache --extra local --extra operator --extra otel --extra plot --group build

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(DEV) ## Make .venv with everything that development needs
	@echo "$(VENV) is ready"

# Programs and, where they are called otherwise, their packages: for clients' tests, then for the node.
PROGRAMS := node:nodejs npm chromium \
            containerd runc buildah debootstrap nft:nftables ip:iproute2 openssl \
            /usr/lib/cni/ptp:containernetworking-plugins
.PHONY: deps
deps: ## Install what some tests need besides (Debian and its like): Node, Chromium, containerd, promtool, ...
	@for program in $(PROGRAMS); do \
	  command -v $${program%:*} >/dev/null || missing+=" $${program#*:}"; \
	done; \
	command -v promtool >/dev/null || promtool=" promtool"; \
	[ -n "$$missing$$promtool" ] || { echo "All that tests need is here"; exit; }; \
	command -v apt-get >/dev/null || { echo "Install these by hand:$$missing$$promtool" >&2; exit 1; }; \
	echo "Installing$$missing$$promtool"; \
	[ "$$(id -u)" = 0 ] || root=sudo; \
	$$root apt-get -qq update && \
	{ [ -z "$$missing" ] || \
	  $$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing >/dev/null; } && \
	{ [ -z "$$promtool" ] || { $(install_promtool); }; }

.PHONY: up
up: $(RUNTIME) ## Start the whole platform on this machine (Ctrl-C stops it)
	@exec $(BIN)/tidegate up

.PHONY: check
check: $(DEV) ## Format, lint, types, layers, protocol: everything but tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint proto
	$(BIN)/hadolint Dockerfile
	$(BIN)/python charts/readme.py --check
	$(if $(RELEASE),$(BIN)/buf breaking proto --against '$(AGAINST)')
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(MAKE) proto STUBS="$$fresh" && \
	diff -r -x __init__.py -x __pycache__ "$$fresh/tidegate/v1" services/tidegate/v1 || \
	{ echo "The committed stubs are not what the protocol says: run 'make proto'." >&2; exit 1; }

.PHONY: format
format: $(DEV) ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

STUBS := services
.PHONY: proto
proto: $(DEV) ## Generate services/tidegate/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=$(STUBS) --pyi_out=$(STUBS) --grpc_python_out=$(STUBS) \
	  --mypy_grpc_out=quiet,only_async:$(STUBS) $(PROTOS)

.PHONY: lock
lock: $(DEV) ## Resolve pyproject.toml into the lock files (UPGRADE=--upgrade for the newest)
	$(COMPILE) $(OURS) -o requirements.lock
	$(COMPILE) $(OURS) --group dev --constraints requirements.lock -o requirements-dev.lock
	$(COMPILE) $(OURS) --group bench --constraints requirements-dev.lock -o requirements-bench.lock
	$(COMPILE) $(IMAGE) --constraints requirements.lock -o requirements-image.lock
	$(COMPILE) --group build --constraints requirements.lock -o requirements-build.lock
	$(COMPILE) requirements-litellm.in --only-binary :all: -o requirements-litellm.lock

.PHONY: unit
unit: $(DEV) ## Test values, projections and policies: no processes
	$(BIN)/pytest -n $(PARALLEL) --dist loadfile $(TESTS)

.PHONY: contract
contract: $(DEV) ## Test what other teams build on: gRPC, HTTP, WebSocket, SSE
	$(BIN)/pytest $(TESTS)

.PHONY: integration
integration: $(DEV) ## Test against real servers, which the tests start by themselves
	$(BIN)/pytest -n $(PARALLEL) --dist loadfile $(TESTS)

# So long, and with this seed first (SEED=4711); without one, another each time.
SECONDS_OF_CHAOS = 600
SEED =
CHAOS = $(BIN)/python -m tests.chaos
.PHONY: chaos
chaos: $(DEV) ## Kill, freeze and cut everything under load, and judge (SEED=N TOPOLOGY=one|always|three SOAK=yes)
	$(CHAOS) $(if $(SEED),--seed $(SEED)) $(if $(TOPOLOGY),--topology $(TOPOLOGY)) $(if $(ROUND),--round $(ROUND)) \
	  $(if $(SOAK),--soak) --seconds $(SECONDS_OF_CHAOS)

.PHONY: short-chaos
short-chaos: $(DEV) ## The same with 1,000 jobs over three seeds, the same each time, in two minutes
	$(CHAOS) --seed $(or $(SEED),1) --seconds 1 --jobs 1000 --round 334

.PHONY: test
test: check unit contract integration short-chaos ## Everything that must pass before landing

.PHONY: cluster
cluster: $(DEV) ## Start a real Kubernetes node on this machine, with the image (Linux, root)
	@$(BIN)/python -m tests.bed up

.PHONY: cluster-down
cluster-down: $(DEV) ## End it, and whatever a killed test run has left
	@$(BIN)/python -m tests.bed down

# Tests in a cluster wait for it, and no stack says what for.
PATIENT := -o faulthandler_timeout=0
.PHONY: cluster-test
cluster-test: $(DEV) ## Test the chart against a real API server
	$(BIN)/pytest $(PATIENT) tests/cluster

.PHONY: e2e
e2e: $(DEV) ## Test the product in real pods, on a node of its own (Linux, root)
	$(BIN)/pytest $(PATIENT) tests/e2e

.PHONY: bench
bench: $(BENCH) $(if $(filter litellm,$(BENCHES)),$(LITELLM)) ## Measure everything but the cache (35 minutes), or BENCHES=one_of_them
	@for bench in $(BENCHES); do \
	  echo "== $$bench" && $(BIN)/python -m bench.$$bench || failed+=" $$bench"; \
	done; \
	[ -z "$$failed" ] || { echo "Not as it should be:$$failed" >&2; exit 1; }

# Where Banking77 (banking77_train.csv, banking77_test.csv; PolyAI, CC BY 4.0) and CLINC150
# (clinc_data_full.json; clinc/oos-eval, CC BY 3.0) are.
DATA = data
.PHONY: bench-cache
bench-cache: $(BENCH) ## Measure the cache: right and wrong hits, savings, speed (DATA=folder)
	@for bench in cache_quality cache_streams cache_lookups cache_store cache_embed; do \
	  echo "== $$bench" && CACHE_DATA=$(DATA) $(BIN)/python -m bench.$$bench || exit; done

.PHONY: bench-autoscaler
bench-autoscaler: $(DEV) ## Replay load traces: the operator's decisions beside KEDA's, simulated
	@$(BIN)/python -m bench.autoscaler --plot docs/images

.PHONY: clean
clean: ## Remove what make and the tools made, .venv included
	rm -rf $(VENV) $(dir $(LITELLM)) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Wheels only, each checked against its hash: nothing is compiled, and nothing unlocked is fetched,
# the build backend included.

$(DEV): requirements-dev.lock $(RUNTIME)
	@$(call install_locked,requirements-dev.lock,what development needs)
	@touch $@

$(BENCH): requirements-bench.lock $(DEV)
	@$(call install_locked,requirements-bench.lock,what the benches compare with)
	@touch $@

$(LITELLM): requirements-litellm.lock $(BIN)/python
	@$(BIN)/python -m venv --clear --without-pip $(@D)
	@$(call install_locked,requirements-litellm.lock,what bench.litellm compares with,$(@D))
	@touch $@

$(RUNTIME): requirements.lock pyproject.toml $(BIN)/python
	@$(call install_locked,requirements.lock,what the platform needs)
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  exec "$$python" -m venv --clear $(VENV); \
	done; \
	echo "Tidegate needs Python 3.11 or newer, and none was found on the PATH." >&2; \
	echo "Install one (Debian: python3.11 and python3.11-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	exit 1

# Out of its package, for that would start a Prometheus on this machine.
define install_promtool
cd "$$(mktemp -d)" && trap 'rm -rf "$$PWD"' EXIT && apt-get -qq -o APT::Sandbox::User=root download prometheus && \
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && \
$$root install promtool /usr/local/bin
endef

# $(1): a lock file. $(2): what it is, in words. $(3): an environment other than $(VENV). Says which
# packages it fetches and how large they are.
define install_locked
set -o pipefail; echo "Installing $(2)"; \
$(PIP) $(if $(3),--python $(3)) install --require-hashes --only-binary :all: --no-deps --progress-bar off --requirement $(1) | \
awk '/^ *(Downloading|Using cached) .*whl/ {sub(/^.*(Downloading|Using cached) /, ""); \
       split($$1, wheel, "-"); print "  " wheel[1], wheel[2], $$2, $$3; fflush()} \
     /^Installing collected/ {print "  Unpacking " split($$0, _, ",") " packages"; fflush()}'
endef
