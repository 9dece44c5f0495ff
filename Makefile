## make demo    build everything, bring up a cluster on this machine, kill its leader, count what was lost
## make test    all tests, ring by ring, with a summary (CI runs this and nothing else)
## make check   the quick ring for every commit: format, lints, quick tests, docs, dependencies
## make bench   the node against a real etcd in the same run (etcd and benchmark on PATH, or LAB_PREBUILT=DIR)
## make clean   remove everything that was built

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DENY   := target/tools/bin/cargo-deny

.PHONY: menu demo test check bench clean
menu:
	@sed -n 's/^## //p' Makefile

demo:
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/demo

# One build for everything: picking packages would change their features and build them twice.
test:
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings test

check: $(DENY)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings quick
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
	$(DENY) --log-level error check bans licenses sources
	$(TARGET)/debug/rings advisories $(DENY)

bench:
	$(CARGO) build --release -p quorate-node -p e2e --bin quorate-node --bin bench
	$(TARGET)/release/bench

clean:
	$(CARGO) clean

$(DENY):
	$(CARGO) install cargo-deny --version 0.20.2 --locked --root target/tools
