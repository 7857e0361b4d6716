"""Processes that change a few names in every way there is, while batches change the same names behind the kernel:
mixed.py DIRECTORY, on files in one directory and then on trees, or on one of both with MIXED_KIND=files or trees. What
each change does then depends on the others, so what is asked for is that each fails with an error that it may fail
with, that no value is one that nobody wrote, and that the mount serves on. The last line is "N passed, M failed";
MIXED_SEED and MIXED_SECONDS."""
import ctypes
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import time

NAMES = [f"n{i}" for i in range(12)]
SECONDS = float(os.environ.get("MIXED_SECONDS", "6"))
# ESTALE: a name was replaced behind the kernel between its two looks at it.
MAY = {errno.ENOENT, errno.EEXIST, errno.ESTALE}
# EINVAL: into itself; EPERM: a second name for a directory; ELOOP: symbolic links lead anywhere.
MAY_TREES = MAY | {errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL, errno.EPERM, errno.ELOOP}
WRITTEN = re.compile(rb"((file)*f?i?l?e?|batch ?[0-9]{0,3})[x\0]*") # cut anywhere, and zeros or x may follow
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, EXCHANGE = -100, 2


def batch(lines):
    with open("../.plsm/batch", "wb", buffering=0) as f:
        f.write(b"".join(lines))


def change(r):
    a, b = r.choice(NAMES), r.choice(NAMES)
    what = r.randrange(10)
    if what == 0:
        with open(a, "wb") as f:
            f.write(b"file" * r.choice([0, 1, 30, 1500, 50000]))
    elif what == 1:
        os.truncate(a, r.choice([0, 5, 4096, 100000]))
    elif what == 2:
        os.unlink(a)
    elif what in (3, 4):
        os.rename(a, a if what == 4 else b)
    elif what == 5:
        os.link(a, b)
    elif what == 6:
        with open(a, "ab") as f:
            f.write(b"x" * r.choice([1, 10, 3000]))
    elif what == 7:
        fd = os.open(a, os.O_RDWR)
        os.ftruncate(fd, r.choice([0, 100, 9000]))
        os.close(fd)
    elif what == 8:
        batch(b"files/%s\tbatch %d\n" % (r.choice(NAMES).encode(), r.randrange(1000))
              for _ in range(r.choice([1, 9, 50])))
    else:
        with open(a, "rb") as f:
            value = f.read()
        assert WRITTEN.fullmatch(value), value[:100]


def path_in_tree(r):
    return "/".join(r.choice(NAMES[:4]) for _ in range(r.choice([1, 1, 2, 2, 3, 4])))


def line_in_tree(r):
    key = b"trees/" + path_in_tree(r).encode()
    what = r.randrange(6)
    if what == 0:
        return b"\\-%s\n" % key
    if what == 1:
        return b"\\~%s/\t%s0\n" % (key, key) # all below it
    if what == 2:
        return b"\\~%s\ttrees/n%d\n" % (key, r.randrange(5))
    return b"%s\tbatch %d\n" % (key, r.randrange(1000))


def snapshot(r):
    name = f"../.plsm/snapshots/s{r.randrange(3)}"
    what = r.randrange(3)
    if what == 0:
        os.mkdir(name)
    elif what == 1:
        os.rmdir(name)
    else:
        for _, _, files in os.walk(name + "/trees"):
            pass


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), EXCHANGE) < 0:
        raise OSError(ctypes.get_errno(), "exchange", a, None, b)


def read_link_or_value(a):
    if os.path.islink(a):
        return os.readlink(a)
    with open(a, "rb") as f:
        value = f.read()
    assert WRITTEN.fullmatch(value), value[:100]


def list_late(a):
    fd = os.open(a, os.O_RDONLY | os.O_DIRECTORY)
    try:
        time.sleep(0.002)
        for name in os.listdir(fd):
            os.stat(name, dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)


def remove_tree(a):
    try:
        shutil.rmtree(a)
    except OSError as e:
        if e.errno: # none: it is a symbolic link
            raise


def write(a, r):
    with open(a, "wb") as f:
        time.sleep(r.choice([0, 0, 0.002]))
        f.write(b"file" * r.choice([0, 1, 1500, 50000]))


def change_tree(r):
    a, b = path_in_tree(r), path_in_tree(r)
    r.choice([
        lambda: os.mkdir(a),
        lambda: os.makedirs(a, exist_ok=True),
        lambda: os.rmdir(a),
        lambda: os.rename(a, b),
        lambda: os.rename(a, b),
        lambda: os.rename(a, a),
        lambda: exchange(a, b),
        lambda: os.link(a, b, follow_symlinks=False),
        lambda: os.unlink(a),
        lambda: os.symlink(r.choice([a, b, "."]), b),
        lambda: read_link_or_value(a),
        lambda: list_late(a),
        lambda: write(a, r),
        lambda: os.chmod(a, r.choice([0o755, 0o700])),
        lambda: [names for names in os.walk(".")],
        lambda: remove_tree(a),
        lambda: batch(line_in_tree(r) for _ in range(r.choice([1, 3, 20]))),
        lambda: batch(line_in_tree(r) for _ in range(r.choice([1, 3, 20]))),
        lambda: snapshot(r),
    ])()


KINDS = {"files": (change, MAY), "trees": (change_tree, MAY_TREES)}


def work(kind, seed):
    r, end = random.Random(seed), time.monotonic() + SECONDS
    function, may = KINDS[kind]
    while time.monotonic() < end:
        try:
            function(r)
        except OSError as e:
            if e.errno not in may:
                raise


def run(kind, seed):
    os.mkdir(kind)
    workers = [subprocess.Popen([sys.executable, os.path.abspath(__file__), kind, str(seed + i)], cwd=kind,
                                stderr=subprocess.PIPE) for i in range(3)]
    failures, end = [], time.monotonic() + SECONDS + 40
    for worker in workers:
        try:
            told = worker.communicate(timeout=max(1, end - time.monotonic()))[1].decode()
            if worker.returncode:
                failures.append(told)
        except subprocess.TimeoutExpired:
            failures.append("still waiting")
            worker.kill()
    for failure in failures:
        print(f"FAILED (MIXED_KIND={kind} MIXED_SEED={seed}): {failure}")
    if not failures:
        shutil.rmtree(kind)
        for name in os.listdir(".plsm/snapshots"):
            os.rmdir(".plsm/snapshots/" + name)
    return len(workers), len(failures)


def main():
    if sys.argv[1] in KINDS:
        work(sys.argv[1], int(sys.argv[2]))
        return False
    os.chdir(sys.argv[1])
    seed = int(os.environ.get("MIXED_SEED", random.randrange(1 << 30)))
    kinds = [os.environ["MIXED_KIND"]] if "MIXED_KIND" in os.environ else list(KINDS)
    count = failed = 0
    for kind in kinds:
        if failed == 0:
            workers, failures = run(kind, seed)
            count, failed = count + workers, failed + failures
    print(f"{count - failed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
