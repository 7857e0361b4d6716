"""Calls that make no sense on what is below .plsm, each tried on each kind of thing there: control_calls.py DIRECTORY.

They fail with an error that says so, and the mount goes on. The last line is "N passed, M failed"."""
import ctypes
import errno
import os
import sys

sys.dont_write_bytecode = True
import tally
from tally import same

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, EXCHANGE, NO_REPLACE, O_TMPFILE = -100, 2, 1, 0o20200000
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
REFUSED = {errno.EPERM, errno.EROFS, errno.EACCES, errno.EOPNOTSUPP, errno.EEXIST, errno.EINVAL, errno.EBADF}


def fails(allowed, function, *args, **kwargs):
    refused = False
    try:
        result = function(*args, **kwargs)
        what = f"succeeded: {result!r}"
    except OSError as e:
        refused, what = e.errno in allowed, errno.errorcode.get(e.errno)
    tally.count(refused, f"{getattr(function, '__name__', function)}{args}: {what}")


def call(function, *args):
    result = getattr(libc, function)(*args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, function)
    return result


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd, mode):
    call("fallocate", fd, mode, ctypes.c_long(0), ctypes.c_long(4096))


def main():
    os.chdir(sys.argv[1])
    os.mkdir("calls")
    with open("calls/file", "wb") as f:
        f.write(b"content")
    os.mkdir("calls/directory")
    os.symlink("file", "calls/link")
    with open(".plsm/batch", "wb", buffering=0) as f:
        f.write(b"calls/key\tvalue\n")
    os.mkdir(".plsm/snapshots/calls")
    view = ".plsm/snapshots/calls/calls"
    files = [".stats", ".plsm/ctl", ".plsm/batch", ".plsm/batch.error", ".plsm/metrics", ".plsm/stats.json",
             ".plsm/range/calls..callt.tsv", ".plsm/range/calls..callt/calls%2Fkey", ".plsm/levels/lookups.txt",
             view + "/file", view + "/key"]
    directories = [".plsm", ".plsm/range", ".plsm/range/calls..callt", ".plsm/levels", ".plsm/snapshots",
                   ".plsm/snapshots/calls", view, view + "/directory"]
    others = [view + "/link"]

    for path in files + directories + others:
        is_link = path in others
        for flags in 0, NO_REPLACE, EXCHANGE:
            fails(REFUSED, renameat2, path, "calls/moved", flags) if flags != EXCHANGE else None
            fails(REFUSED | {errno.EISDIR, errno.ENOTDIR, errno.EBUSY, errno.ENOTEMPTY}, renameat2, path, "calls/file",
                  flags)
            fails(REFUSED | {errno.EISDIR, errno.ENOTDIR, errno.EBUSY, errno.ENOTEMPTY}, renameat2, "calls/file", path,
                  flags)
        fails(REFUSED, os.link, path, "calls/linked", follow_symlinks=False)
        fails(REFUSED, os.link, "calls/file", path)
        fails(REFUSED | {errno.EISDIR}, os.unlink, path)
        if path != ".plsm/snapshots/calls":
            fails(REFUSED | {errno.ENOTDIR}, os.rmdir, path)
        fails(REFUSED, os.setxattr, path, "user.a", b"b", follow_symlinks=False)
        fails(REFUSED, os.removexattr, path, "user.a", follow_symlinks=False)
        for name in "user.a", "user.plsm.sha256", "user.plsm.level", "security.capability":
            fails({errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM}, os.getxattr, path, name, follow_symlinks=False)
        try:
            same(os.listxattr(path, follow_symlinks=False), [], path)
        except OSError as e:
            same(e.errno, errno.EOPNOTSUPP, path)
        fails(REFUSED, os.chown, path, 12, 34, follow_symlinks=False)
        if not is_link:
            fails(REFUSED, os.chmod, path, 0o777)
            fails(REFUSED, os.utime, path, ns=(1, 2))
        same(os.statvfs(path).f_namemax, 255) if not is_link else None

    for path in directories:
        for kind in 0o100644, 0o10644, 0o140644, 0o20644:
            fails(REFUSED, os.mknod, path + "/new", kind, 5)
        fails(REFUSED, os.symlink, "x", path + "/new")
        fails(REFUSED, os.open, path + "/new", os.O_CREAT | os.O_RDWR)
        fails(REFUSED, os.open, path, O_TMPFILE | os.O_RDWR)
        if path != ".plsm/snapshots":
            fails(REFUSED, os.mkdir, path + "/new")
        for where in "calls/file", "calls/directory":
            fails(REFUSED, os.rename, where, path + "/new")
        fails(REFUSED, os.link, "calls/file", path + "/new")
        d = os.open(path, os.O_RDONLY)
        os.fsync(d)
        names = set(os.listdir(d))
        same(os.lseek(d, 0, os.SEEK_SET), 0)
        same(set(os.listdir(d)) - {"levels"} == names - {"levels"} or path == ".plsm/levels", True, path)
        fails(REFUSED | {errno.EISDIR}, os.read, d, 10)
        fails({errno.ENODEV} | REFUSED, fallocate, d, 0)
        os.close(d)

    target = os.open("calls/target", os.O_CREAT | os.O_RDWR)
    os.pwrite(target, b"0123456789", 0)
    for path in files:
        for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR:
            try:
                f = os.open(path, flags)
            except OSError as e:
                same(flags != os.O_RDONLY and e.errno in REFUSED, True, path, flags, e)
                continue
            for mode in 0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE:
                fails(REFUSED, fallocate, f, mode)
            for whence in os.SEEK_DATA, os.SEEK_HOLE:
                fails(REFUSED | {errno.ENXIO}, os.lseek, f, 0, whence)
            if flags != os.O_WRONLY:
                try: # the kernel may read and write instead
                    os.copy_file_range(f, target, 5, 0, 0)
                    passed_copy = True
                except OSError as e:
                    passed_copy = e.errno in REFUSED
                same(passed_copy, True, path)
                os.read(f, 5)
            if flags != os.O_RDONLY:
                try:
                    os.copy_file_range(target, f, 5, 0, 0)
                except OSError as e:
                    same(e.errno in REFUSED, True, path, e)
                try:  # in a view it can be opened for writing where opening is not told
                    os.ftruncate(f, 0)
                except OSError as e:
                    same(e.errno, errno.EROFS, path, e)
            try:
                os.fsync(f)
            except OSError as e:
                same(e.errno in REFUSED, True, path, e)
            try:
                os.close(f)
            except OSError as e:
                same(e.errno in REFUSED, True, path, e)
    os.close(target)
    with open(view + "/file", "rb") as f:
        same(f.read(), b"content")
    same(os.readlink(view + "/link"), "file")
    with open("calls/file", "rb") as f:
        same(f.read(), b"content")
    os.rmdir(".plsm/snapshots/calls")
    tally.end()


main()
