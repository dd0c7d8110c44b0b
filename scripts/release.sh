#!/bin/sh
# Makes a release of the last commit, in out/release or $OUT: what is not committed is not in it. ARCH=amd64 makes a part.
# Needs Go and git; the network only for modules that the cache does not have.
set -eu
cd "$(dirname "$0")/.."
out=${OUT:-out/release}
arch=${ARCH:-amd64,arm64,loong64}
commit=${COMMIT:-$(git rev-parse HEAD)}
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	echo "release: of $commit; changes that are not committed are not in it" >&2
fi
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
# A clone, because files that lie about in a working tree must not reach a release, and Go writes into the programs
# which commit they are of only where it sees a clean repository.
git clone -q --shared . "$work/zhenglian"
git -C "$work/zhenglian" checkout -q --detach "$commit"
(cd "$work/zhenglian/packaging" && GOFLAGS= go build -trimpath -o "$work/packaging" .)
"$work/packaging" --source "$work/zhenglian" --out "$out" --arch "$arch"
(cd "$out" && sha256sum --quiet -c SHA256SUMS && ls -l)
