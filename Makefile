# Each target creates .venv and installs what it needs on first use; PYTHON=python3.12 make ... chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo demo-analog test test-nodes test-rest lint format faults bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,lint,analog]"
	@touch $@

# A two-objective search on real data, a few minutes on two cores.
demo: install
	$(BIN)/paretune run studies/digits.yaml --rename

# The same on analog tiles: trained with their noise, judged a second to a month after programming.
demo-analog: install
	$(BIN)/paretune run studies/digits-analog.yaml --rename

# Half the time is spent waiting for nodes that start and die, so `make --jobs 2 test` takes half as long.
test: test-rest test-nodes

test-nodes: install
	$(BIN)/python -m pytest tests/faults tests/test_clusters

test-rest: install
	$(BIN)/python -m pytest --ignore tests/faults --ignore tests/test_clusters

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The long form of the kill tests: about an hour.
faults: install
	PARETUNE_FAULTS=full $(BIN)/python -m pytest tests/faults -s

bench: install
	for file in ask_speed cost_speed host_table overhead startup mlflow_outage search_speed search_quality "rungs --quick" "analog --quick" "cluster --quick"; do \
		set -- $$file; $(BIN)/python benchmarks/$$1.py $$2 || exit 1; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
