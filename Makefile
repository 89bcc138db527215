# `make run` and `make test` do everything on a fresh machine; see `make help`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO := cargo
NODE_TESTS := tests/interop
DEPLOY_TESTS := tests/deploy
WEB := web
# What tests of cluster mode need. Without it they say that they are skipped; with PANSEO_TEST_ALL they fail.
SERVERS := PANSEO_TEST_ALL=1 dev/with-kafka dev/with-postgres
# TLS towards Kafka is tested, too, though it is left out by default.
TESTED := --features kafka-tls
export CARGO_TERM_COLOR ?= never

.PHONY: help setup setup-tests run cluster test check bench bench-cluster bench-web screenshots soak clean

help: ## What there is to do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: ## Install what is missing
	@dev/setup

setup-tests: ## Install what is missing for the tests, too
	@dev/setup tests

run: setup $(WEB)/node_modules ## Build and start the server on http://127.0.0.1:8080
	cd $(WEB) && npm run build
	$(CARGO) build --release
	exec target/release/panseo serve

cluster: setup-tests $(WEB)/node_modules ## NODES=2 nodes over Kafka (BROKERS=1) and PostgreSQL; Ctrl-C stops all
	cd $(WEB) && npm run build
	$(CARGO) build --release
	exec dev/cluster

test: setup-tests $(NODE_TESTS)/node_modules $(DEPLOY_TESTS)/node_modules $(WEB)/node_modules ## All tests, as CI runs them
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets --all-features -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo 'cargo-deny is not installed: licences and advisories are not checked.'; fi
	npm --prefix $(DEPLOY_TESTS) test
	cd $(WEB) && npm run build
	$(SERVERS) $(CARGO) test --release $(TESTED)
	$(SERVERS) npm --prefix $(WEB) test
	@command -v chromium >/dev/null || { echo 'Install chromium: the browser tests need it.' >&2; exit 1; }
	cd $(WEB) && npm run e2e

check: ## The quick half: formatting, lints, unit tests
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --lib

bench: ## Figures of docs/PERFORMANCE.md; on a quiet machine
	$(CARGO) bench --bench merge --bench replay --bench fan_out --bench heap
	$(CARGO) build --release --example relay --bin panseo
	target/release/panseo bench all --compare-relay

bench-cluster: setup-tests ## Figures of two nodes over one broker; on a quiet machine
	$(CARGO) build --release
	KAFKA_DATA=/dev/shm/panseo-kafka dev/with-kafka dev/with-postgres dev/bench-cluster

bench-web: setup-tests $(WEB)/node_modules ## Figures of the browser; on a quiet machine
	cd $(WEB) && npm run build
	$(CARGO) build --release
	cd $(WEB) && npm run --silent bench -w e2e && npm run --silent check -w sdk

screenshots: setup-tests $(WEB)/node_modules ## Every page and state, into web/screenshots
	cd $(WEB) && npm run build
	$(CARGO) build --release
	cd $(WEB) && npm run --silent screenshots -w e2e

soak: setup-tests $(NODE_TESTS)/node_modules $(WEB)/node_modules ## The long versions of the fault and fuzz tests
	cd $(WEB) && npm run build
	PANSEO_SOAK=200 $(SERVERS) $(CARGO) test --release $(TESTED) --test it --test cluster_faults -- --nocapture
	PANSEO_SOAK=1000 npm --prefix $(WEB) test

%/node_modules: %/package-lock.json
	cd $* && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf $(NODE_TESTS)/node_modules $(DEPLOY_TESTS)/node_modules $(WEB)/node_modules $(WEB)/*/dist $(WEB)/dist $(WEB)/screenshots
