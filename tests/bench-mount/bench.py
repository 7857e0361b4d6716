#!/usr/bin/env python3
"""How fast the mount is, in one run, interleaved, beside ext4 on a disk, ext4 on a loop device in memory (as root),
tmpfs, and null_fs, the thinnest file system that FUSE allows. `make bench-mount` builds what it needs and runs it:

    make bench-mount FILES=20000 MANY=1000000 LARGE=4096 ROUNDS=3 DISK=/mnt/somewhere

Rows of system calls with 1 and 2 threads, with the processor time of the daemon per operation; commands on FILES small
files; a file of LARGE MiB, also beside null_fs with its content passed through to ext4; BATCH records through
.plsm/batch and .plsm/range, beside `plsm scan`; all this in turns, as medians over the rounds. At last, and once,
commands on MANY files of 100 bytes in one directory tree. What is asked of the mount stands behind each figure, met or
not. Cold rows drop the caches of the machine, which only root can do. All it makes is removed at the end, whatever
happens."""
import argparse
import csv
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

FILE_BYTES = 100
PER_DIRECTORY = 1000
LIMIT_SECONDS = 1800
TICKS = os.sysconf("SC_CLK_TCK")
IS_ROOT = os.geteuid() == 0


def run(*command, **options):
    return subprocess.run(command, check=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL,
                          stdout=options.pop("stdout", subprocess.DEVNULL), **options)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


class Place:
    """A directory of some file system to measure in."""

    def __init__(self, name, directory):
        self.name, self.directory, self.process = name, directory, None

    def open(self):
        os.makedirs(self.directory, exist_ok=True)

    def close(self):
        pass

    def used_bytes(self):
        space = os.statvfs(self.directory)
        return (space.f_blocks - space.f_bfree) * space.f_frsize

    def cpu_seconds(self):
        """Of the daemon; 0 where there is none."""
        if not self.process:
            return 0.0
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def written_bytes(self):
        """By the daemon, to its disk."""
        with open(f"/proc/{self.process.pid}/io") as f:
            return int(next(line for line in f if line.startswith("write_bytes")).split()[1])

    def resident_bytes(self):
        if not self.process:
            return 0
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * 4096


class Daemon(Place):
    """One that a process of ours serves in the foreground."""

    def __init__(self, name, directory, command, *behind):
        super().__init__(name, directory)
        self.command, self.behind = command, behind

    def open(self):
        super().open()
        self.process = subprocess.Popen([*self.command, self.directory, *self.behind], stdin=subprocess.DEVNULL)
        wait_until(lambda: os.path.ismount(self.directory) or self.process.poll() is not None, f"{self.name}: no mount")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name}: the daemon ended with {self.process.returncode}")
        if IS_ROOT:  # plsm asks for it by itself
            device = os.stat(self.directory).st_dev
            with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb", "w") as f:
                f.write("1024")

    def close(self):
        if os.path.ismount(self.directory):
            subprocess.run(["fusermount3", "-u", self.directory], timeout=60, check=False)
        if self.process:
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                subprocess.run(["fusermount3", "-uz", self.directory], timeout=60, check=False)
            self.process = None


class Mount(Daemon):
    def __init__(self, directory, store, daemon, options):
        self.store = store
        super().__init__("plsm", directory, [daemon, "-f", "-o", "create" + ("," + options if options else ""), store])

    def renew(self):
        """Begins a new store, so that nothing of what was measured before is in it."""
        self.close()
        shutil.rmtree(self.store)
        self.open()

    def used_bytes(self):
        return sum(os.lstat(os.path.join(top, name)).st_blocks * 512 for top, _, names in os.walk(self.store)
                   for name in names)


class Passthrough(Daemon):
    """null_fs, with what files hold in files of the disk."""

    def __init__(self, directory, backing, program, transport):
        self.backing = backing
        super().__init__("passthrough", directory, [program, transport], backing)

    def open(self):
        os.makedirs(self.backing, exist_ok=True)
        super().open()


class Loop(Place):
    """ext4 in a file in memory."""

    def __init__(self, name, directory, image, files):
        super().__init__(name, directory)
        self.image, self.files = image, files

    def open(self):
        super().open()
        with open(self.image, "wb") as f:
            f.truncate(max(1 << 30, self.files * 12 << 10))
        run("mkfs.ext4", "-q", "-F", "-N", str(self.files * 4 + 10000), self.image, stderr=subprocess.DEVNULL)
        run("mount", "-o", "loop", self.image, self.directory)

    def close(self):
        if os.path.ismount(self.directory):
            run("umount", self.directory)
        if os.path.exists(self.image):
            os.remove(self.image)


class Results:
    def __init__(self):
        self.values = {}

    def add(self, part, row, place, value, cpu=None):
        self.values.setdefault((part, row), {}).setdefault(place, []).append((value, cpu))

    def median(self, part, row, place, which=0):
        values = [v[which] for v in self.values.get((part, row), {}).get(place, []) if v[which] is not None]
        return statistics.median(values) if values else None


# --- rows of system calls --------------------------------------------------------------------------------------------

# name, row of rows.c, cold
ROWS = [("create+write+close", "create", False), ("open+read+close, cold", "read", True),
        ("open+read+close, warm", "read", False), ("stat, cold", "stat", True), ("stat, warm", "stat", False),
        ("append 3 B", "append", False), ("rename over", "rename", False), ("unlink", "unlink", False)]


def measure_rows(place, threads, files, rows, results, options):
    top = os.path.join(place.directory, "rows")
    os.mkdir(top)
    for name, row, cold in ROWS:
        if cold and not IS_ROOT:
            continue
        if cold:
            drop_caches()
        measure_row(place, f"{name}, {threads}t", row, top, threads, files, rows, results)
    for writers in [1, 8] if threads == 1 else []:
        files = max(2, options.synced // writers)
        measure_row(place, f"create+fsync, {writers}w", "create_fsync", top, writers, files, rows, results)
        shutil.rmtree(top)
        os.mkdir(top)
    shutil.rmtree(top)


def measure_row(place, name, row, top, threads, files, rows, results):
    before = place.cpu_seconds()
    out = run(rows, row, top, str(threads), str(files), stdout=subprocess.PIPE).stdout.split()
    operations, seconds = int(out[0]), float(out[1])
    cpu = (place.cpu_seconds() - before) / operations * 1e6 if place.process else None
    results.add("rows", name, place.name, operations / seconds, cpu)


# --- commands ---------------------------------------------------------------------------------------------------------

def timed(place, part, name, command, results, cold):
    """Runs a shell command in the place; $D is its directory."""
    if cold:
        drop_caches()
    before, start = place.cpu_seconds(), time.monotonic()
    run("sh", "-c", command, env={**os.environ, "D": place.directory, "LC_ALL": "C"})
    seconds = time.monotonic() - start
    results.add(part, name, place.name, seconds * 1000, (place.cpu_seconds() - before) * 1000)


def measure_commands(place, source, archive, results):
    commands = [("cp -r", f"cp -r '{source}' $D/copy", False), ("ls -l", "ls -lR $D/copy", True),
                ("grep -r", "! grep -r nothing-of-this $D/copy", True), ("tar c", "tar -C $D -cf - copy | cat", True),
                ("tar x", f"tar -C $D -xf '{archive}'", False), ("rsync", f"rsync -a '{source}/' $D/synced", False),
                ("rm -r", "rm -r $D/copy", True)]
    for name, command, cold in commands:
        if (cold and not IS_ROOT) or (name == "rsync" and not shutil.which("rsync")):
            continue
        timed(place, "commands", name, command, results, cold)
    for name in os.listdir(place.directory):
        if name != "lost+found":
            shutil.rmtree(os.path.join(place.directory, name))


# --- a large file -----------------------------------------------------------------------------------------------------

PIECE = 1 << 20
OVERWRITES = 2000


def rate(part, row, place, results, work):
    """What `work` gives, so many MB or operations, by the second."""
    before, start = place.cpu_seconds(), time.monotonic()
    amount = work()
    seconds = time.monotonic() - start
    cpu = (place.cpu_seconds() - before) / amount * 1e6 if place.process else None
    results.add(part, row, place.name, amount / seconds, cpu)


def write_large(path, mib):
    pieces = [random.randbytes(PIECE) for _ in range(8)]
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    for i in range(mib):
        if os.write(file, pieces[i % len(pieces)]) != PIECE:
            raise OSError(f"{path}: a short write")
    os.fsync(file)
    os.close(file)
    return mib * PIECE / 1e6


def read_large(path):
    file, size = os.open(path, os.O_RDONLY), 0
    while piece := os.read(file, PIECE):
        size += len(piece)
    os.close(file)
    return size / 1e6


def overwrite_large(path, mib):
    file = os.open(path, os.O_WRONLY)
    for _ in range(OVERWRITES):
        os.pwrite(file, random.randbytes(4096), random.randrange(mib * PIECE // 4096) * 4096)
    os.fsync(file)
    os.close(file)
    return OVERWRITES


def measure_large(place, mib, results):
    path = os.path.join(place.directory, "large")
    rate("large", "write, and fsync", place, results, lambda: write_large(path, mib))
    if IS_ROOT:
        drop_caches()
        rate("large", "read, cold", place, results, lambda: read_large(path))
    rate("large", "read, warm", place, results, lambda: read_large(path))
    os.sync()
    before = place.written_bytes() if place.process else 0
    rate("large", "overwrites of 4 KiB, and fsync", place, results, lambda: overwrite_large(path, mib))
    if place.process:
        results.add("large", "bytes written for each of them", place.name,
                    (place.written_bytes() - before) / (OVERWRITES * 4096))
    for name, change in [("truncate to half, ms", lambda: os.truncate(path, mib * PIECE // 2)),
                         ("unlink, ms", lambda: os.unlink(path))]:
        start = time.monotonic()
        change()
        results.add("large", name, place.name, (time.monotonic() - start) * 1000)
    os.sync()


# --- the files of control ---------------------------------------------------------------------------------------------

def make_batch(path, records):
    with open(path, "w") as f:
        for i in range(records):
            f.write(f"batch/{i:010}\t{i:09}{'v' * (FILE_BYTES - 9)}\n")


def copy_file(source, target):
    with open(source, "rb") as f, open(target, "wb", buffering=0) as out:
        while piece := f.read(PIECE):
            out.write(piece)


def measure_control(place, program, batch, records, results):
    def put():
        copy_file(batch, os.path.join(place.directory, ".plsm/batch"))
        return records

    def read():
        read_large(os.path.join(place.directory, ".plsm/range/batch%2F..batch0.tsv"))
        return records

    def scan():
        run(program, "scan", "--prefix=batch/", place.store)
        return records

    place.renew()
    rate("control", ".plsm/batch", place, results, put)
    rate("control", ".plsm/range", place, results, read)
    place.close()
    rate("control", "plsm scan", place, results, scan)
    place.open()
    place.renew()


# --- many files -------------------------------------------------------------------------------------------------------

def measure_many(place, files, rows, results):
    directories = max(1, files // PER_DIRECTORY)
    if isinstance(place, Mount):
        place.renew()
    top = os.path.join(place.directory, "many")
    os.mkdir(top)
    os.sync()
    used = 0 if isinstance(place, Mount) else place.used_bytes()
    start = time.monotonic()
    for batch in range(0, directories, 50):
        part = os.path.join(top, f"p{batch}")
        os.mkdir(part)
        for directory in range(batch, min(batch + 50, directories)):
            os.mkdir(os.path.join(part, f"d{directory}"))
            run(rows, "create", os.path.join(part, f"d{directory}"), "1", str(files // directories))
    results.add("many", "create", place.name, (time.monotonic() - start) * 1000)
    if isinstance(place, Mount):  # written out and closed
        place.close()
        results.add("many", "bytes per file", place.name, (place.used_bytes() - used) / files)
        place.open()
    else:
        os.sync()
        results.add("many", "bytes per file", place.name, (place.used_bytes() - used) / files)
    for name, command in [("ls -l", "ls -lR $D/many"), ("tar c", "tar -C $D -cf - many | cat"), ("du", "du -s $D/many"),
                          ("rm -r", "rm -r $D/many")]:
        before = place.resident_bytes()
        timed(place, "many", name, command, results, IS_ROOT)
        if name == "ls -l" and isinstance(place, Mount):
            results.add("many", "daemon's memory for each file listed", place.name,
                        (place.resident_bytes() - before) / files)
        if name == "tar c" and place.process:
            results.add("many", "daemon's memory, MB", place.name, place.resident_bytes() / 1e6)
        if name == "du":
            size = int(run("du", "-s", "--apparent-size", "-B1", top, stdout=subprocess.PIPE).stdout.split()[0])
            names = sum(len(names) for _, names, _ in os.walk(top)) + 1
            want = files // directories * directories * FILE_BYTES
            sizes = sum(os.lstat(os.path.join(t, d)).st_size for t, ds, _ in os.walk(top) for d in ds)
            sizes += os.lstat(top).st_size
            results.add("many", "du is exact", place.name, 1.0 if size == want + sizes and names > 1 else 0.0)


# --- what is asked ----------------------------------------------------------------------------------------------------

def asked(options):
    """part, row, beside, at least (of rates) or at most (of times), factor"""
    targets = []
    for threads in [1, 2]:
        targets += [("rows", f"{name}, {threads}t", "null_fs", "least", 0.8) for name, _, _ in ROWS]
        for name, factor in [("open+read+close, cold", 1.5), ("rename over", 1.5), ("unlink", 2)]:
            targets += [("rows", f"{name}, {threads}t", beside, "least", factor) for beside in ["ext4", "ext4 loop"]]
    for writers, factor in [(1, 1), (8, 4)]:
        targets += [("rows", f"create+fsync, {writers}w", beside, "least", factor) for beside in ["ext4", "ext4 loop"]]
    targets += [("commands", name, "ext4 loop", "most", factor)
                for name, factor in [("grep -r", 0.4), ("tar c", 0.45), ("ls -l", 0.6)]]
    targets += [("many", name, beside, "most", factor) for beside in ["ext4", "ext4 loop"]
                for name, factor in [("ls -l", 0.5), ("tar c", 0.3), ("rm -r", 0.8)]]
    targets += [("large", name, "passthrough", "least", 0.7) for name in ["write, and fsync", "read, cold"]]
    return targets


# part, row, least, most: of plsm's own figure
ABSOLUTE = [("many", "bytes per file", None, 150), ("many", "daemon's memory for each file listed", None, 100),
            ("many", "du is exact", 1, None), ("control", ".plsm/batch", 1e6, None)]


def show(results, places, options, out):
    names = [place.name for place in places]
    units = {"rows": "operations per second (daemon's processor time in us)",
             "commands": f"milliseconds, {options.files} files (daemon's processor time)",
             "large": f"MB or overwrites per second, a file of {options.large} MiB (daemon's processor time in us)",
             "control": f"records per second, {options.batch} of them (daemon's processor time in us)",
             "many": f"milliseconds, {options.many} files of {FILE_BYTES} bytes (daemon's processor time)"}
    for part, unit in units.items():
        rows = [row for p, row in results.values if p == part]
        if not rows:
            continue
        cells = [[unit, *names]]
        for row in rows:
            line = [row]
            for name in names:
                value, cpu = results.median(part, row, name), results.median(part, row, name, 1)
                text = "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
                line.append(text + (f" ({cpu:,.0f})" if cpu is not None else ""))
            cells.append(line)
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        for line in cells:
            print("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]), file=out)
        print(file=out)


def judge(results, options, out):
    met = missed = 0
    print("asked of plsm                                                 ratio   asked", file=out)
    for part, row, beside, sense, factor in asked(options):
        ours, theirs = results.median(part, row, "plsm"), results.median(part, row, beside)
        if not ours or not theirs:
            continue
        good = ours / theirs >= factor if sense == "least" else ours / theirs <= factor
        met, missed = met + good, missed + (not good)
        name = f"{row}, of {beside}'s" + (" time" if sense == "most" else "")
        print(f"{name:58} {ours / theirs:8.2f}   {'>=' if sense == 'least' else '<='} {factor:<5}"
              f" {'met' if good else 'NOT MET'}", file=out)
    for part, row, least, most in ABSOLUTE:
        value = results.median(part, row, "plsm")
        if value is None:
            continue
        good = value >= least if least else value <= most
        met, missed = met + good, missed + (not good)
        limit = f">= {least:,.0f}" if least else f"<= {most}"
        print(f"{row:58} {value:8,.0f}   {limit:8} {'met' if good else 'NOT MET'}", file=out)
    ours, theirs = results.median("control", ".plsm/range", "plsm"), results.median("control", "plsm scan", "plsm")
    if ours and theirs:
        good = ours >= theirs
        met, missed = met + good, missed + (not good)
        name = ".plsm/range, of plsm scan"
        print(f"{name:58} {ours / theirs:8.2f}   >= 1     {'met' if good else 'NOT MET'}", file=out)
    print(f"{met} met, {missed} not met", file=out)


def save(results, path):
    with open(path, "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["part", "row", "place", "value", "daemon_cpu", "rounds"])
        for (part, row), places in results.values.items():
            for name, values in places.items():
                table.writerow([part, row, name, results.median(part, row, name), results.median(part, row, name, 1),
                                len(values)])


# --- all of it --------------------------------------------------------------------------------------------------------

def make_source(directory, files):
    for i in range(files):
        if i % PER_DIRECTORY == 0:
            os.makedirs(os.path.join(directory, f"d{i // PER_DIRECTORY:04}"))
        with open(os.path.join(directory, f"d{i // PER_DIRECTORY:04}", f"file{i:07}"), "w") as f:
            f.write(f"{i:09}".ljust(FILE_BYTES, "."))


def make_places(options, work, memory):
    files = max(options.files * 3, options.many, options.rows * 2)
    mount_options = ",".join(filter(None, [f"transport={options.transport}", options.options]))
    null_fs = f"{options.build}/bench-mount/null_fs"
    places = [Mount(f"{work}/plsm", f"{work}/store", f"{options.build}/plsmd", mount_options),
              Daemon("null_fs", f"{work}/null", [null_fs, options.transport]), Place("ext4", f"{work}/disk")]
    if options.large:
        places.append(Passthrough(f"{work}/through", f"{work}/backing", null_fs, options.transport))
    if IS_ROOT and memory and shutil.which("mkfs.ext4"):
        places.append(Loop("ext4 loop", f"{work}/loop", f"{memory}/image", files))
    if memory:
        places.append(Place("tmpfs", f"{memory}/tmpfs"))
    return [place for place in places if not options.only or place.name in options.only.split("/")]


def takes_small(place):
    return not isinstance(place, Passthrough)


def takes_large(place):
    return place.name in ["plsm", "passthrough", "ext4"]


def measure(options, places, memory, work, results):
    rows = f"{options.build}/bench-mount/rows"
    source = f"{memory or work}/source"
    if options.files:
        make_source(source, options.files)
        run("tar", "-C", memory or work, "-cf", f"{source}.tar", "source")
    batch = f"{memory or work}/batch.tsv"
    if options.batch:
        make_batch(batch, options.batch)
    for round in range(options.rounds):
        turns = places[round % len(places):] + places[:round % len(places)]
        for threads in [1, 2] if options.rows else []:
            for place in filter(takes_small, turns):
                print(f"round {round + 1}: rows, {threads} thread(s), {place.name}", file=sys.stderr)
                measure_rows(place, threads, options.rows // threads, rows, results, options)
        for place in filter(takes_small, turns if options.files else []):
            print(f"round {round + 1}: commands, {place.name}", file=sys.stderr)
            measure_commands(place, source, f"{source}.tar", results)
        for place in filter(takes_large, turns if options.large else []):
            print(f"round {round + 1}: a large file, {place.name}", file=sys.stderr)
            measure_large(place, options.large, results)
        for place in turns if options.batch else []:
            if isinstance(place, Mount):
                print(f"round {round + 1}: files of control", file=sys.stderr)
                measure_control(place, f"{options.build}/plsm", batch, options.batch, results)
    for place in filter(takes_small, places if options.many else []):
        print(f"many, {place.name}", file=sys.stderr)
        measure_many(place, options.many, rows, results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--disk", help="a directory on the disk to measure on; by default beside the build")
    parser.add_argument("--rows", type=int, default=10000, help="files for rows of system calls; 0: without them")
    parser.add_argument("--synced", type=int, default=1000, help="files that are created with fsync")
    parser.add_argument("--files", type=int, default=20000, help="files for the commands; 0: without them")
    parser.add_argument("--many", type=int, default=100000, help="files of the last part; 0: without it")
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file; 0: without it")
    parser.add_argument("--batch", type=int, default=1000000, help="records of the files of control; 0: without them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="places, with slashes between: plsm/null_fs")
    parser.add_argument("--options", default="", help="more options of the mount")
    parser.add_argument("--transport", default="auto", help="of plsm and null_fs: auto, dev or uring")
    parser.add_argument("--csv", help="where the figures go")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="bench-mount-", dir=options.disk or options.build)
    memory = tempfile.mkdtemp(prefix="bench-mount-", dir="/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    places = make_places(options, work, memory)
    opened, results = [], Results()
    try:
        for place in places:
            opened.append(place)
            place.open()
        measure(options, places, memory, work, results)
        show(results, places, options, sys.stdout)
        judge(results, options, sys.stdout)
        if not IS_ROOT:
            print("not root: cold rows and ext4 on a loop device are left out")
        if options.csv:
            save(results, options.csv)
    finally:
        for place in reversed(opened):
            try:
                place.close()
            except (OSError, subprocess.SubprocessError) as e:
                print(f"{place.name}: {e}", file=sys.stderr)
        for directory in filter(None, [work, memory]):
            if not any(os.path.ismount(place.directory) for place in opened):
                shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
