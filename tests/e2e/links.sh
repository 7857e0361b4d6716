#!/usr/bin/env bash
# Hard links end to end: what calls see (links.py), changes that do not come through the kernel and views of snapshots
# (links_outside.py), what cp, tar, rsync and git make of them, what the command plsm shows of such keys, what
# `plsm check` says, and kill -9 in the middle of linking.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

run_links() # FILE.py DIRECTORY [after]
{
    timeout 100 python3 "$ROOT/tests/e2e/$1" "${@:2}" >"$WORK/links" 2>&1
    tail -1 "$WORK/links" | grep -q '^[0-9]* passed, 0 failed' || cat "$WORK/links"
    read -r p _ q _ < <(tail -1 "$WORK/links")
    passed=$((passed + ${p:-0})) failed=$((failed + ${q:-1}))
}
# The groups of names that are one file, without their numbers.
groups()
{
    (cd "$1" && find . -type f -links +1 -printf '%i %n %p\n' | sort -k 1,1n -k 3 |
        awk '{ printf "%s%s %s ", $1 == last ? "" : "\n", $2, $3; last = $1 }' | sort)
}

must_mount create
read_engine
[ "$ENGINE" != hybridlog ] || export UNCOUNTED=1
run_links links.py "$DIR"
must_unmount
check_store
must_mount rw
run_links links.py "$DIR" after
PLSM=$PLSM STORE=$STORE run_links links_outside.py "$DIR"
remount

# tools
mkdir "$DIR/t" "$WORK/copies"
cd "$DIR/t" || exit 1
mkdir -p in/sub
seq 1000 >in/one
seq 50000 >in/two
ln in/one in/sub/uno
ln in/two in/due
ln in/two in/sub/dos
ln -s one in/symbolic
ok cp -a in copied
is "$(groups copied)" "$(groups in)"
ok tar cf "$WORK/links.tar" in
ok tar xf "$WORK/links.tar" -C "$WORK/copies"
is "$(groups "$WORK/copies/in")" "$(groups in)"
mkdir untarred
ok tar xf "$WORK/links.tar" -C untarred
is "$(groups untarred/in)" "$(groups in)"
ok rsync -aH in/ rsynced/
is "$(groups rsynced)" "$(groups in)"
is "$(rsync -aHi --checksum in/ rsynced/)" ''
ok cp -al in linked
is "$(stat -c %h in/one in/sub/dos in/symbolic | tr '\n' ' ')" '4 6 2 '
rm -rf linked
is "$(stat -c %h in/one in/sub/dos in/symbolic | tr '\n' ' ')" '2 3 1 '
ok diff -r in copied
is "$(du -s --apparent-size -B1 in/one in/sub/uno | wc -l)" 1
ok mv in moved
is "$(groups moved)" "$(groups copied)"
if command -v git >/dev/null; then
    git init -q repository && cd repository || exit 1
    cp -r ../moved .
    ok git -c user.name=n -c user.email=e add .
    ok git -c user.name=n -c user.email=e commit -qm m
    cd .. || exit 1
    ok git clone -q --local repository cloned # links the objects
    [ "$(find cloned/.git/objects -type f -links 2 | wc -l)" -gt 0 ] && pass || fail 'no object is linked'
    rm -rf repository
    ok git -C cloned fsck --strict
    is "$(git -C cloned status --porcelain)" ''
fi
cd "$ROOT" || exit 1
must_unmount

# as keys
is "$("$PLSM" get "$STORE" t/moved/sub/uno)" "$(seq 1000)"
is "$("$PLSM" get "$STORE" t/moved/due | md5sum)" "$(seq 50000 | md5sum)"
is "$("$PLSM" scan "$STORE" t/moved/sub/uno t/moved/sub/uno0 | wc -c)" 4910 # with "\n" as two letters
ok "$PLSM" put "$STORE" t/moved/one 1 # takes this key away from the other
is "$("$PLSM" get "$STORE" t/moved/sub/uno)" "$(seq 1000)"
ok "$PLSM" delete "$STORE" t/moved/due
check_store
must_mount rw
is "$(stat -c %h "$DIR/t/moved/sub/uno" "$DIR/t/moved/two" | tr '\n' ' ')" '1 2 '

# kill -9 while names come and go: the count is right whenever it ends
mkdir "$DIR/kill"
for round in 1 2 3; do
    (
        cd "$DIR/kill" || exit
        for ((i = 0; ; i++)); do
            echo $i >f$i && ln f$i g$i && ln g$i h$i && mv h$i g$((i / 2)) && rm f$i || exit
        done
    ) >/dev/null 2>&1 &
    writer=$!
    sleep 0.$((round * 2))
    kill_daemon
    wait $writer
    fusermount3 -uz "$DIR"
    must_mount rw
    [ "$(find "$DIR/kill" -type f | wc -l)" -gt 0 ] && pass || fail 'nothing was linked'
done
must_unmount
check_store
