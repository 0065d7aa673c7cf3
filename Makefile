# make demo: the main job on the bundled model, in an environment of its own.
# make test: the whole suite.   make model DATA=DIR: the bundled model from nothing.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2>/dev/null && command -v $$p && exit; done)
DATA ?= $(EDGE_SER_DATA)
DEMO := .venv-demo
TEST := .venv-test
RUN := runs/standard

.PHONY: demo test lint model clean check-python

demo: $(DEMO)/.ready
	@deploy/demo.sh $(DEMO)/bin/edge-ser

test: $(TEST)/.ready lint
	$(TEST)/bin/python -m pytest

lint: $(TEST)/.ready
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy

model: $(TEST)/.ready
	@test -n "$(DATA)" || { echo "make model: give the corpora's folder: make model DATA=DIR"; exit 2; }
	$(TEST)/bin/python -m training train --config training/configs/standard.toml \
	  --data $(DATA) --out $(RUN)
	$(TEST)/bin/python -m conversion convert $(RUN) --data $(DATA) --out $(RUN)/bundles
	cp $(RUN)/bundles/int8-pruned.tflite edge_ser/models/default.tflite

$(DEMO)/.ready: setup.py $(wildcard edge_ser/*.py edge_ser/*/*) | check-python
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check .
	@touch $@

$(TEST)/.ready: setup.py tests/setup-venv.sh | check-python
	$(PYTHON) -m venv $(TEST)
	tests/setup-venv.sh $(TEST)/bin/python
	@touch $@

check-python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is missing: apt install python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv is missing: apt install python3-venv"; exit 2; }

clean:
	rm -rf $(DEMO) $(TEST) build dist *.egg-info
