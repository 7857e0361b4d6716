#!/usr/bin/env bash
# Both ways to the kernel under a store: contents, large requests, many clients, busy unmounts, signals, kills, also
# while many wait for syncs; and that the kernel's switch is left as it was. FUSE over io_uring is left out, with a
# message, where it cannot be had.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

SWITCH=/sys/module/fuse/parameters/enable_uring
# Under the lock that mounts have while it is turned on for them: another test may be mounting.
switch() { flock -s $SWITCH cat $SWITCH 2>/dev/null || echo none; }
gone() # PID: it ends within 20 s
{
    local i
    for ((i = 0; i < 400; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c 1)" != Z ] || return 0
        sleep 0.05
    done
    return 1
}
head -c 9000000 /dev/urandom >"$WORK/random"
sum=$(sha256sum <"$WORK/random")

# What one of many clients does: files of its own, and a directory that all change.
client()
{
    local i
    mkdir -p "$DIR/shared" "$DIR/own$1" || return 1
    for ((i = 0; i < 25; i++)); do
        echo "$1 $i" >"$DIR/own$1/$i" && [ "$(cat "$DIR/own$1/$i")" = "$1 $i" ] || return 1
        : >"$DIR/shared/$1-$i" && mv "$DIR/shared/$1-$i" "$DIR/shared/$1-$i-moved" || return 1
        ls "$DIR/shared" >/dev/null || return 1
    done
    [ "$(ls "$DIR/own$1" | wc -l)" = 25 ] && rm -r "$DIR/own$1"
}

check_use() # OPTIONS: contents and clients
{
    local pid failures=0 pids=()
    ok cp "$WORK/random" "$DIR/large"
    drop_caches
    is "$(sha256sum <"$DIR/large")" "$sum" "$1"
    ok dd if="$WORK/random" of="$DIR/direct" bs=1M oflag=direct status=none
    is "$(dd if="$DIR/direct" bs=1M iflag=direct status=none | sha256sum)" "$sum" "$1: requests of 1 MiB"
    rm "$DIR/large" "$DIR/direct"
    for ((i = 0; i < 6; i++)); do
        client $i &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failures=$((failures + 1)); done
    is $failures 0 "$1: clients that failed"
    is "$(find "$DIR/shared" -name "*-moved" | wc -l)" 150 "$1"
    rm -r "$DIR/shared"
}

check_ends() # OPTIONS
{
    local pid reader
    # unmounting: not while it is used; the next mount waits for the store
    exec 8<"$DIR/kept"
    says busy umount "$DIR"
    exec 8<&-
    pid=$(daemon_of)
    ok timeout 20 umount "$DIR"
    must_mount "$1"
    ok gone "$pid"
    # told to end while a file is open and written
    pid=$(daemon_of)
    exec 7>"$DIR/open"
    echo written >&7
    kill "$pid"
    ok gone "$pid"
    exec 7>&- 2>/dev/null
    umount -l "$DIR" 2>/dev/null
    must_mount "$1"
    is "$(cat "$DIR/open")" written "$1: published at the end"
    # aborted: callers go, and so does the daemon
    pid=$(daemon_of)
    exec 8<"$DIR/kept"
    umount -f "$DIR" 2>/dev/null
    not timeout 20 stat "$DIR/other"
    exec 8<&-
    umount -l "$DIR" 2>/dev/null
    ok gone "$pid"
    # killed under load: nobody waits for ever, and the next mount takes over
    must_mount "$1"
    pid=$(daemon_of)
    (while cat "$DIR/kept" && echo x >"$DIR/new"; do :; done) >/dev/null 2>&1 &
    reader=$!
    sleep 0.5
    kill -9 "$pid"
    ok gone $reader
    not timeout 20 ls "$DIR"
    must_mount "$1"
    is "$(cat "$DIR/kept")" kept "$1: after a kill"
}

# Syncs of the daemon take as long as $WORK/slow is there, at most 20 s, and 30 ms while $WORK/slow-short is.
slow_syncs()
{
    cat >"$WORK/slow.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALL(name)                                          \
    int name(int fd)                                        \
    {                                                       \
        int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        for (int i = 0; i < 2000 && access(getenv("SLOW"), F_OK) == 0; i++) \
            usleep(10000);                                  \
        char name[4096];                                    \
        snprintf(name, sizeof name, "%s-short", getenv("SLOW")); \
        if (access(name, F_OK) == 0)                        \
            usleep(30000);                                  \
        return real(fd);                                    \
    }
CALL(fdatasync)
CALL(fsync)
END
    ok cc -shared -fPIC -o "$WORK/slow.so" "$WORK/slow.c" -ldl
}

hold() # those that wait for syncs
{
    local line
    exec 6< <(exec timeout 60 python3 tests/e2e/waiting.py "$DIR" "$SLOW" hold 2>&1)
    read -r line <&6
    is "$line" waiting
}
held() # PATTERN: how their syncs ended
{
    local line
    read -r line <&6
    exec 6<&-
    # shellcheck disable=SC2254
    case $line in
    $1) pass ;;
    *) fail "syncs that waited ended with '$line', not '$1'" ;;
    esac
}

check_waiting() # OPTIONS
{
    local pid
    export SLOW=$WORK/slow
    LD_PRELOAD=$WORK/slow.so must_mount "$1"
    ok timeout 60 python3 tests/e2e/waiting.py "$DIR" "$SLOW" share
    ok timeout 60 python3 tests/e2e/waiting.py "$DIR" "$SLOW" loop
    hold
    says busy umount "$DIR"
    rm "$SLOW"
    held 'done'
    hold # told to end
    pid=$(daemon_of)
    kill "$pid"
    rm "$SLOW"
    held 'done'
    ok gone "$pid"
    umount -l "$DIR" 2>/dev/null
    LD_PRELOAD=$WORK/slow.so must_mount "$1"
    hold # aborted
    pid=$(daemon_of)
    umount -f "$DIR" 2>/dev/null
    held 'E*CONN*'
    rm "$SLOW"
    umount -l "$DIR" 2>/dev/null
    ok gone "$pid"
    LD_PRELOAD=$WORK/slow.so must_mount "$1"
    hold # killed
    kill -9 "$(daemon_of)"
    held 'E*CONN*'
    rm "$SLOW"
    must_mount "$1"
}

! command -v cc >/dev/null || slow_syncs
for kind in dev uring; do
    before=$(switch)
    options=create,transport=$kind
    if ! said=$(mount_store "$options") && [ $kind = uring ]; then
        echo "left out: $said"
        case $said in *transport=uring:*) pass ;; *) fail "$said" ;; esac
        continue
    fi
    is "$(switch)" "$before" "the kernel's switch is as it was"
    [ "$(daemon_of)" ] || { fail "no daemon"; exit 1; }
    is "$(statistic fs.transport)" $kind
    threads=$(($(nproc) * ($([ $kind = dev ] && echo 1 || echo 3))))
    is "$(statistic fs.threads)" $((threads < 64 ? threads : 64))
    echo kept >"$DIR/kept"
    check_use "$options"
    check_ends "$options"
    is "$(statistic fs.transport)" $kind
    if command -v cc >/dev/null; then
        must_unmount
        check_waiting "$options"
    else
        echo "skipped: syncs that take long (needs cc)"
    fi
    for threads in 1 5; do
        must_unmount
        must_mount "$options,threads=$threads"
        is "$(statistic fs.threads)" $threads
        check_use "$options,threads=$threads"
    done
    must_unmount
    is "$(switch)" "$before" "the kernel's switch is as it was"
done
if [ -e $SWITCH ]; then
    exec 9<$SWITCH
    flock -s 9
fi
must_mount transport=auto 9<&-
is "$(statistic fs.transport)" "$([ "$(switch)" = Y ] && echo uring || echo dev)"
exec 9<&-
must_unmount
says 'must be auto, uring or dev' "$PLSMD" -o transport=pigeon "$STORE" "$DIR"
check_store
