#!/bin/sh
# Makes the release of the last commit twice and compares it byte by byte: the second time in another folder, with empty
# caches, another home, umask, time zone and language, and without a network. Then looks at it and installs it
# (packaging/*_test.go). ARCH=amd64,arm64,loong64 checks a full release; by default amd64 alone, the one that is
# installed. STRICT=1 makes what cannot be installed here a failure.
set -eu
cd "$(dirname "$0")/.."
arch=${ARCH:-amd64}
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
for tool in debootstrap rpm; do
	if ! command -v $tool >/dev/null 2>&1 && can_install; then
		apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $tool >/dev/null || true
	fi
done
commit=$(git rev-parse HEAD) # once: somebody may go on working here
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT INT TERM
COMMIT=$commit ARCH=$arch OUT="$work/first" sh scripts/release.sh

second="$work/the second time, in a folder with a longer name"
modules=$(go env GOMODCACHE)
git clone -q . "$second/tree"
git -C "$second/tree" checkout -q --detach "$commit"
(
	umask 077
	unset GOFLAGS
	export HOME="$work/home" TMPDIR="$work/tmp" TZ=Asia/Kathmandu LC_ALL=C.UTF-8 LANG=zh_CN.UTF-8
	export GOCACHE="$work/cache" GOMODCACHE="$work/modules" GOPATH="$work/path" GOPROXY="file://$modules/cache/download" GOSUMDB=off
	mkdir -p "$HOME" "$TMPDIR"
	ARCH=$arch OUT="$second/out" sh "$second/tree/scripts/release.sh" >/dev/null
)
if ! diff -r "$work/first" "$second/out"; then
	echo "release-check: the same commit gave two different releases" >&2
	exit 1
fi
echo "release-check: built twice, equal: $(sha256sum <"$work/first/SHA256SUMS" | cut -c1-16)"
cd packaging
[ -z "${STRICT:-}" ] || export ZL_STRICT=1
ZL_RELEASE="$work/first" go test -count=1 -timeout 20m .
