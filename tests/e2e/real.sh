#!/usr/bin/env bash
# Real input: copies /usr/include, /usr/share and /usr/lib/python3* into a mount and compares what the usual tools say
# of the copy with what they say of a copy on the disk; then again in the other index mode. Where the machine has a lot
# of it, only part is taken, but never less than 20,000 files and 300 MB: with less this test fails.
# REAL_FILES (21000): from how many files and REAL_MB (310) megabytes on it takes no more directories of /usr/share.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

source=$WORK/source
mkdir "$source" "$source/share"
cp -a /usr/include /usr/lib/python3* "$source" 2>/dev/null
count() { find "$source" -type f -printf . | wc -c; }
size_mb() { du -sm --apparent-size "$source" | cut -f 1; }
files=$(count) mb=$(size_mb)
for directory in /usr/share/*; do
    [ "$files" -lt "${REAL_FILES:-21000}" ] || [ "$mb" -lt "${REAL_MB:-310}" ] || break
    cp -a "$directory" "$source/share/" 2>/dev/null
    files=$((files + $(find "$directory" -type f -printf . | wc -c)))
    mb=$((mb + $(du -sm --apparent-size "$directory" | cut -f 1)))
done
files=$(count) mb=$(size_mb)
echo "input: $files files, $mb MB"
[ "$files" -ge 20000 ] && pass || fail "only $files files: this test needs 20,000"
[ "$mb" -ge 300 ] && pass || fail "only $mb MB: this test needs 300"

# took LABEL COMMAND...: says how long it took; the figures are for the log, not a benchmark.
took()
{
    local start=$EPOCHREALTIME label=$1 code
    shift
    "$@"
    code=$?
    echo "$label: $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')"
    return $code
}
# silent COMMAND...: it succeeds and says nothing, on either stream.
silent()
{
    "$@" >"$WORK/out" 2>&1
    local code=$?
    if [ $code -eq 0 ] && [ ! -s "$WORK/out" ]; then
        pass
    else
        fail "exit code $code: $* $(head -c 500 "$WORK/out")"
    fi
}
# same COMMAND...: prints the same in the copy as in the source.
same()
{
    (cd "$source" && "$@") >"$WORK/out1" 2>&1
    (cd "$DIR/in" && "$@") >"$WORK/out2" 2>&1
    if [ -s "$WORK/out1" ] && cmp -s "$WORK/out1" "$WORK/out2"; then
        pass
    else
        fail "differs: $* $(diff "$WORK/out1" "$WORK/out2" | head -c 500)"
    fi
}

# ls -l in every directory, as text. Of directories themselves ext4 tells how many subdirectories they have and the
# size of their blocks, and the "total" line counts blocks.
list_all()
{
    ls -lR --time-style=full-iso . | awk '/^total / { next } { $2 = $2 } /^d/ { $2 = $5 = "-" } { print }'
}
compare()
{
    took "diff -r ($1)" silent diff -r --no-dereference "$source" "$DIR/in"
    took "rsync --checksum ($1)" silent rsync -a --checksum --dry-run --itemize-changes "$source/" "$DIR/in/"
    # shellcheck disable=SC2016
    same bash -c 'find . -printf "%p %y %m %U %G %T@ %l\n" | sort'
    same bash -c 'find . -type f -printf "%s %p\n" | sort'
    same bash -c 'grep -rc --include="*.h" define include | sort'
    same list_all
    same bash -c 'find . -type f -print0 | sort -z | xargs -0 md5sum | md5sum'
    same bash -c 'find . -name "*.py" -size +10k | sort | head -1000 | xargs wc -c'
}

must_mount create,index=learned
mkdir "$DIR/in"
took 'cp -a in' ok cp -a "$source/." "$DIR/in/"
compare 'learned, warm'
must_unmount
must_mount rw,index=traditional
compare 'traditional, after a remount'

# tar, out and back
took 'tar out' ok tar cf "$WORK/t.tar" -C "$DIR" in
mkdir "$WORK/untarred" "$DIR/back"
ok tar xf "$WORK/t.tar" -C "$WORK/untarred"
silent diff -r --no-dereference "$source" "$WORK/untarred/in"
rm -rf "$WORK/untarred"
took 'tar in' ok tar xf "$WORK/t.tar" -C "$DIR/back"
rm "$WORK/t.tar"
silent rsync -a --checksum --dry-run --itemize-changes "$source/" "$DIR/back/in/"

# rsync in, for real: temporary files and renames
mkdir "$DIR/rsynced"
took 'rsync -a in' ok rsync -a "$source/include" "$DIR/rsynced/"
silent rsync -a --checksum --dry-run --itemize-changes "$source/include" "$DIR/rsynced/"

# moving a directory keeps its inode numbers and all that is in it
(cd "$DIR/back/in/include" && find . -printf '%p %i %T@\n' | sort) >"$WORK/moved1"
took 'mv' ok mv "$DIR/back/in/include" "$DIR/moved"
(cd "$DIR/moved" && find . -printf '%p %i %T@\n' | sort) >"$WORK/moved2"
ok cmp "$WORK/moved1" "$WORK/moved2"
not test -e "$DIR/back/in/include"
silent diff -r --no-dereference "$source/include" "$DIR/moved"
took 'rm -r' silent rm -r "$DIR/back" "$DIR/rsynced"
is "$(ls -A "$DIR")" $'in\nmoved'
must_unmount
check_store
must_mount rw,index=learned
silent diff -r --no-dereference "$source/include" "$DIR/moved"
compare 'learned, after a remount'
pid=$(daemon_of)
awk '/VmHWM|VmRSS/ { print "daemon " $0 }' "/proc/$pid/status"
is "$(awk '$1 == "fs.errors" { print $2 }' "$DIR/.stats")" 0
is "$(awk '$1 == "filter.false_negatives" { print $2 }' "$DIR/.stats")" 0
took 'rm -r' silent rm -r "$DIR/in" "$DIR/moved"
is "$(ls -A "$DIR")" ''
must_unmount
check_store
