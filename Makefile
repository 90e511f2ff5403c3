# What a person or a machine does with this repository. `make` alone tells.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: help setup demo demo-s3 test lint fmt clippy doc deny bench test-long

help: ## these lines
	@grep -E '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18

setup: ## install what is needed on a Debian machine that has Rust; quick when all is there
	@ops/setup

demo: setup ## the whole road on a throwaway PostgreSQL: load, run, back up, an accident, restore, compare
	cargo build --release --locked
	ops/demo

demo-s3: setup ## the same with the log in a bucket (SeaweedFS) and the key in KMS (moto), both thrown away afterwards
	cargo build --release --locked
	ops/demo --s3

# Properties draw the same cases each time here, so that the gate says something about the change and not about luck;
# `make test-long` draws fresh ones. Chaos draws fresh seeds in both, and prints the one to replay.
test: setup lint ## everything that must pass before a commit lands
	PROPTEST_RNG_SEED=20261123 cargo test --locked

lint: fmt clippy doc deny ## all of `make test` that needs no server

fmt:
	cargo fmt --check

clippy:
	cargo clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

deny:
	@ops/deny

bench: ## the figures, side by side with others' programs
	@ops/setup --bench
	cargo build --release --locked
	cargo bench --locked --bench parts --bench puts --bench whole_log
	benches/side_by_side.py

test-long: setup ## the same with more seeds and sizes, hours of it; takes up where it stopped
	@ops/test-long
