"""What programs do to files that they have open, where the daemon is not told that they have: noopen.py DIRECTORY PLSM
STORE. One test per function test_*.

DIRECTORY is a mount of STORE with publish=write, PLSM the command. The last line is "N passed, M failed"."""
import fcntl
import mmap
import os
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
from cases import fails, read, run, write

LARGE = 700000  # in extents


def published(path):
    key = os.path.relpath(os.path.abspath(path), sys.argv[1])
    return subprocess.run([sys.argv[2], "get", sys.argv[3], key], capture_output=True, check=True, timeout=30).stdout


def batch(text):
    with open(sys.argv[1] + "/.plsm/batch", "wb", buffering=0) as f:
        f.write(text)


def forget_pages(f):
    """What is read next, the daemon is asked for."""
    os.fsync(f)
    os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)


def test_unlinked_content_stays():
    for size in 0, 10, LARGE:
        data = os.urandom(size)
        write("f", data)
        f = os.open("f", os.O_RDWR)
        os.unlink("f")
        write("f", b"another")
        forget_pages(f)
        assert os.pread(f, size + 1, 0) == data and os.fstat(f).st_nlink == 0
        os.pwrite(f, b"more", size)
        forget_pages(f)
        assert os.pread(f, size + 9, 0) == data + b"more"
        os.ftruncate(f, 5)
        forget_pages(f)
        assert os.pread(f, 9, 0) == (data + b"more\0")[:5] and os.fstat(f).st_size == 5
        os.close(f)
        assert read("f") == b"another"


def test_created_and_unlinked_at_once():
    f = os.open("temporary", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.unlink("temporary")
    data = os.urandom(LARGE)
    os.write(f, data)
    forget_pages(f)
    assert os.pread(f, LARGE, 0) == data
    os.close(f)
    fails(2, os.stat, "temporary")


def test_replaced_content_stays():
    for replace in "rename", "batch", "link":
        data = os.urandom(LARGE if replace == "rename" else 1000)
        write("old", data)
        if replace == "link":
            os.link("old", "other name")
        f = os.open("old", os.O_RDONLY)
        if replace == "batch":
            key = os.path.relpath(os.path.abspath("old"), sys.argv[1])
            batch(f"{key}\tnew\n".encode())
        else:
            write("new", b"new")
            os.rename("new", "old")
        forget_pages(f)
        assert os.pread(f, LARGE, 0) == data, replace
        assert read("old") == b"new"
        if replace == "link":
            assert read("other name") == data
            os.unlink("other name")
            forget_pages(f)
            assert os.pread(f, LARGE, 0) == data
        os.close(f)
        os.unlink("old")


def test_each_write_is_published():
    f = os.open("f", os.O_CREAT | os.O_WRONLY)
    assert published("f") == b""
    os.write(f, b"one")
    assert published("f") == b"one"
    os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
    assert published("f") == b"" and os.stat("f").st_size == 0
    os.pwrite(f, b"two", 0)
    assert published("f") == b"two" == read("f")
    os.ftruncate(f, 2)
    assert published("f") == b"tw" == read("f")
    os.rename("f", "g")
    os.pwrite(f, b"!", 2)
    assert published("g") == b"tw!" == read("g")
    os.close(f)


def test_appends_of_several():
    def work(number):
        f = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(100):
            os.write(f, b"%d %d\n" % (number, i))
        os.close(f)

    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            work(number)
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    lines = read("log").splitlines()
    assert sorted(lines) == sorted(b"%d %d" % (number, i) for number in range(4) for i in range(100))
    assert published("log") == read("log")


def test_readers_beside_a_writer():
    """Whoever reads sees one state after the other, and never a part of one."""
    size, end = 3000, threading.Event()
    write("f", b"a" * size)

    def look():
        while not end.is_set():
            f = os.open("f", os.O_RDONLY)
            os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
            seen.update(os.read(f, size + 1))
            os.close(f)

    seen = set()
    reader = threading.Thread(target=look)
    reader.start()
    f = os.open("f", os.O_WRONLY)
    for i in range(300):
        os.pwrite(f, bytes([b"ab"[i % 2]]) * size, 0)
    os.close(f)
    end.set()
    reader.join()
    assert seen <= set(b"ab") and read("f") == b"b" * size


def test_mapping_is_written_at_close():
    write("m", b"0" * 300000)
    f = os.open("m", os.O_RDWR)
    m = mmap.mmap(f, 300000)
    m[200000:200003] = b"one"
    os.close(os.dup(f))
    assert published("m")[200000:200003] == b"one"
    m[100:103] = b"two"
    m.flush()
    assert published("m")[100:103] == b"two"
    m.close()
    os.close(f)


def test_holes_show_as_data():
    """A mapping may have filled them; a copy within the mount keeps them."""
    f = os.open("sparse", os.O_CREAT | os.O_RDWR)
    os.pwrite(f, b"end", 4 << 20)
    assert os.lseek(f, 0, os.SEEK_DATA) == 0 and os.lseek(f, 0, os.SEEK_HOLE) == (4 << 20) + 3
    g = os.open("copy", os.O_CREAT | os.O_RDWR)
    assert os.copy_file_range(f, g, 5 << 20, 0, 0) == (4 << 20) + 3
    assert read("copy") == read("sparse")
    assert os.stat("copy").st_blocks == os.stat("sparse").st_blocks < 1000, (os.stat("copy").st_blocks, os.stat("sparse").st_blocks)
    with mmap.mmap(f, 1 << 20) as m:
        m[:3] = b"map"
        assert os.lseek(f, 0, os.SEEK_DATA) == 0
    os.close(f)
    os.close(g)


def test_locks_and_sync():
    f, g = os.open("f", os.O_CREAT | os.O_RDWR), os.open("f", os.O_RDWR)
    fcntl.flock(f, fcntl.LOCK_EX)
    fails(11, fcntl.flock, g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(f, b"x")
    os.fsync(f)
    os.fdatasync(g)
    os.close(f)
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(g)


def test_set_id_bits():
    if os.getuid() != 0:
        return
    os.chmod(".", 0o777)
    for mode, changed, change in ((0o6777, 0o777, lambda: os.write(os.open("f", os.O_WRONLY), b"x")),
                                  (0o6777, 0o777, lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))),
                                  (0o6755, None, lambda: os.chown("f", -1, -1))):
        write("f", b"content")
        os.chmod("f", mode)
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(4321)
            os.setuid(4321)
            try:
                change()
            except PermissionError:
                os._exit(1)
            os._exit(0)
        refused = os.waitpid(pid, 0)[1] != 0
        assert refused == (changed is None)
        assert os.stat("f").st_mode & 0o7777 == (changed or mode)


run(globals(), os.path.join(sys.argv[1], "noopen"))
