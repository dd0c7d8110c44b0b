#!/bin/sh
# Runs every suite. Installs what a suite needs where it may (root on Debian) and names each suite that is
# left out with the command that would bring it in. STRICT=1 makes a suite left out a failure.
# `test.sh soak` runs the same suites at full counts.
set -eu
cd "$(dirname "$0")/.."
left_out=""
leave_out() { # suite, how to bring it in
	left_out="$left_out
  $1: $2"
}
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
updated=""
install() {
	can_install || return 1
	[ -n "$updated" ] || { apt-get -qq update >/dev/null; updated=1; }
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

race="-race"
if ! command -v gcc >/dev/null 2>&1 && ! install gcc libc6-dev; then
	race=""
	leave_out "race detector" "apt-get install gcc libc6-dev"
fi
client=node/internal/ledger/embedded/testdata/nodeclient
if ! command -v npm >/dev/null 2>&1; then install nodejs npm || true; fi
if command -v npm >/dev/null 2>&1 && (cd $client && npm ci --silent --no-audit --no-fund); then
	: # the official Node client runs in the embedded ledger's tests
else
	leave_out "Fabric's Node client" "apt-get install nodejs npm, then npm ci in $client"
fi
if ! command -v npm >/dev/null 2>&1 || ! (cd clients/typescript && npm ci --silent --no-audit --no-fund); then
	leave_out "the generated clients" "apt-get install nodejs npm, then npm ci in clients/typescript"
fi
if ! command -v curl >/dev/null 2>&1 && ! install curl ca-certificates; then
	leave_out "the runbooks' requests to nodes" "apt-get install curl"
fi
have_postgres() { command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }
if ! have_postgres && ! install postgresql; then
	leave_out "exchange tables in PostgreSQL" "apt-get install postgresql"
fi
if ! command -v mariadbd >/dev/null 2>&1 && [ ! -x /usr/sbin/mariadbd ] && ! install mariadb-server; then
	leave_out "exchange tables in MariaDB" "apt-get install mariadb-server"
fi
if [ -n "${STRICT:-}" ]; then
	export ZL_STRICT=1 # tests then fail where they would skip for want of a tool
fi

timeout=20m
if [ "${1:-}" = soak ]; then
	export ZL_SOAK=1
	timeout=120m
fi
export ZL_PROGRAM="$PWD/bin/zhenglian" # whole-node tests at full count run the program as it is released
bin/zl-network build # Fabric's programs, from their Go module; once
failed=""
go test $race -timeout $timeout $(go list ./... | grep -v /zhenglian/network/) || failed=1
began=$(date +%s)
go test $race -timeout $timeout ./network/... || failed=1
took=$(($(date +%s) - began))
(cd network/deploy && go test -timeout 10m ./...) || failed=1 # a module of its own, for what only its tests need
CGO_ENABLED=0 go test ./sdk/envelope/... || failed=1
if [ -d clients/typescript/node_modules ]; then
	sh scripts/clients.sh check || failed=1
fi

echo "note: the Fabric part, ./network/..., took $took s"
if [ ! -d ../shared ]; then
	echo "note: ../shared is absent, so the tests on its data and vectors were skipped (each says so with -v)"
fi
case "$("${ZL_FABRIC_BIN:-.}/peer" version 2>/dev/null)" in
*"Version: 3."* | *"Version: v3."*) ;;
*) echo "note: BFT on a real network was left out: ZL_FABRIC_BIN=DIR, with the programs of a Fabric 3, brings it in" ;;
esac
if [ -n "$left_out" ]; then
	echo "left out:$left_out"
	[ -z "${STRICT:-}" ] || failed=1
fi
[ -z "$failed" ]
