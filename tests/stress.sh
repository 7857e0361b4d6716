#!/usr/bin/env bash
# Programs of others that stress file systems, on a mount: dbench, the file classes of stress-ng, fio with verification;
# and our own e2e/mixed.py. What is not installed is skipped and named. STRESS_SECONDS (5): for each stressor;
# STRESS_OPTIONS: mount options; STRESS_ONLY: a part of "mixed dbench stress-ng fio".
set -u
cd "$(dirname "$0")/.." || exit 3
. tests/e2e/lib.sh

seconds=${STRESS_SECONDS:-5}
must_mount "create,xattr,${STRESS_OPTIONS:-rw}"

# run NAME COMMAND...: in a directory of the mount of its own
run()
{
    local name=$1 code
    shift
    mkdir -p "$DIR/$name"
    (cd "$DIR/$name" && timeout $((seconds * 10 + 120)) "$@") >"$WORK/out" 2>&1
    code=$?
    if [ $code -eq 0 ] && [ -n "$(daemon_of)" ]; then
        pass
    else
        fail "$name: exit code $code: $(grep -E 'fail|error|verif|bad|out of range' "$WORK/out" | head -n 5)"
    fi
    rm -rf "${DIR:?}/$name"
}

want() { [[ " ${STRESS_ONLY-mixed dbench stress-ng fio} " == *" $1 "* ]]; }

if want mixed; then
    for kind in files trees; do
        run "mixed-$kind" env MIXED_KIND=$kind MIXED_SECONDS="$seconds" python3 "$ROOT/tests/e2e/mixed.py" "$DIR"
    done
fi

if ! want dbench; then
    true
elif command -v dbench >/dev/null; then
    run dbench dbench -t "$seconds" -D . 4
    run dbench-sync dbench -t "$seconds" -D . -s -S 2
else
    echo "skipped: dbench is not installed"
fi

# Of the class "filesystem" those that work in the directory they are started in. Not those for what FUSE or a mount of
# root's does not have (binderfs, bind-mount, fanotify, fiemap, verity, chattr), nor those that touch no file there.
stressors="access chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify fallocate fcntl filename flock fpunch \
fsize fstat getdent handle hdd inotify io iomix lease link locka lockf lockofd mknod open rename symlink sync-file \
touch utime xattr mmap seek sendfile splice readahead"
if ! want stress-ng; then
    true
elif command -v stress-ng >/dev/null; then
    touch "$DIR/.link"
    known=$(stress-ng --stressors 2>/dev/null)
    for stressor in $stressors; do
        [[ " $known " == *" $stressor "* ]] || continue
        if [ "$stressor" = link ] && ! ln "$DIR/.link" "$DIR/.linked" 2>/dev/null; then
            echo "skipped: no hard links"
            continue
        fi
        run "stress-$stressor" stress-ng --temp-path . --no-rand-seed --verify --timeout "${seconds}s" \
            --"$stressor" 2 --hdd-bytes 64M --fallocate-bytes 64M --copy-file-bytes 128M --iomix-bytes 64M \
            --readahead-bytes 64M --seek-size 64M --sync-file-bytes 64M
    done
    rm -f "$DIR/.link" "$DIR/.linked"
else
    echo "skipped: stress-ng is not installed"
fi

if ! want fio; then
    true
elif command -v fio >/dev/null; then
    for pattern in write randwrite rw randrw; do
        run "fio-$pattern" fio --name=verify --rw=$pattern --size=32M --bs=4k --io_size=32M --verify=xxhash \
            --verify_fatal=1 --do_verify=1 --ioengine=psync --runtime=60
    done
    run fio-large fio --name=verify --rw=write --size=256M --bs=1M --verify=crc32c --verify_fatal=1 --ioengine=psync
    run fio-mmap fio --name=verify --rw=randwrite --size=16M --bs=4k --verify=crc32c --verify_fatal=1 --ioengine=mmap
    run fio-jobs fio --name=verify --rw=randwrite --size=8M --bs=1k-64k --numjobs=4 --fsync=64 --verify=crc32c \
        --verify_fatal=1 --ioengine=psync --group_reporting
    run fio-direct fio --name=verify --rw=randwrite --size=16M --bs=4k --direct=1 --verify=crc32c --verify_fatal=1 \
        --ioengine=psync
else
    echo "skipped: fio is not installed"
fi

is "$(awk '$1 == "fs.errors" { print $2 }' "$DIR/.stats")" 0 "errors of the daemon"
is "$(find "$DIR" -mindepth 1 | wc -l)" 0 "all of it could be removed"
must_unmount
check_store
