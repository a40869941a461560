# make demo   trains a small network and builds it for a Cortex-M4, from nothing
# make test   runs the whole test suite, from nothing
# make test-models  only the tests that need public models (README: EDGEBUILD_MODELS)
# make lint   ruff, mypy          make wheel    builds, checks and tries the packages of a release
# make nightly  the slow suites and the coverage, with EDGEBUILD_ANDROID_TOOLS=1 those of Kotlin and Gradle too
# make bench    figures against peers; CMSIS_NN=PATH of its sources compares the kernels with them

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(if $(shell $(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo ok),$(p))))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

# make bench-training  the bars of compression, hours on two cores
.PHONY: demo test test-models lint wheel nightly bench bench-training clean setup system-tools

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; try: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[search,dev]'
	@touch $@

demo: $(READY)
	cd examples/digits && ../../$(BIN)/python train.py && ../../$(BIN)/edgebuild build --target cortex-m4

system-tools:
	@sh scripts/system-tools.sh
	@sh scripts/android-tools.sh

test: $(READY) system-tools
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow and not hardware" --durations=30 --durations-min=10

test-models: $(READY) system-tools
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "models and not slow and not hardware"

nightly: $(READY) system-tools
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not hardware" -o timeout=10800 --cov --cov-report=term --cov-fail-under=90

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(READY)
	sh scripts/check-wheel.sh $(BIN)/python

bench: $(READY)
	$(BIN)/python benchmarks/mlperf_tiny.py
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/cycles.py
	$(BIN)/python benchmarks/kernels.py $(if $(CMSIS_NN),--cmsis-nn $(CMSIS_NN))
	$(BIN)/python benchmarks/arm64.py

bench-training: $(READY)
	$(BIN)/python benchmarks/deep_compression.py
	$(BIN)/python benchmarks/structured_pruning.py
	$(BIN)/python benchmarks/fashion_mnist.py
	$(BIN)/python benchmarks/without_labels.py
	$(BIN)/python benchmarks/search.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage examples/*/build
