#!/usr/bin/env bash
# Directories of many files: what the daemon remembers of each that is listed, that listing more than it may remember
# works, and their removal, which takes the range of their keys.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh

records() # COUNT DIRECTORY [SIZE]: names of so many bytes
{
    awk -v n="$1" -v d="$2" -v size="${3:-8}" 'BEGIN { for (i = 0; i < n; i++) printf "%s/%0*d\t%d\n", d, size, i, i }'
}
batch() { dd of="$DIR/.plsm/batch" bs=1M iflag=fullblock status=none conv=notrunc; }
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

# --- and of views of snapshots, until the kernel forgets it ----------------------------------------------------------
if [ "$ENGINE" = lsm ]; then
    must_mount rw
    before=$(statistic mem.nodes)
    mkdir "$DIR/.plsm/snapshots/one"
    for i in 1 2 3 4 5; do # others may have the kernel forget meanwhile
        is "$(ls -U "$DIR/.plsm/snapshots/one/long" | wc -l)" 30000
        after=$(statistic mem.nodes)
        [ $((after - before)) -lt 1800000 ] || break
    done
    at_most 60 $(((after - before) / 30000)) "bytes for each file of a snapshot"
    if [ "$(id -u)" = 0 ] && timeout 20 mount -i -o remount "$DIR"; then # by which the kernel forgets
        for _ in {1..100}; do
            [ "$(statistic mem.nodes)" -gt $((before + 500000)) ] || break
            sleep 0.1
        done
        at_most "$(statistic mem.nodes)" $((before + 500000)) "bytes of nodes, once the kernel has forgotten them"
        is "$(ls "$DIR/.plsm/snapshots/one/long" | tail -n 1)" "$(printf %060d 29999)"
    fi
    must_unmount
fi

# --- a listing of more than that: with memory=16M 16,384 nodes -------------------------------------------------------
must_mount rw,memory=16M
is "$(ls -U "$DIR/long" | sort | md5sum)" "$(cut -f 1 "$WORK/records" | cut -d / -f 2 | md5sum)"
if [ "$ENGINE" != appendlog ]; then # which has no option memory
    at_most "$(statistic fs.nodes)" 17000 "nodes by a listing"
    until_known 10000
fi
if [ "$ENGINE" = lsm ]; then # snapshots have their nodes of the same share
    for name in one two; do
        mkdir "$DIR/.plsm/snapshots/$name"
        is "$(ls -U "$DIR/.plsm/snapshots/$name/long" | wc -l)" 30000
    done
    at_most "$(statistic mem.nodes)" $((17000 * 99)) "bytes of nodes by listings of the mount and two snapshots"
    ok rmdir "$DIR/.plsm/snapshots/one" "$DIR/.plsm/snapshots/two"
fi
is "$(cat "$DIR/long/$(printf %060d 29999)")" 29999 # one that was named alone
is "$(ls -l "$DIR/long" | awk '{ n += $5 } END { print n }')" 138890
must_unmount

# --- rm -r of many names: no deletion is left for each ---------------------------------------------------------------
must_mount rw
entries() { echo flush >"$DIR/.plsm/ctl" && cat "$DIR/.plsm/ctl" >"$WORK/out" && statistic lsm.level.0.keys; }
records 3000 tree | batch
records 600 tree/a/b | batch
records 600 tree/a/c | batch
is "$(find "$DIR/tree" -type f | wc -l)" 4200
mkdir "$DIR/beside" && ln "$DIR/tree/00000001" "$DIR/beside/link"
[ "$ENGINE" != lsm ] || mkdir "$DIR/.plsm/snapshots/before"
exec 7<"$DIR/tree/a/b/00000002"
[ "$ENGINE" != lsm ] || { echo compact >"$DIR/.plsm/ctl" && cat "$DIR/.plsm/ctl" >"$WORK/out"; }
ok rm -r "$DIR/tree"
not test -e "$DIR/tree"
is "$(cat <&7)" 2 "of a file that is open"
exec 7<&-
is "$(cat "$DIR/beside/link") $(stat -c %h "$DIR/beside/link")" "1 1" "the other name of a file"
if [ "$ENGINE" = lsm ]; then
    is "$(find "$DIR/.plsm/snapshots/before/tree" -type f | wc -l)" 4200
    ok rmdir "$DIR/.plsm/snapshots/before"
    at_most "$(entries)" 100 "entries of level 0 are left, deletions most of them"
fi
is "$("$PLSM" scan "$STORE" tree/ tree0 | wc -l)" 0

# --- what lies beside the directory stays ----------------------------------------------------------------------------
beside() { "$PLSM" scan "$STORE" tre trf | grep -v ^tree/; }
mkdir "$DIR/tree00" "$DIR/tre"
for name in tree0 tree- tree. tree.x treeX tree00/x tre/e; do echo "$name" >"$DIR/$name"; done
ok "$PLSM" put "$STORE" tree "a key as the directory's without its slash"
ok "$PLSM" put "$STORE" tree0/x "below a file"
records 1200 tree | batch
beside >"$WORK/beside"
is "$(wc -l <"$WORK/beside")" 11
ok rm -r "$DIR/tree%2F." # as it is shown beside that file
is "$(beside | diff "$WORK/beside" -)" ""
is "$("$PLSM" scan "$STORE" tree/ tree0 | wc -l)" 0
is "$(cd "$DIR" && cat tree0 tree- tree. tree.x treeX tree00/x tre/e | tr '\n' ' ')" \
    "tree0 tree- tree. tree.x treeX tree00/x tre/e "
ok "$PLSM" delete "$STORE" tree
ok "$PLSM" delete "$STORE" tree0/x

# --- directories that move: deletions count where they lie -----------------------------------------------------------
if [ "$ENGINE" = lsm ]; then
    records 3000 from/sub | batch
    echo compact >"$DIR/.plsm/ctl" && cat "$DIR/.plsm/ctl" >"$WORK/out"
    ok mv "$DIR/from/sub" "$DIR/moved"
    ok rmdir "$DIR/from"
    is "$(ls "$DIR/moved" | wc -l)" 3000
    at_most "$(entries)" 3100 "entries of level 0 are left of 3,000 names that moved"
    records 3000 other/sub | batch # of a directory that another one replaces
    echo compact >"$DIR/.plsm/ctl" && cat "$DIR/.plsm/ctl" >"$WORK/out"
    find "$DIR/other/sub" -type f -delete
    mkdir "$DIR/new"
    ok mv -T "$DIR/new" "$DIR/other/sub"
    ok rm -r "$DIR/other"
    at_most "$(entries)" 100 "entries of level 0 are left"
fi

# --- the names come back at once -------------------------------------------------------------------------------------
for _ in 1 2; do
    mkdir "$DIR/tree" && records 1500 tree | batch
    echo new >"$DIR/tree/own"
    is "$(ls "$DIR/tree" | wc -l)" 1501
    is "$(cat "$DIR/tree/00000003" "$DIR/tree/own")" 3new
    [ "$ENGINE" != lsm ] || entries >/dev/null
    is "$(ls "$DIR/tree" | wc -l)" 1501
    ok rm -r "$DIR/tree"
    not test -e "$DIR/tree/own"
done

# --- what the library puts while a directory is removed stays, or the directory does ---------------------------------
for round in {1..12}; do
    mkdir "$DIR/race" 2>/dev/null
    records 1100 race | batch
    find "$DIR/race" -type f -delete
    "$PLSM" put "$STORE" race/late $round 2>"$WORK/err" &
    rmdir "$DIR/race" 2>/dev/null
    wait $! || fail "put: $(cat "$WORK/err")"
    is "$("$PLSM" get "$STORE" race/late) $(cat "$DIR/race/late")" "$round $round"
    rm -r "$DIR/race"
done

# --- killed behind the removal: it stands ----------------------------------------------------------------------------
mkdir "$DIR/gone" "$DIR/stays" && records 1200 gone | batch
records 1200 stays/x | batch
rm -r "$DIR/gone" "$DIR/stays/x"
kill_daemon
fusermount3 -uz "$DIR" 2>/dev/null
must_mount rw
not test -e "$DIR/gone"
is "$(ls -A "$DIR/stays")" "" "a directory that is empty"
must_unmount
check_store

# --- what expired in a directory goes with it, and its extended attributes -------------------------------------------
STORE=$WORK/expiring
must_mount create,ttl=4,xattr
mkdir "$DIR/tree" && setfattr -n user.of -v directory "$DIR/tree" && records 1200 tree | batch
find "$DIR/tree" -type f -delete
head -c 300000 /dev/urandom >"$DIR/tree/large"
echo small >"$DIR/tree/small"
for _ in {1..200}; do
    [ -e "$DIR/tree/large" ] || [ -e "$DIR/tree/small" ] || break
    sleep 0.1
done
ok rmdir "$DIR/tree"
not test -e "$DIR/tree"
mkdir "$DIR/tree"
is "$(ls -A "$DIR/tree")$(getfattr -d "$DIR/tree")" "" "the next directory of the name"
cp "$WORK/records" "$DIR/tree/large"
ok cmp "$WORK/records" "$DIR/tree/large"
must_unmount
check_store
