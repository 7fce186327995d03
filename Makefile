# One verb per need. Everything lives in .venv; the lock files carry a hash for every package (torch: see the end).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps
PIP := $(BIN)/python $(INSTALL) --require-hashes
TORCH := .venv-torch
TORCH_PINS = $(shell sed -nE 's/^ *"(torch(vision)?==[0-9.]+)".*/\1/p' pyproject.toml)
COMPILE := .venv-lock/bin/pip-compile --quiet --generate-hashes --strip-extras \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
PROMETHEUS := 2.42.0+ds-5+deb12u1
PROMETHEUS_SHA256 := 81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55
PURELIB := import sysconfig; print(sysconfig.get_path("purelib"))
GPU_PYTHON ?= python3
GPU_TARGET ?= tensorrt
PROFILE ?= smoke
SCALE ?= 1
# Tests of one file stay together, in one process: they share what took long to open.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile
.DEFAULT_GOAL := help
.PHONY: help built demo serve test test-fast check chaos bench bench-engines bench-gpu load load-peers load-overhead load-page measure-service bench-scaling capacity weights engines graphs models render lock tools clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/serve built ## all five flows over HTTP on samples/; writes out/demo/index.html
	$(BIN)/python -m demo

serve: $(VENV)/serve built ## the server on 127.0.0.1:8000, until Ctrl-C
	$(BIN)/python -m api serve

test: $(VENV)/dev ## everything: units, all flows on the default weights, a Ray cluster, HTTP end to end, networks
	-$(MAKE) --no-print-directory tools
	$(MAKE) --no-print-directory --jobs 2 built $(TORCH)/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not torch and not cluster"
	$(BIN)/python -m pytest -m "cluster and not torch and not long"
	$(TORCH)/bin/python -m pytest -m "torch and not long"

test-fast: $(VENV)/dev ## the part without weights or cluster, five minutes on two cores
	$(BIN)/python -m pytest -m "not weights and not cluster and not shared and not torch"

check: $(VENV)/dev ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy modiste weights compile deployments graphs api demo loadtests k8s
	$(BIN)/lint-imports

chaos: $(VENV)/dev built ## ends parts of servers under load; SOAK_MINUTES=30 for a long one; writes docs/reliability.md
	CHAOS_RESULTS=loadtests/results/chaos $(BIN)/python -m pytest tests/chaos || failed=1; \
	  $(BIN)/python -m loadtests.reliability; exit $${failed:-0}

bench: $(VENV)/dev ## server, overhead and video figures into loadtests/results/ and docs/performance.md
	$(BIN)/python -m weights fetch
	$(BIN)/python -m loadtests serving

bench-engines: $(VENV)/dev $(TORCH)/ready ## every network on this CPU: eager, float32, bfloat16 (half an hour; goes on where it stopped)
	$(BIN)/python -m weights fetch
	-$(TORCH)/bin/python -m deployments speed tests/kits
	$(BIN)/python -m compile build
	-$(BIN)/python -m compile build --precision bfloat16
	$(BIN)/python -m compile report --json > loadtests/results/engines.json
	$(BIN)/python -m loadtests page

bench-gpu: ## every network and the flows on this machine's GPU; GPU_PYTHON has torch for CUDA, and TensorRT where it can
	$(GPU_PYTHON) -m loadtests.gpu --target $(GPU_TARGET)

measure-service: $(VENV)/dev built ## deployments/service.json: what every model and flow takes here; seven minutes, wants a quiet machine
	$(BIN)/python -m loadtests.scaling service

bench-scaling: $(VENV)/dev ## docs/scaling.md: growth under one flow's load, predictions against measurements; 15 minutes
	$(BIN)/python -m loadtests.scaling seen
	$(BIN)/python -m loadtests.scaling growth
	$(BIN)/python -m loadtests.scaling predicted

MIX ?= virtual_model=0.6,sketch_search=0.4
P95 ?= 0.8
capacity: $(VENV)/dev ## machines that RATE requests a second need, by simulation: RATE=8 [MIX=flow=share,...] [P95=0.8]
	$(BIN)/python -m loadtests.scaling capacity --rate $(RATE) --mix $(MIX) --p95 $(P95)

load: $(VENV)/dev built ## a load test: PROFILE=smoke|steady|spike|soak|breakpoint [TARGET=http://...] [SCALE=4] [DURATION=60]
	$(BIN)/python -m loadtests.load $(PROFILE) --scale $(SCALE) \
	  $(if $(TARGET),--target $(TARGET)) $(if $(DURATION),--duration $(DURATION))

load-peers: $(VENV)/dev .venv-litserve/ready .venv-bentoml/ready built ## our server beside LitServe and BentoML, 20 minutes [DURATION=15 of each load]
	$(BIN)/python -m loadtests.peers.compare virtual_model $(if $(DURATION),--seconds $(DURATION))
	$(BIN)/python -m loadtests.peers.compare sketch_search $(if $(DURATION),--seconds $(DURATION))
	$(BIN)/python -m loadtests.load.page

load-overhead: $(VENV)/dev ## HTTP and a flow around a model that does nothing, by how Ray is set up; three minutes
	$(BIN)/python -m loadtests.echo $(if $(DURATION),--seconds $(DURATION))
	$(BIN)/python -m loadtests.load.page

load-page: $(VENV)/dev ## docs/load.md from the results of the three above
	$(BIN)/python -m loadtests.load.page

weights: $(VENV)/serve ## fetch and verify the default weights
	$(BIN)/python -m weights fetch
	$(BIN)/python -m weights verify

engines: $(VENV)/serve ## build the engines for this machine
	$(BIN)/python -m compile build

graphs: $(TORCH)/ready ## the graphs of MODISTE_EDITION=paper, from the official checkpoints in the store
	$(TORCH)/bin/python -m deployments export

models: $(VENV)/serve ## write docs/models.md from the specs
	$(BIN)/python -m deployments models > docs/models.md

render: $(VENV)/dev ## write the Kubernetes manifests from the specs, dashboards and alerts into k8s/
	$(BIN)/python -m k8s render
	$(BIN)/python -m k8s.monitoring

lock: ## pin the dependencies of pyproject.toml again, with a CPU build of torch where pip looks
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools
	$(COMPILE) --allow-unsafe -o requirements/serve.lock pyproject.toml
	$(COMPILE) --allow-unsafe --extra dev -c requirements/serve.lock -o requirements/dev.lock pyproject.toml
	$(COMPILE) --unsafe-package torch --unsafe-package torchvision --extra torch \
	  -c requirements/serve.lock -c requirements/dev.lock -o requirements/torch.lock pyproject.toml
	$(COMPILE) --allow-unsafe -c requirements/serve.lock -o loadtests/peers/litserve.lock loadtests/peers/litserve.in
	$(COMPILE) --allow-unsafe -o loadtests/peers/bentoml.lock loadtests/peers/bentoml.in

tools: .tools/prometheus ## Prometheus from Debian's registry, for the tests of what it scrapes and of its rules

clean: ## remove environments and outputs, not the cache of weights and engines
	rm -rf $(VENV) $(TORCH) .venv-lock out

# What every command that serves needs.
built: $(VENV)/serve
	$(BIN)/python -m weights fetch
	$(BIN)/python -m compile build

# Needs apt, and no rights.
.tools/prometheus:
	@mkdir -p .tools
	cd .tools && apt-get download -qq prometheus=$(PROMETHEUS)
	echo "$(PROMETHEUS_SHA256)  .tools/prometheus_$(PROMETHEUS)_amd64.deb" | sha256sum --check --quiet
	dpkg -x .tools/prometheus_$(PROMETHEUS)_amd64.deb $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "expected Python 3.11, got " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/serve: requirements/serve.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements/serve.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: requirements/dev.lock $(VENV)/serve
	$(PIP) -r requirements/dev.lock
	@touch $@

# Serving never imports torch, so it has an environment of its own, on top of the serving one: its packages and the
# project itself come from there. Torch and torchvision are pinned by version only and installed apart: the CPU build
# of a version has other bytes than the registry's default, so no one hash is right, and the latter brings CUDA's
# libraries along. Everything else that they need is in the lock.
$(TORCH)/ready: requirements/torch.lock $(VENV)/serve
	$(PYTHON) -m venv $(TORCH)
	echo "import site; site.addsitedir('$$($(BIN)/python -c '$(PURELIB)')')" \
	  > $$($(TORCH)/bin/python -c '$(PURELIB)')/serving.pth
	$(TORCH)/bin/python $(INSTALL) --require-hashes -r requirements/torch.lock
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH_PINS)
	@touch $@

# Hosts to compare with, on top of the serving environment as well; what they pin differently comes first there.
.venv-%/ready: loadtests/peers/%.lock $(VENV)/serve
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(INSTALL) --ignore-installed --require-hashes -r $<
	echo "import site; site.addsitedir('$$($(BIN)/python -c '$(PURELIB)')')" \
	  > $$(.venv-$*/bin/python -c '$(PURELIB)')/serving.pth
	@touch $@
