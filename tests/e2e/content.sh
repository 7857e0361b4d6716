#!/usr/bin/env bash
# The content of files: what programs do to it (tests/e2e/content.py), random operations beside another file system
# (tests/e2e/random_file.py; CONTENT_SEED repeats a run), and both after a remount.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

must_mount create
timeout 200 python3 "$ROOT/tests/e2e/content.py" "$DIR" "$PLSM" "$STORE" >"$WORK/content" 2>&1
tail -1 "$WORK/content" | grep -q '^[0-9]* passed, 0 failed' || cat "$WORK/content"
read -r p _ q _ < <(tail -1 "$WORK/content")
passed=$((passed + ${p:-0})) failed=$((failed + ${q:-1}))

# Sums before and after: holes, extents and what is small come back as they were.
tree() { (cd "$DIR/content" && find . -type f -size -100M -print0 | sort -z | xargs -0 -r stat -c '%n %s %b' &&
    find . -type f -size -100M -print0 | sort -z | xargs -0 -r sha256sum); }
before=$(tree)
remount
is "$(tree)" "$before" "after a remount"
rm -rf "$DIR/content"

# A large file: read 1 MiB at a time where that may be set, and its space comes back soon after it is gone.
head -c 200M /dev/zero >"$DIR/large"
ahead=/sys/class/bdi/$(mountpoint -d "$DIR")/read_ahead_kb
[ ! -w "$ahead" ] || is "$(cat "$ahead")" 1024 "KiB read ahead"
ok cmp -n 200M "$DIR/large" /dev/zero
rm "$DIR/large"
used() { du -s --apparent-size -B1M "$STORE" | cut -f1; }
for ((i = 0; i < 150 && $(used) > 150; i++)); do sleep 0.2; done
[ "$(used)" -le 150 ] && pass || fail "$(used) MiB 30 s after 200 MiB were removed"

seed=${CONTENT_SEED:-$((RANDOM * 32768 + RANDOM))}
for round in 1 2 3; do
    if ! timeout 60 python3 "$ROOT/tests/e2e/random_file.py" "$DIR/random" "$WORK/random" $((seed + round)) 2; then
        fail "random operations: CONTENT_SEED=$seed, round $round"
        break
    fi
    pass
    remount
done
ok cmp "$DIR/random" "$WORK/random"
rm "$DIR/random"
must_unmount
check_store
