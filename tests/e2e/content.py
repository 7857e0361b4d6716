"""What programs do to the content of files: content.py DIRECTORY PLSM STORE. One test per function test_*.

DIRECTORY is a mount of STORE, PLSM the command, which reads what is published. The last line is "N passed, M
failed"."""
import ctypes
import errno
import fcntl
import mmap
import os
import select
import shutil
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from cases import fails, read, run, write

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE = 1, 2, 8, 16, 32, 64
EXTENT = 128 << 10
F_OFD_SETLK, F_OFD_SETLKW = 37, 38


def fallocate(fd, mode, offset, size):
    if libc.fallocate(fd, mode, offset, size) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def published(path):
    key = os.path.relpath(os.path.abspath(path), sys.argv[1])
    return subprocess.run([sys.argv[2], "get", sys.argv[3], key], capture_output=True, check=True, timeout=30).stdout


def wait_until(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.02)
    return False


def child(function, *args):
    """Runs it in a process of its own; returns a function that waits for it and says whether it went well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function(*args)
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return lambda: os.waitpid(pid, 0)[1] == 0


# Then all of a file is data: any could be mapped (fs/space.c).
DENSE = "publish=write" in os.environ.get("E2E_OPTIONS", "")


def runs(path):
    """The data of a file as lseek tells it."""
    fd, found, at = os.open(path, os.O_RDONLY), [], 0
    size = os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))
    os.close(fd)
    return found


# --- space -----------------------------------------------------------------------------------------------------------

def test_fallocate():
    write("f", b"a" * 10)
    f = os.open("f", os.O_RDWR)
    os.posix_fallocate(f, 0, 300000)
    assert os.fstat(f).st_size == 300000 and os.pread(f, 20, 0) == b"a" * 10 + bytes(10)
    fallocate(f, KEEP_SIZE, 0, 10 << 20)
    assert os.fstat(f).st_size == 300000
    os.pwrite(f, b"b" * 300000, 0)
    fallocate(f, PUNCH_HOLE | KEEP_SIZE, 5, 200000)
    assert os.pread(f, 300000, 0) == b"b" * 5 + bytes(200000) + b"b" * 99995
    fallocate(f, ZERO_RANGE | KEEP_SIZE, 299999, 100)
    assert os.fstat(f).st_size == 300000 and os.pread(f, 2, 299998) == b"b\0"
    fallocate(f, ZERO_RANGE, 299998, 100)
    assert os.fstat(f).st_size == 300098 and os.pread(f, 200, 299997) == b"b" + bytes(100)
    fallocate(f, PUNCH_HOLE | KEEP_SIZE, 1 << 30, 10)
    for mode in (COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE, PUNCH_HOLE, 1 << 20):
        fails(errno.EOPNOTSUPP, fallocate, f, mode, 0, 131072)
    fails(errno.EFBIG, fallocate, f, 0, 1 << 40, 1)
    fails(errno.EINVAL, fallocate, f, 0, 0, 0)
    fails(errno.EBADF, fallocate, os.open("f", os.O_RDONLY), 0, 0, 1)
    space = os.statvfs(".")
    if space.f_bavail * space.f_frsize < 1 << 39:
        fails(errno.ENOSPC, fallocate, f, 0, 0, 1 << 39)
        fails(errno.ENOSPC, fallocate, f, KEEP_SIZE, 0, 1 << 39)
    assert os.fstat(f).st_size == 300098
    os.close(f)
    assert read("f") == b"b" * 5 + bytes(200000) + b"b" * 99993 + bytes(100)


def test_mapped_pages_of_a_punched_range():
    f = os.open("f", os.O_RDWR | os.O_CREAT)
    os.pwrite(f, b"x" * 500000, 0)
    with mmap.mmap(f, 500000) as m:
        m[1000:1010] = b"y" * 10
        fallocate(f, PUNCH_HOLE | KEEP_SIZE, 0, 400000)
        assert m[1000:1010] == bytes(10) and m[399999:400001] == b"\0x"
        m[5:6] = b"z"
        assert os.pread(f, 7, 0) == b"\0" * 5 + b"z\0"
    os.close(f)
    assert read("f") == b"\0" * 5 + b"z" + bytes(399994) + b"x" * 100000


def test_holes():
    if DENSE:
        return
    f = os.open("f", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(f, 1 << 38)
    assert os.stat("f").st_blocks == 0 and runs("f") == []
    os.pwrite(f, b"data", 1 << 30)
    where = [(1 << 30, (1 << 30) + EXTENT)]
    assert runs("f") == where and os.stat("f").st_blocks == EXTENT // 512
    os.close(f)
    assert runs("f") == where and os.stat("f").st_blocks == EXTENT // 512 and os.stat("f").st_size == 1 << 38
    assert b"\t" + b"f" in subprocess.check_output(["du", "-B1", "f"]) and \
        int(subprocess.check_output(["du", "-B1", "f"]).split()[0]) == EXTENT
    # Two that copy by holes take no longer for the other 256 GiB, and keep them.
    for command in ("cp --sparse=auto f g", "mkdir t; tar cSf - f | tar xSf - -C t; mv t/f g2; rmdir t",
                    "cp --reflink=auto f g3"):
        start = time.monotonic()
        subprocess.run(command, shell=True, check=True, timeout=60)
        assert time.monotonic() - start < 30, command
    for copy in ("g", "g2", "g3"):
        assert os.stat(copy).st_size == 1 << 38 and runs(copy) == where, copy
    # What reads zeros without being told of holes and looks for them itself.
    write("h", b"1" * EXTENT + bytes(3 * EXTENT) + b"2")
    assert os.stat("h").st_blocks == (4 * EXTENT + 512) // 512
    subprocess.run(["cp", "--sparse=always", "h", "i"], check=True, timeout=60)
    assert read("i") == read("h") and runs("i") == [(0, EXTENT), (4 * EXTENT, 4 * EXTENT + 1)]
    subprocess.run(["fallocate", "-d", "h"], check=True, timeout=60)
    assert read("i") == read("h")


def test_ends_of_seeks():
    write("f", b"x" * 100)
    f = os.open("f", os.O_RDONLY)
    assert os.lseek(f, 40, os.SEEK_DATA) == 40 and os.lseek(f, 40, os.SEEK_HOLE) == 100
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        fails(errno.ENXIO, os.lseek, f, 100, whence)
    write("e", b"")
    fails(errno.ENXIO, os.lseek, os.open("e", os.O_RDONLY), 0, os.SEEK_DATA)
    fails(errno.EINVAL, os.lseek, f, 0, 17)


def test_hole_written_through_a_mapping():
    f = os.open("f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(f, 20 * EXTENT)
    m = mmap.mmap(f, 20 * EXTENT)
    os.close(f)
    m[7 * EXTENT:7 * EXTENT + 3] = b"abc"  # the file system has not been told of it
    subprocess.run(["cp", "--sparse=auto", "f", "g"], check=True, timeout=60)
    shutil.copyfile("f", "h")
    for copy in ("g", "h"):
        assert read(copy)[7 * EXTENT:7 * EXTENT + 3] == b"abc", copy
    m.close()
    where = [(0, 20 * EXTENT)] if DENSE else [(7 * EXTENT, 8 * EXTENT)]
    assert wait_until(lambda: runs("f") == where), runs("f")


def test_statfs():
    before = os.statvfs(".")
    assert before.f_blocks >= before.f_bfree >= before.f_bavail > 0
    assert before.f_frsize == 4096 and before.f_namemax == 255


# --- copies ----------------------------------------------------------------------------------------------------------

def copy_all(a, b, size, at=0, to=0):
    done = 0
    while done < size:
        got = os.copy_file_range(a, b, size - done, at + done, to + done)
        if got == 0:
            break
        done += got
    return done


def test_copy_file_range():
    data = os.urandom(1 << 20) * 70
    write("a", data)
    a, b = os.open("a", os.O_RDONLY), os.open("b", os.O_RDWR | os.O_CREAT)
    assert copy_all(a, b, len(data)) == len(data)
    assert os.pread(b, len(data), 0) == data
    assert copy_all(a, b, 1000, len(data) - 10, 5) == 10
    assert os.pread(b, 20, 0) == data[:5] + data[-10:] + data[15:20]
    assert os.copy_file_range(a, b, 100, len(data), 0) == 0 and os.copy_file_range(a, b, 0, 0, 0) == 0
    assert copy_all(a, b, 300001, 77777, len(data) + 12345) == 300001
    assert os.pread(b, 400000, len(data)) == bytes(12345) + data[77777:77777 + 300001]
    fails(errno.EINVAL, os.copy_file_range, b, b, 1000, 0, 500)
    assert copy_all(b, b, 500000, 100, 600000) == 500000
    assert os.pread(b, 500000, 600000) == os.pread(b, 500000, 100)
    fails(errno.EBADF, os.copy_file_range, a, a, 10, 0, 100)
    # What was written a moment ago, also through a mapping, is part of the copy.
    with mmap.mmap(b, 4096) as m:
        m[0:5] = b"fresh"
        c = os.open("c", os.O_WRONLY | os.O_CREAT)
        assert copy_all(b, c, 5) == 5
    os.close(c)
    assert read("c") == b"fresh"
    s = os.open("s", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(s, 10 * EXTENT)
    os.close(s)
    s, t = os.open("s", os.O_RDONLY), os.open("t", os.O_WRONLY | os.O_CREAT)
    os.pwrite(t, b"t" * 4 * EXTENT, 0)
    assert copy_all(s, t, 10 * EXTENT, 0, EXTENT) == 10 * EXTENT
    os.close(t)
    assert runs("t") == [(0, 11 * EXTENT if DENSE else EXTENT)] and os.stat("t").st_size == 11 * EXTENT
    assert os.stat("t").st_blocks == EXTENT // 512
    # Both ends unlinked.
    os.unlink("a")
    os.unlink("b")
    assert copy_all(a, b, EXTENT, 1, 2) == EXTENT and os.pread(b, EXTENT, 2) == data[1:1 + EXTENT]


# --- several writers -------------------------------------------------------------------------------------------------

def append_lines(who, flags, count):
    f = os.open("log", os.O_WRONLY | os.O_APPEND | flags)
    for i in range(count):
        line = b"%d %d %s\n" % (who, i, b"." * (i % 90))
        assert os.write(f, line) == len(line)
        if i % 40 == 39:
            os.close(f)
            f = os.open("log", os.O_WRONLY | os.O_APPEND | flags)


def test_append_by_many_processes():
    write("log", b"")
    count = 400
    waits = [child(append_lines, who, os.O_DIRECT if who >= 6 else 0, count) for who in range(8)]
    assert all([wait() for wait in waits])
    lines = read("log").split(b"\n")[:-1]
    assert len(lines) == 8 * count, len(lines)
    for who in range(8):
        assert [line for line in lines if line.startswith(b"%d " % who)] == \
            [b"%d %d %s" % (who, i, b"." * (i % 90)) for i in range(count)], who


def test_exclusive_creation():
    def create(pipe):
        try:
            os.close(os.open("once", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.write(pipe, b"1")
        except FileExistsError:
            pass
    for i in range(10):
        read_end, write_end = os.pipe()
        assert all([wait() for wait in [child(create, write_end) for _ in range(4)]])
        os.close(write_end)
        assert os.read(read_end, 10) == b"1"
        os.close(read_end)
        os.unlink("once")


def test_direct():
    f = os.open("d", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    g = os.open("d", os.O_RDWR)
    assert os.pread(g, 10, 0) == b""
    assert os.pwrite(f, b"unaligned", 3) == 9  # neither address nor offset nor size is aligned
    assert os.pread(g, 20, 0) == b"\0\0\0unaligned"
    os.pwrite(g, b"cached", 2)
    assert os.pread(f, 20, 1) == b"\0cachedgned"
    with mmap.mmap(-1, 1 << 20) as page:
        page[:] = b"p" * (1 << 20)
        assert os.pwritev(f, [page], 1 << 20) == 1 << 20
        page[:] = bytes(1 << 20)
        assert os.preadv(f, [page], 1 << 20) == 1 << 20 and page[:] == b"p" * (1 << 20)
    os.close(f)
    os.close(g)
    assert os.stat("d").st_size == 2 << 20


# --- mappings --------------------------------------------------------------------------------------------------------

def test_shared_mapping_is_published():
    write("m", b"0" * 300000)
    f = os.open("m", os.O_RDWR)
    m = mmap.mmap(f, 300000)
    m[200000:200003] = b"one"
    assert os.pread(f, 3, 200000) == b"one"
    m.flush()  # msync
    assert published("m")[200000:200003] == b"one"
    m[100:103] = b"two"
    os.fsync(f)
    assert published("m")[100:103] == b"two"
    m[200:203] = b"tri"
    os.close(f)  # the mapping still has the file open
    m[300:303] = b"for"
    m.close()  # munmap: the last use of the file
    assert wait_until(lambda: published("m")[200:203] == b"tri" and published("m")[300:303] == b"for")
    assert os.stat("m").st_mtime > time.time() - 60


def test_private_mapping_stays_private():
    write("p", b"p" * 10000)
    f = os.open("p", os.O_RDONLY)
    m = mmap.mmap(f, 10000, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    m[0:4] = b"mine"
    assert m[0:8] == b"minepppp" and os.pread(f, 4, 0) == b"pppp"
    m.close()
    assert read("p") == b"p" * 10000


def test_mapping_between_processes():
    write("s", bytes(8192))
    f = os.open("s", os.O_RDWR)
    m = mmap.mmap(f, 8192)

    def answer():
        other = mmap.mmap(os.open("s", os.O_RDWR), 8192)
        assert wait_until(lambda: other[0] == 1)
        other[5000] = 2
    wait = child(answer)
    m[0] = 1
    assert wait_until(lambda: m[5000] == 2) and wait()


def test_running_program_is_busy():
    shutil.copy("/bin/sleep", "sleep")
    assert wait_until(lambda: published("sleep") == read("/bin/sleep"))
    running = subprocess.Popen(["./sleep", "30"])
    try:
        assert wait_until(lambda: os.readlink(f"/proc/{running.pid}/exe").endswith("/sleep"))
        fails(errno.ETXTBSY, os.open, "sleep", os.O_WRONLY)
        fails(errno.ETXTBSY, os.truncate, "sleep", 0)
    finally:
        running.kill()
        running.wait()
    os.close(os.open("sleep", os.O_WRONLY))
    f = os.open("sleep", os.O_RDWR)
    fails(errno.ETXTBSY, os.execv, "./sleep", ["./sleep", "0"])
    os.close(f)


# --- locks -----------------------------------------------------------------------------------------------------------

def lock_struct(kind, start, size):
    return struct.pack("hhqqi", kind, os.SEEK_SET, start, size, 0)


def test_locks_between_processes():
    write("l", b"l" * 100)
    for blocking, take, drop in (
            (lambda f: fcntl.flock(f, fcntl.LOCK_EX), lambda f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB),
             lambda f: fcntl.flock(f, fcntl.LOCK_UN)),
            (lambda f: fcntl.lockf(f, fcntl.LOCK_EX, 10, 5),
             lambda f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5),
             lambda f: fcntl.lockf(f, fcntl.LOCK_UN, 10, 5)),
            (lambda f: fcntl.fcntl(f, F_OFD_SETLKW, lock_struct(fcntl.F_WRLCK, 5, 10)),
             lambda f: fcntl.fcntl(f, F_OFD_SETLK, lock_struct(fcntl.F_WRLCK, 5, 10)),
             lambda f: fcntl.fcntl(f, F_OFD_SETLK, lock_struct(fcntl.F_UNLCK, 5, 10)))):
        f = os.open("l", os.O_RDWR)
        take(f)
        read_end, write_end = os.pipe()

        def other():
            g = os.open("l", os.O_RDWR)
            try:
                take(g)
                assert False, "locked twice"
            except OSError as e:
                assert e.errno in (errno.EAGAIN, errno.EACCES)
            os.write(write_end, b"w")
            blocking(g)
            os.write(write_end, b"h")
            time.sleep(0.05)
        wait = child(other)
        assert os.read(read_end, 1) == b"w"
        assert not select.select([read_end], [], [], 0.1)[0], "the other did not wait"
        drop(f)
        assert os.read(read_end, 1) == b"h"
        assert wait()
        take(f)  # went with the process that had it
        os.close(f)
        os.close(read_end)
        os.close(write_end)


def test_locks_go_as_posix_says():
    write("l", b"l" * 100)
    f, g = os.open("l", os.O_RDWR), os.open("l", os.O_RDWR)
    fcntl.lockf(f, fcntl.LOCK_EX)
    os.close(g)  # takes all record locks of this process with it

    def free():
        fcntl.lockf(os.open("l", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert child(free)()
    fcntl.flock(f, fcntl.LOCK_SH)
    duplicate = os.dup(f)
    os.close(f)  # a lock of the open file, which the duplicate still has

    def taken(how):
        fails(errno.EAGAIN, fcntl.flock, os.open("l", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(os.open("l", os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert child(taken, 0)()
    # It is of the file, not of the name.
    os.rename("l", "moved")
    write("l", b"")
    fcntl.flock(os.open("l", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    fails(errno.EAGAIN, fcntl.flock, os.open("moved", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(duplicate)


# --- unlinked and synced ---------------------------------------------------------------------------------------------

def test_unlinked_large_content():
    data = os.urandom(3 * EXTENT)
    write("u", data)
    f = os.open("u", os.O_RDWR)
    os.unlink("u")
    write("u", b"another")
    fallocate(f, PUNCH_HOLE | KEEP_SIZE, EXTENT, EXTENT)
    os.pwrite(f, b"end", 9 * EXTENT)
    os.fsync(f)
    os.fdatasync(f)
    expected = data[:EXTENT] + bytes(EXTENT) + data[2 * EXTENT:] + bytes(6 * EXTENT) + b"end"
    assert os.pread(f, 10 * EXTENT, 0) == expected and os.fstat(f).st_nlink == 0
    with mmap.mmap(f, 2 * EXTENT) as m:
        m[0:3] = b"map"
    assert os.pread(f, 3, 0) == b"map"
    os.ftruncate(f, 5)
    assert os.pread(f, 100, 0) == b"map" + data[3:5]
    os.close(f)
    assert read("u") == b"another"


def test_sync_publishes():
    f = os.open("f", os.O_WRONLY | os.O_CREAT)
    for sync, text in ((os.fsync, b"one"), (os.fdatasync, b"two")):
        os.pwrite(f, text, 0)
        sync(f)
        assert published("f") == text
    g = os.open("f", os.O_WRONLY | os.O_DSYNC)
    os.pwrite(g, b"tri", 0)
    assert published("f") == b"tri"
    os.close(g)
    os.close(f)


run(globals(), os.path.join(sys.argv[1], "content"))
