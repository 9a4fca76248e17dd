# peelfs: `make` says what there is. Every target may be repeated, and each one
# brings up what it needs: Go modules from the proxy, Debian packages from apt
# when root, everything else from this checkout.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
# The last tag, and what came after it; before there is one, the first version.
VERSION  := $(shell v=$$(git describe --tags --match 'v*' --dirty 2>/dev/null) || v=v0.1.0; echo $$v)
DATE     := $(shell git log -1 --format=%cs 2>/dev/null)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.date=$(DATE)
PKGS     ?= ./...
FUZZTIME ?= 30s
SOAKTIME ?= 5m
BENCH    ?=

# Nothing in these runs at the same time as anything else, and the race detector
# makes them twenty times slower.
NO_RACE := /(layers/(inflate|zframes|soci|toc|tarindex)|cmd/peelfs/findexpr|internal/(archtest|demo|bench))$$

INTEROP_PACKAGES := docker-registry skopeo umoci podman buildah crun mmdebstrap fuse3 attr rsync
BENCH_PACKAGES   := $(INTEROP_PACKAGES) fuse-overlayfs squashfuse squashfs-tools

.PHONY: help
help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/peelfs: static, stamped with the version
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/peelfs ./cmd/peelfs

.PHONY: demo
demo: build ## a tour on a real image from a registry in this machine; under a minute, offline
	@.ci/need --optional fuse3 attr
	@$(GO) run ./internal/demo -peelfs bin/peelfs

.PHONY: test
test: ## all tests; installs fuse3 if root and missing
	@.ci/need --optional fuse3 attr
	$(GO) test $(PKGS)

.PHONY: test-race
test-race: ## all tests of what is concurrent, under the race detector (needs a C compiler)
	@.ci/need --optional fuse3 attr gcc libc6-dev
	STRESS=1m CGO_ENABLED=1 $(GO) test -race -timeout 28m $$($(GO) list $(PKGS) | grep -vE '$(NO_RACE)')

.PHONY: interop
interop: build ## against docker-registry, skopeo, umoci, podman, buildah; installs them
	@.ci/need $(INTEROP_PACKAGES)
	@.ci/need --optional containerd stargz-snapshotter
	$(GO) test -tags interop -count=1 -timeout 20m -v ./internal/interop

.PHONY: bench
bench: build ## side by side with overlayfs, podman and others: BENCH=-list says what there is
	@.ci/need $(BENCH_PACKAGES)
	$(GO) run ./internal/bench -peelfs bin/peelfs -cache .cache/bench $(BENCH)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@GO=$(GO) .ci/fuzz $(FUZZTIME) $(PKGS)

.PHONY: soak
soak: ## the long-running tests for SOAKTIME each (5m)
	PEELFS_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -run Soak -v $(PKGS)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and the rules of this project
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	    [ -z "$$unformatted" ] || { echo "gofmt -w is needed on:"; echo "$$unformatted"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) vet -tags interop ./internal/interop
	$(GO) tool staticcheck -tags interop $(PKGS)
	$(GO) test -count=1 ./internal/archtest

PREFIX  ?= /usr/local
SBINDIR ?= /sbin

.PHONY: install
install: build ## the program, mount(8)'s links, manual pages, completions, units: PREFIX, SBINDIR, DESTDIR
	install -D -m 755 bin/peelfs $(DESTDIR)$(PREFIX)/bin/peelfs
	mkdir -p $(DESTDIR)$(SBINDIR)
	ln -sf $(PREFIX)/bin/peelfs $(DESTDIR)$(SBINDIR)/mount.peelfs
	ln -sf $(PREFIX)/bin/peelfs $(DESTDIR)$(SBINDIR)/mount.fuse.peelfs
	@man=$$(mktemp -d) && trap 'rm -rf "$$man"' EXIT && bin/peelfs man "$$man" && \
	    install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 "$$man"/*.1 && \
	    install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 "$$man"/*.8
	@mkdir -p $(DESTDIR)$(PREFIX)/share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
	@bin/peelfs completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/peelfs
	@bin/peelfs completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_peelfs
	@bin/peelfs completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/peelfs.fish
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	@for unit in peelfs@.service peelfs-automount.service; do \
	    sed 's,/usr/bin/peelfs,$(PREFIX)/bin/peelfs,' docs/systemd/$$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; done

.PHONY: clean
clean: ## removes bin/ and .cache/
	rm -rf bin .cache
