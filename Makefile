# SPDX-License-Identifier: Apache-2.0

export CGO_ENABLED := 0

GO       ?= go
PREFIX   ?= /usr
DESTDIR  ?=
FUZZTIME ?= 1m

# What all programs of one build share: the digest of their sources.
BUILD    := $(shell cat go.mod go.sum $$(find cmd host discover ldcache sdk -name '*.go' | LC_ALL=C sort) | sha256sum | cut -c1-32)
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VERSIONS := -X github.com/tenon-runtime/tenon/host.build=$(BUILD) -X main.version=$(VERSION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PROGRAMS    := tenon-runtime tenon-engine tenon-hook tenon
MODES       := csv legacy

.PHONY: all
all: programs modules ## build everything into build/

.PHONY: programs
programs:
	$(GO) build -trimpath -ldflags '-s -w $(VERSIONS)' -o build/ $(PROGRAMS:%=./cmd/%)
	ln -sf tenon-runtime build/nvidia-container-runtime
	ln -sf tenon-hook build/nvidia-container-runtime-hook

# A mode is a core wasm module without a main: std Go calls that c-shared.
.PHONY: modules
modules:
	@mkdir -p build/modules
	for mode in $(MODES); do \
		GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildmode=c-shared -ldflags '-s -w' \
			-o build/modules/$$mode.wasm ./modules/$$mode || exit 1; \
	done

.PHONY: demo
demo: all ## run a container that gets a device and a library (root, gcc)
	testscripts/demo.sh

.PHONY: test
test: all check ## check and test everything (as root: real containers too)
	$(GO) test -count=1 ./...

.PHONY: check
check: ## what can be seen without running anything
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
		[ -z "$$unformatted" ] || { echo "not formatted by gofmt:" $$unformatted; exit 1; }
	$(GO) vet ./...
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./sdk ./modules/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

.PHONY: install
install: all ## install into PREFIX (/usr) below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/tenon/modules $(DESTDIR)/etc/tenon
	install -m 0755 $(PROGRAMS:%=build/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 $(MODES:%=build/modules/%.wasm) $(DESTDIR)$(PREFIX)/lib/tenon/modules/
	[ -e $(DESTDIR)/etc/tenon/config.toml ] || install -m 0644 testscripts/config.toml $(DESTDIR)/etc/tenon/config.toml

.PHONY: uninstall
uninstall: ## take back what install did; the configuration stays
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(MODES:%=$(DESTDIR)$(PREFIX)/lib/tenon/modules/%.wasm)
	-rmdir $(DESTDIR)$(PREFIX)/lib/tenon/modules $(DESTDIR)$(PREFIX)/lib/tenon

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 12
