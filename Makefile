# What a developer types. "make test" needs nothing but Rust: it finds or installs a Redis server for itself.

CARGO ?= cargo

.PHONY: help build test lint doc deny unit scripts prior check ci

help:
	@echo "make build   the release binary, target/release/nauthilus-neural"
	@echo "make test    all tests, against a real Redis or Valkey (REDIS_SERVER names one)"
	@echo "make lint    formatting and clippy, warnings are errors"
	@echo "make doc     the documentation of the code, warnings are errors"
	@echo "make deny    licences and sources of dependencies"
	@echo "make unit    syntax and exposure of the systemd unit"
	@echo "make check   all of the above but the build; what .ci/run runs"
	@echo "make prior   the shipped prior model anew; fails if that gives other bytes than are checked in"
	@echo "make scripts shellcheck over the scripts, for whoever changes one"

build:
	$(CARGO) build --locked --release

test:
	redis=$$(scripts/ensure-redis.sh) && REDIS_SERVER="$$redis" $(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

deny:
	deny=$$(scripts/ensure-cargo-deny.sh) && "$$deny" --locked check bans licenses sources

# For whoever changes a script; shellcheck must be installed.
scripts:
	shellcheck scripts/*.sh .ci/run

unit:
	scripts/check-unit.sh

prior:
	$(CARGO) run --locked --release -- experiment prior --out src/serving/prior/ext-mlp16.model
	git diff --exit-code --stat -- src/serving/prior/ext-mlp16.model

check ci:
	.ci/run
