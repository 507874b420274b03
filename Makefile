# make demo | test | test-browser | picture | lint | bench | gpu | records | mutants | fuzz    each does its own set-up
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-browser picture browser lint bench gpu records mutants fuzz
demo: $(READY)        ## the main job on the embedded data, then a made-up study of three sites with the installed model
	$(BIN)/python -m harmony.train experiment=quickstart
	$(BIN)/python -m harmony.data.sources.made_up_study runs/made_up/sites
	$(BIN)/python -m harmony study runs/made_up/sites runs/made_up/study --reference folder=A --workers 2

test: $(READY) browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-browser: $(READY) browser   ## the report page in a real browser
	$(BIN)/python -m pytest tests/reports/test_browser.py

# make picture PAGE=runs/quickstart/report.html PICTURE=docs/report.png
picture: $(READY) browser
	HARMONY_PAGE=$(abspath $(PAGE)) HARMONY_PICTURE=$(abspath $(PICTURE)) $(BIN)/python -m pytest tests/reports/test_browser.py

browser:              ## a system browser; where there is none, Debian's chromium. Without it its tests are skipped
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name >/dev/null && exit 0; done; \
	echo "installing chromium for the test of the report page"; \
	[ "$$(id -u)" = 0 ] && as_root= || as_root="sudo -n"; \
	{ $$as_root apt-get update -qq && \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	echo "no browser, and none can be installed here: its tests will be skipped"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy experiments --allow-untyped-defs
	$(BIN)/lint-imports

bench: $(READY)       ## speed: flows and adaptation against plain versions of the same networks, the command against others
	$(BIN)/python benchmarks/flow_speed.py
	$(BIN)/python benchmarks/harmonizing_speed.py
	$(BIN)/python benchmarks/scan_speed.py
	$(BIN)/python benchmarks/command_speed.py

gpu: $(READY)         ## all that needs a CUDA card (docs/scaling.md); ten minutes a call, start it again until it is done
	$(BIN)/python benchmarks/gpu.py --out runs/gpu

mutants: $(READY)     ## code broken on purpose (tests/mutants/table.yaml): a test must notice each; most of an hour on two cores
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py --jobs 2

# make fuzz FOR=600
fuzz: $(READY)        ## random bytes, names, tables and overrides, for so many seconds
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py $(or $(FOR),300)

records: $(READY)     ## the tables of docs and experiments/*/README.md, from the rows of the records
	$(BIN)/python -m harmony.report --records docs/methods.md docs/results.md experiments/*/README.md

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
