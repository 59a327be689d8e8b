# Packetboat. `make` builds bin/, `make run` shows it working, `make test` proves it.
VERSION := $(shell sed -n 's/^\#\# \[\{0,1\}\([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
GO      ?= go
STATIC  := sendmail postdrop mtad deliver mrad mailadm
LDFLAGS := -s -w -X main.version=$(VERSION)
ADM     := postqueue postsuper postcat postmap postalias postconf postfix postlog qshape doveadm doveconf dovecot
export CGO_ENABLED := 0

all: bin ## build bin/: the programs and the links for their other names
.PHONY: all bin run test lint bench fuzz peers torture deb install clean help

bin:
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(STATIC))
	@scripts/build-pamcheck $(GO) bin/pamcheck
	@cd bin && ln -sf sendmail mailq && ln -sf sendmail newaliases && \
	 for n in procmail dovecot-lda; do ln -sf deliver $$n; done && \
	 for n in $(ADM); do ln -sf mailadm $$n; done

run: bin ## a complete private system below run/, shown at work until Ctrl-C
	@scripts/run run

test: bin ## everything: unit, script, dialogue, fuzz seeds, integration
	@scripts/test

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l cmd internal test *.go)" || { gofmt -l cmd internal test *.go; exit 1; }
	$(GO) vet ./... && $(GO) tool staticcheck ./...

bench: ## Go benchmarks of the hot paths, with allocations
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(or $(T),1s) $$(scripts/packages-with Benchmark)

fuzz: ## each fuzz target for T (default 30s)
	@scripts/fuzz $(or $(T),30s)

peers: bin ## against the originals and real clients from Debian (root)
	@scripts/oracles && scripts/milters && scripts/peers
	@PEERS=1 $(GO) test -count 1 -v ./test/net

torture: bin ## 1,000 times kill -9 under load, and failing disks
	@N=1000 FAULTS=20 $(GO) test -count 1 -timeout 3h -v -run "Crash|Faults|Full" ./test/crash

deb: ## dist/packetboat_VERSION_ARCH.deb
	@scripts/deb $(VERSION)

install: bin ## into DESTDIR, where Debian keeps such programs
	@scripts/install '$(DESTDIR)'

clean: ## remove what was built
	@rm -rf bin dist

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile
