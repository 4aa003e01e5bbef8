# Everything a newcomer runs. `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-all test-gpu fuzz bench-data bench-train bench-coverage bench-eval bench-unlike bench-serve bench-triage bench-tune accuracy wheel lint format lock clean

PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
IMAGES ?=

# Tests that start a Ray run one after the other; the others run beside them (tests/conftest.py).
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

export RAY_USAGE_STATS_ENABLED = 0

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: .venv/.runtime ## the whole flow on synthetic lesions, or on IMAGES=DIR
	$(BIN)/python -m jobs.demo --output demo $(if $(IMAGES),--images "$(IMAGES)")

serve: .venv/.runtime ## the page and the HTTP service of the demo's checkpoint
	$(BIN)/python -m jobs.deploy --checkpoint demo/last.json

test: .venv/.dev ## the tests, but for those that take minutes
	$(BIN)/python -m pytest -m "not slow and not gpu" $(IN_PARALLEL)

test-all: .venv/.dev ## every test that needs no GPU
	$(BIN)/python -m pytest -m "not gpu" $(IN_PARALLEL)

test-gpu: .venv/.dev ## those that need a CUDA device
	$(BIN)/python -m pytest -m gpu

fuzz: .venv/.dev ## five minutes of coverage-guided fuzzing of the decoder
	$(BIN)/pip install --quiet 'atheris>=3'
	$(BIN)/python -m tests.fuzz.decoder -max_total_time=300 -rss_limit_mb=2048

bench-data: .venv/.dev ## preparation and the near-duplicate search beside their peers; nothing else may run
	$(BIN)/python -m benchmarks.preparation
	$(BIN)/python -m benchmarks.near_duplicates
	$(BIN)/python -m benchmarks.formats

bench-train: .venv/.dev ## training beside a hand-written loop and torchvision's way; nothing else may run
	$(BIN)/python -m benchmarks.training $(if $(IMAGES),--images "$(IMAGES)")
	$(BIN)/python -m benchmarks.training --scale
	$(BIN)/python -m benchmarks.depthwise

bench-coverage: .venv/.dev ## how often the intervals hold the truth, into docs/coverage.md; goes on where it was ended
	mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.coverage --work build/coverage.jsonl --write docs/coverage.md

bench-eval: .venv/.dev ## evaluation beside a plain loop, and the figures of 100,000 predictions; nothing else may run
	$(BIN)/python -m benchmarks.evaluation

bench-unlike: .venv/.dev ## scores that tell images unlike those of training, on CHECKPOINT and its prepared dataset DATA
	$(BIN)/python -m benchmarks.unlike --checkpoint "$(CHECKPOINT)" --data "$(DATA)"

bench-serve: .venv/.dev ## the service beside one uvicorn process with ONNX Runtime; nothing else may run
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.runtimes

bench-triage: .venv/.dev ## batch triage beside a plain loop, and the worklist in a browser; nothing else may run
	$(BIN)/python -m benchmarks.triage
	$(BIN)/python -m benchmarks.worklist

bench-tune: .venv/.dev ## a sweep beside its trials and beside Optuna alone, on DATA or drawn lesions; nothing else may run
	$(BIN)/python -m benchmarks.tuning $(if $(DATA),--data "$(DATA)")

accuracy: .venv/.dev ## hours: the recipes on the images below DATA, into docs/results.md; goes on where it was ended
	$(BIN)/python -m benchmarks.accuracy --data "$(DATA)" --work "$(WORK)"

lint: .venv/.dev ## style, format, types and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: .venv/.runtime ## the package as dist/*.whl, which cluster.yaml installs on every node
	rm -rf dist
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build/lib build/bdist.* melanoma_ray.egg-info

format: .venv/.dev ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: build/lock-venv/bin/python ## freeze the newest versions that pyproject.toml allows
	build/lock-venv/bin/pip install .
	$(call freeze,requirements.lock)
	build/lock-venv/bin/pip install '.[dev]'
	$(call freeze,requirements-dev.lock)
	rm -rf build melanoma_ray.egg-info

clean: ## remove the environment, the demo and every cache
	rm -rf .venv demo dist build melanoma_ray.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find melanoma_ray jobs tests -name __pycache__ -prune -exec rm -rf {} +

# A stamp is older than its lock when the lock has changed: then pip brings the environment up to date.
.venv/.runtime: requirements.lock | .venv/bin/python
	$(BIN)/pip install --quiet -r $<
	touch $@

.venv/.dev: requirements-dev.lock | .venv/bin/python
	$(BIN)/pip install --quiet -r $<
	touch $@

%/bin/python:
	@"$(PYTHON)" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 with venv is needed; on Debian 12: apt-get install python3.11 python3.11-venv"; exit 1; }
	"$(PYTHON)" -m venv $*

define freeze
{ echo '# Exact versions that `make lock` froze from the ranges in pyproject.toml; Python 3.11, Linux.'; \
	build/lock-venv/bin/pip freeze --all --exclude pip --exclude melanoma-ray; } > $(1)
endef
