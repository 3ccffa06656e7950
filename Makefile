# Set up and run everything; needs git, make, pip and Python >= 3.11.
# PYTHON=... picks the interpreter, ARGS=... goes to the command that runs.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REFERENCE := $(VENV)/.reference
DISPLAYED := tools/with_display.sh
OVERLAY := tools/overlay_venv.sh
OUTPUT := demo-output
SAMPLE := src/napari_hqsam2/plugin/data/nuclei_tyx.ome.tif

export QT_API := pyqt6
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# What napari does with packages that are newer than itself.
OLDEST_NAPARI := -W ignore::pydantic.warnings.PydanticDeprecatedSince212 \
	-W "ignore:'where' used without 'out':UserWarning"

.PHONY: help install reference system demo napari test long compat bench lint format \
	constraints clean

help:
	@echo 'make demo         segment a stack with the built-in model, files in $(OUTPUT)/'
	@echo 'make napari       open the plugin on sample data'
	@echo 'make test         the default test suite'
	@echo 'make long         the slow tests and the golden vectors'
	@echo 'make compat       the tests of the plugin with the oldest napari, and with PySide6'
	@echo 'make bench        ratios against sam2, into docs/performance.md'
	@echo 'make reference    the PyPI package sam2, which the parity tests compare with'
	@echo 'make lint         ruff, mypy and the import contracts'
	@echo 'make format       let ruff write what it can'
	@echo 'make constraints  pin what is installed now'
	@echo 'make clean        remove the environment, caches and outputs'

$(BIN)/python:
	tools/create_venv.sh $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --constraint constraints.txt --editable . \
		--group test --group testqt --group dev
	@touch $@

install: $(INSTALLED)

# The public predictor that whole sessions are compared with; built without its kernels.
reference: $(REFERENCE)

$(REFERENCE): $(INSTALLED)
	$(BIN)/python -m pip install --constraint constraints.txt setuptools iopath portalocker
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --no-build-isolation --no-deps \
		--constraint constraints.txt sam2
	@touch $@

system:
	@tools/system_packages.sh

demo: $(INSTALLED)
	-@tools/system_packages.sh
	$(DISPLAYED) $(BIN)/python tools/demo.py --output $(OUTPUT) $(ARGS)

napari: $(INSTALLED) system
	$(BIN)/napari $(SAMPLE) --with napari-hqsam2 'HQ-SAM 2' $(ARGS)

test: $(INSTALLED) system
	$(DISPLAYED) $(BIN)/python -m pytest $(ARGS)

long: $(REFERENCE) system
	$(DISPLAYED) $(BIN)/python -m pytest -m '(slow or parity) and not network' \
		--timeout 3600 --durations 20 $(ARGS)

# Environments beside the main one, which they see, with other versions of some packages.
$(VENV)-%/.installed: tests/compat/%.txt constraints.txt | $(INSTALLED)
	$(OVERLAY) $(VENV)-$* $(VENV) $<
	@touch $@

compat: $(VENV)-oldest/.installed $(VENV)-pyside6/.installed system
	$(DISPLAYED) $(VENV)-oldest/bin/python -m pytest tests/plugin \
		$(OLDEST_NAPARI) $(ARGS)
	QT_API=pyside6 $(DISPLAYED) $(VENV)-pyside6/bin/python -m pytest tests/plugin \
		-o qt_api=pyside6 $(ARGS)

bench: $(REFERENCE)
	$(BIN)/python -m tests.benchmarks --isolate --record $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

constraints: $(INSTALLED)
	$(BIN)/python -m pip freeze --exclude-editable \
		| sed -n 's/^\([A-Za-z0-9._-]*==[^+ ;]*\).*/\1/p' > constraints.txt
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) $(VENV)-* $(OUTPUT) build dist .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
