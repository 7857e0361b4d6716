"""Hard links on a mounted directory and what does not come through the kernel: links_outside.py DIRECTORY, for changes
by .plsm/batch and for the views of snapshots. The last line is "N passed, M failed"."""
import os
import sys

sys.dont_write_bytecode = True
from cases import directory_links, read, run, write

LARGE = 1 << 20
SIZES = 10, LARGE


def change(*lines):
    f = os.open(TOP + "/.plsm/batch", os.O_WRONLY)
    try:
        os.write(f, "".join(line + "\n" for line in lines).encode())
    finally:
        os.close(f)


def here(name):
    return os.path.relpath(os.getcwd(), TOP) + "/" + name


def linked(size, *names):
    """A file with these names, all known to the kernel with attributes and content; returns its content."""
    data = os.urandom(size)
    write(names[0], data)
    for name in names[1:]:
        os.link(names[0], name)
    for name in names:
        assert read(name) == data and os.stat(name).st_nlink == len(names)
    return data


def test_directories_are_counted():
    os.makedirs("d/1")
    assert os.stat("d").st_nlink == directory_links(3)
    change(here("d/2/f") + "\tcontent")
    write("d/f", b"")  # then the kernel asks for the attributes of d again
    assert os.stat("d").st_nlink == directory_links(4)
    change("\\-" + here("d/2/f"))
    os.unlink("d/f")
    assert os.stat("d").st_nlink == directory_links(3)


def test_snapshots():
    for size in SIZES:
        data = linked(size, "a", "b")
        os.symlink("target", "s")
        os.link("s", "t", follow_symlinks=False)
        view = TOP + f"/.plsm/snapshots/links{size}"
        past = os.path.join(view, here(""))
        os.mkdir(view)
        with open("a", "r+b") as f:
            f.write(b"live")
        assert read("b") == b"live" + data[4:]
        for how in "changed", "removed":
            listed = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(past)}
            assert set(listed) == {"a", "b", "s", "t"}, listed
            for pair in "ab", "st":
                sts = [os.lstat(past + name) for name in pair]
                assert sts[0].st_ino == sts[1].st_ino == listed[pair[0]].st_ino and sts[0].st_nlink == 2
            assert read(past + "a") == read(past + "b") == data, how
            assert os.readlink(past + "s") == os.readlink(past + "t") == "target"
            with open(past + "b", "rb") as f:
                assert os.pread(f.fileno(), 5, size - 5) == data[-5:]
            if how == "changed":
                for name in "abst":
                    os.unlink(name)
        assert os.listdir(".") == []
        f = open(past + "a", "rb")
        os.rmdir(view)
        assert f.read() == data
        f.close()


def test_a_name_is_put():
    for size in SIZES:
        data = linked(size, "a", "b", "c")
        change(here("b") + "\tother")
        assert read("b") == b"other" and os.stat("b").st_nlink == 1
        assert read("a") == read("c") == data
        assert os.stat("a").st_nlink == os.stat("c").st_nlink == 2
        with open("a", "r+b") as f:
            f.write(b"!")
        assert read("c")[:1] == b"!" and read("b") == b"other"
        change(here("a") + "\t1", here("c") + "\t2", here("b") + "\t3")
        assert (read("a"), read("b"), read("c")) == (b"1", b"3", b"2")
        assert [os.stat(name).st_nlink for name in "abc"] == [1, 1, 1]
        for name in "abc":
            os.unlink(name)


def test_names_are_deleted():
    for size in SIZES:
        data = linked(size, "a", "b", "c")
        with open("a", "rb") as f:
            change("\\-" + here("b"))
            assert not os.path.exists("b") and os.fstat(f.fileno()).st_nlink == 2
            change("\\-" + here("a"), "\\-" + here("a"))
            assert not os.path.exists("a") and read("c") == data and os.stat("c").st_nlink == 1
            change("\\-" + here("c"))
            assert not os.path.exists("c")
            assert f.read() == data and os.fstat(f.fileno()).st_nlink == 0
        write("a", b"new")
        assert read("a") == b"new"


def test_ranges():
    top, where = here(""), os.getcwd()
    for size in SIZES:
        data = linked(size, "a", "m", "z")
        os.mkdir("d")
        os.link("a", "d/a")
        os.link("a", "d/b")
        assert os.stat("a").st_nlink == 5
        with open("z", "r+b", buffering=0) as f:
            f.write(b"open")
            data = b"open" + data[4:]
            change("\\~" + here("b") + "\t" + here("n"))
            assert sorted(os.listdir(".")) == ["a", "z"]
            assert not any(os.path.exists(name) for name in ("m", "d/a", "d/b", "d"))
            assert read("a") == data
            assert os.stat("a").st_nlink == 2, os.stat("a")
        assert read("a") == read("z") == data
        with open("z", "rb") as f:
            change("\\~" + top + "\t" + top[:-1] + "0")
            assert not os.path.exists("a") and not os.path.exists("z")
            assert f.read() == data
        os.makedirs(where)
        os.chdir(where)


def test_ranges_of_other_names():
    """A range that the identifier of a shared value would be in, were it a name."""
    data = linked(10, "a", "b")
    with open("a", "r+b") as f:
        for _ in range(3):
            change("\\~" + "\t" + "!")
        f.write(b"written")
        f.flush()
        os.fsync(f.fileno())
    assert read("b") == b"written" + data[7:] and os.stat("a").st_nlink == 2
    os.unlink("a")
    os.unlink("b")


def test_a_writer_goes_on():
    for size in SIZES:
        data = linked(size, "a", "b")
        f = os.open("b", os.O_WRONLY)
        os.pwrite(f, b"mine", 0)
        change(here("b") + "\tother")
        assert read("b") == b"other"
        os.pwrite(f, b"more", 4)
        os.close(f)
        assert read("a") == b"minemore" + data[8:] and read("b") == b"other"
        os.unlink("a")
        os.unlink("b")


def test_large_put():
    linked(LARGE, "a", "b")
    data = os.urandom(LARGE)
    import subprocess
    subprocess.run([os.environ["PLSM"], "put", os.environ["STORE"], here("b")], input=data, check=True, timeout=60)
    assert read("b") == data and read("a") != data
    assert os.stat("a").st_nlink == os.stat("b").st_nlink == 1


TOP = sys.argv[1]
run(globals(), os.path.join(TOP, "outside"))
