#!/usr/bin/env bash
# A mount on a store of each engine: everyday commands, the control files, checkpoints while it is mounted, kill -9 of
# the daemon, and the command beside it. E2E_ENGINES: these engines alone.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

describe()
{
    (cd "$1" && find . -mindepth 1 -printf '%p %y %m %s %T@ %l\n' -type f -printf '%p %n\n' | sort)
}

everyday()
{
    cd "$DIR" || exit 1
    printf abc >f && printf def >>f
    is "$(cat f)" abcdef
    ok cp -a "$ROOT/tests" .
    ok diff -r "$ROOT/tests" tests
    mkdir -p deep/er && mv tests deep/er/moved
    ok diff -r "$ROOT/tests" deep/er/moved
    # shellcheck disable=SC2012
    is "$(ls deep/er/moved | md5sum)" "$(ls "$ROOT/tests" | md5sum)"
    ok tar cf "$WORK/t.tar" deep
    mkdir out && ok tar xf "$WORK/t.tar" -C out
    ok diff -r "$ROOT/tests" out/deep/er/moved
    if command -v rsync >/dev/null; then
        ok rsync -a --delete deep/er/moved/ synced/
        ok diff -r "$ROOT/tests" synced
        is "$(rsync -ani --delete deep/er/moved/ synced/)" '' 'rsync has nothing left to do'
    fi
    rm -r out
    not test -e out
    mkdir many && (cd many && seq -f 'file%05.0f' 2000 | xargs touch)
    # shellcheck disable=SC2012
    is "$(ls -U many | md5sum)" "$(seq -f 'file%05.0f' 2000 | md5sum)" 'in key order'
    says 'Directory not empty' rmdir many
    rm many/file000* && is "$(find many -type f | wc -l)" 1901
    ln f hard && ln hard deep/hard && printf more >>deep/hard
    is "$(cat f) $(stat -c %h f)" 'abcdefmore 3'
    rm f && is "$(cat hard) $(stat -c %h deep/hard)" 'abcdefmore 2'
    seq 300000 >large && cp large again && truncate -s 1000000 again
    is "$(head -c 1000000 large | md5sum)" "$(md5sum <again)"
    mv again large
    is "$(stat -c %s large)" 1000000
    ln -s deep/er link && is "$(find link/ -maxdepth 1 -name moved -printf x)" x
    says 'No such file' cat absent
    says 'File exists' mkdir deep
    # Where names have no order, counting the directories in one would look at all of them.
    is "$(stat -c %h deep)" "$([ "$engine" = hybridlog ] && echo 1 || echo 3)" 'directories are counted'
    cd / || exit 1
}

control()
{
    local name
    is "$(statistic store.engine)" "$1"
    [ "$(statistic store.keys)" -gt 1000 ] && pass || fail "store.keys is $(statistic store.keys)"
    for name in store.bytes_disk mem.bytes store.read_only fs.errors; do
        [ -n "$(statistic "$name")" ] && pass || fail "there is no $name"
    done
    is "$(statistic fs.errors)" 0
    ok python3 -m json.tool "$DIR/.plsm/stats.json"
    check_metrics plsm_store_keys plsm_fs_operations
    ok ls "$DIR/.plsm/levels"
    [ "$1" = lsm ] || is "$(cat "$WORK/out")" ''
    ok dd if=/dev/stdin of="$DIR/.plsm/ctl" status=none <<<flush
    ok dd if=/dev/stdin of="$DIR/.plsm/ctl" status=none <<<compact
    [ "$1" = lsm ] || says 'not supported' bash -c "echo retrain >'$DIR/.plsm/ctl'"
    printf 'x\t1\ny\t2\n' >"$DIR/.plsm/batch" && is "$(cat "$DIR/x" "$DIR/y")" 12
    is "$(ls "$DIR/.plsm/range/many%2F..many0" 2>&1 | wc -l)" "$(ls "$DIR/.plsm/range/many%2F..many0" | wc -l)"
    mkdir "$DIR/.plsm/snapshots/one" && printf 3 >"$DIR/x"
    is "$(cat "$DIR/.plsm/snapshots/one/x") $(cat "$DIR/x")" '1 3'
    rmdir "$DIR/.plsm/snapshots/one"
    ok dd if=/dev/stdin of="$DIR/.plsm/ctl" status=none <<<"checkpoint $WORK/checkpoints-$1 mounted"
    printf 4 >"$DIR/x"
    # the command beside it, and through it
    is "$("$PLSM" get "$STORE" x)" 4
    ok "$PLSM" put "$STORE" z 5
    is "$(cat "$DIR/z")" 5
    ok "$PLSM" scan --limit 3 "$STORE"
    ok "$PLSM" check "$STORE"
    rm "$DIR/z"
}

checkpoints() # ENGINE
{
    local directory=$WORK/checkpoints-$1
    ok "$PLSM" checkpoint --name=one "$STORE" "$directory"
    ok "$PLSM" checkpoint --name=two "$STORE" "$directory"
    grep -q 'new: 0 files' "$WORK/out" && pass || fail "an unchanged store: $(cat "$WORK/out")"
    ok "$PLSM" checkpoint --check "$directory"
    ok "$PLSM" checkpoint --list "$directory"
    grep -q "two.*$1" "$WORK/out" && pass || fail "the list is $(cat "$WORK/out")"
    rm -rf "$WORK/restored"
    ok "$PLSM" restore --name=mounted "$directory" "$WORK/restored"
    is "$("$PLSM" get "$WORK/restored" x)" 3
    check_store "$WORK/restored"
    rm -rf "$WORK/restored"
    ok "$PLSM" restore "$directory" "$WORK/restored"
    "$PLSM" dump "$STORE" >"$WORK/dump"
    "$PLSM" dump "$WORK/restored" | cmp - "$WORK/dump" && pass || fail 'the restored store is another'
    # a file that is missing, or altered: nothing is made
    local content
    ok "$PLSM" checkpoint --remove=mounted "$directory" # then all contents are of the last one
    ok "$PLSM" checkpoint --remove=one "$directory"
    content=$(find "$directory/files" -type f -size +0 | sort | head -n 1)
    rm -rf "$WORK/restored"
    cp --remove-destination "$content" "$WORK/kept"
    rm "$content"
    says "$content" "$PLSM" restore --copy "$directory" "$WORK/restored"
    tr '\0-\377' '\1-\377\0' <"$WORK/kept" >"$content"
    says "$content" "$PLSM" restore --copy "$directory" "$WORK/restored"
    [ ! -e "$WORK/restored" ] && [ ! -e "$WORK/restored.restoring" ] && pass || fail 'something was made'
}

others() # ENGINE: what it has not
{
    [ "$1" != lsm ] || return 0
    says "$1" "$PLSM" retrain "$STORE"
    says "$1" "$PLSM" inspect run "$STORE"
    says "$1" "$PLSM" ingest "$STORE" "$WORK/dump"
    says 'convert' "$PLSM" get -o engine=lsm "$STORE" x
    is "$(printf 'sorted-a\t1\nsorted-b\t2\n' | "$PLSM" load --sorted "$STORE" 2>&1 | grep -c batches)" 1
    is "$("$PLSM" get "$STORE" sorted-b)" 2
    ok "$PLSM" delete "$STORE" sorted-a
    ok "$PLSM" delete "$STORE" sorted-b
    ok "$PLSM" compact "$STORE"
    ok "$PLSM" flush "$STORE"
    "$PLSM" stats "$STORE" >"$WORK/stats"
    says "$1" "$PLSM" tune --stats="$WORK/stats"
    grep -q '^lsm' "$WORK/stats" && fail "statistics of a tree: $(grep -m 1 '^lsm' "$WORK/stats")"
}

full() # ENGINE: of a disk that was full, what is deleted can be written again, also after the daemon's death
{
    local small=$WORK/small i j
    mkdir -p "$small" && mount -t tmpfs -o size=24m tmpfs "$small" 2>/dev/null || return 0
    must_mount "create,engine=$1" "$small/store"
    head -c 100000 /dev/urandom >"$WORK/value"
    for ((i = 0; i < 1000; i++)); do cp "$WORK/value" "$DIR/$i" 2>/dev/null || break; done
    [ $i -gt 100 ] && [ $i -lt 1000 ] && pass || fail "$1: $i files fill it"
    rm -f "$DIR/$i"
    ok cmp "$WORK/value" "$DIR/$((i - 1))"
    ok rm "$DIR"/*[02468]
    ok bash -c 'echo compact >"$1"' - "$DIR/.plsm/ctl"
    for ((j = 0; j < 30; j++)); do ok cp "$WORK/value" "$DIR/new$j"; done
    kill_daemon
    must_mount rw "$small/store"
    ok cmp "$WORK/value" "$DIR/1"
    for ((j = 0; j < 1000; j++)); do cp "$WORK/value" "$DIR/more$j" 2>/dev/null || break; done
    rm -f "$DIR/more$j"
    kill_daemon
    head -c 24M /dev/zero >"$small/others" 2>/dev/null # not a byte is left
    must_mount ro "$small/store"
    ok cmp "$WORK/value" "$DIR/1"
    ok cmp "$WORK/value" "$DIR/new29"
    must_unmount
    truncate -s -256K "$small/others"
    must_mount rw "$small/store"
    ok rm "$DIR"/new*
    rm "$small/others"
    ok bash -c 'echo compact >"$1"' - "$DIR/.plsm/ctl"
    for ((j = 0; j < 20; j++)); do ok cp "$WORK/value" "$DIR/last$j"; done
    must_unmount
    check_store "$small/store"
    must_mount rw "$small/store"
    ok cmp "$WORK/value" "$DIR/last19"
    ok cmp "$WORK/value" "$DIR/1"
    must_unmount
    umount "$small"
}

kills() # ENGINE: its daemon killed under load, again and again, as for trees by itself
{
    [ "$1" != lsm ] || return 0
    if KILL_ROUNDS=12 E2E_OPTIONS=engine=$1${E2E_OPTIONS:+,$E2E_OPTIONS} \
        "$ROOT/tests/e2e/kill.sh" >"$WORK/kills" 2>&1; then
        pass
    else
        fail "$1: $(cat "$WORK/kills")"
    fi
}

for engine in $(engines); do
    STORE=$WORK/store-$engine
    must_mount "create,engine=$engine"
    everyday
    describe "$DIR" >"$WORK/before"
    remount rw
    describe "$DIR" | diff - "$WORK/before" >"$WORK/err" && pass || fail "$engine: $(head -c 300 "$WORK/err")"
    control "$engine"
    describe "$DIR" >"$WORK/before"
    kill_daemon # nothing waits to be published
    must_mount "engine=$engine"
    describe "$DIR" | diff - "$WORK/before" >"$WORK/err" && pass || fail "$engine: $(head -c 300 "$WORK/err")"
    ok diff -r "$ROOT/tests" "$DIR/deep/er/moved"
    must_unmount
    check_store
    checkpoints "$engine"
    others "$engine"
    must_mount ro
    describe "$DIR" | diff - "$WORK/before" >"$WORK/err" && pass || fail "$engine: $(head -c 300 "$WORK/err")"
    says 'Read-only' touch "$DIR/f"
    must_unmount
    rm -rf "$STORE"
    full "$engine"
    kills "$engine"
done
