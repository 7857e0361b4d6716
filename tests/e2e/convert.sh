#!/usr/bin/env bash
# plsm convert: everything that a mount and the command can put into a store is there behind a conversion to each
# other engine and back; what is refused changes nothing; a conversion that is killed leaves the store whole.
# CONVERT_KILLS (12): how often it is killed.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

mapfile -t all < <(engines)
stored() { timeout 60 "$PLSM" stats "$1" | sed -n 's/^store.engine *//p'; }
convert() { timeout 120 "$PLSM" convert "$@" </dev/null; }
# What is at a place, by names, sizes and contents.
state() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) 2>&1; }
describe()
{
    (cd "$DIR" && find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %l %i\n' -not -type d -printf '%p %n\n' | sort &&
        find . -type f -print0 | sort -z | xargs -0 sha256sum && getfattr -R -d -m - . 2>&1 | sort)
}

# --- usage ---------------------------------------------------------------------------------------------------------
ok "$PLSM" convert --help
says 'the store is missing' "$PLSM" convert --to=lsm
says '--to=ENGINE' "$PLSM" convert "$STORE"
says '--remove-old' "$PLSM" convert "$STORE" new --to=lsm --remove-old
says 'frobnicate' "$PLSM" convert "$STORE" --to=lsm -o frobnicate=1
says 'no store' "$PLSM" convert "$STORE" --to=lsm
mkdir "$WORK/empty"
says 'no store' "$PLSM" convert "$WORK/empty" --to=lsm
is "$(ls -A "$WORK/empty")" ''

# --- a store with everything ---------------------------------------------------------------------------------------
must_mount "create,xattr,engine=${all[0]}"
cp -a "$ROOT/tests" "$DIR/tests"
(
    cd "$DIR" || exit 1
    seq 200000 >large
    ln large tests/large-too
    ln tests/run.sh run.sh
    ln -s tests link
    ln -s "$(printf 't%.0s' {1..4000})" longlink
    mkfifo fifo
    mkdir -m 1750 empty
    truncate -s 3M sparse
    printf end | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
    setfattr -n user.note -v text large
    touch -d '1930-01-01 00:00:00.5Z' fifo
    chown 12:34 run.sh 2>/dev/null
    : >zero
)
for name in '100%' $'new\nline' ' '; do echo "$name" >"$DIR/$name"; done
must_unmount
printf 'dot' | "$PLSM" put "$STORE" 'dots/..'
"$PLSM" put -o ttl=100000 "$STORE" expires later
"$PLSM" put -o ttl=1 "$STORE" expired now
sleep 2.1
must_mount xattr
describe >"$WORK/before"
must_unmount
"$PLSM" dump "$STORE" >"$WORK/dump"

# --- to each engine and back ---------------------------------------------------------------------------------------
for engine in "${all[@]:1}" "${all[0]}"; do
    from=$(stored "$STORE")
    [ "$from" != "$engine" ] || continue
    state "$STORE" >"$WORK/old"
    ok convert "$STORE" --to="$engine"
    says_out() { grep -qF -- "$1" "$WORK/out" && pass || fail "'$1' is not in: $(cat "$WORK/out")"; }
    says_out "from $from to $engine"
    says_out "$STORE.old"
    is "$(stored "$STORE")" "$engine"
    is "$(stored "$STORE.old")" "$from"
    is "$(state "$STORE.old" | grep -v 'LOCK$')" "$(grep -v 'LOCK$' "$WORK/old")" 'the old store is as it was'
    [ ! -e "$STORE.converting" ] && pass || fail "$STORE.converting is left"
    is "$(stat -c %a "$STORE")" "$(stat -c %a "$STORE.old")"
    "$PLSM" dump "$STORE" | cmp - "$WORK/dump" && pass || fail "$engine: the dumps differ"
    check_store
    must_mount xattr
    describe >"$WORK/after"
    ok diff "$WORK/before" "$WORK/after"
    must_unmount
    rm -rf "$STORE.old"
done
must_mount xattr
describe >"$WORK/after"
ok diff "$WORK/before" "$WORK/after"
must_unmount

if [ ${#all[@]} -gt 1 ]; then
    other=${all[1]} # than that of the store
    # --- beside, and without the old one ---------------------------------------------------------------------------
    ok convert "$STORE" "$WORK/new" --to="$other"
    is "$(stored "$WORK/new") $(stored "$STORE")" "$other ${all[0]}"
    "$PLSM" dump "$WORK/new" | cmp - "$WORK/dump" && pass || fail 'the dumps differ'
    rm -rf "$WORK/new"
    mkdir "$WORK/new" && chmod 700 "$STORE"
    ok convert "$STORE" "$WORK/new/" --to="$other"
    check_store "$WORK/new"
    ln -s "$WORK/new" "$WORK/alias"
    ok convert "$WORK/alias" --to="${all[0]}" --remove-old -o cache_size=1M
    is "$(stored "$WORK/alias") $(stored "$WORK/new")" "${all[0]} ${all[0]}"
    [ ! -e "$WORK/new.old" ] && [ ! -e "$WORK/alias.old" ] && [ -L "$WORK/alias" ] && pass || fail 'the old one is left'
    check_store "$WORK/new"

    # --- refused: nothing changes -----------------------------------------------------------------------------------
    state "$STORE" >"$WORK/old"
    unchanged()
    {
        [ ! -e "$STORE.converting" ] && [ ! -e "$STORE.old" ] && pass || fail 'something is left'
        state "$STORE" | diff - "$WORK/old" >/dev/null && pass || fail 'the store has changed'
    }
    says 'already' convert "$STORE" --to="${all[0]}"
    unchanged
    says 'frob' convert "$STORE" --to=frob
    unchanged
    says 'engine' convert "$STORE" --to="$other" -o "engine=${all[0]}"
    unchanged
    says 'something already' convert "$STORE" "$WORK/new" --to="$other"
    unchanged
    is "$(stored "$WORK/new")" "${all[0]}"
    says 'no store' convert "$WORK/dump" --to="$other"
    mkdir "$STORE.converting"
    says "$STORE.converting" convert "$STORE" --to="$other"
    rmdir "$STORE.converting"
    mkdir "$STORE.old"
    says "$STORE.old" convert "$STORE" --to="$other"
    rmdir "$STORE.old"
    unchanged
    says 'convert' "$PLSM" put -o "engine=$other" "$STORE" key value
    says 'convert' timeout 20 "$PLSMD" -o "engine=$other" "$STORE" "$DIR"
    unchanged
    must_mount rw
    says 'in use' convert "$STORE" --to="$other"
    [ ! -e "$STORE.converting" ] && pass || fail 'something is left'
    must_unmount
    if mount --bind "$STORE" "$STORE" 2>/dev/null; then
        says 'mounted there' convert "$STORE" --to="$other"
        umount "$STORE"
        [ ! -e "$STORE.converting" ] && pass || fail 'something is left'
    fi

    # --- on a terminal ----------------------------------------------------------------------------------------------
    seq 1500000 | sed 's/.*/k&\ta value of some bytes, so that it takes its time/' | "$PLSM" load "$STORE"
    if command -v script >/dev/null; then
        # none is shown of what takes less than a second, so it is held up for longer than that in the middle
        timeout 300 script -qec "$PLSM convert $STORE $WORK/shown --to=$other & sleep 0.2
            kill -STOP \$!; sleep 1.2; kill -CONT \$!; wait" /dev/null </dev/null >"$WORK/out" 2>&1
        grep -q 'convert.*/s' "$WORK/out" && pass || fail "no progress: $(head -c 300 "$WORK/out")"
        check_store "$WORK/shown"
        rm -rf "$WORK/shown"
    fi

    # --- killed -----------------------------------------------------------------------------------------------------
    "$PLSM" dump "$STORE" | sha256sum >"$WORK/dump"
    for ((i = 0; i < ${CONVERT_KILLS:-12}; i++)); do
        "$PLSM" convert "$STORE" --to="$other" >"$WORK/out" 2>&1 </dev/null &
        pid=$!
        sleep "$((i / 10)).$((i % 10))1"
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        if [ "$("$PLSM" dump "$STORE" 2>&1 | sha256sum)" = "$(cat "$WORK/dump")" ]; then pass; else fail "killed $i"; fi
        [ "$(stored "$STORE")" = "$other" ] && break
        if [ -e "$STORE.converting" ]; then
            says 'interrupted' convert "$STORE" --to="$other"
            rm -rf "$STORE.converting"
        fi
    done
fi
