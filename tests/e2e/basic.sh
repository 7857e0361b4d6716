#!/usr/bin/env bash
# A mount in everyday use: contents, errors, attributes, names, listings, publication, large files.
# E2E_LARGE_MB (2048): the size of the file that goes in and out under 64 MiB of the daemon's memory.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

py() { timeout 120 python3 - "$@"; }
# What tests/e2e/posix.py checks is one test per function in it.
must_mount create
cd "$DIR" || exit 1

# --- contents ------------------------------------------------------------------------------------------------------
printf 'abc' >f
is "$(cat f)" abc
printf 'def' >>f
is "$(cat f)" abcdef
printf 'x' >f
is "$(cat f)" x "truncated by the shell"
: >f
is "$(stat -c %s f)" 0
seq 100000 >"$WORK/numbers"
ok cp "$WORK/numbers" n
ok cmp "$WORK/numbers" n
ok truncate -s 10 n
is "$(cat n)" "$(head -c 10 "$WORK/numbers")"
ok dd if="$WORK/numbers" of=n bs=7 seek=3 count=5 conv=notrunc status=none
ok tar cf "$WORK/t.tar" -C "$DIR" n f
timeout 180 python3 "$ROOT/tests/e2e/posix.py" "$DIR" >"$WORK/posix" 2>&1
tail -1 "$WORK/posix" | grep -q '^[0-9]* passed, 0 failed' || cat "$WORK/posix"
read -r p _ q _ < <(tail -1 "$WORK/posix")
passed=$((passed + ${p:-0})) failed=$((failed + ${q:-1}))

# --- errors --------------------------------------------------------------------------------------------------------
mkdir d
echo 1 >d/x
says 'Not a directory' cat f/x
says 'No such file' cat absent
says 'Directory not empty' rmdir d
says 'Is a directory' rm d
says 'File exists' mkdir d
says 'Not a directory' rmdir f
says 'cannot overwrite non-directory' mv -T d f
says 'cannot overwrite directory' mv -T f d
says 'subdirectory of itself' mv d d/e
says 'File name too long' touch "$(printf 'n%.0s' {1..256})"
ok touch "$(printf 'n%.0s' {1..255})"
says 'Operation not supported' setfattr -n user.x -v 1 f
says 'Operation not permitted' rmdir .plsm
says 'Operation not permitted' rm .stats
says 'Operation not permitted' mv f .plsm
says 'Operation not permitted' mv .stats stats

# --- attributes, and that all of it is there after a remount ---------------------------------------------------------
chmod 4755 f && is "$(stat -c %a f)" 4755
chown 12:34 f && is "$(stat -c '%a %u %g' f)" '755 12 34' "chown takes setuid away"
mkdir special special/dir && mkfifo special/fifo && mknod special/null c 1 3
chmod 6755 special/* && chown 12:34 special/*
is "$(stat -c '%a %u %g' special/* | xargs)" '6755 12 34 755 12 34 755 12 34' "of all but directories"
rm -r special
touch -d '2001-02-03 04:05:06.123456789Z' f
touch -h -d '1930-01-01 00:00:00.5Z' -a f
touch -d '2300-01-01 00:00:00.000000001Z' d
mkfifo fifo && mknod null c 1 3 && mknod block b 8 17
ln -s ../some/where/else link
ln -s "$(printf 't%.0s' {1..4000})" longlink
mkdir -p deep/er/and/deeper
chmod 1777 deep
describe() { find . -mindepth 1 ! -name posix -printf '%p %y %m %U %G %s %T@ %l %i\n' | sort; }
atimes() { stat -c '%n %x' f d; }
describe >"$WORK/before"
atimes >>"$WORK/before"
cd /
remount rw,index=traditional
cd "$DIR" || exit 1
{ describe && atimes; } >"$WORK/after"
ok diff "$WORK/before" "$WORK/after"
is "$(stat -c %x f)" '1930-01-01 00:00:00.500000000 +0000'
is "$(stat -c '%t %T %F' null)" '1 3 character special file'
is "$(readlink longlink | wc -c)" 4001
remains=$(find . -name '.*' ! -name .)
is "$remains" '' "control files are hidden"

# --- names ---------------------------------------------------------------------------------------------------------
for name in '100%' 'a%20b' '%2F' '%41' '%' '%25' '%00' '%2500' '%2E' ' ' $'new\nline' $'\377\376' 'ü' '-' '%2Fx' \
    '.hidden' '...'; do
    echo "$name" >"./$name"
    is "$(cat "./$name")" "$name"
    is "$(find . -maxdepth 1 -name "$name" -printf x)" x "$name is listed"
done
says 'Invalid argument' touch 'x%2F.'
mkdir many && (cd many && seq -f 'file%05.0f' 3000 | xargs touch)
is "$(find many | sort | md5sum)" "$({ echo many; seq -f 'many/file%05.0f' 3000; } | sort | md5sum)"
# shellcheck disable=SC2012
is "$(ls -U many | md5sum)" "$(seq -f 'file%05.0f' 3000 | md5sum)" "in key order"
mv many more
is "$(find more -type f | wc -l)" 3000
not test -e many
rm -r more
not test -e more
# --- keys that are no file names -------------------------------------------------------------------------------------
cd /
must_unmount
put() { printf '%s' "$2" | timeout 20 "$PLSM" put "$STORE" "$1" >/dev/null || fail "put $1"; }
put lib/sub/key one
put both file
put both/inside dir
put a//b empty
put /top slash
put dots/. dot
put dots/.. dotdot
put .stats reserved
put valued/ value
put valued/x x
blob=$(printf 'k%.0s' {1..600})
put "$blob" long1
put "${blob}2" long2
put "${blob}/x" long3
must_mount rw
cd "$DIR" || exit 1
is "$(cat lib/sub/key)" one
is "$(stat -c '%a %F' lib lib/sub/key)" $'755 directory\n644 regular file'
is "$(cat both)" file
is "$(cat both%2F./inside)" dir
not cat both/inside
is "$(cat a/%2F./b)" empty
is "$(cat %2F./top)" slash
is "$(cat dots/%2E dots/%2E.)" dotdotdot
is "$(cat %2Estats)" reserved
is "$(cat valued/%2F%value)" value
says 'Operation not permitted' sh -c 'echo x > valued/%2F%value'
first=$(printf 'k%.0s' {1..240})%
is "$(find "./$first" -type f -exec cat {} +)" 'long1long3long2' "a key of 600 bytes and its neighbours"
words='long[123]|dotdot|slash|empty|reserved|value|one'
is "$(find . -type f -exec cat {} + 2>/dev/null | grep -aoE "$words" | sort -u | wc -l)" 9
before=$(stat -c %i lib/sub lib/sub/key)
mv lib library
is "$(stat -c %i library/sub library/sub/key)" "$before" "made-up inode numbers stay with what is renamed"
rm library/sub/key
ok test -d library/sub
chmod 600 a/%2F./b
cd /
remount
is "$(stat -c %i "$DIR/library/sub")" "$(head -1 <<<"$before")"
is "$(stat -c %a "$DIR/a/%2F./b")" 600
rm -rf "$DIR/valued" "$DIR/both" "$DIR/both%2F." "$DIR/both"
not test -e "$DIR/valued"
not test -e "$DIR/both"

# --- a file beside a synthetic directory for keys that begin with its name -------------------------------------------
cd / || exit 1
must_unmount
beginning=$(printf 'a%.0s' {1..240})
put "$(printf 'a%.0s' {1..300})" long
must_mount rw
cd "$DIR" || exit 1
ok ls -l
is "$(grep -c "$beginning%\$" "$WORK/out")" 1
ok test -d "$beginning%"
echo beside >"$beginning"
is "$(cat "$beginning")" beside
not test "$beginning" -ef "$beginning%"
echo other >other
ok mv other "$beginning"
is "$(cat "$beginning")" other
not rmdir "$beginning"
cd /
remount
cd "$DIR" || exit 1
is "$(cat "$beginning")" other
is "$(find "$beginning%" -type f -exec cat {} +)" long
is "$(stat -c %F "$beginning" "$beginning%")" $'regular file\ndirectory'
[ "$(stat -c %i "$beginning")" != "$(stat -c %i "$beginning%")" ] && pass || fail "the same inode number"
rm "$beginning"
ok ls -l "$beginning%"
mv "$beginning%"/* "$beginning" # the directory vanishes with its last key
is "$(cat "$beginning")" long
not test -e "$beginning%/$(printf 'a%.0s' {1..60})"
cd /
remount
is "$(cat "$DIR/$beginning")" long
rm "$DIR/$beginning"

# --- publication: readers of the store see a file when it is closed --------------------------------------------------
publication='0 0' # with publish=write see messages.sh and noopen.sh
by_write || publication=$(timeout 60 python3 - "$DIR" "$STORE" "$PLSM" <<'PY'
import base64, os, subprocess, sys, time
top, store, plsm = sys.argv[1:]
path, passed, failed = top + "/p", 0, 0
# Started before any file is open: a process that is forked later closes copies of all descriptors, which publishes.
loop = 'while read -r line; do "$1" get "$2" p | base64 -w 0; echo; done'
looker = subprocess.Popen(["sh", "-c", loop, "sh", plsm, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def look():
    looker.stdin.write(b"look\n")
    looker.stdin.flush()
    return base64.b64decode(looker.stdout.readline())

def peek(wanted, why, seconds=0):
    """Compares with what a reader of the store finds, beside the mount, within so many seconds."""
    global passed, failed
    until = time.monotonic() + seconds
    while (got := look()) != wanted and time.monotonic() < until:
        time.sleep(0.05)
    if got == wanted:
        passed += 1
    else:
        failed += 1
        print("FAILED:", why, got[:50], wanted[:50])

def put(data):
    with open(path, "wb") as f:
        f.write(data)

put(b"old")
f = os.open(path, os.O_WRONLY | os.O_TRUNC)
os.close(os.dup(f))
peek(b"old", "the first close of a copy does not publish what only O_TRUNC did: shells close one before they write")
os.write(f, b"new")
peek(b"old", "nothing before the close")
assert open(path, "rb").read() == b"new"
os.close(os.dup(f))
peek(b"new", "any close publishes what was written")
os.write(f, b", more")
peek(b"new", "nothing before the next close")
os.fsync(f)
peek(b"new, more", "fsync publishes")
os.write(f, b"!")
os.close(f)
peek(b"new, more!", "the last close")
f = os.open(path, os.O_WRONLY | os.O_TRUNC)
os.close(os.dup(f))
os.close(os.dup(f))
peek(b"", "the second close publishes an O_TRUNC")
os.close(f)
put(b"again")
os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
peek(b"", "so does the last handle that goes", seconds=20)
put(b"again")
os.truncate(path, 2)
peek(b"ag", "truncate(2) has no close to wait for")
f = os.open(path, os.O_WRONLY | os.O_APPEND)
os.write(f, b"ain")
os.rename(path, top + "/q")
os.close(f)
os.rename(top + "/q", path)
peek(b"again", "written to under another name")
# attributes that were set before the close come with the content
f = os.open(path, os.O_WRONLY)
os.write(f, b"A")
os.fchmod(f, 0o600)
os.close(f)
peek(b"Again", "attributes and content")
print(passed, failed)
PY
)
read -r p q < <(tail -1 <<<"$publication")
[ "$q" = 0 ] || echo "$publication"
passed=$((passed + ${p:-0})) failed=$((failed + ${q:-1}))
peek() { timeout 20 "$PLSM" get "$STORE" "$1" 2>/dev/null; }
remount rw,publish_interval=1
ok py "$DIR/slow" "$STORE" "$PLSM" <<'PY'
import os, subprocess, sys
path, store, plsm = sys.argv[1:]
loop = 'for i in $(seq 200); do [ "$("$1" get "$2" slow)" = early ] && exit; sleep 0.1; done; exit 1'
looker = subprocess.Popen(["sh", "-c", loop, "sh", plsm, store]) # before the file is open, as above
f = os.open(path, os.O_WRONLY | os.O_CREAT)
os.write(f, b"early")
sys.exit(looker.wait()) # the option publish_interval published it
PY

# --- the control file ------------------------------------------------------------------------------------------------
exact='import os, sys; f = os.open(sys.argv[1], 0); sys.exit(os.fstat(f).st_size != len(os.read(f, 1 << 20)))'
ok python3 -c "$exact" "$DIR/.stats"
read_engine
declare -A of_engine=([hybridlog]=cache.hit_rate [appendlog]=log.segments
    [lsm]='cache.hit_rate lsm.level.0.files lsm.write_amplification learn.level.accuracy filter.false_negatives')
for name in store.keys store.bytes_live store.bytes_disk mem.bytes ${of_engine[$ENGINE]} io.reads fs.lookup.count \
    fs.write.p99_us; do
    ok grep -qE "^$name [0-9.e+-]+$" "$DIR/.stats"
done
[ "$ENGINE" != lsm ] || is "$(statistic filter.false_negatives)" 0
is "$(statistic fs.errors)" 0
[ "$(statistic fs.write.count)" -gt 0 ] && pass || fail "no write was counted"
says 'Invalid argument' sh -c "env echo nonsense > '$DIR/.stats'"
ok sh -c "echo reset > '$DIR/.stats'"
[ "$(statistic fs.mkdir.count)" -eq 0 ] && pass || fail "reset does not zero"
is "$(stat -c '%a %u' "$DIR/.stats")" "600 $(id -u)"
remount rw,show_control
is "$(find "$DIR" -maxdepth 1 -name .stats | wc -l)" 1
ok tar cf "$WORK/t.tar" -C "$DIR" .stats
df "$DIR" >/dev/null && pass || fail df
is "$(df --output=size "$DIR" | tail -1)" "$(df --output=size "$WORK" | tail -1)"

# --- other users -----------------------------------------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ]; then
    chmod 755 "$WORK"
    as() { setpriv --reuid 4321 --regid 4321 --clear-groups "$@"; }
    mkdir "$DIR/open" && chmod 1777 "$DIR/open" && echo secret >"$DIR/open/mine" && chmod 600 "$DIR/open/mine"
    says 'Permission denied' as cat "$DIR/open/mine"
    says 'Permission denied' as cat "$DIR/.stats"
    says 'Permission denied' as touch "$DIR/new"
    says 'Operation not permitted' as rm -f "$DIR/open/mine"
    ok as sh -c "echo x > '$DIR/open/theirs'; chmod 6755 '$DIR/open/theirs'"
    is "$(stat -c '%u %g %a' "$DIR/open/theirs")" '4321 4321 6755'
    as sh -c "echo y >> '$DIR/open/theirs'"
    is "$(stat -c %a "$DIR/open/theirs")" 755 "a write by its user takes setuid away"
    chmod 6755 "$DIR/open/theirs"
    as perl -e 'truncate $ARGV[0], 1 or die' "$DIR/open/theirs"
    is "$(stat -c %a "$DIR/open/theirs")" 755 "truncate does"
    chmod 6755 "$DIR/open/theirs"
    as truncate -s 1 "$DIR/open/theirs" # ftruncate
    is "$(stat -c %a "$DIR/open/theirs")" 755 "ftruncate does"
    chmod 6755 "$DIR/open/theirs"
    perl -e 'truncate $ARGV[0], 0 or die' "$DIR/open/theirs"
    truncate -s 3 "$DIR/open/theirs"
    echo z >"$DIR/open/theirs"
    remount # what the kernel remembers of the mode is not what the store has
    is "$(stat -c %a "$DIR/open/theirs")" 6755 "root may truncate and write without taking it away"
    as sh -c ": > '$DIR/open/theirs'"
    is "$(stat -c %a "$DIR/open/theirs")" 755 "a truncation by its user does"

    # set-gid without execution by the group stays only with a change by somebody in it
    as_member() { setpriv --reuid 4321 --regid 4321 --groups 777 "$@"; }
    f=$DIR/open/shared
    echo xyz >"$f" && chgrp 777 "$f" && chmod 777 "$DIR/open"
    for change in 'echo y >>"$1"' ': >"$1"' 'truncate -s 2 "$1"' 'perl -e "truncate \$ARGV[0], 1 or die" "$1"' \
        'fallocate -l 9000 "$1"'; do
        for who in 'as 666' 'as_member 2666' 'env 6666'; do
            chmod 6666 "$f"
            ok ${who% *} sh -c "$change" sh "$f"
            is "$(stat -c %a "$f")" "${who#* }" "$who: $change"
        done
    done
    by_write && chmod 6755 "$f" || chmod 6777 "$f" # who may write counts as who writes
    before=$(stat -c %a "$f")
    says 'Operation not permitted' as perl -e 'chown -1, -1, $ARGV[0] or die $!' "$f"
    is "$(stat -c %a "$f")" "$before" "a chown that names nobody, by a stranger"
    chown 4321 "$f" && chmod 6767 "$f"
    ok as perl -e 'chown -1, -1, $ARGV[0] or die' "$f"
    is "$(stat -c %a "$f")" 767 "by its owner, who is not in the group"
    rm "$f" && chmod 1777 "$DIR/open"

    mkdir "$DIR/group" && chgrp 777 "$DIR/group" && chmod 2775 "$DIR/group"
    mkdir "$DIR/group/sub" && touch "$DIR/group/f"
    is "$(stat -c '%g %a' "$DIR/group/sub")" '777 2755'
    is "$(stat -c %g "$DIR/group/f")" 777
fi

# --- ends and second mounts ------------------------------------------------------------------------------------------
says 'mounted there already' "$PLSMD" "$STORE" "$DIR"
mkdir "$WORK/dir2"
ok "$PLSMD" -o ro "$STORE" "$WORK/dir2"
is "$(cat "$WORK/dir2/p2" 2>&1; cat "$WORK/dir2/slow")" "cat: $WORK/dir2/p2: No such file or directory"$'\n'early
says 'Read-only file system' touch "$WORK/dir2/x"
ok python3 -c 'import os, sys; [os.fsync(os.open(p, os.O_RDONLY)) for p in sys.argv[1:]]' "$WORK/dir2" "$WORK/dir2/slow"
unmount_store "$WORK/dir2" || fail "cannot unmount the read-only mount"
exec 7>"$DIR/unclosed"
echo kept >&7
pid=$(daemon_of)
kill -TERM "$pid"
ok ended "$pid"
exec 7>&-
is "$(peek unclosed)" kept "SIGTERM publishes what is open"
not mountpoint -q "$DIR"
must_mount
kill -INT "$(daemon_of)"
for _ in {1..200}; do mountpoint -q "$DIR" || break; sleep 0.05; done
not mountpoint -q "$DIR"
must_mount # waits for the other daemon
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    # The first signal unmounts, but another namespace keeps the file system alive: the second one ends it.
    pid=$(daemon_of)
    unshare -m --propagation private sleep 60 &
    for _ in {1..200}; do [ "$(cat /proc/$!/comm)" != sleep ] || break; sleep 0.05; done # it has its namespace
    kill -TERM "$pid"
    for _ in {1..100}; do mountpoint -q "$DIR" || break; sleep 0.05; done
    not mountpoint -q "$DIR"
    ok kill -TERM "$pid"
    ok ended "$pid" 5
    kill %unshare
    wait
    must_mount
fi
check_store

# --- relative paths --------------------------------------------------------------------------------------------------
# The daemon leaves its directory while the store still opens files: the mount must not depend on where it was started.
must_unmount
mkdir -p "$WORK/rel/ative/dir" "$WORK/parts"
seq -f '%.0f of a text that does not fit into a buffer' 120000 | split -l 4000 - "$WORK/parts/"
for where in create,buffer_size=1M rw; do
    (cd "$WORK/rel" && mount_store "$where" ative/store ./ative/dir) || fail "cannot mount by a relative path"
    [ "$where" = rw ] || ok cp -r "$WORK/parts" "$WORK/rel/ative/dir/"
    ok diff -r "$WORK/parts" "$WORK/rel/ative/dir/parts"
    pid=$(daemon_of ./ative/dir)
    ok fusermount3 -u "$WORK/rel/ative/dir"
    ok ended "$pid" 20
done
check_store "$WORK/rel/ative/store"
must_mount

# --- large -----------------------------------------------------------------------------------------------------------
rm -rf "${DIR:?}"/*
remount
ok truncate -s 100G "$DIR/hole"
printf 'end' | dd of="$DIR/hole" bs=1 seek=99999999999 conv=notrunc status=none
is "$(stat -c %s "$DIR/hole")" 107374182400
is "$(tail -c +100000000000 "$DIR/hole" | head -c 3)" end
[ "$(du -sm "$STORE" | cut -f 1)" -lt 200 ] && pass || fail "a hole of 100 GB takes room: $(du -sm "$STORE")"
rm "$DIR/hole"
size_mb=${E2E_LARGE_MB:-2048}
pid=$(daemon_of)
openssl enc -aes-128-ctr -nosalt -pass pass:x </dev/zero 2>/dev/null |
    head -c "$((size_mb * 1024 * 1024 + 4321))" >"$WORK/large"
ok cp "$WORK/large" "$DIR/large"
ok cmp "$WORK/large" "$DIR/large"
drop_caches
ok cp "$DIR/large" "$WORK/large2"
ok cmp "$WORK/large" "$WORK/large2"
memory=VmHWM
[ "$ENGINE" != appendlog ] || memory=RssAnon # its segments are mapped: what is resident of them is the system's cache
memory_kb=$(awk -v name="$memory:" '$1 == name { print $2 }' "/proc/$pid/status")
echo "$memory of the daemon after a file of $size_mb MiB: $memory_kb KiB"
if grep -qE '__(asan|tsan)_init' "$PLSMD"; then
    echo "not judged: a sanitizer keeps memory of its own"
elif [ "$memory_kb" -lt 65536 ]; then
    pass
else
    fail "$memory_kb KiB are not less than 64 MiB"
fi
rm "$WORK/large2"
# random writes into it
py "$DIR/large" "$WORK/large" <<'PY' && pass || fail "random writes into a large file"
import os, random, sys
random.seed(7)
a, b = (os.open(p, os.O_RDWR) for p in sys.argv[1:])
size = os.fstat(a).st_size
for i in range(300):
    at, data = random.randrange(size), random.randbytes(random.randrange(1, 300000))
    assert os.pwrite(a, data, at) == os.pwrite(b, data, at)
    if i % 50 == 0:
        os.fsync(a)
os.ftruncate(a, size // 2 + 17)
os.ftruncate(b, size // 2 + 17)
PY
ok cmp "$WORK/large" "$DIR/large"
cd /
remount
ok cmp "$WORK/large" "$DIR/large"
must_unmount
check_store
