#!/usr/bin/env bash
# Starts a PostgreSQL of its own in a temporary folder, on a socket there and on no port, runs a command with
# OMBUD_TEST_POSTGRES set to it, and stops it.
#
#   tests/with_postgres.sh cargo test -p ombud-ledger
set -euo pipefail

binaries="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)"
PATH="$PATH${binaries:+:$binaries}"
folder="$(mktemp -d)"
as_owner=()
if [ "$(id -u)" = 0 ]; then # the server refuses to run as root
    chown postgres "$folder"
    as_owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
finish() {
    "${as_owner[@]}" pg_ctl -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

cd "$folder"
"${as_owner[@]}" initdb -D "$folder/data" -U ombud -A trust >/dev/null
"${as_owner[@]}" pg_ctl -D "$folder/data" -w -l "$folder/log" \
    -o "-c listen_addresses='' -c unix_socket_directories='$folder'" start >/dev/null
cd "$OLDPWD"
export OMBUD_TEST_POSTGRES="postgres:///postgres?host=$folder&user=ombud"
"$@"
