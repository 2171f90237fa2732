#!/bin/sh
# Installs missing programs that the benchmarks compare `ark` with (Debian and its derivatives).
#
# Everything else is installed automatically into bench/.peers: Python packages, and wheels of nginx and Redis if the
# system has none. The table lists peers that cannot be installed as absent.
set -eu

missing=
for tool in wrk openssl curl; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "no apt-get here; install yourself:$missing" >&2
    exit 1
fi

[ "$(id -u)" = 0 ] && sudo= || sudo=sudo
$sudo apt-get update
# shellcheck disable=SC2086 # one word per package
$sudo apt-get install --yes --no-install-recommends $missing
