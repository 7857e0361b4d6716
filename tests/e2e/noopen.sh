#!/usr/bin/env bash
# A mount whose kernel sends no open, flush and release (publish=write, fs/file.h): what programs do to files that they
# have open (tests/e2e/noopen.py), and the files below .plsm, which are found anew by each lookup. How many messages
# that saves counts messages.sh.
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

C=$DIR/.plsm
options=publish=write
must_mount "create,$options"
read_engine
echo x >"$DIR/first" && cat "$DIR/first" >"$WORK/out"
echo reset >"$DIR/.stats"

timeout 200 python3 "$ROOT/tests/e2e/noopen.py" "$DIR" "$PLSM" "$STORE" >"$WORK/noopen" 2>&1
tail -1 "$WORK/noopen" | grep -q '^[0-9]* passed, 0 failed' || cat "$WORK/noopen"
read -r p _ q _ < <(tail -1 "$WORK/noopen")
passed=$((passed + ${p:-0})) failed=$((failed + ${q:-1}))
for message in open flush release; do is "$(statistic "fs.$message.count")" 0 "$message"; done

# --- what is below .plsm ---------------------------------------------------------------------------------------------
# Two in a row, each with what was so then; who has a file open goes on reading that.
exec 8<"$DIR/.stats"
one=$(statistic fs.mkdir.count)
mkdir "$DIR/made"
two=$(statistic fs.mkdir.count)
is $((two - one)) 1 "figures are new at each look"
is "$(awk '$1 == "fs.mkdir.count" { print $2 }' <&8)" "$one" "and old where it was opened before"
exec 8<&-
ok tar cf "$WORK/t.tar" -C "$DIR" .stats .plsm/metrics .plsm/ctl .plsm/levels
printf 'r/a\t1\nr/b\t2\n' >"$C/batch"
is "$(cat "$C/range/r..s.tsv")" $'r/a\t1\nr/b\t2'
is "$(statistic fs.control.ranges)" 1
exec 8<"$C/range/r..s.tsv" 9<"$C/range/r..s/r%2Fa"
printf 'r/a\tanother\nr/c\t3\n' >"$C/batch"
is "$(cat <&8)" $'r/a\t1\nr/b\t2' "a range of the moment when it was opened"
is "$(cat <&9)" 1
is "$(cat "$C/range/r..s.tsv")" $'r/a\tanother\nr/b\t2\nr/c\t3'
is "$(cat "$C/range/r..s/r%2Fa")" another
exec 8<&- 9<&-
ok cat "$C/batch"
ok grep -q 'lines that a write ends' "$C/batch"

# Each write is a batch, and says what became of it.
batches() { statistic fs.control.batches; }
before=$(batches)
{ env printf 'b/1\t1\nb/2\t2\n'; printf 'b/3\t3\n'; } >"$C/batch" && pass || fail "two writes"
is $(($(batches) - before)) 2
is "$(cat "$DIR"/b/*)" 123
says 'File exists' sh -c "env printf '\\\\!b/1\nb/4\t4\n' >'$C/batch'"
not test -e "$DIR/b/4"
ok grep -q b/1 "$C/batch.error"
says 'Operation canceled' sh -c "env printf '\\\\=b/1\t7\nb/4\t4\n' >'$C/batch'"
says 'Invalid argument' sh -c "env printf 'b/4\t4\nno tab\n' >'$C/batch'"
not test -e "$DIR/b/4"
before=$(batches)
ok python3 - "$C/batch" "$DIR/b" <<'PY'
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY)
os.chdir(sys.argv[2])
os.write(f, b"b/4\t4\nb/5\tfi")  # a line goes on in the next write
assert os.path.exists("4") and not os.path.exists("5")
os.write(f, b"ve\nb/6\tsix")
os.fsync(f)
os.write(f, b"b/7\tsev")
os.fsync(f)
os.write(f, b"b/8\teight\n\\!b/8\n")
os.close(f)
f = os.open(sys.argv[1], os.O_WRONLY)
for text in b"\\!b/8\nb/9\t", b"9\nb/9\t9\n", b"b/9\t9\n":  # what was refused refuses what follows
    try:
        os.write(f, text)
        sys.exit("not refused")
    except OSError:
        pass
PY
is "$(batches)" $((before + 5))
is "$(cat "$DIR"/b/[5-8])" fivesixseveight
not test -e "$DIR/b/9"
before=$(batches)
printf 'b/9\t9' >"$C/batch" # by a program that may have been killed in the middle
for _ in {1..100}; do ! grep -q 'has no end' "$C/batch.error" || break; sleep 0.05; done
ok grep -q 'the last line has no end' "$C/batch.error"
is $(($(batches) - before)) 0
not test -e "$DIR/b/9"
printf 'b/9\t9\n' >"$C/batch"
is "$(cat "$C/batch.error" "$DIR/b/9")" 9
ok python3 - "$DIR" <<'PY'
# More files than keep what was in them for whom has them open: the names are right all the same.
import os, sys
os.chdir(sys.argv[1])
names = ["many%05d" % i for i in range(3000)]
batch = os.open(".plsm/batch", os.O_WRONLY)
os.write(batch, "".join("%s\told\n" % name for name in names).encode())
files = [os.open(name, os.O_RDONLY) for name in names[:500]]
assert all(open(name).read() == "old" for name in names)
os.write(batch, "".join("%s\tnew!\n" % name for name in names).encode())
assert all(open(name).read() == "new!" for name in names)
for f in files:
    os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.read(f, 9) == b"old"
    os.close(f)
os.write(batch, "".join("\\-%s\n" % name for name in names).encode())
assert not any(map(os.path.exists, names))
PY

# Nobody had these open, and nobody looks for them again: what was kept for who may have goes all the same.
ok python3 - "$DIR" <<'PY'
import os, sys, time
os.chdir(sys.argv[1])
names = ["%s%05d" % ("kept" * 60, i) for i in range(3000)]
batch = os.open(".plsm/batch", os.O_WRONLY)
os.write(batch, "".join("%s\told\n" % name for name in names).encode())
for name in names:
    os.stat(name)
def bytes_of_nodes():
    with open(".stats") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("mem.nodes "))
before = bytes_of_nodes()
os.write(batch, "".join("\\-%s\n" % name for name in names).encode())
time.sleep(1)
for name in names[:900]:  # their nodes take the place of those
    open("r" + name[1:], "w").close()
assert bytes_of_nodes() < before + 100 * 1000, (before, bytes_of_nodes())
os.write(batch, "".join("\\-r%s\n" % name[1:] for name in names[:900]).encode())
PY

# Each write to ctl is whole commands.
ok sh -c "echo flush >'$C/ctl'"
ok sh -c "env printf 'flush\ncompact' >'$C/ctl'"
for _ in {1..100}; do ! grep -q "compact: done" "$C/ctl" || break; sleep 0.05; done
ok grep -q "compact: done" "$C/ctl"
says 'Invalid argument' sh -c "env printf flu >'$C/ctl'"
ok sh -c "env printf '%4096s' '' | tr ' ' x >'$C/ctl'" # to the end of a page: it could go on
for _ in {1..100}; do ! grep -q 'xxx.*has no end' "$C/ctl" || break; sleep 0.05; done
ok grep -q 'xxx.*has no end' "$C/ctl"
says 'Invalid argument' sh -c "env echo nonsense >'$DIR/.stats'"
ok sh -c "echo reset >'$DIR/.stats'"
is "$(statistic fs.mkdir.count)" 0

# A snapshot that is dropped stays for who has a file of it open.
echo before >"$DIR/kept" && mkdir "$C/snapshots/s" && echo after >"$DIR/kept"
exec 8<"$C/snapshots/s/kept"
ok rmdir "$C/snapshots/s"
echo later >"$DIR/kept"
is "$(cat <&8)" before
exec 8<&-
not test -e "$C/snapshots/s"
ok mkdir "$C/snapshots/s"
is "$(cat "$C/snapshots/s/kept")" later
says 'Read-only file system' sh -c "env echo x >>'$C/snapshots/s/kept'"

# Nothing stays behind: what was found is forgotten with the last close.
for _ in {1..100}; do [ "$(statistic fs.control.nodes)" -gt 12 ] || break; sleep 0.05; done
[ "$(statistic fs.control.nodes)" -le 12 ] && pass || fail "$(statistic fs.control.nodes) nodes of .plsm"
is "$(statistic fs.errors)" 0 "$(grep error_last "$DIR/.stats")"
remount "$options"
is "$(cat "$DIR/kept" "$DIR/noopen/each_write_is_published/g")" $'later\ntw!'

# The daemon ends, and is killed, while someone waits for the size of a range and others look at small ones.
count_slowly() # one range after the other: a small one between two whose sizes take a second and more
{
    local small
    timeout 60 head -c 1 "$C/range/slow..slox.tsv" >"$WORK/slow.out" 2>&1 &
    slow=$!
    sleep 0.1
    timeout 60 cat "$C/range/r..s.tsv" >"$WORK/small.out" &
    small=$!
    sleep 0.1
    timeout 60 head -c 1 "$C/range/slow..sloy.tsv" >"$WORK/slower.out" 2>&1 &
    slower=$!
    ended $small 50 || fail "a small range"
    sleep 0.1
}
look_at_small() { timeout 5 ls -l "$C/range/r..s" && timeout 5 cat "$C/range/r..s/r%2Fa" "$C/metrics" "$DIR/.stats"; }
timeout 100 python3 - "$DIR" <<'PY'
import os, sys
os.chdir(sys.argv[1])
part = os.urandom(1 << 20)
with open("slow", "wb") as f:
    for i in range(600):
        f.write(part)
PY
in_time=0
for _ in 1 2 3; do # a fast machine may have counted before they are done
    count_slowly
    ok look_at_small
    [ -s "$WORK/slower.out" ] || in_time=1
    for pid in $slow $slower; do ended "$pid" 60 || fail "a process that counts stays"; done
    [ $in_time = 0 ] || break
done
is $in_time 1 "looks at small files do not wait for the size of a range"
for signal in TERM KILL; do
    count_slowly
    pid=$(daemon_of)
    look_at_small >"$WORK/out" 2>&1 &
    kill -$signal "$pid"
    ended "$pid" 20 && pass || fail "the daemon does not end at SIG$signal"
    fusermount3 -uz "$DIR" 2>"$WORK/err"
    for pid in $slow $slower $!; do ended "$pid" 20 || fail "a process stays after SIG$signal"; done
    must_mount "$options"
done
ok rm "$DIR/slow"

# A full disk: a write that fails changes nothing, and the file goes on.
if [ "$(id -u)" -eq 0 ] && mkdir "$WORK/small" && mount -t tmpfs -o size=24M none "$WORK/small"; then
    must_unmount
    must_mount "create,$options,buffer_size=1M" "$WORK/small/store"
    ok timeout 100 python3 - "$DIR" <<'PY'
import errno, mmap, os, sys, time
os.chdir(sys.argv[1])
f = os.open("f", os.O_CREAT | os.O_RDWR)
written = b""
try:
    for i in range(400):
        part = os.urandom(100000)
        written += part[:os.write(f, part)]
    sys.exit("never full")
except OSError as e:
    assert e.errno == errno.ENOSPC, e
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
assert os.fstat(f).st_size == len(written), (os.fstat(f).st_size, len(written))
assert os.pread(f, len(written) + 1, 0) == written
size = min(len(written), 4 << 20)
m = mmap.mmap(f, size)
m[:] = os.urandom(size)
try:
    m.flush()
    sys.exit("all of it fits")
except OSError:
    pass
m.close()
time.sleep(2)  # what did not fit does not stay in the kernel's pages
seen = os.pread(f, size, 0)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
assert os.pread(f, size, 0) == seen, "what is read is not stored"
PY
    must_unmount
    check_store "$WORK/small/store"
    umount "$WORK/small"
    must_mount "$options"
fi

# What cannot be read, and nobody has open, can be written over all the same.
if [ "$ENGINE" = lsm ]; then
    must_unmount
    ok "$PLSM" create "$WORK/damaged"
    seq -f $'file%05.0f\tcontent' 20000 | "$PLSM" load "$WORK/damaged" >"$WORK/out" && pass || fail "load"
    ok "$PLSM" compact "$WORK/damaged"
    must_mount "$options,cache_size=0" "$WORK/damaged"
    is "$(cat "$DIR/file10000")" content
    python3 - "$WORK"/damaged/run-* <<'PY'
import os, sys
for path in sys.argv[1:]:
    with open(path, "r+b") as f:
        for at in range(1000, os.path.getsize(path), 4096):
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1]))
PY
    says 'Input/output error' cat "$DIR/file10001"
    ok sh -c "env printf 'file10000\tnew\n' >'$C/batch'"
    is "$(cat "$DIR/file10000")" new
    must_unmount
    must_mount "$options"
fi

# A store whose files expire is mounted with opens: who has one open goes on reading it (expiry.sh).
remount "$options,ttl=1000"
echo x >"$DIR/expires" && cat "$DIR/expires" >"$WORK/out"
[ "$(statistic fs.open.count)" -gt 0 ] && pass || fail "no opens with ttl"
must_unmount
check_store
