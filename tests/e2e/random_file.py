"""Random operations on a file of the mount and, the same, on a file beside it.

random_file.py FILE REFERENCE SEED SECONDS

Both files go on from what they are. After each operation that reads, and at the end, contents and sizes must be the
same; what is said of holes must agree with the content. A failure prints the seed and the last operations."""
import collections
import ctypes
import errno
import mmap
import os
import random
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
SIZE_MAX = 1500000
EXTENT = 128 << 10
names = sys.argv[1:3]
seed, seconds = int(sys.argv[3]), float(sys.argv[4])
draw = random.Random(seed)
last = collections.deque(maxlen=12)


def fallocate(fd, mode, offset, size):
    if libc.fallocate(fd, mode, offset, size) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class Side:
    """One of the two files. `mapped`: one descriptor for reading and writing, which mappings need; else two."""

    def __init__(self, name, mapped, direct):
        self.name = name
        self.mapped = mapped
        self.direct = direct
        self.open()

    def open(self):
        if self.mapped:
            self.write = self.read = os.open(self.name, os.O_RDWR | os.O_CREAT)
        else:
            self.write = os.open(self.name, os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if self.direct else 0))
            self.read = os.open(self.name, os.O_RDONLY)

    def close(self):
        os.close(self.write)
        if self.read != self.write:
            os.close(self.read)


def place(limit):
    near = draw.randrange(limit // EXTENT + 1) * EXTENT
    anywhere = draw.randrange(limit + 1)
    return min(limit, max(0, draw.choice([draw.randrange(5000), near, near + draw.randrange(-4, 5), anywhere, anywhere])))


def check(condition, what):
    if not condition:
        print(f"random_file.py: {what}; seed {seed}, the last operations:")
        for line in last:
            print("   ", line)
        sys.exit(1)


def compare(sides, offset, size):
    a, b = (os.pread(side.read, size, offset) for side in sides)
    if a != b:
        at = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
        check(False, f"bytes [{offset}, {offset + size}) differ from {offset + at} on, got {len(a)} and {len(b)}")


def data_said(side, content):
    """Bytes that are said to be data; what is said to be none must be zeros."""
    size = len(content)
    at = data = 0
    while at < size:
        try:
            start = os.lseek(side.read, at, os.SEEK_DATA)
        except OSError as e:
            check(e.errno == errno.ENXIO, "SEEK_DATA: " + str(e))
            start = size
        check(at <= start <= size and content.count(0, at, start) == start - at, f"[{at}, {start}) is said to be a hole")
        at = os.lseek(side.read, start, os.SEEK_HOLE) if start < size else size
        check(at > start or start == size, f"no data at {start}")
        data += at - start
    return data


def check_holes(sides):
    side, size = sides[0], os.fstat(sides[0].read).st_size
    if side.mapped or "publish=write" in os.environ.get("E2E_OPTIONS", ""): # all is data then
        return
    content = os.pread(sides[1].read, size + 1, 0)
    check(size == len(content), f"size {size}, not {len(content)}")
    data = data_said(side, content)
    blocks = os.fstat(side.read).st_blocks * 512
    end = time.monotonic() + 10
    while data == size > blocks and time.monotonic() < end:
        # All is data in a file that could be mapped since somebody has it open: the descriptor before could, and its
        # release came behind the next opening.
        side.close()
        time.sleep(0.05)
        side.open()
        data = data_said(side, content)
    check(data <= blocks < data + EXTENT + 512, f"{blocks} bytes in blocks, {data} bytes of data")


def map_write(fd, offset, data):
    start = offset - offset % mmap.PAGESIZE
    with mmap.mmap(fd, offset + len(data) - start, mmap.MAP_SHARED, offset=start) as m:
        m[offset - start:] = data
        if draw.random() < 0.3:
            m.flush()


def step(sides, size):
    weights = {"write": 10, "append": 3, "map": 6, "truncate": 4, "punch": 4, "zero": 3, "allocate": 2, "copy": 5,
               "read": 8, "holes": 3, "fsync": 1}
    what = draw.choices(list(weights), list(weights.values()))[0]
    offset = place(SIZE_MAX)
    amount = min(SIZE_MAX - offset, draw.choice([draw.randrange(1, 9000), draw.randrange(1, 400000), EXTENT]))
    data = draw.randbytes(amount) if what in ("write", "append", "map") else b""
    target = place(SIZE_MAX)
    last.append((what, offset, amount, target, size))
    keep = draw.choice([0, KEEP_SIZE])
    if what == "read":
        compare(sides, offset, amount)
    elif what == "holes":
        check_holes(sides)
    else:
        for side in sides:
            if what == "write":
                check(os.pwrite(side.write, data, offset) == len(data), "a short write")
            elif what == "append" and size + amount <= SIZE_MAX:
                os.pwrite(side.write, data, size)
            elif what == "map" and side.mapped and amount and offset + amount <= size:
                map_write(side.write, offset, data)
            elif what == "truncate":
                os.ftruncate(side.write, offset)
            elif what == "punch" and amount:
                fallocate(side.write, PUNCH_HOLE | KEEP_SIZE, offset, amount)
            elif what == "zero" and amount and side is sides[0]:
                fallocate(side.write, ZERO_RANGE | keep, offset, amount)
            elif what == "zero" and amount:  # as tmpfs has no ZERO_RANGE
                fallocate(side.write, PUNCH_HOLE | KEEP_SIZE, offset, amount)
                if not keep:
                    os.ftruncate(side.write, max(size, offset + amount))
            elif what == "allocate" and amount:
                fallocate(side.write, keep, offset, amount)
            elif what == "copy" and amount and target + amount <= SIZE_MAX and abs(target - offset) >= amount:
                left, place_from, place_to = amount, offset, target
                while left > 0:
                    got = os.copy_file_range(side.read, side.write, left, place_from, place_to)
                    if got == 0:
                        break
                    left, place_from, place_to = left - got, place_from + got, place_to + got
            elif what == "fsync":
                os.fsync(side.write)
    sizes = [os.fstat(side.read).st_size for side in sides]
    check(sizes[0] == sizes[1], f"sizes {sizes}")
    return sizes[0]


def main():
    end = time.monotonic() + seconds
    steps = 0
    while time.monotonic() < end:
        mapped = draw.random() < 0.6
        direct = not mapped and draw.random() < 0.3
        sides = [Side(names[0], mapped, direct), Side(names[1], mapped, False)]
        size = os.fstat(sides[0].read).st_size
        compare(sides, 0, SIZE_MAX + 1)
        for _ in range(draw.randrange(5, 60)):
            size = step(sides, size)
            steps += 1
        compare(sides, 0, SIZE_MAX + 1)
        for side in sides:
            side.close()
    print(f"random_file.py: seed {seed}, {steps} steps")


main()
