## make demo           build everything, bring up a cluster on this machine, kill its leader, count what was lost
## make demo-kind      the same on a kind cluster: a container engine, three nodes, the operator; needs Docker, or root on Debian
## make test           all tests, ring by ring, with a summary (CI runs this and nothing else)
## make check          the quick ring for every commit: format, lints, quick tests, docs, dependencies
## make test-kind      the promises on a kind cluster that fit into KIND_BUDGET_MINUTES (15); PROMISES="NAME/ENGINE..." for some
## make test-kind-all  every promise on a kind cluster, for both engines
## make images         container images of our own, static and from nothing
## make lab-tools      build kind, Kubernetes, Helm and etcd from Go modules, as far as PATH and LAB_PREBUILT lack them (an hour);
##                     TOOLS="NAME..." for some
## make bench          the node against a real etcd in the same run (etcd and benchmark on PATH, or LAB_PREBUILT=DIR)
## make bench-scale    one operator and 1,000 clusters on a real kube-apiserver; ARGUMENTS="--clusters 100 ..." for less
## make clean-kind     remove everything that the kind lab has left on this machine
## make clean          remove everything that was built

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DENY   := target/tools/bin/cargo-deny
LAB    := $(TARGET)/debug/lab
# Real clients' programs are no part of the workspace, so that their dependencies are none of ours.
CLIENT := e2e/clients/rust/Cargo.toml

.PHONY: menu demo demo-kind test check test-kind test-kind-all images lab-tools bench bench-scale clean-kind clean
menu:
	@sed -n 's/^## //p' Makefile

demo:
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/demo

demo-kind:
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/demo kind

# One build for everything: picking packages would change their features and build them twice.
test:
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings test

check: $(DENY)
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path $(CLIENT) --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings quick
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
	$(DENY) --log-level error check bans licenses sources
	$(DENY) --config deny.toml --manifest-path $(CLIENT) --log-level error check bans licenses sources
	$(TARGET)/debug/rings advisories $(DENY)

test-kind:
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings kind $(PROMISES)

test-kind-all:
	$(CARGO) build --workspace --all-targets
	$(TARGET)/debug/rings kind --all

images:
	$(CARGO) build --workspace --bins
	$(LAB) images

lab-tools:
	$(CARGO) build --workspace --all-targets
	$(LAB) tools $(TOOLS)

bench:
	$(CARGO) build --release -p quorate-node -p e2e --bin quorate-node --bin bench
	$(TARGET)/release/bench

bench-scale:
	$(CARGO) build --release -p quorate-operator -p e2e --bin quorate-operator --bin scale
	$(TARGET)/release/scale $(ARGUMENTS)

clean-kind:
	$(CARGO) build --workspace --bins
	$(LAB) clean

clean:
	$(CARGO) clean

$(DENY):
	$(CARGO) install cargo-deny --version 0.20.2 --locked --root target/tools
