#!/usr/bin/env bash
# Directories that hold much: listings in bounded memory, and renames in one step, also of more than a batch holds and
# with the daemon killed in the middle; how little is written and read where attributes change or are looked at.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh

# load NAMES BYTES PREFIX: so many names with values of that size, by a bulk load.
load()
{
    [ -e "$STORE" ] || must_create
    python3 -c 'import sys
for i in range(int(sys.argv[1])):
    print(f"{sys.argv[3]}{i:08}\t{str(i).ljust(int(sys.argv[2]), chr(118))}")' "$@" |
        timeout 120 "$PLSM" load --sorted "$STORE" >/dev/null
}
resident_kb() { awk '/^Rss:/ { sum += $2 } END { print sum }' "/proc/$(daemon_of)/smaps_rollup"; }
# As by a crash of the process; the mount goes.
kill_mount()
{
    kill_daemon
    fusermount3 -uz "$DIR" 2>/dev/null
}

# --- a listing: little memory for each name --------------------------------------------------------------------------
ok load 20000 100 few/
ok load 100000 100 many/
must_mount
: "$(stat "$DIR/many")"
before=$(resident_kb)
is "$(find "$DIR/many" -maxdepth 1 -type f | wc -l)" 100000
grown=$(($(resident_kb) - before))
[ $grown -lt 40000 ] && pass || fail "a listing of 100,000 names took $grown KB"

# --- a rename that a batch holds -------------------------------------------------------------------------------------
ok mv -T "$DIR/few" "$DIR/renamed"
not test -e "$DIR/few"
is "$(cut -c 1-5 "$DIR/renamed/00019999")" 19999
is "$(find "$DIR/renamed" -type f | wc -l)" 20000
read_engine
[ "$ENGINE" != lsm ] || is "$(grep -c '^lsm.bulk_loads 0$' "$DIR/.stats")" 1
must_unmount
check_store

# --- a rename, and a batch, of more than the store is to have in memory -----------------------------------------------
rm -rf "$STORE"
ok load 300000 100 many/
must_mount memory=32M
peak_kb() { awk '$1 == "VmHWM:" { print $2 }' "/proc/$(daemon_of)/status"; }
echo 5 >"/proc/$(daemon_of)/clear_refs" # it begins anew
ok mv -T "$DIR/many" "$DIR/renamed"
[ "$ENGINE" != lsm ] || [ "$(peak_kb)" -lt 60000 ] && pass || fail "a rename of 300,000 names took $(peak_kb) KB"
not test -e "$DIR/many"
is "$(cut -c 1-6 "$DIR/renamed/00299999")" 299999
is "$(ls "$DIR/renamed" | wc -l)" 300000
must_unmount
check_store
must_mount memory=32M
echo 5 >"/proc/$(daemon_of)/clear_refs"
awk 'BEGIN { for (i = 0; i < 300000; i++) printf "more/%08d\t%0100d\n", i * 7919 % 300000, i }' >"$WORK/batch"
ok cp "$WORK/batch" "$DIR/.plsm/batch"
[ "$ENGINE" != lsm ] || [ "$(peak_kb)" -lt 90000 ] && pass || fail "a batch of 37 MB took $(peak_kb) KB"
is "$(ls "$DIR/more" | wc -l)" 300000
must_unmount
check_store

# --- a rename of more: by the prefix ---------------------------------------------------------------------------------
rm -rf "$STORE"
ok load 800 100000 old/a/
ok load 3 10 old/z
ok load 1 10 oldest
must_mount create,xattr
echo mine >"$DIR/old/a/written" && chmod 640 "$DIR/old/a/written"
ok ln "$DIR/old/a/written" "$DIR/link"
ok setfattr -n user.n -v 1 "$DIR/old/a/written"
ok dd if=/dev/urandom of="$DIR/old/large" bs=1M count=3 status=none
mkdir "$DIR/old/empty" "$DIR/new"
sum=$(cd "$DIR/old" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
list=$(cd "$DIR/old" && find . -printf '%P %i %m %s %n\n' | sort | sha256sum)
exec 7<>"$DIR/old/large"
ok mv -T "$DIR/old" "$DIR/new"
not test -e "$DIR/old"
ok test -e "$DIR/oldest00000000"
is "$(cd "$DIR/new" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)" "$sum"
is "$(cd "$DIR/new" && find . -printf '%P %i %m %s %n\n' | sort | sha256sum)" "$list" "attributes stay"
is "$(getfattr --only-values -n user.n "$DIR/new/a/written" 2>/dev/null)" 1
is "$(cat "$DIR/link")" mine
echo more >&7 && exec 7>&-
is "$(head -c 5 "$DIR/new/large")" more
not mv -T "$DIR/new" "$DIR/new/a/inside"
ok python3 - "$DIR" <<'PY'
import errno, os, sys
os.chdir(sys.argv[1])
top = os.open(".", os.O_RDONLY)
for _ in range(31):
    os.mkdir("n" * 255)
    os.chdir("n" * 255)
try:
    os.rename("new", "x" * 250, src_dir_fd=top)  # what is in it would have keys above the limit
    sys.exit("renamed")
except OSError as error:
    sys.exit(error.errno != errno.ENAMETOOLONG and str(error))
PY
is "$(find "$DIR/new" -type f | wc -l)" 805
read_engine
[ "$ENGINE" != lsm ] || is "$(grep -c '^lsm.bulk_loads 0$' "$DIR/.stats")" 0 # it went by the prefix
must_unmount
check_store

# --- the daemon killed in the middle: all of it old or all of it new -------------------------------------------------
from=new to=newer
for delay in 0.02 0.1 0.3; do
    must_mount rw
    { sleep $delay; kill_mount; } &
    mv -T "$DIR/$from" "$DIR/$to" 2>/dev/null
    wait $!
    must_mount rw
    there=$(find "$DIR/$from" -type f 2>/dev/null | wc -l) now=$(find "$DIR/$to" -type f 2>/dev/null | wc -l)
    if [ "$there $now" = "805 0" ]; then
        pass
    elif [ "$there $now" = "0 805" ]; then
        pass
        name=$from from=$to to=$name
    else
        fail "$there files are under the old name and $now under the new one"
    fi
    is "$(find "$DIR/$from" -name '0*' -size 100000c | wc -l)" 800
    must_unmount
done
check_store

# --- attributes of large values: no value is read --------------------------------------------------------------------
rm -rf "$STORE"
ok load 200 200000 large/
must_mount
read_bytes() { awk '$1 == "io.read_bytes" { print $2 }' "$DIR/.stats"; }
before=$(read_bytes)
is "$(ls -l "$DIR/large" | awk '$5 == 200000' | wc -l)" 200
ok sh -c "find '$DIR' -size +1k | wc -l && du -sb '$DIR'"
grown=$(($(read_bytes) - before))
[ $grown -lt 1000000 ] && pass || fail "$grown bytes were read"
must_unmount

# --- attributes that follow content: one record for both, behind that of the new name --------------------------------
must_mount rw
writes() { awk '$1 == "io.writes" { print $2 }' "$DIR/.stats"; }
mkdir "$WORK/small"
for ((i = 0; i < 100; i++)); do echo "content $i" >"$WORK/small/$i"; done
chmod 640 "$WORK"/small/* && touch -d '2001-02-03 04:05:06Z' "$WORK"/small/*
tar cf "$WORK/small.tar" -C "$WORK" small
for command in "tar xf '$WORK/small.tar' -C '$DIR'" "cp -a '$WORK/small' '$DIR/copy'"; do
    before=$(writes)
    ok sh -c "$command"
    grown=$(($(writes) - before))
    [ $grown -le "$(by_write && echo 550 || echo 220)" ] && pass || fail "$grown records for 100 files: $command"
done
is "$(stat -c '%a %Y' "$DIR/small/7" "$DIR/copy/7" | sort -u)" "640 $(stat -c %Y "$WORK/small/7")"
must_unmount
check_store
