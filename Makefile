# make predict   set up, then predict a sample clip
# make test      set up, then lint, type-check and test
# make audit     ask which pinned packages have known holes
# make lock      remake requirements.lock from pyproject.toml
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
CLIP ?= sample_videos/happy.mp4

# Two cores serve many libraries here; none of them may call home.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: predict test setup lock lint audit clean

predict: setup
	$(BIN)/rmfn predict $(CLIP)

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: .venv/ready

# Everything is pinned, so nothing is resolved here: about a minute on a fast network.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock:
	$(BIN)/uv pip compile pyproject.toml --extra dev --override requirements.overrides.txt \
	  --universal --fork-strategy fewest --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	  --output-file requirements.lock

# Known holes in what is pinned. The tool comes from the package registry, what it knows from pypi.org.
audit: setup
	@$(BIN)/python -c 'import urllib.request as u; u.urlopen("https://pypi.org/pypi/pip/json", timeout=20)' \
	  2>/dev/null || { echo "pypi.org, which knows the holes, cannot be reached: nothing was audited"; exit 2; }
	$(BIN)/uv tool run --from pip-audit==2.9.0 pip-audit --requirement requirements.lock \
	  --no-deps --disable-pip --strict --progress-spinner off

clean:
	rm -rf .venv build *.egg-info
