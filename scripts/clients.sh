#!/bin/sh
# The clients that are generated from docs/spec/openapi.json.
#
#	sh scripts/clients.sh generate    writes them
#	sh scripts/clients.sh check       fails where they are not what would be written, compiles them, runs their tests
#
# Needs Go and Node.js with npm, and the network where their caches do not have the generators.
set -eu
cd "$(dirname "$0")/.."
OAPI_CODEGEN=github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
[ -d clients/typescript/node_modules ] || (cd clients/typescript && npm ci --silent --no-audit --no-fund)

generate() { # into the folders given
	(cd clients/go && GOFLAGS= go run $OAPI_CODEGEN -config oapi-codegen.yaml -o "$1/generated.go" ../../docs/spec/openapi.json)
	(cd clients/typescript && npx openapi-typescript ../../docs/spec/openapi.json --output "$2/api.ts" >/dev/null)
}

case "${1:-}" in
generate)
	generate . src
	;;
check)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT INT TERM
	generate "$work" "$work"
	if ! cmp -s "$work/generated.go" clients/go/generated.go || ! cmp -s "$work/api.ts" clients/typescript/src/api.ts; then
		echo "the clients are not those of docs/spec/openapi.json. Run: make clients" >&2
		exit 1
	fi
	(cd clients/go && go vet ./... && go test ./...)
	# The example in the page compiles as well.
	sed -n '/^```ts$/,/^```$/{/^```/d;p;}' clients/typescript/README.md |
		sed 's#"@zhenglian/client"#"../src/index.js"#' >clients/typescript/test/readme.ts
	(cd clients/typescript && npx tsc && npm test --silent)
	;;
*)
	sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
	exit 2
	;;
esac
