#!/usr/bin/env bash
# Extended attributes: with -o xattr as on any file system, without it not even a question of the kernel's.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh
root=$([ "$(id -u)" -eq 0 ] && echo yes || echo no)

counted() { awk -v name="fs.$1.count" '$1 == name { print $2 }' "$DIR/.stats"; }
attributes() { getfattr -d -m - --absolute-names "$1" 2>/dev/null | grep '^[a-z]' | sort; }

# --- off -------------------------------------------------------------------------------------------------------------
must_mount
echo text >"$DIR/a"
says 'Operation not supported' setfattr -n user.x -v y "$DIR/a"
says 'Operation not supported' getfattr -n user.x "$DIR/a"
ls -l "$DIR" >/dev/null
for i in 1 2 3; do echo $i >>"$DIR/a"; done
is "$(counted getxattr) $(counted setxattr) $(counted listxattr)" '0 0 0' "without the option the daemon is not asked"

# --- on: what attr(5) says -------------------------------------------------------------------------------------------
must_unmount
must_mount xattr
python3 - "$DIR" "$root" <<'PY' && pass || fail "what attr(5) says"
import errno, os, sys

os.chdir(sys.argv[1])


def refused(number, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except OSError as e:
        assert e.errno == number, (e, arguments)
    else:
        raise AssertionError(f"should have failed: {arguments}")


os.mkdir("d")
for name in ("a", "d", "."):
    assert os.listxattr(name) == []
    refused(errno.ENODATA, os.getxattr, name, "user.x")
    refused(errno.ENODATA, os.removexattr, name, "user.x")
    refused(errno.ENODATA, os.setxattr, name, "user.x", b"1", os.XATTR_REPLACE)
    before = os.stat(name)
    os.setxattr(name, "user.x", b"1", os.XATTR_CREATE)
    after = os.stat(name)
    assert after.st_ctime_ns > before.st_ctime_ns and after.st_mtime_ns == before.st_mtime_ns
    refused(errno.EEXIST, os.setxattr, name, "user.x", b"2", os.XATTR_CREATE)
    os.setxattr(name, "user.x", b"three\0", os.XATTR_REPLACE)
    assert os.getxattr(name, "user.x") == b"three\0"
    os.setxattr(name, "user.empty", b"")
    assert os.getxattr(name, "user.empty") == b""
    assert sorted(os.listxattr(name)) == ["user.empty", "user.x"]
    os.removexattr(name, "user.empty")
    assert os.listxattr(name) == ["user.x"]
    # sizes: names of 255 bytes, values of 64 KiB, and one more
    long = "user." + "n" * 250
    large = os.urandom(65536)
    os.setxattr(name, long, large)
    assert os.getxattr(name, long) == large
    refused(errno.ERANGE, os.setxattr, name, long + "n", b"")
    refused(errno.E2BIG, os.setxattr, name, "user.x", large + b"1")
    os.removexattr(name, long)
    for namespace in ("system.posix_acl_access", "system.x", "other.x", "plain"):
        refused(errno.EOPNOTSUPP, os.setxattr, name, namespace, b"\2\0\0\0")
        refused(errno.EOPNOTSUPP, os.getxattr, name, namespace)
# what does not fit a list is refused, and what is there stays readable
count = 0
try:
    while True:
        os.setxattr("a", f"user.{count:0250d}", b"")
        count += 1
except OSError as e:
    assert e.errno == errno.ENOSPC
assert len(os.listxattr("a")) == count + 1 and 250 < count < 257, count
for i in range(count):
    os.removexattr("a", f"user.{i:0250d}")
assert os.listxattr("a") == ["user.x"]
# too small a buffer
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
small = ctypes.create_string_buffer(3)
assert libc.getxattr(b"a", b"user.x", small, 3) == -1 and ctypes.get_errno() == errno.ERANGE
assert libc.listxattr(b"a", small, 3) == -1 and ctypes.get_errno() == errno.ERANGE
assert libc.getxattr(b"a", b"user.x", None, 0) == 6 and libc.listxattr(b"a", None, 0) == 7
# the value is the file's, whatever its name; a new file of the old name has none
os.rename("a", "d/b")
assert os.getxattr("d/b", "user.x") == b"three\0"
os.rename("d", "e")
assert os.getxattr("e/b", "user.x") == b"three\0" and os.getxattr("e", "user.x") == b"three\0"
with open("a", "w") as f:
    f.write("new")
assert os.listxattr("a") == []
os.setxattr("a", "user.x", b"of a")
os.rename("a", "e/b")  # over one that has some
assert os.getxattr("e/b", "user.x") == b"of a"
os.unlink("e/b")
open("e/b", "w").close()
assert os.listxattr("e/b") == []
# on what is written and not yet closed; content is published with the close all the same
with open("w", "w") as f:
    f.write("content")
    os.setxattr(f.fileno(), "user.x", b"early")
    assert os.getxattr("w", "user.x") == b"early"
assert os.getxattr("w", "user.x") == b"early" and open("w").read() == "content"
# unlinked and open: they went with the name
with open("w") as f:
    os.unlink("w")
    refused(errno.ENODATA, os.getxattr, f.fileno(), "user.x")
    refused(errno.ESTALE, os.setxattr, f.fileno(), "user.x", b"")
if sys.argv[2] == "yes":
    os.setxattr("e/b", "trusted.t", b"1")
    os.setxattr("e/b", "security.s", b"1")
    pid = os.fork()
    if pid == 0:
        os.setuid(4321)
        assert os.listxattr("e/b") == ["security.s"]
        refused(errno.ENODATA, os.getxattr, "e/b", "trusted.t")
        refused(errno.EPERM, os.setxattr, "e/b", "trusted.t", b"")
        refused(errno.EACCES, os.setxattr, "e/b", "user.u", b"")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.removexattr("e/b", "trusted.t")
    os.removexattr("e/b", "security.s")
    os.symlink("b", "e/l")
    refused(errno.EPERM, os.setxattr, "e/l", "user.u", b"", follow_symlinks=False)
    os.setxattr("e/l", "trusted.u", b"1", follow_symlinks=False)
    assert os.getxattr("e/l", "trusted.u", follow_symlinks=False) == b"1" and os.listxattr("e/b") == []
    os.unlink("e/l")
refused(errno.EPERM, os.setxattr, ".stats", "user.x", b"")
assert os.listxattr(".stats") == []
PY

# capabilities go with the content or the owner they were given for
if [ "$root" = yes ] && command -v setcap >/dev/null; then
    for change in 'echo more >>"$f"' 'truncate -s 10 "$f"' 'true >"$f"' 'chown 4321 "$f"' 'chgrp 4321 "$f"'; do
        f=$DIR/program
        cp /bin/true "$f"
        ok setcap cap_net_raw+ep "$f"
        chmod 755 "$f"
        grep -q cap_net_raw <(getcap "$f") && pass || fail "no capability"
        eval "$change"
        is "$(getcap "$f")" '' "after $change"
        rm "$f"
    done
    cp /bin/true "$f"
    ok setcap cap_net_raw+ep "$f"
    chmod 6755 "$f"
    echo more >>"$f"
    is "$(stat -c %a "$f")$(getcap "$f")" 6755 "a write by root takes the capability alone"
    rm "$f" && mkdir "$f"
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 "$f"
    chown 4321 "$f"
    is "$(attributes "$f" | grep -c '^security.capability')" 1 "a directory keeps it"
    rmdir "$f"
fi

# --- copies ----------------------------------------------------------------------------------------------------------
mkdir "$DIR/from" && echo one >"$DIR/from/1"
setfattr -n user.dir -v d "$DIR/from"
setfattr -n user.one -v 1 "$DIR/from/1"
setfattr -n user.two -v 0x00ff "$DIR/from/1"
wanted=$(attributes "$DIR/from/1")
is "$(echo "$wanted" | grep -c '^user')" 2
ok cp -a --preserve=xattr "$DIR/from" "$DIR/cp"
is "$(attributes "$DIR/cp/1")" "$wanted" "cp -a"
is "$(attributes "$DIR/cp")" 'user.dir="d"' "cp -a, the directory"
ok rsync -aX "$DIR/from/" "$DIR/rsync"
is "$(attributes "$DIR/rsync/1")" "$wanted" "rsync -X"
is "$(attributes "$DIR/rsync")" 'user.dir="d"' "rsync -X, the directory"
is "$(rsync -aXn --delete -i "$DIR/from/" "$DIR/rsync")" '' "a second rsync finds nothing to do"
mkdir "$DIR/tar"
ok tar -C "$DIR/from" --xattrs --xattrs-include='*' -cf "$WORK/tar" .
ok tar -C "$DIR/tar" --xattrs --xattrs-include='*' -xf "$WORK/tar"
is "$(attributes "$DIR/tar/1")" "$wanted" "tar"
is "$(attributes "$DIR/tar")" 'user.dir="d"' "tar, the directory"

# --- what plsm tells of a file ---------------------------------------------------------------------------------------
virtual() { getfattr --only-values -n "user.plsm.$2" --absolute-names "$1" 2>/dev/null; }
read_engine
placed=$([ "$ENGINE" != lsm ] || echo yes) # other engines tell no place
[ -z "$placed" ] || is "$(virtual "$DIR/from/1" level)" memory
not getfattr -n user.plsm.page "$DIR/from/1"
not getfattr -n user.plsm.nonsense "$DIR/from/1"
head -c 3000000 /dev/urandom >"$DIR/large"
for file in from/1 large; do
    is "$(virtual "$DIR/$file" sha256)" "$(sha256sum <"$DIR/$file" | cut -d ' ' -f 1)" "sha256 of $file"
done
not getfattr -n user.plsm.sha256 "$DIR/from"
not getfattr -n user.plsm.sha256 "$DIR"
says 'Operation not permitted' setfattr -n user.plsm.level -v 1 "$DIR/from/1"
seq 3000 | (cd "$DIR/cp" && xargs -n 100 touch)
must_unmount
ok "$PLSM" compact "$STORE"
must_mount xattr
level=$(virtual "$DIR/cp/1500" level) run=$(virtual "$DIR/cp/1500" run) page=$(virtual "$DIR/cp/1500" page)
if [ -n "$placed" ]; then
    [ "$level" -gt 0 ] && [ "$run" -gt 0 ] && pass || fail "level '$level', run '$run'"
    is "$(virtual "$DIR/cp/1500" prediction)" "$page model"
fi
grep -q user.plsm <(attributes "$DIR/cp/1500") && fail "virtual ones are listed" || pass
# as the other mode says
must_unmount
must_mount xattr,index=traditional
is "$(virtual "$DIR/cp/1500" page)" "$page"
[ -z "$placed" ] || is "$(virtual "$DIR/cp/1500" prediction)" "$page index"

# --- they stay, and go with their file -------------------------------------------------------------------------------
must_unmount
must_mount ro,xattr
is "$(attributes "$DIR/tar/1")" "$wanted" "after a remount"
says 'Read-only' setfattr -n user.x -v y "$DIR/tar/1"
must_unmount
must_mount rw # also where the mount does not show them
mv "$DIR/tar/1" "$DIR/moved" && rm -r "$DIR/tar" && chmod 600 "$DIR/moved"
must_unmount
echo put | "$PLSM" put "$STORE" library
must_mount xattr
is "$(attributes "$DIR/moved")" "$wanted" "moved without the option"
# an entry that the library put: gets attributes when it gets its first extended one
ok setfattr -n user.x -v y "$DIR/library"
mv "$DIR/library" "$DIR/other"
is "$(attributes "$DIR/other")" 'user.x="y"'
pid=$(daemon_of)
setfattr -n user.killed -v 1 "$DIR/other"
kill -9 "$pid"
must_mount xattr
is "$(getfattr --only-values -n user.killed "$DIR/other")" 1 "after kill -9"
rm -r "${DIR:?}"/*
setfattr -x user.x "$DIR"
must_unmount
# nothing of them is left
ok "$PLSM" compact "$STORE"
not grep -qa 'fs\.xattr' "$STORE"/run-*
check_store
