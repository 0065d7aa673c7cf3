# make demo: the main job on the bundled model, in an environment of its own.
# make test: the whole suite; make test-long: what takes minutes, too.
# make model DATA=DIR: the bundled models from nothing.
# make dist: wheel and source archive; make deb: Debian packages, into dist/.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2>/dev/null && command -v $$p && exit; done)
DATA ?= $(EDGE_SER_DATA)
DEMO := .venv-demo
TEST := .venv-test
BUILD := .venv-build

.PHONY: demo test test-long lint model clean check-python

demo: $(DEMO)/.ready
	@deploy/demo.sh $(DEMO)/bin/edge-ser

# Files side by side: most of the time goes to small trainings on one thread each.
JOBS ?= 2
test: $(TEST)/.ready lint
	$(TEST)/bin/python -m pytest -n $(JOBS) --dist loadfile

test-long: $(TEST)/.ready
	$(TEST)/bin/python -m pytest -m long $(LONG)

lint: $(TEST)/.ready
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy

model: $(TEST)/.ready
	@test -n "$(DATA)" || { echo "make model: give the corpora's folder: make model DATA=DIR"; exit 2; }
	set -e; for name in standard nano open mfcc; do \
	  $(TEST)/bin/python -m training train --config training/configs/$$name.toml \
	    --data "$(DATA)" --out runs/$$name; \
	  $(TEST)/bin/python -m conversion convert runs/$$name --data "$(DATA)" --out runs/$$name/bundles; \
	done
	install -D -m 644 runs/standard/bundles/int8-pruned.tflite edge_ser/models/default.tflite
	install -D -m 644 runs/nano/bundles/int8-pruned.tflite edge_ser/models/nano.tflite
	install -D -m 644 runs/open/bundles/int8-pruned.tflite edge_ser/models/open.tflite
	install -D -m 644 runs/mfcc/bundles/int8-pruned.tflite edge_ser/models/mfcc.tflite
	$(TEST)/bin/python -m training checkpoint runs/standard --out training/checkpoints/standard

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
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; give another: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv is missing: apt install python3-venv"; exit 2; }

clean:
	rm -rf $(DEMO) $(TEST) $(BUILD) build dist *.egg-info

# ---- the runtime alone: any Python, ARM, long runs ---------------------------------

# The device package with its interpreter and nothing of the training stack:
# make test-runtime PYTHON=python3.13, and LITERT=1.4 for an older interpreter.
LITERT :=
RUNTIME = .venv-runtime-$(notdir $(PYTHON))$(addprefix -litert,$(LITERT))
RUNTIME_TESTS := tests/edge_ser/test_dsp.py tests/edge_ser/test_features.py \
  tests/edge_ser/test_feature_peers.py tests/edge_ser/test_resample.py \
  tests/edge_ser/test_bundle.py tests/edge_ser/test_classifier.py \
  tests/edge_ser/test_interpreter.py tests/edge_ser/audio/test_wav.py \
  tests/edge_ser/cli/test_classify.py tests/edge_ser/cli/test_bad_input.py \
  tests/edge_ser/cli/test_timeline.py tests/edge_ser/cli/test_doctor.py
ARM := .cache/arm

.PHONY: test-runtime test-arm64 test-armhf fuzz soak

test-runtime: | check-python
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check \
	  -e '.[files]' 'pytest>=8' 'hypothesis>=6.100' librosa python-speech-features \
	  $(patsubst %,'ai-edge-litert==%.*',$(LITERT))
	$(RUNTIME)/bin/python -m pytest -q $(RUNTIME_TESTS)

# On emulated ARM, as root (a chroot and binfmt_misc).
test-arm64 test-armhf: test-%:
	tests/arm/setup.sh $(ARM)/$* $*
	tests/arm/run.sh $(ARM)/$* $*

fuzz: $(TEST)/.ready
	EDGE_SER_FUZZ_CASES=25000 $(TEST)/bin/python -m pytest -q tests/fuzz

soak: $(TEST)/.ready
	$(TEST)/bin/python tests/soak_stream.py --hours 10 --model tests/data/tiny.tflite

# The wheel in an empty environment.
.PHONY: smoke
smoke: | check-python
	tests/smoke_wheel.sh $(PYTHON)

# The Home Assistant add-on with its wheel, to be copied into Home Assistant's addons/.
.PHONY: home-assistant
ADDON := dist/homeassistant/edge_ser
home-assistant: $(BUILD)/.ready
	rm -rf $(ADDON)
	mkdir -p $(ADDON)
	cp -r deploy/homeassistant/addon/* deploy/requirements/debian.txt $(ADDON)/
	$(BUILD)/bin/python deploy/package.py wheel --out $(ADDON)
	@echo "copy $(ADDON) into Home Assistant's folder addons/"

# ---- releases ----------------------------------------------------------------------

# make deb builds for every target; make deb SUITE=trixie ARCH=arm64 for one.
OUT := dist
.PHONY: dist deb test-deb test-deb-all

dist: $(BUILD)/.ready
	$(BUILD)/bin/python deploy/package.py wheel --out $(OUT)
	$(BUILD)/bin/python deploy/package.py source --out $(OUT)

deb: $(BUILD)/.ready
	$(BUILD)/bin/python deploy/package.py deb --out $(OUT) \
	  $(if $(SUITE),--suite $(SUITE)) $(if $(ARCH),--arch $(ARCH))

$(BUILD)/.ready: deploy/requirements/build.txt | check-python
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The installer killed at its steps; the packages installed by apt, in roots of their
# own; as root, ARM by emulation.
DEB_TESTS := tests/deploy/test_package.py tests/deploy/test_install.py
test-deb: $(TEST)/.ready $(BUILD)/.ready
	$(TEST)/bin/python -m pytest -q -m long $(DEB_TESTS) -k 'not armhf and not trixie'

test-deb-all: $(TEST)/.ready $(BUILD)/.ready
	$(TEST)/bin/python -m pytest -q -m long $(DEB_TESTS)
