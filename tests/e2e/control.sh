#!/usr/bin/env bash
# The control surface: .stats and .plsm of a mount.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh

C=$DIR/.plsm
stat_of() { awk -v name="$1" '$1 == name { print $2 }' "$DIR/.stats"; }
# batch: standard input is committed by one close, whose failure dd tells.
batch() { dd of="$C/batch" bs=1M iflag=fullblock status=none conv=notrunc; }
exact='import os, sys
for name in sys.argv[1:]:
    f = os.open(name, 0)
    data = os.read(f, 1 << 22)
    if os.fstat(f).st_size != len(data): sys.exit(name)'

must_mount

# --- texts -----------------------------------------------------------------------------------------------------------
ok python3 -c "$exact" "$DIR/.stats" "$C/stats.json" "$C/metrics" "$C/ctl" "$C/batch" "$C/batch.error"
for name in store.keys store.bytes_live store.bytes_disk mem.bytes lsm.level.0.files lsm.level.0.keys \
    lsm.level.0.bytes lsm.write_amplification lsm.space_amplification learn.level.accuracy learn.file.accuracy \
    learn.block.accuracy learn.fallback_rate learn.train_ns_per_key learn.bytes.index learn.bytes.filter \
    learn.bytes.sst_max learn.bytes.level_max learn.bytes.global learn.index_bits_per_key filter.bits_per_key \
    filter.false_positive_rate filter.false_negatives cache.hits cache.misses cache.hit_rate cache.bytes io.reads \
    io.read_bytes io.writes io.write_bytes io.pages_per_get sim.reads sim.read_ms sim.write_ms \
    sim.traditional_reads sim.traditional_read_ms fs.lookup.count fs.write.p99_us fs.control.batches; do
    ok grep -qE "^$name [0-9.e+-]+$" "$DIR/.stats"
    ok grep -qF "\"$name\": " "$C/stats.json"
done
ok python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["store.engine"] == "lsm"' "$C/stats.json"
check_metrics plsm_store_keys plsm_lsm_level_files plsm_fs_operations plsm_lsm_stall_seconds
printf 'a%s\tvalue\n' {1..1000} | batch && echo flush >"$C/ctl"
cat "$DIR/.stats" "$C/metrics" >"$WORK/both"
ok awk '$1 == "filter.build_ns_per_key" { ns = $2 } $1 == "plsm_filter_build_seconds_per_key" { seconds = $2 }
        END { exit !(ns > 0 && seconds * 1e9 > ns * 0.999 && seconds * 1e9 < ns * 1.001) }' "$WORK/both"
printf '\\~a\tb\n' | batch

# --- hidden, and reserved --------------------------------------------------------------------------------------------
mkdir "$DIR/d" && echo 1 >"$DIR/d/f" && echo 2 >"$DIR/g"
is "$(find "$DIR" -name '.*' | wc -l)" 0
is "$(tar cf - -C "$DIR" . | tar tf - | grep -c plsm)" 0
mkdir "$WORK/copy" && ok cp -a "$DIR/." "$WORK/copy" && ok diff -r "$WORK/copy" "$DIR"
ok rsync -a --delete "$WORK/copy/" "$DIR/"
for name in .plsm .stats; do
    says 'Operation not permitted' mv "$DIR/g" "$DIR/$name"
    says 'Operation not permitted' mv "$DIR/$name" "$DIR/h"
    says 'Operation not permitted' rm -rf "$DIR/$name"
done
says 'File exists' mkdir "$C"
says 'Operation not permitted' mkdir "$C/new"
says 'Operation not permitted' rmdir "$C/range"
says 'Operation not permitted' rm "$C/ctl"
says 'Operation not permitted' cp "$DIR/g" "$C/new"
says 'Operation not permitted' ln -s x "$C/new"
ok rm -rf "$DIR"/d "$DIR"/g
is "$(ls -A "$DIR")" ''
ok test -e "$C/ctl"

# --- ctl -------------------------------------------------------------------------------------------------------------
seq -f 'k%06g' 1 20000 | sed 's/$/\tv/' | batch
ok sh -c "echo flush > '$C/ctl'"
ok sh -c "printf 'compact k000100 k000200\ncompact\nretrain all\n' > '$C/ctl'"
ok sh -c "printf flush > '$C/ctl'" # without an end of line: at close
ok grep -q 'retrain all: done' "$C/ctl"
says 'Invalid argument' sh -c "env echo nonsense > '$C/ctl'"
ok grep -q 'nonsense: no such command' "$C/ctl"
says 'Invalid argument' sh -c "env printf 'reset\ncompact a b c\n' > '$C/ctl'"
ok grep -q 'compact: wrong arguments' "$C/ctl"
ok sh -c "echo reset > '$C/ctl'"
is "$(stat_of fs.mkdir.count)" 0
# Checkpoints of the mounted store.
echo early >"$DIR/early"
ok sh -c "echo 'checkpoint $WORK/a\\x20copy first' > '$C/ctl'"
ok grep -q 'checkpoint first: [1-9][0-9]* files, ' "$C/ctl"
echo late >"$DIR/early"
ok sh -c "echo 'checkpoint $WORK/a\\x20copy' > '$C/ctl'"
is "$("$PLSM" checkpoint --list --json "$WORK/a copy" | grep -c '"name"')" 2
ok "$PLSM" restore --name=first "$WORK/a copy" "$WORK/restored"
is "$("$PLSM" get "$WORK/restored" early)" early
is "$("$PLSM" get "$WORK/restored" k000010)" v
for line in checkpoint 'checkpoint relative' 'checkpoint /a b c' "checkpoint $WORK/\\\\0" "checkpoint $WORK/x x\\\\0" \
    "checkpoint $DIR/inside"; do
    says 'Invalid argument' sh -c "env printf '%b\n' '$line' > '$C/ctl'"
done
ln -s "$DIR" "$WORK/link"
says 'Invalid argument' sh -c "env echo 'checkpoint $WORK/link/inside' > '$C/ctl'"
not test -e "$DIR/inside"
ok grep -q 'inside: is in the mount' "$C/ctl"
says 'File exists' sh -c "env echo 'checkpoint $WORK/a\\x20copy first' > '$C/ctl'"
ok grep -q 'there is a checkpoint first already' "$C/ctl"
says 'Invalid argument' sh -c "env echo 'checkpoint $WORK/other .hidden' > '$C/ctl'"
says 'No such file' sh -c "env echo 'checkpoint $WORK/nowhere/below' > '$C/ctl'"
rm "$DIR/early"

# --- batches, and what the kernel knows ------------------------------------------------------------------------------
says 'No such file' cat "$DIR/new"
says 'No such file' cat "$DIR/dir/sub/file"
printf 'old' >"$DIR/file"
is "$(cat "$DIR/file")" old
exec 8<"$DIR/file"
printf 'new\tone\ndir/sub/file\ttwo\nfile\tthree, longer\n' | batch && pass || fail batch
is "$(cat "$DIR/new")" one "a name that was absent"
is "$(cat "$DIR/dir/sub/file")" two "a directory that was absent"
is "$(cat "$DIR/file")" 'three, longer' "content, size"
is "$(stat -c %s "$DIR/file")" 13
is "$(cat <&8)" old "who has it open"
exec 8<&-
is "$(find "$DIR/dir" | wc -l)" 3
printf '\\-new\n\\-dir/sub/file\n\\~k000002\tk000010\n' | batch && pass || fail batch
not test -e "$DIR/new"
not test -e "$DIR/dir"
not test -e "$DIR/k000005"
ok test -e "$DIR/k000010"
printf 'dir/x\t1\nfile/y\t2\n' | batch && pass || fail batch
is "$(ls "$DIR/dir")" x
is "$(cat "$DIR/file%2F./y")" 2 "a directory beside a file"
is "$(cat "$DIR/file")" 'three, longer'
printf 'esc\\t\\x01\\\\\ta\\nb\tc%b' "$(by_write && echo '\n')" | batch && pass || fail batch
is "$(cat "$DIR/esc"$'\t\x01'"\\")" $'a\nb\tc' "escapes, a tab in a value, no end of line"
# A writer that is in the middle wins when it closes.
python3 -c 'import os, sys, time
os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b"mine"); open(sys.argv[2], "w"); sys.stdin.read()' \
    "$DIR/writing" "$WORK/written" < <(while [ ! -e "$WORK/written.end" ]; do sleep 0.05; done) &
while [ ! -e "$WORK/written" ]; do sleep 0.05; done
printf 'writing\tother\n' | batch
touch "$WORK/written.end"
wait $!
is "$(cat "$DIR/writing")" "$(by_write && echo other || echo mine)"
# Conditions, and errors at close: nothing is applied.
printf '\\!absent\nabsent\t1\n' | batch && pass || fail batch
printf '\\!absent\nother\t2\nabsent\t2\n' >"$WORK/changes"
says 'File exists' dd if="$WORK/changes" of="$C/batch" status=none conv=notrunc
not test -e "$DIR/other"
is "$(cat "$DIR/absent")" 1
printf '\\=absent\t1\nabsent\t2\n' | batch && pass || fail batch
printf '\\=absent\t1\nabsent\t3\n' >"$WORK/changes"
says 'Operation canceled' dd if="$WORK/changes" of="$C/batch" status=none conv=notrunc
is "$(cat "$DIR/absent")" 2
[ -s "$C/batch.error" ] && pass || fail "no batch.error"
says 'Invalid argument' sh -c "printf 'good\t1\nno tab\n' | dd of='$C/batch' status=none conv=notrunc"
ok grep -q 'line 2: no tab' "$C/batch.error"
ok grep -q 'line 2: no tab' "$C/ctl"
not test -e "$DIR/good"
says 'Invalid argument' sh -c "printf '\t1\n' | dd of='$C/batch' status=none conv=notrunc"
printf 'good\t1\n' | batch
is "$(cat "$C/batch.error")" ''
head -c 200000 /dev/zero | tr '\0' x >"$WORK/value"
{ printf 'large\t' && cat "$WORK/value" && echo; } >"$WORK/large"
not dd if="$WORK/large" of="$C/batch" status=none conv=notrunc
printf 'synced\t1\n' | dd of="$C/batch" status=none conv=notrunc,fsync && pass || fail "fsync of a batch"
is "$(cat "$DIR/synced")" 1
ok python3 - "$DIR" <<'PY'
# More names than are told one by one, all looked up in vain before.
import os, sys
names = ["many%05d" % i for i in range(5000)]
os.chdir(sys.argv[1])
assert not any(os.path.exists(name) for name in names)
f = os.open(".plsm/batch", os.O_WRONLY)
os.write(f, "".join("%s\t%s\n" % (name, name) for name in names).encode())
os.close(f)
assert all(open(name).read() == name for name in names)
f = os.open(".plsm/batch", os.O_WRONLY)
os.write(f, "".join("\\-%s\n" % name for name in names).encode())
os.close(f)
assert not any(os.path.exists(name) for name in names)
PY
# Others look names up and list all the time: what they see behind a close is what was committed before it.
ok python3 - "$DIR" <<'PY'
import os, sys, threading
os.chdir(sys.argv[1])
end = threading.Event()
def look():
    while not end.is_set():
        for i in range(20):
            os.path.exists("race%d" % i)
        os.listdir(".plsm/range/race..racf")
threads = [threading.Thread(target=look) for _ in range(3)]
for t in threads: t.start()
try:
    for n in range(60):
        f = os.open(".plsm/batch", os.O_WRONLY)
        os.write(f, "".join("race%d\t%d\n" % (i, n) if n % 2 == 0 else "\\-race%d\n" % i for i in range(20)).encode())
        os.close(f)
        for i in range(20):
            if n % 2 == 0: assert open("race%d" % i).read() == str(n), (n, i)
            else: assert not os.path.exists("race%d" % i), (n, i)
finally:
    end.set()
    for t in threads: t.join()
PY

# --- range -----------------------------------------------------------------------------------------------------------
printf 'r/a\t1\nr/b\t2\nr%%c\t3\nr..d\t4\nr/e\t5\n' | batch
is "$(ls "$C/range/r%2Fa..r%2Fe" | tr '\n' ' ')" 'r%2Fa r%2Fb '
is "$(cat "$C/range/r%2Fa..r%2Fe/"*)" 12
is "$(ls -U "$C/range/r..s" | tr '\n' ' ')" 'r%25c r..d r%2Fa r%2Fb r%2Fe '
is "$(cat "$C/range/r%2E.d..r%2E.e/r..d")" 4
is "$(cat "$C/range/r%2Fa..r%2Fe.tsv")" $'r/a\t1\nr/b\t2'
not test -e "$C/range/r%2Fa..r%2Fe/r%2Fe"
not test -e "$C/range/nothing"
is "$(find "$C/range/k..l" -type f | wc -l)" 19992 "listed in many answers"
ok sh -c "cd '$C/range/k..l' && tar cf '$WORK/range.tar' k0000*"
ok python3 -c "$exact" "$C/range/r..s/r%2Fa"
long=$(printf 'L%.0s' {1..300})
printf '%s/%s1\tone\n%s/%s2\ttwo\n' "$long" "$long" "$long" "$long" | batch
is "$(cat "$C/range/L..M/"* | wc -c)" 6 "keys that are too long for a name"
is "$(ls "$C/range/L..M" | wc -l)" 2
head -c 300000 /dev/urandom >"$DIR/r-large"
cat "$C/range/%00...tsv" >"$WORK/all.tsv"
cat "$C/range/...tsv" >"$WORK/all2.tsv"
ok cmp "$WORK/all.tsv" "$WORK/all2.tsv"
ok python3 - "$C/range/...tsv" "$WORK/all.tsv" <<'PY'
import os, random, sys
f, data = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[2], "rb").read()
random.seed(7)
for _ in range(30):
    at, size = random.randrange(len(data) + 100), random.randrange(1, 300000)
    assert os.pread(f, size, at) == data[at:at + size], (at, size)
PY
# Sizes and times are what tar and rsync want: exact, and the same as long as the content is.
ok python3 -c "$exact" "$C/range/r..s.tsv" "$C/range/q..r.tsv" "$C/range/L..M.tsv" "$C/range/zz..zzz.tsv"
is "$(stat -c %s "$C/range/...tsv")" "$(wc -c <"$WORK/all.tsv")"
ok rsync -a "$C/range/...tsv" "$WORK/synced.tsv"
ok cmp "$WORK/all.tsv" "$WORK/synced.tsv"
ok tar cf "$WORK/range.tar" -C "$C" levels "range/r%2Fa..r%2Fe" "range/r..s.tsv" ctl
is "$(tar xOf "$WORK/range.tar" "range/r..s.tsv" | cksum)" "$(cksum <"$C/range/r..s.tsv")"
before=$(stat -c '%s %y %z' "$C/range/r..s.tsv" "$C/range" "$C/range/r..s" "$C/levels")
sleep 1.1
is "$(stat -c '%s %y %z' "$C/range/r..s.tsv" "$C/range" "$C/range/r..s" "$C/levels")" "$before"
times() { for i in {1..8}; do stat -c '%n %s %y %z' "$C/range/r..s$i.tsv"; done; }
times >"$WORK/times"
sleep 1.1
ok cmp <(times) "$WORK/times" # of each of several
is "$(cut -d ' ' -f 3,4 "$WORK/times" | sort -u | wc -l)" 8
printf 'r/e\t6\n' | batch
not test "$(stat -c %y "$C/range/r..s.tsv")" = "$(head -1 <<<"$before" | cut -d ' ' -f 2-4)" # of the same size
printf 'r/e\t5\n' | batch
says 'Permission denied' setpriv --reuid 4321 --clear-groups cat "$C/range/...tsv"
says 'Permission denied' setpriv --reuid 4321 --clear-groups ls "$C"

# --- snapshots -------------------------------------------------------------------------------------------------------
mkdir "$DIR/tree" && echo before >"$DIR/tree/file" && ln -s file "$DIR/tree/link" && chmod 640 "$DIR/tree/file"
touch -d '2001-02-03 04:05:06Z' "$DIR/tree/file"
cp -a "$DIR/tree" "$WORK/tree"
ok mkdir "$C/snapshots/one"
says 'File exists' mkdir "$C/snapshots/one"
echo after >"$DIR/tree/file"
rm "$DIR/tree/link"
echo more >"$DIR/tree/more"
printf 'tree/file\tbatch\n' | batch
is "$(cat "$DIR/tree/file")" batch
ok diff -r "$WORK/tree" "$C/snapshots/one/tree"
is "$(stat -c '%a %Y %s' "$C/snapshots/one/tree/file")" "$(stat -c '%a %Y %s' "$WORK/tree/file")"
is "$(readlink "$C/snapshots/one/tree/link")" file
is "$(tar cf - -C "$C/snapshots/one" tree | tar tvf - | wc -l)" 3
is "$(find "$C/snapshots/one" -name 'k*' | wc -l)" 19992
ok cmp "$C/snapshots/one/r-large" "$DIR/r-large"
ok cp "$C/snapshots/one/tree/file" "$DIR/tree/file"
is "$(cat "$DIR/tree/file")" before
for command in 'touch new' 'rm tree/file' 'mkdir new' 'ln -s x new' 'mv tree/file x' 'truncate -s 0 tree/file' \
    'chmod 600 tree/file'; do
    says 'Read-only file system' sh -c "cd '$C/snapshots/one' && $command"
done
ok mkdir "$C/snapshots/two"
is "$(cat "$C/snapshots/two/tree/more")" more
is "$(ls "$C/snapshots" | sort | tr '\n' ' ')" 'one two '
is "$(stat_of fs.control.snapshots)" 2
exec 8<"$C/snapshots/one/tree/file"
ok rmdir "$C/snapshots/one"
not test -e "$C/snapshots/one"
is "$(cat <&8)" before "open when it was dropped"
exec 8<&-
says 'No such file' rmdir "$C/snapshots/one"
ok mkdir "$C/snapshots/one"
is "$(cat "$C/snapshots/one/tree/more")" more
ok rmdir "$C/snapshots/one" "$C/snapshots/two"

# --- calls that make no sense here -----------------------------------------------------------------------------------
calls() # SCRIPT
{
    timeout 200 python3 "$ROOT/tests/e2e/$1" "$DIR" >"$WORK/calls" 2>&1
    tail -1 "$WORK/calls" | grep -q '^[0-9]* passed, 0 failed' && pass || fail "$(tail -20 "$WORK/calls")"
    ! grep -q 'still waiting$' "$WORK/calls" || exit 1 # the daemon hangs, and so would all that follows
    rm -rf "$DIR/calls"
}
all_calls() { for script in control_calls.py vanished.py mixed.py; do calls $script; done; }
export MIXED_KIND=files MIXED_SECONDS=${MIXED_SECONDS:-4} # trees: make stress
all_calls
by_write || calls control_batch.py # otherwise see noopen.sh
remount create,xattr,publish=write
E2E_OPTIONS=publish=write all_calls
remount create,xattr

# --- levels ----------------------------------------------------------------------------------------------------------
printf 'flush\ncompact\n' >"$C/ctl" # then no run goes while it is looked at
ok test -s "$C/levels/lookups.txt"
run=$(cd "$C/levels" && ls run-*.json | tail -1)
ok python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["entries"] > 0 and "model.type" in d' \
    "$C/levels/$run"
ok grep -qE '^entries [0-9]+$' "$C/levels/${run%.json}.txt"
for file in "$C"/levels/l*.json; do ok python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$file"; done
ok grep -qE '^runs [1-9]' "$C"/levels/level-*.txt

# --- commands on the mounted store -----------------------------------------------------------------------------------
is "$(stat -c '%a %u' "$STORE/socket")" "600 $(id -u)"
not test -e "$DIR/put"
ok "$PLSM" put "$STORE" put value
is "$(cat "$DIR/put")" value
ok "$PLSM" put --sync "$STORE" put 'a longer value'
is "$(cat "$DIR/put")" 'a longer value'
is "$("$PLSM" get "$STORE" put)" 'a longer value'
ok sh -c "head -c 3000000 /dev/urandom >'$WORK/large' && '$PLSM' put '$STORE' put <'$WORK/large'"
ok cmp "$WORK/large" "$DIR/put"
ok sh -c "'$PLSM' delete '$STORE' put nowhere; [ \$? = 1 ]"
not test -e "$DIR/put"
ok sh -c "seq -f 'load%05g' 1 5000 | sed 's/\$/\tv/' | '$PLSM' load '$STORE'"
is "$(cat "$DIR/load00007")" v
is "$(find "$DIR" -maxdepth 1 -name 'load*' | wc -l)" 5000
ok sh -c "printf '\\\\-load00007\n\\\\~load01\tload02\n' | '$PLSM' load '$STORE'"
not test -e "$DIR/load00007"
is "$(find "$DIR" -maxdepth 1 -name 'load*' | wc -l)" 3999
ok sh -c "{ printf 'large\t'; head -c 400000 /dev/zero | tr '\0' x; echo; } | '$PLSM' load '$STORE'"
is "$(stat -c %s "$DIR/large")" 400000
ok "$PLSM" delete --range "$STORE" load loae
is "$(find "$DIR" -maxdepth 1 -name 'load*' | wc -l)" 0
printf '\\!lock\nlock\tmine\n' >"$WORK/changes"
ok "$PLSM" write "$STORE" <"$WORK/changes"
"$PLSM" write "$STORE" <"$WORK/changes" 2>"$WORK/err"
is $? 1 "a condition that does not hold"
printf '\\=lock\tmine\n\\-lock\n' | ok "$PLSM" write "$STORE"
not test -e "$DIR/lock"
ok "$PLSM" flush "$STORE"
ok "$PLSM" compact "$STORE" a b
ok "$PLSM" retrain --all "$STORE"
says 'mounted' "$PLSM" load -s "$STORE"
says 'key is empty' sh -c "printf '\t1\n' | '$PLSM' write '$STORE'"
ok python3 - "$STORE/socket" <<'PY'
# Bytes that are no requests: the daemon ends the connection, and serves the next one.
import os, random, socket, struct, sys
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    return s
def frame(what, body, flags=0): return struct.pack("<IBBH", len(body), what, flags, 0) + body
def ask(s, data):
    s.sendall(data)
    head = s.recv(8, socket.MSG_WAITALL)
    if len(head) < 8: return None
    size, status = struct.unpack("<IB3x", head)
    s.recv(size, socket.MSG_WAITALL)
    return status
hello = frame(1, b"plsmwire" + struct.pack("<I", 1))
seed = random.randrange(1 << 32)
print("seed", seed)
random.seed(seed)
for i in range(300):
    s = connect()
    try:
        if i % 3 == 0:
            s.sendall(os.urandom(random.randrange(1, 200)))
        else:
            assert ask(s, hello) == 0
            body = os.urandom(random.randrange(40)) if i % 3 == 1 else struct.pack(
                "<BHI", random.randrange(7), random.choice([0, 1, 5, 9000, 65535]), random.choice([0, 3, 1 << 31]))
            ask(s, frame(random.choice([2, 4, 5, 6, 7, 9, 11, 255]), body) + b"x" * random.randrange(8))
        s.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError): pass
    s.close()
s = connect()
assert ask(s, frame(2, b"")) not in (0, None) # no greeting
s = connect()
assert ask(s, frame(1, b"plsmwire" + struct.pack("<I", 2))) not in (0, None) # another version
s = connect()
assert ask(s, hello) == 0 and ask(s, frame(7, b"nothing there")) == 1
PY
ok sh -c "'$PLSM' put '$STORE' after hostile && [ \$(cat '$DIR/after') = hostile ]"
kill_daemon
fusermount3 -uz "$DIR"
ok test -S "$STORE/socket"
ok "$PLSM" put "$STORE" stale socket
must_mount
is "$(cat "$DIR/stale")" socket
ok "$PLSM" put "$STORE" stale replaced
is "$(cat "$DIR/stale")" replaced

# --- keys that have the reserved names, show_control, read-only ------------------------------------------------------
must_unmount
not test -e "$STORE/socket"
printf '.plsm\tmine\n.plsm/ctl\tmine too\n.stats\tand mine\n' | ok "$PLSM" load "$STORE"
must_mount show_control
is "$(cat "$DIR/%2Eplsm")" mine
is "$(cat "$DIR/%2Eplsm%2F./ctl")" 'mine too'
is "$(cat "$DIR/%2Estats")" 'and mine'
is "$(find "$DIR" -maxdepth 1 -name '*plsm*' | sort | sed 's/.*\///' | tr '\n' ' ')" '%2Eplsm %2Eplsm%2F. .plsm '
is "$(find "$DIR" -maxdepth 1 -name .stats | wc -l)" 1
is "$(ls -A "$C" | tr '\n' ' ')" 'batch batch.error ctl levels metrics range snapshots stats.json '
remount ro
ok test -s "$C/stats.json"
says 'Read-only file system' sh -c "env echo flush > '$C/ctl'"
not test -e "$STORE/socket"
is "$(cat "$C/range/good..gooe.tsv")" $'good\t1'
must_unmount
check_store

# --- an end that does not wait for what is open (built with SANITIZE=address, leaks are told in a file) ---------------
export ASAN_OPTIONS=log_path=$WORK/asan:detect_leaks=1
must_mount rw
mkdir "$DIR/open" "$C/snapshots/open"
head -c 300000 /dev/zero >"$DIR/open/file"
python3 - "$DIR" "$WORK/opened" <<'PY' &
import os, sys, time
os.chdir(sys.argv[1])
kept = []
for name in (".", "open", ".plsm", ".plsm/levels", ".plsm/snapshots", ".plsm/snapshots/open", ".plsm/range/o..p"):
    kept.append(os.open(name, os.O_RDONLY))
    os.listdir(kept[-1])
for name in ("open/file", ".stats", ".plsm/metrics", ".plsm/range/o..p.tsv", ".plsm/range/o..p/open%2Ffile",
             ".plsm/levels/lookups.txt", ".plsm/snapshots/open/good"):
    kept.append(os.open(name, os.O_RDONLY))
    os.read(kept[-1], 10)
command = b"flush\n" if "publish=write" in os.environ.get("E2E_OPTIONS", "") else b"flus" # each write is whole then
for name, text in ((".plsm/batch", b"never\tcommitted"), (".plsm/ctl", command), ("open/file", b"x" * 300000)):
    kept.append(os.open(name, os.O_WRONLY))
    os.write(kept[-1], text)
os.unlink("open/file")
open(sys.argv[2], "w")
time.sleep(60)
os._exit(0)
PY
holder=$! daemon=$(daemon_of)
for ((i = 0; i < 300; i++)); do [ -e "$WORK/opened" ] && break; sleep 0.1; done
ok test -e "$WORK/opened"
kill -TERM "$daemon"
ok ended "$daemon" 30
kill -9 $holder
wait $holder 2>/dev/null
fusermount3 -uz "$DIR" 2>/dev/null
is "$(cat "$WORK"/asan* 2>/dev/null | head -20)" ''
check_store
not "$PLSM" get "$STORE" never
