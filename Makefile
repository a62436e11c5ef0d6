# Everything here also works by hand: the targets are the lines below them.

CARGO ?= cargo
WITH_POSTGRES = $(CARGO) run --locked --quiet --example with_postgres --

.DEFAULT_GOAL := help
SEEDS ?= 10000
MINUTES ?= 15
FUZZ_SECONDS ?= 60
.PHONY: help demo test simulate soak chaos mutations fuzz bench ci fmt-check lint doc deny prepare sqlx-check deb deploy-check metrics-check systemd-test

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## Run the whole system on this machine: private Postgres, provider simulator, a sample campaign
	@scripts/ensure-postgres
	$(CARGO) run --locked -- demo

test: ## Run all tests on a private Postgres (installs Debian's package postgresql if there is none and it may)
	@scripts/ensure-postgres
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(WITH_POSTGRES) $(CARGO) nextest run --locked && $(CARGO) test --locked --quiet --doc; \
	else \
		$(WITH_POSTGRES) $(CARGO) test --locked --no-fail-fast; \
	fi

simulate: ## Play SEEDS runs of the engine in an imagined world (SEEDS=10000); OUTDIAL_SIM_SEED=7 replays one
	OUTDIAL_SIM_SEEDS=$(SEEDS) $(CARGO) test --locked --profile simulation --lib simulation::promises -- --nocapture

soak: ## Run the campaigns of the process tests at full length (2,000 leads; 500 for each of five providers)
	@scripts/ensure-postgres
	OUTDIAL_SOAK=1 $(WITH_POSTGRES) $(CARGO) test --locked --test process -- --test-threads=1 --nocapture campaign:: kill:: brands::

chaos: ## Break processes, databases and networks for MINUTES (15) while three daemons dial; OUTDIAL_CHAOS_SEED=7 replays one
	@scripts/ensure-postgres
	OUTDIAL_CHAOS_MINUTES=$(MINUTES) $(CARGO) test --locked --test chaos -- --test-threads=1 --nocapture

mutations: ## Switch off each safeguard in turn, in a copy, and see that a test notices
	@scripts/ensure-postgres
	scripts/mutations

fuzz: ## Feed every target what libFuzzer thinks of, FUZZ_SECONDS each (60); FUZZ_TARGETS="report phone" takes some
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz $(FUZZ_TARGETS)

bench: ## Measure whole call lifecycles, their statements alone, and lateness
	@scripts/ensure-postgres
	scripts/bench all

ci: fmt-check lint test doc sqlx-check deny ## Everything a change has to pass

fmt-check: ## Check the formatting
	$(CARGO) fmt --check

lint: ## Check with clippy; warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## Build the documentation; warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

deny: ## Check licences, sources and duplicates of the dependencies, where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check licenses bans sources; \
	else \
		echo "cargo-deny is not installed: dependencies not checked"; \
	fi

deb: ## Build the Debian package (wants `cargo install cargo-deb`)
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo "cargo-deb is not installed: cargo install --locked cargo-deb"; exit 1; }
	$(CARGO) deb -- --locked

deploy-check: ## Hold deploy/ against the schemas of systemd, Kubernetes and compose; pip brings most tools
	scripts/check-deploy

metrics-check: ## Hold the alerts against promtool; apt brings it where it is missing
	scripts/check-metrics

systemd-test: ## Boot a real systemd with the daemon in it (root; wants systemd-nspawn and debootstrap; minutes)
	$(CARGO) build --locked --bin outdial
	deploy/systemd/test-boot "$${CARGO_TARGET_DIR:-target}/debug/outdial"

prepare: ## Write .sqlx anew after a change to a query or migration
	@scripts/ensure-postgres
	scripts/prepare

sqlx-check: ## Check that .sqlx fits the queries and migrations
	@scripts/ensure-postgres
	scripts/sqlx-check
