# SPDX-License-Identifier: Apache-2.0

export CGO_ENABLED := 0

GO       ?= go
PREFIX   ?= /usr
DESTDIR  ?=
FUZZTIME ?= 1m
BENCH_RUNS ?= 40
ARCH     ?= $(shell $(GO) env GOHOSTARCH)
# Of the packages. The project has no address yet, and .invalid is reserved for
# what is none (RFC 2606). Who hands packages on writes their own.
export MAINTAINER ?= The Tenon authors <maintainers@tenon-runtime.invalid>

# What all programs of one build share: the digest of their sources.
BUILD    := $(shell cat go.mod go.sum $$(find cmd host discover ldcache sdk -name '*.go' | LC_ALL=C sort) | sha256sum | cut -c1-32)
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VERSIONS := -X github.com/tenon-runtime/tenon/host.build=$(BUILD) -X main.version=$(VERSION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
PROGRAMS    := tenon-runtime tenon-engine tenon-hook tenon
MODES       := csv legacy

.PHONY: all
all: programs modules ## build everything into build/

.PHONY: programs
programs:
	$(GO) build -trimpath -ldflags '-s -w $(VERSIONS)' -o build/ $(PROGRAMS:%=./cmd/%)
	ln -sf tenon-runtime build/nvidia-container-runtime
	ln -sf tenon-hook build/nvidia-container-runtime-hook

.PHONY: modules
modules: programs
	@mkdir -p build/modules
	for mode in $(MODES); do \
		build/tenon module build modules/$$mode -o build/modules/$$mode.wasm >/dev/null || exit 1; \
	done

.PHONY: demo
demo: all ## run a container that gets a device and a library (root, gcc)
	testscripts/demo.sh

.PHONY: attack
attack: all ## the attacks on hooks, each race 1,500 times (root, runc)
	TENON_ATTACK_RUNS=1500 $(GO) test -count=1 -timeout 90m -run '^Test[TR][0-9][0-9]' ./testscripts

.PHONY: e2e
e2e: all ## real engines in namespaces of their own: Docker, containerd, Podman (root)
	$(GO) test -v -count=1 -timeout 25m -tags e2e -skip '^TestValidation' ./testscripts/e2e

.PHONY: e2e-oci
e2e-oci: all ## the validation suite of the OCI, with runc and through tenon (root)
	$(GO) test -v -count=1 -timeout 25m -tags e2e -run '^TestValidation' ./testscripts/e2e

.PHONY: e2e-cri
e2e-cri: all ## containerd 2.4 with its CRI service and runc 1.5, built first (root)
	testscripts/e2e/engines.sh containerd runc
	$(GO) test -count=1 -timeout 15m -tags e2e -run '^TestCRI' ./testscripts/e2e

.PHONY: e2e-kubernetes
e2e-kubernetes: all ## pods of a real Kubernetes, built first, in minutes (root)
	testscripts/e2e/engines.sh containerd runc etcd kubernetes
	$(GO) test -count=1 -timeout 15m -tags e2e -run '^TestKubernetes' ./testscripts/e2e

.PHONY: bench
bench: all ## measure everything side by side in one run (root; BENCH_RUNS, BASELINE)
	$(GO) run ./testscripts/bench -runs $(BENCH_RUNS) build

.PHONY: packages
packages: ## tenon_VERSION_ARCH.deb and the rpm in build/ (ARCH, VERSION, MAINTAINER)
	GO='$(GO)' NFPM='$(NFPM)' PROGRAMS='$(PROGRAMS)' MODES='$(MODES)' VERSION='$(VERSION)' \
		LDFLAGS='-s -w $(VERSIONS)' packaging/build.sh $(ARCH)

.PHONY: test-packages
test-packages: ## install, use, upgrade and remove them in roots of their own (root, Docker, rpm)
	$(GO) test -count=1 -timeout 25m -tags packages ./packaging

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@$(GO) list -f '{{.Dir}} {{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}' ./... | while read -r dir files; do \
		for file in $$files; do \
			sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(f \*testing.F).*/\1/p' "$$dir/$$file" | while read -r target; do \
				echo "== $$dir $$target"; \
				$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
			done || exit 1; \
		done || exit 1; \
	done

.PHONY: golden
golden: all ## rewrite what scripts and tests expect; read the difference
	UPDATE=1 $(GO) test -count=1 ./cmd/... ./modules/...

.PHONY: test
test: all check ## check and test everything (as root: real containers too)
	$(GO) test -count=1 ./...

.PHONY: check
check: ## what can be seen without running anything
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
		[ -z "$$unformatted" ] || { echo "not formatted by gofmt:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e,packages ./packaging/... ./testscripts/e2e/...
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./sdk/... ./modules/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags e2e,packages ./packaging/... ./testscripts/e2e/...
	$(GO) mod tidy -diff
	$(GO) -C testscripts/e2e/cri vet ./...
	$(GO) -C testscripts/e2e/cri run $(STATICCHECK) ./...
	$(GO) -C testscripts/e2e/cri mod tidy -diff

.PHONY: tools
tools: ## fetch and compile what check and packages run
	$(GO) run $(STATICCHECK) -version
	$(GO) run $(NFPM) --version

.PHONY: install
install: all ## install into PREFIX (/usr) below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/tenon/modules $(DESTDIR)/etc/tenon/config.d $(DESTDIR)/etc/tenon/trust.d
	install -m 0755 $(PROGRAMS:%=build/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 $(MODES:%=build/modules/%.wasm) $(DESTDIR)$(PREFIX)/lib/tenon/modules/
	for mode in $(MODES); do \
		build/tenon module install $(if $(DESTDIR),--root "$(DESTDIR)") --accept-grants --in-place \
			"$(DESTDIR)$(PREFIX)/lib/tenon/modules/$$mode.wasm" || exit 1; \
	done
	[ -e $(DESTDIR)/etc/tenon/config.toml ] || install -m 0644 packaging/config.toml $(DESTDIR)/etc/tenon/config.toml

.PHONY: uninstall
uninstall: ## take back what install did; the configuration stays
	-for mode in $(MODES); do $(DESTDIR)$(PREFIX)/bin/tenon module remove $(if $(DESTDIR),--root "$(DESTDIR)") $$mode; done
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(MODES:%=$(DESTDIR)$(PREFIX)/lib/tenon/modules/%.wasm)
	-rmdir $(DESTDIR)$(PREFIX)/lib/tenon/modules $(DESTDIR)$(PREFIX)/lib/tenon

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' Makefile | expand -t 16
