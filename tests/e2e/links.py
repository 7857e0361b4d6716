"""Hard links on a mounted directory: links.py DIRECTORY [after], in which "after" looks at what the first run has left.

The last line is "N passed, M failed"."""
import ctypes
import errno
import mmap
import os
import random
import stat
import sys

sys.dont_write_bytecode = True
from cases import directory_links, fails, read, run, write

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW, EXCHANGE = -100, 0x400, 2
LARGE = 700000


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def link_followed(a, b):
    if libc.linkat(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), AT_SYMLINK_FOLLOW) != 0:
        raise OSError(ctypes.get_errno(), "linkat")


def links(*names):
    """All are names of one file, and these are all names that it has."""
    first = os.lstat(names[0])
    for name in names:
        st = os.lstat(name)
        assert (st.st_ino, st.st_nlink) == (first.st_ino, len(names)), f"{name}: {st} beside {first}"
    return first


def test_content_is_one():
    for size in 10, 5000, LARGE:
        write("a", b"x" * size)
        os.link("a", "b")
        before = links("a", "b")
        with open("b", "r+b") as f:
            f.seek(size // 2)
            f.write(b"yyy")
        assert read("a") == read("b") and read("a")[size // 2:size // 2 + 3] == b"yyy"
        with open("a", "ab") as f:
            f.write(b"z" * size)
        assert os.stat("b").st_size == 2 * size and read("b")[-1:] == b"z"
        os.truncate("b", 3)
        assert read("a") == b"xxx" and links("a", "b").st_ino == before.st_ino
        os.chmod("a", 0o640)
        os.utime("b", ns=(5, 6))
        st = os.stat("a")
        assert stat.S_IMODE(st.st_mode) == 0o640 and st.st_mtime_ns == 6
        os.unlink("a")
        os.unlink("b")


def test_linked_while_open():
    """What is open and not yet published goes on under both names."""
    for size in 10, LARGE:
        f = open("a", "wb")
        f.write(b"1" * size)
        f.flush()
        os.link("a", "b")
        f.write(b"2" * size)
        f.close()
        assert read("b") == read("a") == b"1" * size + b"2" * size
        r = os.open("b", os.O_RDWR)
        os.unlink("a")
        os.unlink("b")
        assert os.fstat(r).st_nlink == 0 and os.pread(r, 3, size - 1) == b"122"
        os.pwrite(r, b"3", 0)
        assert os.pread(r, 2, 0) == b"31"
        fails(errno.ENOENT, link_followed, f"/proc/self/fd/{r}", "c")
        os.close(r)
        assert os.listdir() == []


def test_names_go_in_any_order():
    chance = random.Random(1)
    names = set()
    write("first", b"content")
    names.add("first")
    for i in range(300):
        if len(names) > 1 and chance.random() < 0.45:
            name = names.pop()
            os.unlink(name)
        else:
            name = f"n{i}"
            os.link(chance.choice(sorted(names)), name)
            names.add(name)
        if i % 20 == 0:
            links(*names)
            assert read(chance.choice(sorted(names))) == b"content"
    links(*names)
    assert sorted(names) == sorted(os.listdir())


def test_ctime_and_directories():
    os.mkdir("d")
    write("a", b"")
    os.utime("a", ns=(7, 7))
    before = os.stat("a").st_ctime_ns, os.stat("d").st_mtime_ns
    os.link("a", "d/b")
    st = os.stat("a")
    assert st.st_mtime_ns == 7 and st.st_ctime_ns > before[0] and os.stat("d").st_mtime_ns > before[1]
    os.unlink("d/b")
    assert os.stat("a").st_ctime_ns > st.st_ctime_ns and os.stat("a").st_nlink == 1


def test_renames():
    write("a", b"a")
    os.link("a", "b")
    os.rename("a", "b")  # two names of one file: nothing happens
    links("a", "b")
    os.rename("b", "c")
    links("a", "c")
    write("x", b"x")
    os.link("x", "y")
    os.rename("x", "a")  # a name of one over a name of another
    assert read("a") == b"x" and read("c") == b"a"
    links("a", "y")
    links("c")
    write("plain", b"p")
    os.rename("plain", "y")  # a plain file over a name
    links("a")
    os.link("a", "z")
    r = os.open("c", os.O_RDONLY)
    os.rename("z", "c")  # a name over the last name, which is open
    assert os.read(r, 5) == b"a" and os.fstat(r).st_nlink == 0
    os.close(r)
    links("a", "c")
    exchange("a", "y")
    assert read("a") == b"p" and read("y") == b"x"
    links("y", "c")
    os.mkdir("d")
    os.link("c", "d/e")
    exchange("c", "d")
    assert read("d") == b"x" and read("c/e") == b"x"
    links("d", "y", "c/e")
    os.rename("c", "moved")
    links("d", "y", "moved/e")


def test_refused():
    os.mkdir("d")
    write("a", b"")
    fails(errno.EPERM, os.link, "d", "e")
    fails(errno.EEXIST, os.link, "a", "d")
    fails(errno.EEXIST, os.link, "a", "a")
    fails(errno.ENOENT, os.link, "nothing", "b")
    fails(errno.ENAMETOOLONG, os.link, "a", "n" * 256)
    fails(errno.EOPNOTSUPP, os.open, ".", os.O_TMPFILE | os.O_RDWR)
    assert links("a").st_size == 0


def test_other_kinds():
    os.symlink("to", "s")
    os.link("s", "s2", follow_symlinks=False)
    assert os.readlink("s2") == "to" and stat.S_ISLNK(links("s", "s2").st_mode)
    os.unlink("s")
    assert os.readlink("s2") == "to"
    os.mkfifo("p")
    os.link("p", "p2")
    assert stat.S_ISFIFO(links("p", "p2").st_mode)
    if os.geteuid() == 0:
        os.mknod("n", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.link("n", "n2")
        assert links("n", "n2").st_rdev == os.makedev(1, 3)


def test_mapped():
    write("a", b"\0" * 8192)
    os.link("a", "b")
    with open("a", "r+b") as f, open("b", "r+b") as g:
        one, two = mmap.mmap(f.fileno(), 8192), mmap.mmap(g.fileno(), 8192)
        one[5000] = 7
        assert two[5000] == 7
        one.close()
        two.close()
    assert read("b")[5000] == 7


def test_directories_are_counted():
    os.makedirs("d/1")
    os.makedirs("d/2/3")
    write("d/f", b"")
    assert os.stat("d").st_nlink == directory_links(4) and os.stat("d/2").st_nlink == directory_links(3) and os.stat("d/1").st_nlink == directory_links(2)
    os.rename("d/2", "d/1/2")
    assert os.stat("d").st_nlink == directory_links(3) and os.stat("d/1").st_nlink == directory_links(3)
    assert os.stat("d/1/2").st_nlink == directory_links(3)  # under its new path, where nothing was counted before
    os.unlink("d/f")
    os.rmdir("d/1/2/3")
    assert os.stat("d/1/2").st_nlink == directory_links(2) and os.stat("d/1").st_nlink == directory_links(3) and os.stat("d").st_nlink == directory_links(3)
    os.rmdir("d/1/2")
    os.mkdir("e")
    os.rename("e", "d/e")
    assert os.stat("d").st_nlink == directory_links(4) and os.stat("d/1").st_nlink == directory_links(2)


def test_directories_are_counted_among_many_deletions():
    os.mkdir("d")
    for i in range(2000):
        write(f"d/{i}", b"")
        os.unlink(f"d/{i}")
    for i in range(3):
        os.mkdir(f"d/{i}")
        assert os.stat("d").st_nlink == directory_links(3 + i)


def test_stays():
    for size, name in (10, "small"), (LARGE, "large"):
        os.makedirs(f"{name}/deep")
        write(f"{name}/a", name.encode() * size)
        os.link(f"{name}/a", f"{name}/deep/b")
        os.link(f"{name}/a", f"{name}/c")
        os.unlink(f"{name}/a")
        write(f"{name}/ino", str(os.stat(f"{name}/c").st_ino).encode())


def after_stays():
    for size, name in (10, "small"), (LARGE, "large"):
        assert links(f"{name}/c", f"{name}/deep/b").st_ino == int(read(f"{name}/ino"))
        assert read(f"{name}/c") == name.encode() * size
        with open(f"{name}/c", "r+b") as f:
            f.write(b"!")
        assert read(f"{name}/deep/b")[:1] == b"!"


after = sys.argv[2:] == ["after"]
run(globals(), os.path.join(sys.argv[1], "links"), "after_" if after else "test_", after)
