#!/bin/sh
# Installs the programs that the benchmarks compare `ark` with, where they are missing (Debian and its relatives).
#
# Not needed for the rest: Python packages go into bench/.peers by themselves, and so do nginx and Redis, out of wheels,
# where the system has none. What cannot be had is named as absent in the table.
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
