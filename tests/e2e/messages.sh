#!/bin/bash
# How many messages the kernel sends for everyday commands: each costs a wake-up, so they are what the speed of a mount
# is made of. The bounds are the fewest with which the kernel can be answered rightly; more is a fault.
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

# What .stats has counted so far, a name and a number per line; reading it sends the same messages each time.
counted()
{
    sleep 0.05 # a message is counted behind its reply; cat reads with one number of messages however long the text
    cat "$DIR/.stats" | sed -n 's/^fs\.\([a-z_]*\)\.count \([0-9]*\)$/\1 \2/p'
}
# What was sent between two such lists, less what reading one sends, as "name=number ...".
sent()
{
    join <(sort "$1") <(sort "$2") | join -a 1 - <(sort "${3:-/dev/null}") |
        awk '$3 - $2 - $4 > 0 { printf "%s%s=%d", n++ ? " " : "", $1, $3 - $2 - $4 }'
}
calibrate()
{
    counted >"$WORK/one"
    counted >"$WORK/two"
    join <(sort "$WORK/one") <(sort "$WORK/two") | awk '{ print $1, $3 - $2 }' >"$WORK/own"
}
# How often the machine's caches were dropped.
drops() { awk '$1 ~ /^drop_/ { n += $2 } END { print n + 0 }' /proc/vmstat; }
# sends "NAME=MOST ..." COMMAND: run by bash in the mount; no message but these, and no more of each. Releases and
# forgets are sent behind the command's back.
sends()
{
    local bounds=" $1 " got item most over=''
    counted >"$WORK/one"
    (cd "$DIR" && eval "$2") >"$WORK/out" 2>&1 </dev/null
    counted >"$WORK/two"
    got=$(sent "$WORK/one" "$WORK/two" "$WORK/own")
    [ -z "${E2E_SHOW-}" ] || echo "$2: ${got:-none}"
    for item in $got; do
        most=${bounds##* "${item%=*}"=}
        [ "$most" != "$bounds" ] && [ "${item#*=}" -le "${most%% *}" ] || over+=" $item"
    done
    judged=$((judged + 1))
    [ -z "$over" ] || faults+=("$2: more messages than ${1:-none}:$over")
}
# Makes the kernel forget names and content.
cold()
{
    if [ -w /proc/sys/vm/drop_caches ]; then
        drop_caches
        expected=$((expected + 2)) # pages, and names with their inodes
    else
        remount "$options"
        calibrate
    fi
}
# hold SCENARIO: a function with many `sends` on a store of its own. Others may drop the caches of the machine
# meanwhile, and then nothing follows from what is sent: it is done again.
hold()
{
    local fault
    for _ in 1 2 3 4 5; do
        rm -rf "$STORE"
        faults=() judged=0 expected=$(drops)
        "$1"
        must_unmount
        check_store
        [ "$(drops)" != "$expected" ] || break
    done
    if [ "$(drops)" != "$expected" ]; then
        echo "not judged: others drop the machine's caches again and again"
        return
    fi
    [ "$judged" -gt 0 ] && pass || fail "$1 sends nothing"
    for fault in "${faults[@]}"; do fail "$fault"; done
}

mkdir "$WORK/tree"
for i in {1..20}; do echo "$i" >"$WORK/tree/f$i"; done
tar -C "$WORK" -cf "$WORK/tree.tar" tree

# Where a directory has changed, the kernel asks for its permissions anew before it goes through it again: one getattr.
# The shell closes a copy of the descriptor before it writes, so it flushes twice. cp asks for the new name twice: first
# whether it is there, then, as it makes it with O_EXCL, the kernel believes no negative entry. Walkers of trees (fts)
# may ask once what kind of file system it is.
by_close()
{
    options=create
    must_mount
    calibrate
    echo hello >"$DIR/key"
    mkdir "$DIR/d"
    for i in {1..100}; do echo "$i" >"$DIR/d/f$i"; done
    cold
    sends 'lookup=1 open=1 release=1' 'cat key'
    is "$(cat "$WORK/out")" hello
    sends 'open=1 release=1' 'cat key'
    cold
    sends 'lookup=1' 'stat key'
    sends '' 'stat key'
    sends 'lookup=1 getattr=1 create=1 write=1 flush=2 release=1' 'echo x >new'
    sends 'open=1 write=1 flush=2 release=1' 'echo x >new'
    sends 'open=1 write=1 flush=2 release=1' 'echo y >>new'
    is "$(cat "$DIR/new")" $'x\ny'
    sends 'lookup=1' 'test -e absent'
    sends '' 'test -e absent'
    cold
    sends 'lookup=1 opendir=1 readdirplus=2 releasedir=1' 'ls -l d'
    is "$(grep -c ^- "$WORK/out")" 100
    sends 'getattr=1 opendir=1 readdirplus=2 releasedir=1' 'ls -l d'
    sends 'lookup=2 getattr=1 create=1 write=1 flush=1 release=1' "cp '$WORK/tree/f1' copy"
    sends 'getattr=2 unlink=1 forget=1' 'rm copy'
    sends 'lookup=2 getattr=2 rename=1 forget=1' 'mv new moved'
    cold
    sends 'lookup=1 statfs=1 opendir=2 readdirplus=2 releasedir=2 open=100 release=100' 'grep -r zzz d'
    cold
    sends 'lookup=1 getattr=1 opendir=1 readdirplus=2 releasedir=1 open=100 release=100' 'tar cf - d | cat'
    is "$(tar tf "$WORK/out" | wc -l)" 101
    sends 'getattr=1 opendir=1 readdirplus=2 releasedir=1 open=100 release=100' 'tar cf - d | cat'
    sends 'lookup=22 getattr=22 mkdir=1 create=20 write=20 setattr=63 flush=20 release=20' "tar xf '$WORK/tree.tar'"
    ok diff -r "$WORK/tree" "$DIR/tree"
    cold
    sends 'lookup=1 statfs=1 opendir=1 readdirplus=2 releasedir=1' 'du -s d'
    # Several that ask for a sync at once are all answered.
    sends 'lookup=8 getattr=16 create=8 write=8 fsync=8 flush=16 release=8' 'for i in 1 2 3 4 5 6 7 8; do
    dd if=/dev/zero of=synced$i bs=9 count=1 conv=fsync status=none 2>&1 & done; wait'
    sends 'getattr=21 statfs=1 opendir=2 readdirplus=3 releasedir=2 unlink=20 rmdir=1 lookup=1 forget=30' 'rm -r tree'
}
hold by_close

peek() { timeout 20 "$PLSM" get "$STORE" "$1" </dev/null; }
# Each write published: neither a message at opening nor one at closing.
by_write()
{
    options=create,publish=write
    must_mount "$options"
    # By these the kernel learns that it need not open and flush.
    echo hello >"$DIR/key"
    is "$(cat "$DIR/key")" hello
    calibrate
    mkdir "$DIR/d"
    for i in {1..100}; do echo "$i" >"$DIR/d/f$i"; done
    cold
    sends 'lookup=1 read=1' 'cat key'
    is "$(cat "$WORK/out")" hello
    sends 'getattr=1' 'cat key' # for the time of access, which a read may have changed
    sends '' 'cat key'
    cold
    sends 'lookup=1' 'stat key'
    sends '' 'stat key'
    sends 'lookup=1 getattr=1 create=1 write=1' 'echo x >new2'
    is "$(peek new2)" x
    sends 'setattr=1 write=1' 'echo x >new2'
    sends 'write=1' 'echo y >>new2'
    is "$(peek new2)" $'x\ny'
    sends 'lookup=1' 'test -e absent'
    sends '' 'test -e absent'
    cold
    sends 'lookup=1 opendir=1 readdirplus=2 releasedir=1' 'ls -l d'
    is "$(grep -c ^- "$WORK/out")" 100
    sends 'getattr=1 opendir=1 readdirplus=2 releasedir=1' 'ls -l d'
    sends 'lookup=2 getattr=1 create=1 write=1' "cp '$WORK/tree/f1' copy"
    sends 'getattr=2 unlink=1 forget=1' 'rm copy'
    sends 'lookup=2 getattr=2 rename=1 forget=1' 'mv new2 moved'
    sends 'lookup=1 getattr=1 rename=1' 'mv moved new2'
    cold
    sends 'lookup=1 statfs=1 opendir=2 readdirplus=2 releasedir=2 read=100' 'grep -r zzz d'
    cold
    sends 'lookup=1 getattr=101 opendir=1 readdirplus=2 releasedir=1 read=100' 'tar cf - d | cat'
    is "$(tar tf "$WORK/out" | wc -l)" 101
    sends 'getattr=1 opendir=1 readdirplus=2 releasedir=1' 'tar cf - d | cat'
    sends 'lookup=22 getattr=22 mkdir=1 create=20 write=20 setattr=63' "tar xf '$WORK/tree.tar'"
    ok diff -r "$WORK/tree" "$DIR/tree"
}
hold by_write

options=publish=write
must_mount "$options"
exec 7>"$DIR/open"
printf 1 >&7
is "$(peek open)" 1 "published by the write"
printf 23 >&7
is "$(peek open)" 123
timeout 60 python3 - "$DIR/open" <<'PY'
import os, sys
os.truncate(sys.argv[1], 2)
f = os.open(sys.argv[1], os.O_WRONLY)
os.ftruncate(f, 1)
os.fsync(f)
PY
is "$(peek open)" 1
exec 7>&-
is "$(cat "$DIR/open")" 1
ok cp "$PLSM" "$DIR/large"
ok cmp "$PLSM" "$DIR/large"
remount "$options"
ok cmp "$PLSM" "$DIR/large"
is "$(cat "$DIR/new2" "$DIR/open")" $'x\ny\n1'
exec 7<>"$DIR/new2"
rm "$DIR/new2"
echo z >&7
not test -e "$DIR/new2"
exec 7>&-
must_unmount
check_store
