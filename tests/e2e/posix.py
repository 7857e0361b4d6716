"""Calls that shell tools do not make, on a mounted directory: posix.py DIRECTORY. One test per function test_*.

The last line is "N passed, M failed"."""
import ctypes
import errno
import mmap
import os
import stat
import sys
import threading

sys.dont_write_bytecode = True
from cases import fails, read, run, write

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.fdopendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
libc.telldir.argtypes = libc.readdir.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
NOREPLACE, EXCHANGE = 1, 2


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Listing:
    """opendir, readdir, telldir, seekdir."""

    def __init__(self, path):
        self.dir = libc.opendir(os.fsencode(path))
        assert self.dir

    def next(self):
        entry = libc.readdir(self.dir)
        return os.fsdecode(ctypes.string_at(entry + 19)) if entry else None

    def rest(self):
        names = []
        while (name := self.next()) is not None:
            names.append(name)
        return names

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, cookie):
        libc.seekdir(self.dir, cookie)

    def close(self):
        libc.closedir(self.dir)


def test_random_access():
    f = os.open("f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.pwrite(f, b"hello", 5)
    os.pwrite(f, b"X", 2)
    assert os.pread(f, 20, 0) == b"\0\0X\0\0hello"
    os.ftruncate(f, 7)
    assert os.fstat(f).st_size == 7 and os.pread(f, 20, 0) == b"\0\0X\0\0he"
    os.ftruncate(f, 12)
    assert os.pread(f, 20, 0) == b"\0\0X\0\0he\0\0\0\0\0"
    os.pwrite(f, b"far", 300000)
    assert os.fstat(f).st_size == 300003 and os.pread(f, 10, 299999) == b"\0far"
    os.close(f)
    assert os.stat("f").st_size == 300003
    fails(errno.EEXIST, os.open, "f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.truncate("f", 3)
    assert read("f") == b"\0\0X"
    fails(errno.EFBIG, os.truncate, "f", (1 << 40) + 1)
    assert read("f") == b"\0\0X"


def test_refused_write_keeps_the_others():
    f = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(f, b"kept")
    fails(errno.EFBIG, os.pwrite, f, b"x", 1 << 40)
    os.fsync(f)
    os.write(f, b" too")
    fails(errno.EFBIG, os.pwrite, f, b"x", 1 << 40)
    os.close(f)
    assert read("f") == b"kept too"


def test_append_from_two_handles():
    a, b = (os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(2))
    for i in range(100):
        os.write(a if i % 2 else b, b"%03d\n" % i)
    os.close(a)
    os.close(b)
    assert read("log") == b"".join(b"%03d\n" % i for i in range(100))


def test_truncate_at_open_is_seen_by_others():
    write("t", b"content")
    r = os.open("t", os.O_RDONLY)
    w = os.open("t", os.O_WRONLY | os.O_TRUNC)
    assert os.fstat(r).st_size == 0 and os.read(r, 10) == b""
    os.write(w, b"12")
    assert os.pread(r, 10, 0) == b"12"
    os.close(w)
    os.close(r)
    assert read("t") == b"12"


def test_unlinked_stays_readable():
    for size in (10, 1 << 20):
        write("u", b"u" * size)
        r = os.open("u", os.O_RDWR)
        os.unlink("u")
        assert not os.path.exists("u") and os.fstat(r).st_nlink == 0
        write("u", b"another")
        assert os.pread(r, 5, size - 5) == b"uuuuu"
        os.pwrite(r, b"new", size)
        os.fsync(r)
        assert os.pread(r, 10, size) == b"new" and os.fstat(r).st_size == size + 3
        os.fchmod(r, 0o600)
        os.close(r)
        assert read("u") == b"another"
        os.unlink("u")


def test_replaced_stays_readable():
    for size in (10, 1 << 20):
        write("a", b"a" * size)
        write("b", b"b" * size)
        r = os.open("b", os.O_RDONLY)
        ino = os.stat("a").st_ino
        os.rename("a", "b")
        assert os.pread(r, 3, size - 3) == b"bbb" and read("b") == b"a" * size
        assert os.stat("b").st_ino == ino and not os.path.exists("a")
        os.close(r)


def test_written_while_renamed():
    os.makedirs("old/sub")
    w = os.open("old/sub/f", os.O_WRONLY | os.O_CREAT)
    os.write(w, b"one")
    os.rename("old", "new")
    os.write(w, b"two")
    os.rename("new/sub/f", "moved")
    os.write(w, b"three")
    os.close(w)
    assert read("moved") == b"onetwothree"
    assert not os.path.exists("old") and os.listdir("new") == ["sub"] and os.listdir("new/sub") == []


def test_rename_rules():
    for d in ("d1", "d2", "full"):
        os.mkdir(d)
    write("full/x", b"x")
    write("file", b"f")
    fails(errno.ENOTEMPTY, os.rename, "d1", "full")
    fails(errno.ENOTDIR, os.rename, "d1", "file")
    fails(errno.EISDIR, os.rename, "file", "d1")
    fails(errno.EINVAL, os.rename, "full", "full/below")
    fails(errno.ENOENT, os.rename, "none", "d1")
    fails(errno.ENAMETOOLONG, os.rename, "file", "n" * 256)
    os.rename("full", "d1")
    assert os.listdir("d1") == ["x"] and not os.path.exists("full")
    fails(errno.EEXIST, renameat2, "file", "d1", NOREPLACE)
    renameat2("file", "file2", NOREPLACE)
    assert read("file2") == b"f"
    os.rename("file2", "file2")
    assert read("file2") == b"f"


def test_exchange():
    os.makedirs("xd/deep")
    write("xd/deep/k", b"k" * 200000)
    write("xd/small", b"s")
    write("xf", b"file")
    inos = os.stat("xd").st_ino, os.stat("xf").st_ino, os.stat("xd/deep/k").st_ino
    r = os.open("xf", os.O_RDONLY)
    renameat2("xd", "xf", EXCHANGE)
    assert read("xd") == b"file" and read("xf/deep/k") == b"k" * 200000 and read("xf/small") == b"s"
    assert (os.stat("xf").st_ino, os.stat("xd").st_ino, os.stat("xf/deep/k").st_ino) == inos
    assert os.read(r, 10) == b"file"
    os.close(r)
    os.mkdir("xe")
    write("xe/e", b"e")
    renameat2("xe", "xf", EXCHANGE)
    assert os.listdir("xf") == ["e"] and sorted(os.listdir("xe")) == ["deep", "small"]
    write("p", b"p")
    write("q", b"q")
    renameat2("p", "q", EXCHANGE)
    assert read("p") == b"q" and read("q") == b"p"
    fails(errno.ENOENT, renameat2, "p", "nothing", EXCHANGE)


def test_directory_open_while_removed():
    os.mkdir("gone")
    fd = os.open("gone", os.O_RDONLY)
    os.rmdir("gone")
    assert os.listdir(fd) == [] and os.fstat(fd).st_nlink == 0
    fails(errno.ENOENT, lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_times():
    write("times", b"1")
    for ns in (0, 1, -1, 1700000000123456789, -5000000000000000001, 8 * 10**18):
        os.utime("times", ns=(ns, ns + 1))
        st = os.stat("times")
        assert (st.st_atime_ns, st.st_mtime_ns) == (ns, ns + 1)
    os.utime("times", ns=(10**18, 10**18))
    before = os.stat("times")
    os.chmod("times", 0o640)
    after = os.stat("times")
    assert after.st_ctime_ns >= before.st_ctime_ns and after.st_mtime_ns == before.st_mtime_ns
    with open("times", "ab") as f:
        f.write(b"2")
        f.flush()
        assert os.stat("times").st_mtime_ns > after.st_mtime_ns
    os.mkdir("timed")
    os.utime("timed", ns=(5, 5))
    write("timed/x", b"")
    assert os.stat("timed").st_mtime_ns > 10**18
    os.utime("timed", ns=(5, 5))
    os.unlink("timed/x")
    assert os.stat("timed").st_mtime_ns > 10**18


def test_times_set_before_close_stay():
    with open("tar-like", "wb") as f:
        f.write(b"data")
        f.flush()
        os.fchmod(f.fileno(), 0o751)
        os.utime(f.fileno(), ns=(11, 22))
    st = os.stat("tar-like")
    assert (st.st_mode & 0o7777, st.st_atime_ns, st.st_mtime_ns) == (0o751, 11, 22)


def test_mmap():
    write("map", b"-" * 10000)
    with open("map", "r+b") as f:
        m = mmap.mmap(f.fileno(), 10000)
    m[5000:5005] = b"INNER"
    m.flush()
    assert read("map")[4999:5006] == b"-INNER-"
    m[0:5] = b"FIRST"
    m.close()
    assert read("map")[:6] == b"FIRST-"
    write("private", b"abc")
    with open("private", "rb") as f:
        m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE)
    assert m[:] == b"abc"


def test_listing_exactly_once_under_change():
    os.mkdir("busy")
    stay = [f"stay{i:05}" for i in range(2000)]
    for name in stay:
        write("busy/" + name, b"")
    stop = threading.Event()

    def churn():
        i = 0
        while not stop.is_set():
            name = f"busy/{('a', 'stay', 'z')[i % 3]}{i * 7919 % 100000:05}-tmp"
            write(name, b"")
            os.unlink(name)
            i += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            names = os.listdir("busy")
            assert len(names) == len(set(names))
            assert [n for n in sorted(names) if not n.endswith("-tmp")] == stay
    finally:
        stop.set()
        thread.join()


def test_listing_seeks():
    os.mkdir("seek")
    names = [f"name{i:05}" for i in range(3000)]
    for name in names:
        write("seek/" + name, b"")
    listing = Listing("seek")
    cookies, seen = [], []
    while True:
        cookies.append(listing.tell())
        name = listing.next()
        if name is None:
            break
        seen.append(name)
    assert sorted(seen) == sorted(names + [".", ".."])
    for at in (0, 1, 2, 3, 17, 1000, 2999, 3001, 3002, 500, 501, 499):
        listing.seek(cookies[at])
        assert listing.next() == (seen[at] if at < len(seen) else None), at
    # while what was told goes away, and something new comes in front
    listing.seek(cookies[1500])
    for name in seen[2:1200]:
        os.unlink("seek/" + name)
    for i in range(100):
        write(f"seek/a{i}", b"")
    assert listing.rest() == seen[1500:]
    listing.seek(cookies[1300])
    assert listing.rest() == seen[1300:]
    libc.rewinddir(listing.dir)
    assert sorted(listing.rest()) == sorted(os.listdir("seek") + [".", ".."])
    listing.close()


def test_rewind_of_a_large_directory():
    os.mkdir("rewind")  # with so many long names that the daemon does not remember where each of them is
    names = [f"{i:05}" + "n" * 200 for i in range(9000)]
    for name in names:
        os.mknod("rewind/" + name)
    listing = Listing("rewind")
    assert sorted(listing.rest()) == sorted(names + [".", ".."])
    for name in names[:5] + names[100:4000:7]:
        os.unlink("rewind/" + name)
    left = set(names) - set(names[:5] + names[100:4000:7])
    libc.rewinddir(listing.dir)
    assert sorted(listing.rest()) == sorted(left | {".", ".."})
    libc.rewinddir(listing.dir)
    while (name := listing.next()) is not None:
        if name not in (".", ".."):
            os.unlink("rewind/" + name)
            left.remove(name)
    assert not left, f"{len(left)} entries were not told, such as {min(left)[:5]}"
    listing.close()
    os.rmdir("rewind")


def test_remove_while_listing():
    os.mkdir("sweep")
    for i in range(2500):
        write(f"sweep/{i:04}", b"")
    listing = Listing("sweep")
    count = 0
    while (name := listing.next()) is not None:
        if name not in (".", ".."):
            os.unlink("sweep/" + name)
            count += 1
    listing.close()
    assert count == 2500
    os.rmdir("sweep")


def test_long_keys():
    name, depth, size = "L" * 250, 0, len("posix/long_keys/")
    while True:
        try:
            os.mkdir(name)
        except OSError as e:
            assert e.errno == errno.ENAMETOOLONG
            break
        os.chdir(name)
        depth, size = depth + 1, size + 251
        assert size <= 8192
    assert 8192 - size < 251
    room = 8192 - size
    write("n" * room, b"the longest key")
    assert read("n" * room) == b"the longest key" and os.listdir(".") == ["n" * room]
    fails(errno.ENAMETOOLONG, write, "n" * (room + 1), b"")
    fails(errno.ENAMETOOLONG, os.rename, "n" * room, "n" * (room + 1))
    fails(errno.ENAMETOOLONG, os.mkdir, "d" * room)
    os.unlink("n" * room)
    for _ in range(depth):
        os.chdir("..")
        os.rmdir(name)


def test_rename_makes_keys_too_long():
    os.makedirs("short/" + "/".join(["d" * 200] * 18))
    os.chdir("short")
    for _ in range(18):
        os.chdir("d" * 200)
    for _ in range(18):
        os.mkdir("e" * 200)
        os.chdir("e" * 200)
    os.chdir(("../" * 36) + "..")
    for i in range(4):
        os.mkdir("t" * 250)
        os.chdir("t" * 250)
    for _ in range(4):
        os.chdir("..")
    target = ("t" * 250 + "/") * 4 + "moved"
    fails(errno.ENAMETOOLONG, os.rename, "short", target)
    assert os.path.isdir("short/" + "d" * 200) and not os.path.exists(target)
    os.rename("short", "other")
    assert os.path.isdir("other/" + "/".join(["d" * 200] * 18))


def test_special_files():
    os.mkfifo("pipe", 0o640)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    os.mknod("plain", 0o600 | stat.S_IFREG)
    assert os.stat("plain").st_size == 0 and stat.S_ISREG(os.stat("plain").st_mode)
    r = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    w = os.open("pipe", os.O_WRONLY)
    os.write(w, b"through")
    assert os.read(r, 10) == b"through"
    os.close(r)
    os.close(w)


def test_inode_numbers_are_never_used_again():
    seen = set()
    for i in range(200):
        write("number", b"")
        ino = os.stat("number").st_ino
        assert ino not in seen
        seen.add(ino)
        os.unlink("number")


def test_many_threads():
    os.mkdir("threads")
    errors = []

    def work(me):
        try:
            for i in range(400):
                path = f"threads/{me}-{i % 10}"
                write(path, bytes([me]) * (i * 97 % 5000))
                assert read(path) == bytes([me]) * (i * 97 % 5000)
                os.rename(path, path + "r")
                if i % 3:
                    os.unlink(path + "r")
                os.listdir("threads")
        except Exception as e:  # told by the main thread
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_what_is_opened_is_the_newest():
    """Opening a file may bring its content along: it must never be older than what was closed before."""
    files, rounds, errors = 3, 60, []
    closed = [0] * files
    done = [False] * files

    def guarded(function, f):
        try:
            function(f)
        except Exception as e:  # told by the main thread
            errors.append(e)
        done[f] = done[f] or function is writer

    def writer(f):
        for i in range(1, rounds + 1):
            if i % 5 == 0:
                write(f"v{f}.new", b"%08d" % i)
                os.rename(f"v{f}.new", f"v{f}")
            else:
                fd = os.open(f"v{f}", os.O_WRONLY | (os.O_TRUNC if i % 7 == 0 else 0))
                os.write(fd, b"%08d" % i)
                os.close(fd)
            closed[f] = i
            if i % 11 == 0:
                os.truncate(f"v{f}", 4)
                assert len(read(f"v{f}")) == 4
                os.truncate(f"v{f}", 8)
                assert read(f"v{f}") == b"%04d" % (i // 10000) + bytes(4)
                write(f"v{f}", b"%08d" % i)

    def reader(f):
        while not done[f]:
            at_least, data = closed[f], read(f"v{f}")
            if len(data) == 8 and data[4:] != bytes(4):
                assert int(data) >= at_least, (data, at_least)

    for f in range(files):
        write(f"v{f}", b"%08d" % 0)
    threads = [threading.Thread(target=guarded, args=(t, f)) for f in range(files) for t in (writer, reader, reader)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    assert [int(read(f"v{f}")) for f in range(files)] == [rounds] * files


run(globals(), os.path.join(sys.argv[1], "posix"))
