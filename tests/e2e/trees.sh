#!/usr/bin/env bash
# Directories of many files: what the daemon remembers of each that is listed, and that listing more than it may
# remember works.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh

records() # COUNT DIRECTORY [SIZE]: names of so many bytes
{
    awk -v n="$1" -v d="$2" -v size="${3:-8}" 'BEGIN { for (i = 0; i < n; i++) printf "%s/%0*d\t%d\n", d, size, i, i }'
}
at_most() { [ "$1" -le "$2" ] && pass || fail "$1, above $2: $3"; }
# Lists until the kernel knows so many: others may have it forget all that it knows.
until_known()
{
    local i
    for i in 1 2 3 4 5; do
        [ "$(statistic fs.nodes)" -ge "$1" ] && break
        ls -U "$DIR/long" >"$WORK/out"
    done
    [ "$(statistic fs.nodes)" -ge "$1" ] && pass || fail "listings made $(statistic fs.nodes) nodes, not $1"
}

# --- memory for what was listed --------------------------------------------------------------------------------------
must_create
records 30000 long 60 >"$WORK/records"
ok sh -c "'$PLSM' load '$STORE' <'$WORK/records'"
must_mount
read_engine
before=$(statistic mem.nodes)
is "$(ls -U "$DIR/long" | wc -l)" 30000
until_known 30000
after=$(statistic mem.nodes)
at_most $(((after - before) / 30000)) 99 "bytes for each file with a name of 60 bytes"
[ "$(statistic mem.bytes)" -ge "$after" ] && pass || fail "nodes are no part of mem.bytes"
grep -q '"mem.nodes": ' "$DIR/.plsm/stats.json" && pass || fail "no mem.nodes in stats.json"
must_unmount

# --- a listing of more than that: with memory=16M 16,384 nodes -------------------------------------------------------
must_mount rw,memory=16M
is "$(ls -U "$DIR/long" | sort | md5sum)" "$(cut -f 1 "$WORK/records" | cut -d / -f 2 | md5sum)"
if [ "$ENGINE" != appendlog ]; then # which has no option memory
    at_most "$(statistic fs.nodes)" 17000 "nodes by a listing"
    until_known 10000
fi
is "$(cat "$DIR/long/$(printf %060d 29999)")" 29999 # one that was named alone
is "$(ls -l "$DIR/long" | awk '{ n += $5 } END { print n }')" 138890
must_unmount
check_store
