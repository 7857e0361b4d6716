"""Processes that change a few names in every way there is, while batches change the same names behind the kernel:
mixed.py DIRECTORY. What each change does then depends on the others, so what is asked for is that each fails with an
error that it may fail with, that no value is one that nobody wrote, and that the mount serves on. The last line is "N
passed, M failed"; MIXED_SEED and MIXED_SECONDS."""
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
WRITTEN = re.compile(rb"((file)*f?i?l?e?|batch ?[0-9]{0,3})[x\0]*") # cut anywhere, and zeros or x may follow


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
        lines = [b"p/%s\tbatch %d\n" % (r.choice(NAMES).encode(), r.randrange(1000)) for _ in range(r.choice([1, 9, 50]))]
        with open("../.plsm/batch", "wb", buffering=0) as f:
            f.write(b"".join(lines))
    else:
        with open(a, "rb") as f:
            value = f.read()
        assert WRITTEN.fullmatch(value), value[:100]


def work(seed):
    r, end, count = random.Random(seed), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        try:
            change(r)
        except OSError as e:
            if e.errno not in MAY:
                sys.exit(f"{e!r} after {count} changes")
        count += 1


def main():
    os.chdir(sys.argv[1])
    if len(sys.argv) > 2:
        return work(int(sys.argv[2]))
    seed = int(os.environ.get("MIXED_SEED", random.randrange(1 << 30)))
    os.mkdir("p")
    workers = [subprocess.Popen([sys.executable, os.path.abspath(__file__), os.path.abspath("p"), str(seed + i)],
                                stderr=subprocess.PIPE) for i in range(3)]
    failures = []
    for worker in workers:
        try:
            told = worker.communicate(timeout=SECONDS + 60)[1].decode()
            if worker.returncode:
                failures.append(told)
        except subprocess.TimeoutExpired:
            failures.append("still waiting")
            worker.kill()
    for failure in failures:
        print(f"FAILED (MIXED_SEED={seed}): {failure}")
    if not failures:
        shutil.rmtree("p")
    print(f"{len(workers) - len(failures)} passed, {len(failures)} failed")


main()
