# Two commands on a fresh machine: `make demo` and `make test`. Each installs what it needs first and says what.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# More arguments for `make demo`, such as ARGS=--exit.
ARGS ?=
# Some fuzz targets instead of all, such as TARGETS="guard facts".
TARGETS ?=

.PHONY: help setup-demo setup-test setup-bench build demo test soak fuzz fuzz-keep fuzz-lock lint bench bench-backlog clean-parts

help: ## says what can be made
	@printf 'Hansard: the word-for-word record of who said what to a database.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup-demo: ## installs what the demo needs: PostgreSQL, a C compiler, libclang
	@tests/setup/install.sh demo

setup-test: ## installs what the tests need: that, clients from Debian, and pinned test parts from PyPI and npm
	@tests/setup/install.sh test

setup-bench: ## installs what `make bench` needs: that of the tests, and PgBouncer
	@tests/setup/install.sh bench

build: ## builds the program for use: target/release/hansard
	$(CARGO) build --release --locked

demo: setup-demo ## sets up, builds and runs the demo; ARGS=--exit ends it after its story
	$(CARGO) build --locked
	@target/debug/hansard demo $(ARGS)

lint: ## checks formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

test: setup-test lint ## sets up, checks formatting and lints, runs every test
	@mkdir -p target
	$(CARGO) test --locked --no-fail-fast 2>&1 | tee target/test.log
	@awk '/^test result: ok\./ { passed += $$4; ignored += $$8 } \
	  END { printf "\nHansard: %d tests passed, %d ignored; formatting and lints are clean.\n", passed, ignored }' target/test.log

soak: export HANSARD_SOAK_MINUTES ?= 30
soak: setup-test ## kills the program again and again under load; HANSARD_SOAK_MINUTES=30 says for how long
	$(CARGO) test --locked --test nothing_lost -- --nocapture hundreds

fuzz: export FUZZ_SECONDS ?= 60
fuzz: setup-demo ## looks for inputs that break a promise, FUZZ_SECONDS=60 for each target; tests/fuzz/README.md says how
	@tests/fuzz/fuzz.sh run $(TARGETS)

fuzz-keep: setup-demo ## puts the smallest set of inputs that reaches as much as all that were found into fixtures/fuzz
	@tests/fuzz/fuzz.sh keep $(TARGETS)

fuzz-lock: ## takes the versions in Cargo.lock over for the fuzzer
	@tests/fuzz/fuzz.sh lock

bench: setup-bench ## runs the benchmarks
	$(CARGO) bench --locked

bench-backlog: export HANSARD_BACKLOG_STATEMENTS ?= 7200000
bench-backlog: ## memory with an hour of statements waiting for the archive; takes minutes and 9 GB
	$(CARGO) bench --locked --bench backlog

clean-parts: ## removes the test parts that `make setup-test` put into this folder
	rm -rf .cache/test-parts tests/parts/node_modules
