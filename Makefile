# Every target does its own set-up. PYTHON= names another interpreter, 3.11 or newer.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
TESTS ?=

.PHONY: run test lint docs bench chaos messages simulation-proof fuzz docs-formats docs-licences lock clean

# Set up, import (PHOTOS=folder), make the proxies, serve on 127.0.0.1:$(PORT) until Ctrl-C.
run: .venv/installed
	@$(BIN)/python manage.py run --port $(PORT) $(if $(PHOTOS),--photos "$(PHOTOS)")

test: .venv/installed-dev
	$(BIN)/pytest -n 2 --dist worksteal $(TESTS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy novaproxy_site analysis proxies media_files conftest.py
	$(BIN)/lint-imports
	$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html' '*/templates/*.html')
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check
	$(BIN)/python -m novaproxy_site.tests.licences
	$(BIN)/python -m novaproxy_site.tests.translations
	$(BUILD_DOCS)

# Build the documentation site from nothing: a cached page would not repeat its warnings. Every warning is an error,
# broken links between pages included.
BUILD_DOCS = $(BIN)/sphinx-build --quiet --fresh-env --write-all --nitpicky --fail-on-warning --keep-going \
	--builder html --doctree-dir docs/_build/doctrees docs docs/_build/html

docs: .venv/installed-dev
	$(BUILD_DOCS)
	@echo "Open docs/_build/html/index.html"

# Workers, database and queue taken away again and again, with dice of today's; ROUNDS=25 takes a quarter of an
# hour. Then SEEDS runs of the simulation from seed FIRST on, shared over the cores, until one fails.
# Then every tenth of these seeds on PostgreSQL, unless it is not installed (69).
ROUNDS ?= 25
SEEDS ?= 100000
FIRST ?= $$(date +%j%H%M0000)
chaos: .venv/installed-dev
	NOVAPROXY_CHAOS_ROUNDS=$(ROUNDS) NOVAPROXY_CHAOS_SEED=$${SEED:-$$(date +%j%H%M)} \
		$(BIN)/pytest -n 2 -p no:randomly --tb=short proxies/tests/test_batches_chaos.py \
		proxies/tests/test_crash_points.py proxies/tests/test_kills.py proxies/tests/test_worker.py \
		proxies/tests/test_supervisor.py novaproxy_site/tests/test_files_and_rows.py \
		novaproxy_site/tests/test_on_postgres.py novaproxy_site/tests/test_signals.py
	first=$(FIRST); $(BIN)/python -m proxies.tests.simulation $$first $(SEEDS) --shared && \
		{ $(BIN)/python -m proxies.tests.simulation $$first $$(($(SEEDS) / 10)) --step 10 --postgres || [ $$? -eq 69 ]; }

# Take back one fix after the other, and show that the simulation finds each. MUTANT=name searches for one.
simulation-proof: .venv/installed-dev
	$(BIN)/python -m proxies.tests.simulation --proof $(or $(WITHIN),10000) $(if $(MUTANT),--mutant $(MUTANT))

# Mutations of real pictures through inspection and rendering; findings are kept in fuzz-findings/.
SECONDS_OF_FUZZING ?= 600
fuzz: .venv/installed-dev
	$(BIN)/python -m proxies.tests.fuzzing $(SECONDS_OF_FUZZING) $(SEED) 2>/dev/null  # libtiff's chatter

# The table of docs/formats.md, from files that other makers' programs write now.
docs-formats: .venv/installed-dev
	$(BIN)/python -W ignore -m proxies.tests.write_formats

# The table of docs/licences.md, from the installed wheels.
docs-licences: .venv/installed-dev
	$(BIN)/python -m novaproxy_site.tests.licences --write

# Update the catalogues in locale/ from the sources, compile them, and list what is not translated. Needs GNU gettext.
messages: .venv/installed-dev
	$(BIN)/python -m novaproxy_site.tests.translations --write

# Measure beside the hardware's limit and other libraries (docs/performance.md). SHORT=1 takes under two
# minutes, PHOTOS=folder takes your own photographs, ONLY="pixels growth" answers some of the questions.
bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks $(if $(SHORT),--short) $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(ONLY),--only $(ONLY))

# Resolve the requirement lists again, after they change or to take in fixes.
lock: .venv/installed-dev
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf .venv .venv-bench docs/_build

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "NovaProxy needs Python 3.11 or newer; name one with PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv-bench/installed: requirements.txt benchmarks/requirements.txt benchmarks/sharp.mjs
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@mkdir -p .venv-bench/node && cp benchmarks/sharp.mjs .venv-bench/node/
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv-bench/node sharp@0.35.5 || echo "sharp is not compared"; fi
	@touch $@
