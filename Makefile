# Two commands do all the set-up: `make demo` and `make test`. Knobs: make install PYTHON=python3.12 PIP_ARGS=...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test zoo coverage check format results reference peers clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $@

demo: install  ## train the default preset for half its steps, evaluate it on held-out tasks, print the table
	$(BIN)/metarl train bandit --set train.total_timesteps=640_000 --set eval.trials=4_000

test: install  ## all tests, one worker a core; bytecode is kept, since many tests start processes
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

coverage: install  ## all tests, and which lines of the package they run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov=metarl --cov=envs --cov=agents --cov-report=term:skip-covered

zoo: install  ## every trained model of the package still does as its card says
	OMP_NUM_THREADS=1 $(BIN)/metarl zoo eval -n 100

check: install  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: install  ## the tables of docs from docs/results/*.json
	PYTHONPATH=scripts $(BIN)/python -m results docs

reference: install  ## docs/reference.md and what the command line lists, from the code
	$(BIN)/python scripts/reference.py

peers: install  ## ours beside its peers, each in an environment of its own in build/peers; on an idle machine
	$(BIN)/python scripts/peers/compare.py all --pip "$(PIP_ARGS)"

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
