"""What a batch deletes while it is open, and what then comes in its place: vanished.py DIRECTORY. The last line is "N
passed, M failed"."""
import ctypes
import os
import shutil
import sys

sys.dont_write_bytecode = True
import tally
from tally import same

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, EXCHANGE = -100, 2
BY_WRITE = "publish=write" in os.environ.get("E2E_OPTIONS", "")


def batch(text):
    with open(".plsm/batch", "wb", buffering=0) as f:
        f.write(text)


def value(name):
    with open(name) as f:
        return f.read()


def write(name, text):
    with open(name, "w") as f:
        f.write(text)


def directory():
    """Others come where a directory was that somebody has open."""
    os.mkdir("v/old")
    held = os.open("v/old", os.O_RDONLY)
    batch(b"\\-v/old/\n")
    os.mkdir("v/new")
    write("v/new/file", "new")
    os.rename("v/new", "v/old")
    same(value("v/old/file"), "new")
    os.close(held)
    # Its times, which wait to be written, do not bring one back.
    for text in b"\\-v/times/\n", b"\\~v/times/\tv/times0\n":
        os.mkdir("v/times")
        write("v/times/file", "x")
        os.unlink("v/times/file")
        held = os.open("v/times", os.O_RDONLY)
        batch(text)
        os.fsync(held)
        os.close(held)
        same(os.path.exists("v/times"), False, text)
    # By an exchange, with a file in its place.
    os.mkdir("v/gone")
    held = os.open("v/gone", os.O_RDONLY)
    batch(b"\\-v/gone/\nv/gone\tfile\n")
    same(value("v/gone"), "file")
    same(libc.renameat2(AT_FDCWD, b"v/old", AT_FDCWD, b"v/gone", EXCHANGE), 0, os.strerror(ctypes.get_errno()))
    same((value("v/old"), value("v/gone/file")), ("file", "new"))
    os.close(held)


def comes_back():
    """Who has just made a file writes it, and it comes when it is closed; but what is published as it is made has gone."""
    fd = os.open("v/made", os.O_CREAT | os.O_WRONLY, 0o640)
    batch(b"\\-v/made\n")
    os.write(fd, b"written")
    os.close(fd)
    if BY_WRITE:
        same(os.path.exists("v/made"), False)
    else:
        same((value("v/made"), os.stat("v/made").st_mode), ("written", 0o100640))
    # Who writes nothing has nothing that could come.
    fd = os.open("v/empty", os.O_CREAT | os.O_WRONLY)
    batch(b"\\-v/empty\n")
    os.fchmod(fd, 0o600)
    os.close(fd)
    same(os.path.exists("v/empty"), False)


def stays_away():
    """Something else has come in its place: then it goes like what is replaced."""
    write("v/other", "other")
    comers = {"link": lambda name: os.symlink("target", name), "fifo": os.mkfifo,
              "file": lambda name: os.rename("v/other", name)}
    for name, come in comers.items():
        name = "v/" + name
        fd = os.open(name, os.O_CREAT | os.O_RDWR)
        batch(b"\\-%s\n" % name.encode())
        come(name)
        mode = os.lstat(name).st_mode
        os.write(fd, b"written")
        same(os.pread(fd, 100, 0), b"written", name)
        os.close(fd)
        same(os.lstat(name).st_mode, mode, name)
    same((os.readlink("v/link"), value("v/file")), ("target", "other"))


def main():
    os.chdir(sys.argv[1])
    os.mkdir("v")
    for function in directory, comes_back, stays_away:
        try:
            function()
        except OSError as e:
            same(repr(e), None, function.__name__)
    shutil.rmtree("v")
    tally.end()


main()
