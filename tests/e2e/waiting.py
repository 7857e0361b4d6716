"""Many that wait for syncs at once, from one processor: waiting.py DIRECTORY SLOW share | hold. Makes the file SLOW, from
which on the daemon's syncs take SECONDS. share: they share them, and whoever only looks goes on meanwhile. hold: tells
"waiting", and at the end how the syncs ended."""
import errno
import os
import sys
import threading
import time

SECONDS = 1.0
MANY = 6


def sync(file, ends):
    try:
        os.fsync(file)
        ends.append("done")
    except OSError as error:
        ends.append(errno.errorcode[error.errno])


def start(slow):
    ends, threads = [], []
    for number in range(MANY):
        file = os.open(f"synced{number}", os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(file, b"synced\n")
        threads.append(threading.Thread(target=sync, args=(file, ends), daemon=True))
    with open(slow, "w"):
        pass
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 3)
    return threads, ends


def share(slow):
    begin = time.monotonic()
    threads, ends = start(slow)
    others = time.monotonic()
    for i in range(20):
        if os.path.exists(f"absent{i}"):
            sys.exit("what is that?")
    others = time.monotonic() - others
    for thread in threads:
        thread.join(30)
    took = time.monotonic() - begin
    if ends != ["done"] * MANY or others > SECONDS / 3 or took > (MANY - 2) * SECONDS:
        sys.exit(f"{ends}; others took {others:.2f} s, all {took:.2f} s")


def hold(slow):
    threads, ends = start(slow)
    print("waiting", flush=True)
    for thread in threads:
        thread.join(30)
    print(*sorted(set(ends)) if len(ends) == MANY else [f"{len(ends)} of {MANY} ended"], flush=True)
    os._exit(0)


os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.chdir(sys.argv[1])
{"share": share, "hold": hold}[sys.argv[3]](sys.argv[2])
