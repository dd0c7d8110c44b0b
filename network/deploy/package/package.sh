#!/bin/sh
# Makes the chaincode package that an organisation installs at its own peers. It says where the organisation's
# zl-chaincode is and how a peer signs in to it; the contract itself is not in it. The same input gives the same
# bytes, and so the same package id.
#
#	sh package.sh LABEL HOST:PORT ROOT.pem CLIENT.crt CLIENT.key OUT.tgz
#	sh package.sh zhenglian_1 zl-chaincode:9999 ca.crt peer-client.crt peer-client.key zhenglian_1.tgz
#
# ROOT.pem is the authority of zl-chaincode's certificate, CLIENT.* the certificate by which it knows the peers.
# The package holds that key: keep it as one.
set -eu
umask 077
if [ $# -ne 6 ]; then
	sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
	exit 2
fi
label=$1 address=$2 root=$3 cert=$4 key=$5 out=$6
case $label in
*[!A-Za-z0-9_.+-]* | "") echo "package.sh: LABEL may hold letters, digits and _.+- only" >&2; exit 2 ;;
esac
case $address in
*[!A-Za-z0-9.:-]* | *:*:* | :* | *:) echo "package.sh: give the address as HOST:PORT" >&2; exit 2 ;;
*:*) ;;
*) echo "package.sh: give the address as HOST:PORT" >&2; exit 2 ;;
esac
if [ -e "$out" ]; then
	echo "package.sh: $out is there already; nothing is overwritten" >&2
	exit 1
fi
pem() { # a PEM file as the inside of a JSON string
	if ! grep -q -e '^-----BEGIN ' "$1" || grep -q -e '["\\]' "$1"; then
		echo "package.sh: $1 is no PEM file" >&2
		exit 1
	fi
	tr -d '\r' <"$1" | awk '{printf "%s\\n", $0}'
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
r=$(pem "$root")
c=$(pem "$cert")
k=$(pem "$key")
{
	printf '{"address":"%s","dial_timeout":"10s","tls_required":true,"client_auth_required":true,' "$address"
	printf '"root_cert":"%s","client_cert":"%s","client_key":"%s"}\n' "$r" "$c" "$k"
} >"$work/connection.json"
printf '{"type":"ccaas","label":"%s"}\n' "$label" >"$work/metadata.json"
pack() { # OUT FILE…
	to=$1
	shift
	tar -C "$work" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0600 -cf - "$@" | gzip -n >"$to"
}
pack "$work/code.tar.gz" connection.json
pack "$work/package.tgz" code.tar.gz metadata.json
mv "$work/package.tgz" "$out"
echo "$label:$(sha256sum "$out" | cut -d' ' -f1)"
