# Everything a user or a contributor runs. Each target does its own set-up; see README.md.
GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
DEMO_FLAGS ?=
BENCH_FLAGS ?=
STRICT ?=

.PHONY: build demo test soak lint bench params

build: ## the binary, into bin/
	$(GO) build -trimpath -o bin/zhenglian ./node/cmd/zhenglian

demo: build ## four organisations on this machine; DEMO_FLAGS='--exit', '--dir DIR', '--base-port N', '--lang zh|en'
	bin/zhenglian demo $(DEMO_FLAGS)

test: build ## all suites; STRICT=1 makes a suite that cannot run a failure
	STRICT=$(STRICT) sh scripts/test.sh

soak: build ## full counts, once before a release
	STRICT=$(STRICT) sh scripts/test.sh soak

lint: ## formatting, vet, staticcheck (pinned)
	@out=$$(gofmt -l chaincode node sdk $$(ls -d network 2>/dev/null)); if [ -n "$$out" ]; then echo "not gofmt-clean:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench: build ## writes out/bench.json; BENCH_FLAGS='--only A,B', '--quick'
	$(GO) run ./node/cmd/zl-bench $(BENCH_FLAGS)

params: ## code tables from ../shared/data into node/params/tables
	$(GO) run ./node/params/gen
