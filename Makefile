PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test browser versions bench rules sweep clean

demo: $(VENV)/.demo
	$(BIN)/hooktrace demo

test: $(VENV)/.dev browser
	$(BIN)/ruff check hooktrace tests examples benchmarks noxfile.py
	$(BIN)/ruff format --check hooktrace tests examples benchmarks noxfile.py
	$(BIN)/mypy
	HOOKTRACE_STRICT=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

versions: $(VENV)/.dev
	$(BIN)/nox

sweep: $(VENV)/.sweep
	PYTHONPATH=tests $(BIN)/python -m sweep

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/overhead.py --write

rules: $(VENV)/.dev
	$(BIN)/python -c "from pathlib import Path; from hooktrace.doctor import pages; pages.write(Path('docs'))"
	$(BIN)/python -c "from pathlib import Path; from hooktrace.cam import pages; pages.write(Path('docs'))"

# The pages are tested in a real Chromium. Root on Debian gets it; others are told how.
browser:
	@test -z "$$HOOKTRACE_CHROMIUM" || exit 0; \
	  for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	    command -v $$name >/dev/null && exit 0; done; \
	  test "$$(id -u)" = 0 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null \
	  || echo "No Chromium: the tests of the pages are skipped. apt-get install chromium," \
	    "or set HOOKTRACE_CHROMIUM to its path."

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.demo

$(VENV)/.sweep: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[sweep]'
	touch $@ $(VENV)/.demo $(VENV)/.dev

clean:
	rm -rf $(VENV) .nox demo-output
