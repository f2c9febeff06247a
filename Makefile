# make demo       build pkgapp, and a tarball, a deb and an rpm of the Django application in fixtures/shop, into dist/
# make test       unit and integration tests; what needs a tool that is missing says so (PKGAPP_REQUIRE_TOOLS=1: fails)
# make build      the binary: target/release/pkgapp
# make accept     the packages on real hosts (root), see tests/README.md; T=push,tarball: only these suites
# make lint       formatting, clippy, documentation, and what a grep can find
# make deny       licenses and known vulnerabilities of the dependencies (cargo-deny)
# make fuzz       coverage-guided fuzzing of every reader of foreign bytes (nightly); FUZZ="--seconds 600 locks": its options
# make golden     rewrite tests/golden from what pkgapp says now; read the difference
# make bench      time, memory and size beside other tools, see tests/bench; BENCH="--rounds 2 --publish": its options
# make growth     time and memory of builds as they grow, to 1,000 distributions and 5 GB; GROWTH="--steps 0.01,0.1"
# make bench-push one host and twelve, beside pyinfra and Ansible from PyPI, see tests/lab/many (root)
# make accept-long  the tests that take hours; writes tests/long.md; LONG="--seed 2 --limit 90m": its options (root)
# make dist       the binary that is shipped, in dist/
# make install    the same to PREFIX (/usr/local), below DESTDIR
# make clean      remove what was built
# `--release` everywhere: dependencies are compiled once, for all of it.

PREFIX ?= /usr/local
CARGO ?= cargo
# Options of cargo for what is built and tested.
CARGO_FLAGS ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)
PKGAPP := $(abspath $(TARGET))/release/pkgapp
comma := ,
# What `make install` installs: `dist`, or `release` where it is built anyway.
PROFILE ?= dist

# The demo is for the machine's own Python, and so for the distributions that have it.
PYTHON = $(shell python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
TARGETS_3.10 := ubuntu22.04
TARGETS_3.11 := debian12,el9
TARGETS_3.12 := ubuntu24.04,el10
TARGETS_3.13 := debian13
TARGETS_3.14 := ubuntu26.04,fedora

.PHONY: build demo test accept bench growth bench-push accept-long lint deny fuzz golden dist install clean help

build:
	$(CARGO) $(CARGO_FLAGS) build --release

demo:
	@tests/prepare demo
	$(CARGO) $(CARGO_FLAGS) build --release
	cd fixtures/shop && $(PKGAPP) build --format all --output $(CURDIR)/dist --python $(PYTHON) --target $(TARGETS_$(PYTHON))
	@echo && ls -l dist && echo "Look inside with: $(TARGET)/release/pkgapp inspect dist/shop_1.0.0-1_amd64.deb"

test:
	@tests/prepare test
	$(CARGO) $(CARGO_FLAGS) test --release --workspace

accept: build
	@tests/prepare demo
	tests/lab/all $(PKGAPP) $(subst $(comma), ,$(T))

accept-long: build
	PKGAPP=$(PKGAPP) tests/accept-long $(LONG)

bench: build
	tests/bench/run $(PKGAPP) $(BENCH)

growth: build
	tests/bench/growth $(PKGAPP) $(GROWTH)

bench-push: build
	tests/lab/many $(PKGAPP)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps --workspace
	tests/forbid
	tests/counters

deny:
	tests/deny

fuzz:
	tests/fuzz/coverage/run $(FUZZ)

golden:
	@tests/prepare test
	PKGAPP_UPDATE_GOLDEN=1 $(CARGO) test --release --test integration
	PKGAPP_UPDATE_GOLDEN=1 $(CARGO) test --release -p pkgapp-config recipe
	@git status --short tests/golden src/config

dist:
	$(CARGO) build --profile dist
	mkdir -p dist
	install -m 755 $(TARGET)/dist/pkgapp dist/pkgapp
	@ls -l dist/pkgapp

install:
	@if [ $(PROFILE) = dist ]; then $(MAKE) --no-print-directory dist; else $(CARGO) build --profile $(PROFILE); fi
	install -D -m 755 $(TARGET)/$(PROFILE)/pkgapp $(DESTDIR)$(PREFIX)/bin/pkgapp
	mkdir -p $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(TARGET)/$(PROFILE)/pkgapp completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/pkgapp
	$(TARGET)/$(PROFILE)/pkgapp completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pkgapp
	mkdir -p $(DESTDIR)$(PREFIX)/share/man/man1
	$(TARGET)/$(PROFILE)/pkgapp man $(DESTDIR)$(PREFIX)/share/man/man1 >/dev/null
	mkdir -p $(DESTDIR)$(PREFIX)/share/pkgapp
	$(TARGET)/$(PROFILE)/pkgapp schema >$(DESTDIR)$(PREFIX)/share/pkgapp/pkgapp.schema.json
	$(TARGET)/$(PROFILE)/pkgapp schema --recipe >$(DESTDIR)$(PREFIX)/share/pkgapp/recipe.schema.json
	$(TARGET)/$(PROFILE)/pkgapp completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pkgapp.fish

clean:
	$(CARGO) clean
	rm -rf dist fixtures/*/dist

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
