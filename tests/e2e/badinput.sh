#!/usr/bin/env bash
# Wrong input to the mount: each gets its exact error, and nothing is lost or mounted.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

# refused CODE TEXT [ARGUMENTS...]: mount.plsm exits with CODE and says one line that holds TEXT; nothing is mounted.
refused()
{
    local wanted=$1 text=$2 code
    shift 2
    timeout 60 "$PLSMD" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    code=$?
    if [ $code -ne "$wanted" ] || ! grep -qF -- "$text" "$WORK/err"; then
        fail "exit code $code, not $wanted with '$text': $* $(tail -n 2 "$WORK/err")"
    elif [ "$wanted" -eq 32 ] && [ "$(wc -l <"$WORK/err")" -ne 1 ]; then
        fail "not one line: $(cat "$WORK/err")"
    elif mountpoint -q "$DIR" 2>/dev/null; then
        fail "mounted: $*"
        fusermount3 -u "$DIR"
    else
        pass
    fi
}

# --- the command line ------------------------------------------------------------------------------------------------
refused 1 'unknown option: frobnicate' -o create,frobnicate=3 "$STORE" "$DIR"
grep -q '^usage: ' "$WORK/err" && pass || fail "no usage"
not test -e "$STORE"
refused 1 'unknown option: -x' -x "$STORE" "$DIR"
refused 1 'unknown option: --frobnicate' --frobnicate "$STORE" "$DIR"
refused 1 'index=psychic' -o index=psychic "$STORE" "$DIR"
refused 1 'publish_interval=soon' -o publish_interval=soon "$STORE" "$DIR"
refused 1 'threads=0' -o threads=0 "$STORE" "$DIR"
refused 1 'threads: needs a value' -o threads "$STORE" "$DIR"
refused 1 'create=yes: takes no value' -o create=yes "$STORE" "$DIR"
refused 1 'DIRECTORY is missing' "$STORE"
refused 1 'STORE is missing'
refused 1 'too many arguments' "$STORE" "$DIR" third
refused 1 '-o needs a value' "$STORE" "$DIR" -o
ok "$PLSMD" --help
grep -q 'publish_interval' "$WORK/out" && grep -q 'buffer_size' "$WORK/out" && pass || fail "--help lacks options"
ok "$PLSMD" --version
ok "$PLSMD" "$STORE" "$DIR" -h

# --- stores -----------------------------------------------------------------------------------------------------------
refused 32 'no store there; create one with `plsm create' "$STORE" "$DIR"
not test -e "$STORE"
mkdir "$WORK/empty"
refused 32 'no store there' "$WORK/empty" "$DIR"
echo text >"$WORK/file"
refused 32 'file' "$WORK/file" "$DIR"
mkdir "$WORK/other" && echo data >"$WORK/other/thing"
refused 32 "$WORK/other" "$WORK/other" "$DIR"
refused 32 '' -o create "$WORK/other" "$DIR"
is "$(cat "$WORK/other/thing")" data "a directory of something else is left alone"
refused 32 '' -o create "$WORK/no/such/parent" "$DIR"
must_create
ok sh -c "echo value | '$PLSM' put '$STORE' key"

# a store of a newer version: the headers of the manifest (base/reclog.c) say so, with right checksums
if compgen -G "$STORE/manifest-*" >"$WORK/out"; then # other engines have none
cp -a "$STORE" "$WORK/newer"
python3 - "$WORK/newer" <<'PY' || fail "cannot make a newer store"
import ctypes, glob, struct, sys
hash_of = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
hash_of.restype, hash_of.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
(path,) = glob.glob(sys.argv[1] + "/manifest-*")
with open(path, "r+b") as f:
    for at in (0, 512):
        f.seek(at)
        header = bytearray(f.read(32))
        assert struct.unpack_from("<Q", header, 24)[0] == hash_of(bytes(header[:24]), 24, at), "the format has changed"
        struct.pack_into("<I", header, 8, 7)
        struct.pack_into("<Q", header, 24, hash_of(bytes(header[:24]), 24, at))
        f.seek(at)
        f.write(header)
PY
refused 32 'format version 7, this program knows version 1' "$WORK/newer" "$DIR"
says 'version' "$PLSM" get "$WORK/newer" key
fi

# --- mount points -----------------------------------------------------------------------------------------------------
refused 32 'not a directory' "$STORE" "$WORK/file"
refused 32 'No such file or directory' "$STORE" "$WORK/nowhere"
# a store below its own mount point would wait for itself
refused 32 'would cover the store' "$STORE" "$STORE"
not mountpoint -q "$STORE"
mkdir "$DIR/above"
ok cp -a "$STORE" "$DIR/above/store"
ln -s above/store "$DIR/link"
refused 32 'would cover the store' "$DIR/above/store" "$DIR"
refused 32 'would cover the store' "$DIR/above/store/" "$DIR/above/../"
refused 32 'would cover the store' "$DIR/link" "$DIR/above"
not mountpoint -q "$DIR/above"
refused 32 'would cover the store' -o create "$DIR/new" "$DIR"
(cd "$DIR" && failed=0 && refused 32 'would cover the store' above/store . && [ $failed -eq 0 ]) && pass ||
    fail "relative paths"
not test -e "$DIR/new"
rm -r "${DIR:?}"/*
mkdir "$WORK/dir-beside" # begins with the same bytes, but is not below
ok cp -a "$STORE" "$WORK/dir-beside/store"
ok "$PLSMD" "$WORK/dir-beside/store" "$DIR"
must_unmount
rm -r "$WORK/dir-beside"
must_mount rw,noatime,_netdev,nofail,x-systemd.automount
is "$(cat "$DIR/key")" value
mkdir "$WORK/dir2"
timeout 60 "$PLSMD" "$STORE" "$DIR" >/dev/null 2>"$WORK/err" </dev/null
is $? 32
grep -q 'mounted there already' "$WORK/err" && pass || fail "$(cat "$WORK/err")"
timeout 60 "$PLSMD" "$STORE" "$WORK/dir2" >/dev/null 2>"$WORK/err" </dev/null
is $? 32 "a store that is mounted elsewhere"
is "$(wc -l <"$WORK/err")" 1
grep -q "is mounted on $DIR already" "$WORK/err" && pass || fail "$(cat "$WORK/err")"
ok "$PLSM" put "$STORE" key "through the mount's socket"
is "$(cat "$DIR/key")" "through the mount's socket"
ok "$PLSM" put "$STORE" key value

# A store that a process without a mount has: that may be one that is about to end.
cp -a "$STORE" "$WORK/held"
python3 - "$WORK/held" <<'PY' &
import fcntl, struct, sys, time
with open(sys.argv[1] + "/LOCK", "r+b") as f:
    F_OFD_SETLK = 37
    fcntl.fcntl(f, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    open(sys.argv[1] + "/held", "w").close()
    time.sleep(60)
PY
holder=$!
for ((i = 0; i < 400; i++)); do [ ! -e "$WORK/held/held" ] || break; sleep 0.05; done
start=$SECONDS
timeout 60 "$PLSMD" "$WORK/held" "$WORK/dir2" >/dev/null 2>"$WORK/err" </dev/null
is $? 32 "a store that another process has"
is "$(wc -l <"$WORK/err")" 1
grep -qi 'another process' "$WORK/err" && pass || fail "$(cat "$WORK/err")"
took=$((SECONDS - start))
[ $took -ge 8 ] && [ $took -le 20 ] && pass || fail "waited $took s for the lock"
kill $holder

# --- not permitted ----------------------------------------------------------------------------------------------------
# one_line TEXT COMMAND...: exit code 32 and one line that holds TEXT.
one_line()
{
    local text=$1 code
    shift
    timeout 60 "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    code=$?
    if [ $code -eq 32 ] && [ "$(wc -l <"$WORK/err")" -eq 1 ] && grep -qF -- "$text" "$WORK/err"; then
        pass
    else
        fail "exit code $code, not 32 with one line of '$text' but '$(cat "$WORK/err")'"
    fi
}
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    cp -a "$STORE" "$WORK/mine"
    # shellcheck disable=SC2016
    one_line '/dev/fuse is not there' unshare -m sh -c 'mount -t tmpfs none /dev && exec "$@"' sh \
        "$PLSMD" "$WORK/mine" "$WORK/dir2"
    one_line 'cannot mount' setpriv --bounding-set=-sys_admin "$PLSMD" "$WORK/mine" "$WORK/dir2"
    if [ "$(stat -c %a /dev/fuse)" = 600 ]; then
        chmod 755 "$WORK" && chown -R 4321 "$WORK/mine" "$WORK/dir2"
        one_line '/dev/fuse: Permission denied' setpriv --reuid 4321 --clear-groups \
            "$PLSMD" "$WORK/mine" "$WORK/dir2"
    fi
    not mountpoint -q "$WORK/dir2"
fi

# --- names ------------------------------------------------------------------------------------------------------------
cd "$DIR" || exit 1
says 'File name too long' touch "$(printf 'n%.0s' {1..256})"
says 'File name too long' cat "$(printf 'n%.0s' {1..256})"
says 'File name too long' mkdir "$(printf 'n%.0s' {1..300})"
says 'File name too long' mv key "$(printf 'n%.0s' {1..256})"
says 'File name too long' ln -s x "$(printf 'n%.0s' {1..256})"
is "$(cat key)" value
cd /
# any byte but NUL and '/', keys as long as they may be, and one more
cat >"$WORK/names.py" <<'PY'
import errno, os, sys

os.chdir(sys.argv[1])
odd = [b"a\nb", b"\n", b"\xff\xfe\x80", b"\xc3", b"\xed\xa0\x80", b"\x01\x7f", b"-rf", b" ", b"\\n", b"*"]
if sys.argv[2] == "make":
    os.mkdir(b"odd")
    for i, name in enumerate(odd):
        with open(b"odd/" + name, "wb") as f:
            f.write(b"%d" % i)
    os.rename(b"odd/" + odd[0], b"odd/" + odd[0] + b"\n")
    os.rename(b"odd/" + odd[0] + b"\n", b"odd/" + odd[0])
    component = "x" * 250
    for level in range(32):
        os.mkdir(component)
        os.chdir(component)
    # 32 * 251 bytes of directories, and a name: 8,192 in all
    name = "y" * (8192 - 32 * 251)
    with open(name, "w") as f:
        f.write("deep")
    for call in (lambda: open(name + "z", "w"), lambda: os.mkdir(name), lambda: os.symlink("x", name + "z"),
                 lambda: os.rename(name, name + "z"), lambda: os.mkdir(component)):
        try:
            call()
        except OSError as e:
            assert e.errno in (errno.ENAMETOOLONG, errno.EEXIST), e
        else:
            sys.exit("should have been too long")
    os.chdir(sys.argv[1])
    # a directory cannot get a name under which what is in it would be too long
    try:
        os.rename(component, component + "12345")
    except OSError as e:
        assert e.errno == errno.ENAMETOOLONG, e
    else:
        sys.exit("the rename should have failed")
assert sorted(os.listdir(b"odd")) == sorted(odd)
for i, name in enumerate(odd):
    with open(b"odd/" + name, "rb") as f:
        assert f.read() == b"%d" % i
for level in range(32):
    os.chdir("x" * 250)
with open("y" * (8192 - 32 * 251)) as f:
    assert f.read() == "deep"
PY
ok python3 "$WORK/names.py" "$DIR" make
remount
ok python3 "$WORK/names.py" "$DIR" check
ok rm -r "$DIR"/xxx* "$DIR/odd"
must_unmount

# --- a disk that fails, and a quota -----------------------------------------------------------------------------------
# The daemon's calls fail while the file $WORK/fault is there, with the error it names.
if command -v cc >/dev/null; then
    cat >"$WORK/fault.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int fault(int fd, const char *kind)
{
    char text[16] = "";
    struct stat st;
    FILE *f = fopen(getenv("FAULT"), "r");
    if (!f)
        return 0;
    if (!fgets(text, sizeof text, f) || strncmp(text, kind, strlen(kind)) || fstat(fd, &st) || !S_ISREG(st.st_mode))
        text[0] = 0;
    fclose(f);
    errno = kind[1] == 'I' ? EIO : EDQUOT;
    return text[0];
}
#define CALL(type, name, parameters, arguments, kind)                          \
    type name parameters                                                       \
    {                                                                          \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);  \
        return fault(fd, kind) ? -1 : real arguments;                          \
    }
CALL(int, fdatasync, (int fd), (fd), "EIO")
CALL(int, fsync, (int fd), (fd), "EIO")
CALL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), "EDQUOT")
CALL(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), "EDQUOT")
CALL(ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), "EDQUOT")
CALL(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), "EDQUOT")
CALL(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), "EDQUOT")
CALL(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), "EDQUOT")
CALL(int, fallocate64, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), "EDQUOT")
END
    ok cc -shared -fPIC -o "$WORK/fault.so" "$WORK/fault.c" -ldl
    mount_failing() { LD_PRELOAD=$WORK/fault.so FAULT=$WORK/fault must_mount "$@"; }
    mount_failing create,log=written "$WORK/failing"
    mkdir "$DIR/d" && (cd "$DIR/d" && seq 2000 | xargs touch)
    echo kept >"$DIR/d/file"
    seq 30000 >"$DIR/large"
    echo EDQUOT >"$WORK/fault"
    # in the middle of a rename of a directory, of a copy, of a change: all or nothing
    says 'Disk quota exceeded' mv "$DIR/d" "$DIR/e"
    is "$(ls "$DIR") $(ls "$DIR/d" | wc -l)" $'d\nlarge 2001' "a rename of a directory is all or nothing"
    says 'Disk quota exceeded' mv "$DIR/d/file" "$DIR/large"
    says 'Disk quota exceeded' cp "$DIR/large" "$DIR/copy"
    says 'Disk quota exceeded' dd if="$WORK/fault.c" of="$DIR/d/file" status=none
    says 'Disk quota exceeded' mkdir "$DIR/new"
    is "$(cat "$DIR/d/file") $(tail -n 1 "$DIR/large")" 'kept 30000'
    rm "$WORK/fault"
    ok mv "$DIR/d" "$DIR/e"
    is "$(cat "$DIR/e/file") $(ls "$DIR/e" | wc -l)" 'kept 2001' "goes on when there is room"
    is "$(awk '$1 == "store.read_only" { print $2 }' "$DIR/.stats")" 0
    # a sync that fails is not tried again: read-only from then on, and the rest is readable
    sync "$DIR/e/file"
    echo unsynced >"$DIR/unsynced"
    echo EIO >"$WORK/fault"
    says 'Input/output error' sync "$DIR/e/file"
    rm "$WORK/fault"
    says 'Read-only file system' touch "$DIR/e/new"
    says 'Read-only file system' mv "$DIR/e" "$DIR/f"
    says 'Read-only file system' rm "$DIR/e/file"
    says 'Read-only file system' sh -c "echo new >>'$DIR/e/file'"
    is "$(cat "$DIR/e/file") $(tail -n 1 "$DIR/large") $(ls "$DIR/e" | wc -l)" 'kept 30000 2001' "the rest is readable"
    is "$(awk '$1 == "store.read_only" { print $2 }' "$DIR/.stats")" 1
    must_unmount
    must_mount rw "$WORK/failing" # opened again, it is whole and can be written
    is "$(cat "$DIR/e/file") $(tail -n 1 "$DIR/large") $(ls "$DIR/e" | wc -l)" 'kept 30000 2001'
    ok touch "$DIR/e/new"
    must_unmount
    check_store "$WORK/failing"
else
    echo "skipped: a disk that fails (needs cc)"
fi

# --- a full disk ------------------------------------------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ] && command -v mkfs.ext4 >/dev/null; then
    truncate -s 96M "$WORK/disk.img"
    mkfs.ext4 -q -m 0 "$WORK/disk.img"
    mkdir "$WORK/disk"
    ok mount -o loop "$WORK/disk.img" "$WORK/disk"
    head -c 30M /dev/zero >"$WORK/disk/ballast"
    must_mount create,buffer_size=1M "$WORK/disk/store" "$DIR"
    head -c 300000 /dev/urandom >"$WORK/value"
    cp "$WORK/value" "$DIR/large"
    echo small >"$DIR/small"
    mkdir "$DIR/fill"
    sync "$DIR/small"
    # what was copied whole must be whole, what failed must not be there in parts
    stopped=
    for i in {1..2000}; do
        if cp "$WORK/value" "$DIR/fill/$i" 2>"$WORK/err"; then
            echo "$i" >>"$WORK/whole"
        else
            stopped=$(cat "$WORK/err")
            break
        fi
    done
    [[ $stopped == *'No space left on device'* ]] && pass || fail "not ENOSPC but '$stopped'"
    # old values stay, whether overwritten in place or by truncation
    says 'No space left' sh -c \
        "head -c 40000000 /dev/urandom | dd of='$DIR/large' bs=1M iflag=fullblock conv=fsync status=none"
    ok cmp "$WORK/value" "$DIR/large"
    says 'No space left' dd if=/dev/urandom of="$DIR/small" bs=1M count=40 status=none
    is "$(cat "$DIR/small")" small
    # a file that could not be written whole does not replace another; it is begun where there is room for its name
    truncate -s 20M "$WORK/disk/ballast"
    python3 - "$DIR" <<'PY' && pass || fail "a rename of what could not be written"
import errno, os, sys
os.chdir(sys.argv[1])
f = os.open("tmp", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(f, os.urandom(1 << 20))
except OSError as e:
    assert e.errno == errno.ENOSPC
try:
    os.rename("tmp", "large")
except OSError as e:
    assert e.errno == errno.ENOSPC
else:
    sys.exit("the rename should have failed")
PY
    ok cmp "$WORK/value" "$DIR/large"
    rm "$DIR/tmp"
    # copies within the mount and allocations: the old value stays as well
    python3 - "$DIR" <<'PY' && pass || fail "copies within a mount on a full disk"
import errno, os, sys
os.chdir(sys.argv[1])
source, target = os.open("fill/1", os.O_RDONLY), os.open("large", os.O_WRONLY)
def fill():
    at = 0
    while at < 200 << 20:
        done = 0
        while done < 300000:
            done += os.copy_file_range(source, target, 300000 - done, done, at + done)
        at += done
for expected, function in ((errno.ENOSPC, fill), (errno.ENOSPC, lambda: os.fsync(target)),
                           (errno.ENOSPC, lambda: os.close(target)),
                           (errno.ENOSPC, lambda: os.posix_fallocate(os.open("small", os.O_WRONLY), 0, 200 << 20))):
    try:
        function()
    except OSError as e:
        assert e.errno == expected, e
    else:
        sys.exit("should have failed")
PY
    ok cmp "$WORK/value" "$DIR/large"
    is "$(cat "$DIR/small")" small
    broken=0
    while read -r i; do cmp -s "$WORK/value" "$DIR/fill/$i" || broken=$((broken + 1)); done <"$WORK/whole"
    is $broken 0 "of $(wc -l <"$WORK/whole") files"
    ok ls -l "$DIR/fill"
    is "$(awk '$1 == "store.read_only" { print $2 }' "$DIR/.stats")" 0 "no space is no reason to turn read-only"
    # with room again it goes on, at once
    rm "$WORK/disk/ballast"
    ok cp "$WORK/value" "$DIR/after"
    echo changed >"$DIR/small"
    is "$(cat "$DIR/small")" changed
    must_unmount
    must_mount rw "$WORK/disk/store" "$DIR"
    ok cmp "$WORK/value" "$DIR/after"
    ok cmp "$WORK/value" "$DIR/large"
    is "$(cat "$DIR/small")" changed
    broken=0
    while read -r i; do cmp -s "$WORK/value" "$DIR/fill/$i" || broken=$((broken + 1)); done <"$WORK/whole"
    is $broken 0 "after a remount"
    must_unmount
    check_store "$WORK/disk/store"
    umount "$WORK/disk"
else
    echo "skipped: a full disk (needs root and mkfs.ext4)"
fi

# --- damage -----------------------------------------------------------------------------------------------------------
must_mount rw,buffer_size=64K
read_engine
[ "$ENGINE" = lsm ] || exit 0 # what follows damages runs and value logs
seq -f 'line %09.0f of a text that compresses to nothing here' 200000 >"$WORK/text"
mkdir "$DIR/parts" "$WORK/parts"
split -l 1000 "$WORK/text" "$WORK/parts/"
cp "$WORK/parts"/* "$DIR/parts/"
must_unmount
run=$(find "$STORE" -type f -size +100k ! -name 'MANIFEST*' ! -name 'log*' ! -name '*.log' | sort | head -1)
python3 - "$run" <<'PY'
import os, sys
with open(sys.argv[1], "r+b") as f:
    for at in range(4096 * 2 + 1000, min(os.path.getsize(sys.argv[1]), 60000), 4096):
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))
PY
must_mount rw
wrong=0 errors=0
for part in "$WORK/parts"/*; do # not from a listing: that may meet the damage too
    if ! cat "$DIR/parts/${part##*/}" >"$WORK/out" 2>"$WORK/err"; then
        grep -q 'Input/output error' "$WORK/err" && errors=$((errors + 1))
    elif ! cmp -s "$part" "$WORK/out"; then
        wrong=$((wrong + 1))
    fi
done
is $wrong 0 "wrong contents from a damaged run"
[ $errors -gt 0 ] && pass || fail "the damage in $run was not noticed"
[ "$(statistic fs.errors)" -gt 0 ] && pass || fail "fs.errors"
grep -q '^fs.error_last .*checksum' "$DIR/.stats" && pass || fail "$(grep error_last "$DIR/.stats")"
must_unmount

# a damaged extent of a large file: that part cannot be read, all else can
must_mount rw,buffer_size=64K
head -c 2000000 /dev/urandom >"$WORK/large"
cp "$WORK/large" "$DIR/large"
cp "$WORK/large" "$DIR/other"
must_unmount
python3 - "$STORE" "$WORK/large" <<'PY' || fail "the extent to damage is in no value log"
import glob, sys
at, piece = 5 * 131072 + 1000, 64
with open(sys.argv[2], "rb") as f:
    f.seek(at)
    wanted = f.read(piece)
for path in glob.glob(sys.argv[1] + "/values-*"): # the first of the two copies that is found
    with open(path, "r+b") as f:
        found = f.read().find(wanted)
        if found >= 0:
            f.seek(found)
            f.write(bytes([wanted[0] ^ 1]))
            sys.exit(0)
sys.exit(1)
PY
must_mount rw
bad=other good=large
cat "$DIR/large" >/dev/null 2>&1 || { bad=large good=other; }
says 'Input/output error' cat "$DIR/$bad"
says 'Input/output error' dd if="$DIR/$bad" of=/dev/null bs=4096 skip=180 count=1 status=none
ok cmp -n 655360 "$DIR/$bad" "$WORK/large"
ok cmp -i 786432 "$DIR/$bad" "$WORK/large"
ok cmp "$DIR/$good" "$WORK/large"
echo still >"$DIR/still"
is "$(cat "$DIR/still")" still
grep -q '^fs.error_last .*values-.*checksum' "$DIR/.stats" && pass || fail "$(grep error_last "$DIR/.stats")"
ok cp "$WORK/large" "$DIR/$bad"
ok cmp "$DIR/$bad" "$WORK/large"
remount
# --- a store that is moved away while it is mounted ------------------------------------------------------------------
mv "$STORE" "$WORK/moved"
says 'Input/output error' touch "$DIR/made"
says 'Input/output error' mkdir "$DIR/made"
mv "$WORK/moved" "$STORE"
ok test -e "$DIR/still"
must_unmount
