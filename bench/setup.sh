#!/bin/sh
# Installs what the benchmarks compare `ark` with, where it is missing (Debian and its relatives).
set -eu

missing=
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v wrk >/dev/null || missing="$missing wrk"
command -v openssl >/dev/null || missing="$missing openssl"
[ -n "$missing" ] || exit 0

[ "$(id -u)" = 0 ] && sudo= || sudo=sudo
$sudo apt-get update
# shellcheck disable=SC2086 # one word per package
$sudo apt-get install --yes --no-install-recommends $missing
