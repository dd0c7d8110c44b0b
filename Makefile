# Everything a user or a contributor runs. Each target does its own set-up; see README.md.
GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
DEMO_FLAGS ?=
BENCH_FLAGS ?=
STRICT ?=
PROGRAMS := $(shell cat scripts/programs)

NETWORK_FLAGS ?=
OUT ?=
ARCH ?=

.PHONY: build demo test soak lint bench bench-fabric network-up network-down params release release-check openapi clients

build: ## the binaries, into bin/
	$(GO) build -trimpath -buildvcs=auto -o bin/ $(PROGRAMS)

network-up: build ## a real Fabric network with a node for each organisation; NETWORK_FLAGS='--orgs 3', '--dir DIR'
	bin/zl-network up $(NETWORK_FLAGS)

network-down: build ## ends it; NETWORK_FLAGS=--purge leaves nothing
	bin/zl-network down $(NETWORK_FLAGS)

demo: build ## four organisations on this machine; DEMO_FLAGS='--exit', '--dir DIR', '--base-port N', '--lang zh|en'
	bin/zhenglian demo $(DEMO_FLAGS)

test: build ## all suites; STRICT=1 makes a suite that cannot run a failure
	STRICT=$(STRICT) sh scripts/test.sh

soak: build ## full counts, once before a release
	STRICT=$(STRICT) sh scripts/test.sh soak

lint: ## formatting, vet, staticcheck (pinned)
	@out=$$(gofmt -l chaincode node sdk packaging clients/go $$(ls -d network 2>/dev/null)); if [ -n "$$out" ]; then echo "not gofmt-clean:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd network/deploy && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd packaging && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd clients/go && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...

bench: build ## writes out/bench.json; BENCH_FLAGS='--only A,B', '--quick'
	$(GO) run ./node/cmd/zl-bench $(BENCH_FLAGS)

bench-fabric: build ## writes out/bench-fabric.json; BENCH_FLAGS as for bench
	bin/zl-network bench $(BENCH_FLAGS)

params: ## code tables from ../shared/data into node/params/tables
	$(GO) run ./node/params/gen

openapi: ## docs/spec/openapi.json, from the node's own code
	$(GO) test ./node/internal/httpapi -run TestOpenAPISnapshot -update

clients: openapi ## and the Go and TypeScript clients that are generated from it
	sh scripts/clients.sh generate

release: ## archives, deb, rpm, sources, checksums of the last commit, into out/release; ARCH=amd64 makes a part
	OUT=$(OUT) ARCH=$(ARCH) sh scripts/release.sh

release-check: ## makes it twice, compares byte by byte, looks at it, installs it into a fresh root; STRICT=1 as for test
	STRICT=$(STRICT) ARCH=$(ARCH) sh scripts/release-check.sh
