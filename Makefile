# GNU make 3.81 (macOS) or later. Every target sets itself up first; nothing else has to be typed.

STUDY ?= default
PRESET ?= report
ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench
DASHBOARD := $(VENV)/.dashboard
BUDGET_ARGS := $(if $(BUDGET),--set budget.time=$(BUDGET))
# Tests train small nets, on which the threads of a BLAS only wait for each other; two tests at once do not.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# What they say may be called next is then a target of this file.
sweep submission: export SWEEPS_MAKE := 1
INPUT_ARGS := $(if $(INPUT),--input '$(INPUT)') $(if $(OUTPUT),--output '$(OUTPUT)') $(if $(FORMAT),--format $(FORMAT))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-bench data sweep report ui dashboard serve train submission verify test test-fast soak bench bench-sweep race lint tutorial screenshots record lock clean again
.DELETE_ON_ERROR:

help: ## show this help
	@echo 'make TARGET [NAME=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PYTHON=/path/to/python3 picks the interpreter, ARGS="..." adds options to sweep, train, ui, test, bench*, race;'
	@echo '  the commands behind these targets: $(PY) -m sweeps --help'

# An environment whose interpreter has gone (a system's upgrade) is made again.
ifneq ($(shell $(PY) -c 'print("runs")' 2>/dev/null),runs)
$(RUNTIME) $(DEV) $(BENCH): again
endif
again:

$(RUNTIME): requirements.lock pyproject.toml tools/setup.py
	@python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py runtime

$(DEV): requirements-dev.lock requirements.lock pyproject.toml tools/setup.py
	@python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py dev

$(BENCH): requirements-dev.lock requirements.lock pyproject.toml tools/setup.py
	@python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py bench

$(DASHBOARD): $(RUNTIME) requirements-dev.lock
	@$(PY) tools/setup.py dashboard

setup: $(RUNTIME) ## make .venv with what a sweep needs (all other targets do it by themselves)
	@echo 'ready: $(PY)'

setup-dev: $(DEV) ## the same with what tests and lint need
	@echo 'ready: $(PY)'

setup-bench: $(BENCH) ## the same with PyTorch, which benchmarks compare with and some tests too
	@echo 'ready: $(PY)'

data: $(RUNTIME) ## find or fetch MNIST, check it, and say where it is (MNIST_DIR=folder: another data set)
	@$(PY) -m sweeps data $(ARGS)

sweep: $(RUNTIME) ## run a study, its ensemble and a submission (STUDY=default, BUDGET=30m)
	@$(PY) -m sweeps run $(STUDY) $(BUDGET_ARGS) $(ARGS)
	@$(PY) -m sweeps ensemble $(STUDY)
	@$(PY) -m sweeps submit $(STUDY)

submission: $(RUNTIME) ## write a study's submission again (STUDY=default, INPUT=images, OUTPUT=file, FORMAT=kaggle|digits)
	@$(PY) -m sweeps submit $(STUDY) $(INPUT_ARGS)

verify: $(RUNTIME) ## make a submission again and compare (MANIFEST=submission.csv.manifest.json, INPUT=images)
	@$(PY) -m sweeps verify '$(or $(MANIFEST),submission.csv.manifest.json)' $(if $(INPUT),--input '$(INPUT)')

report: $(RUNTIME) ## write what came of a study, and whether to believe it, into one HTML file (STUDY=default)
	@$(PY) -m sweeps report $(STUDY) $(ARGS)

ui: $(RUNTIME) ## open MLflow on what was tracked
	@$(PY) -m sweeps ui --open $(ARGS)

dashboard: $(DASHBOARD) ## open Optuna Dashboard on a study, which may be running (STUDY=default)
	@$(PY) -m sweeps dashboard $(STUDY) --open $(ARGS)

serve: $(RUNTIME) ## draw digits for a study's ensemble, on a local page (STUDY=default)
	@$(PY) -m sweeps serve $(STUDY) --open $(ARGS)

train: $(RUNTIME) ## train one net (PRESET=report, ARGS="--epochs 5 --test")
	@$(PY) -m sweeps train $(PRESET) $(ARGS)

test: $(DEV) ## run all tests
	@$(ONE_THREAD) $(PY) -m pytest $(AT_ONCE) $(ARGS)

test-fast: $(DEV) ## run the tests that take no processes, kills or browsers
	@$(ONE_THREAD) $(PY) -m pytest $(AT_ONCE) -m 'not slow and not kill and not browser' $(ARGS)
AT_ONCE = --numprocesses 2 --dist worksteal

soak: $(DEV) ## kill, starve and feed rubbish for an hour, and count what is lost (SOAK_KILLS=100, SOAK_EXAMPLES=10000)
	@$(ONE_THREAD) $(PY) -m tests.stress.soak $(ARGS)

# Within the side-by-side run BLAS gets its threads count by count; a quick one leaves docs/ as it is.
bench: $(BENCH) ## layers and nets, then side by side with PyTorch, written to docs/ (ARGS=--quick: two minutes)
	@$(ONE_THREAD) $(PY) -m pytest benchmarks/bench_layers.py benchmarks/bench_nets.py $(BENCH_TABLE)
	@$(PY) benchmarks/side_by_side.py --parts all --draws 50 --threads 1 --threads all --compile-limit 120 \
		$(if $(findstring --quick,$(ARGS)),,--output docs) $(ARGS)
BENCH_TABLE = --quiet --benchmark-max-time=0.2 --benchmark-min-rounds=3 --benchmark-sort=name \
	--benchmark-columns=min,median,iqr,rounds

bench-sweep: $(BENCH) ## a sweep and its peer of Optuna, MLflow and PyTorch, written to docs/ (SEEDS=20,21, BUDGET=5m each)
	@$(PY) benchmarks/sweep_race.py $(STUDY) $(if $(BUDGET),--budget $(BUDGET)) $(if $(SEEDS),--seeds $(SEEDS)) \
		--output docs $(ARGS)

race: $(BENCH) ## learn MNIST beside PyTorch, live, one thread each (SEEDS=30: as often, and what it comes to)
	@$(PY) -m benchmarks.race $(if $(SEEDS),seeds $(SEEDS),live) $(ARGS)

lint: $(DEV) ## ruff, mypy and the import contracts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

tutorial: $(DEV) ## run the tutorials and write docs/tutorial*.md with what they show, a quarter of an hour
	@$(PY) tools/tutorial.py docs/tutorial.py docs/tutorial_layer.py

screenshots: $(DEV) ## make the README's pictures again, of a study that has its ensemble (STUDY=default)
	@$(PY) docs/augmentations.py
	@$(PY) docs/screenshots.py $(STUDY) $(ARGS)

record: $(RUNTIME) ## write the whole record of a study that has its ensemble into docs/results/ (STUDY=default)
	@$(PY) docs/record.py $(STUDY) $(ARGS)

lock: $(DEV) ## resolve both locks again (UPGRADE=--upgrade takes the newest releases)
	@test -x $(VENV)/bin/uv || $(PY) -m pip install --quiet uv
	@$(VENV)/bin/uv pip compile pyproject.toml --extra build -o requirements.lock $(LOCK_ARGS)
	@$(VENV)/bin/uv pip compile pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock $(LOCK_ARGS)
LOCK_ARGS = --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' $(UPGRADE)

clean: ## remove the environment and caches; studies, mlruns and data stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache .benchmarks
	find mnistnn sweeps tests benchmarks tools -name __pycache__ -type d -exec rm -rf {} +
