#!/usr/bin/env bash
# Rules of the house that the compilers do not check. Prints each breach; fails when there is one.
set -u
cd "$(dirname "$0")/.." || exit 1

passed=0 failed=0
# report RULE LINES: a rule holds when there are no lines.
report()
{
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'breach: %s\n%s\n' "$1" "$2"
    fi
}

rooms=(base learn lsm log store fs tools tests)
mapfile -t sources < <(find "${rooms[@]}" -name '*.c' | sort)
mapfile -t headers < <(find "${rooms[@]}" -name '*.h' | sort)
mapfile -t scripts < <(find tests scripts .ci start check mount.plsm -type f -print0 2>/dev/null |
    xargs -0 grep -lE '^#!.*sh\b' | sort)

report "every .c includes base/banned.h, behind all other headers" "$(
    for file in "${sources[@]}"; do
        [ "$(grep -E '^#include' "$file" | tail -1)" = '#include "base/banned.h"' ] || echo "$file"
    done)"

report "no file has more than 750 lines" "$(wc -l "${sources[@]}" "${headers[@]}" | awk '$1 > 750 && $2 != "total"')"

report "no line has more than 120 columns, a tab, or spaces at its end" "$(
    grep -nPH '^.{121,}|\t|[ ]$' "${sources[@]}" "${headers[@]}" "${scripts[@]}")"

# A room may use only the rooms below it; fs and tools reach engines only through store/plsm.h.
floor()
{
    case $1 in
    base) echo 0 ;;
    learn) echo 1 ;;
    lsm | log) echo 2 ;;
    store) echo 3 ;;
    fs | tools) echo 4 ;;
    *) echo 9 ;;
    esac
}
report "rooms include only lower floors" "$(
    grep -nH '^#include "' "${sources[@]}" "${headers[@]}" | grep -v '^tests/' |
        sed -E 's|^(\./)?([a-z]+)/([^:]*):([0-9]+):#include "([a-z]+)/(.*)"|\2 \5 \2/\3:\4 includes \5/\6|' |
        while read -r room used line; do
            [ "$room" = "$used" ] || [ "$(floor "$used")" -lt "$(floor "$room")" ] || echo "$line"
        done)"
report "fs and tools reach the store through store/plsm.h, and store/changes.h on top of it, alone" "$(
    grep -nHE '^#include "(store|log|lsm|learn)/' fs/*.[ch] tools/*.[ch] tools/*/*.[ch] 2>/dev/null |
        grep -vE '"store/(plsm|changes).h"')"

# System calls for storage, time, threads and randomness: base/env_posix.c only (base/sync.h wraps mutexes).
calls='open|openat|creat|read|write|pread|pwrite|preadv|pwritev|fsync|fdatasync|sync_file_range|ftruncate|truncate'
calls="$calls|rename|renameat|unlink|unlinkat|remove|mkdir|rmdir|opendir|readdir|stat|fstat|lstat|fstatat|statvfs|fcntl"
calls="$calls|flock|fopen|clock_gettime|gettimeofday|time|nanosleep|usleep|sleep|getrandom|rand|random|pthread_create"
mapfile -t inner < <(printf '%s\n' "${sources[@]}" "${headers[@]}" |
    grep -E '^(base|learn|lsm|log|store)/' | grep -vE '^base/(env_posix[a-z_]*\.c|sync\.[ch])$')
report "only base/env_posix.c calls the kernel" "$(
    grep -nHE "(^|[^a-zA-Z0-9_>.])($calls)\(" "${inner[@]}" | grep -vE ':[0-9]+: *(\*|/\*|//)' |
        grep -vE '\(\*(open|read|sync|truncate|rename|remove|random)\)')"
report "rooms allocate through base/alloc.h" "$(
    grep -nHE '(^|[^a-zA-Z0-9_>.])(malloc|calloc|realloc|free|strdup|asprintf)\(' "${inner[@]}" |
        grep -vE '^base/(alloc|alloc_large|env_memory[a-z_]*)\.c:' | grep -vE ':[0-9]+: *(\*|/\*|//)')"

report "headers have guards" "$(
    for file in "${headers[@]}"; do
        guard=$(sed -nE 's/^#ifndef ([A-Z0-9_]+_H)$/\1/p' "$file" | head -1)
        [ -n "$guard" ] && grep -q "^#define $guard\$" "$file" || echo "$file"
    done)"

report "test programs are run by no fork of libcheck where they fork themselves" "$(
    grep -lE 'pool_create|pool_alone' tests/*/test_*.c | while read -r file; do
        grep -q CK_NOFORK "$file" || echo "$file"
    done)"

report "scripts parse" "$(for file in "${scripts[@]}"; do
    case $(head -1 "$file") in
    *bash*) bash -n "$file" 2>&1 ;;
    *) sh -n "$file" 2>&1 ;;
    esac
done)"
if command -v shellcheck >/dev/null; then
    report "shellcheck" "$(shellcheck -x -S warning "${scripts[@]}" 2>&1)"
fi
if command -v mandoc >/dev/null; then
    report "manual pages" "$(mandoc -T lint -W warning man/* 2>&1 | grep -v 'outdated mandoc.db')"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
