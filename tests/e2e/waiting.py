"""Many that wait for syncs at once, from one processor: waiting.py DIRECTORY SLOW share | loop | hold. Makes the file SLOW,
while which is there the daemon's syncs do not end. share: they share them, and whoever only looks goes on meanwhile;
removes it. loop: they share each of many syncs, which only take long. hold: tells "waiting", and, once somebody has removed it, how the syncs ended."""
import errno
import os
import sys
import threading
import time

MANY = 6
LOOPS = 10
TRIES = 20
LIMIT = 30.0
ARRIVAL = 5.0  # at most, until all wait: where the system does not tell, too


def sync(file, ends):
    try:
        os.fsync(file)
        ends.append("done")
    except OSError as error:
        ends.append(errno.errorcode[error.errno])


def waits_for_reply(thread):
    """Whether its request has come to the kernel's queue for the daemon, or it has ended."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/wchan") as file:
            place = file.read()
            return "request" in place or "fuse" in place
    except FileNotFoundError:
        return True


def start(slow):
    ends, threads = [], []
    for number in range(MANY):
        file = os.open(f"synced{number}", os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(file, b"synced\n")
        threads.append(threading.Thread(target=sync, args=(file, ends), daemon=True))
    with open(slow, "w"):
        pass
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda: waits_for_reply(thread))
        # One after another: of a burst the kernel keeps some back until somebody is answered (fs/transport.h).
        until(lambda: statistic("fs.transport") == "dev" or int(statistic("fs.threads")) >= FIRST_THREADS + number)
    return threads, ends


def until(condition):
    end = time.monotonic() + ARRIVAL
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def statistic(name):
    with open(".stats") as file:
        return next((line.split()[1] for line in file if line.split()[0] == name), "0")


def count_syncs():
    return int(statistic("lsm.log_syncs"))


def share(slow):
    before = count_syncs()
    threads, ends = start(slow)
    for i in range(20):
        if os.path.exists(f"absent{i}"):
            sys.exit("what is that?")
    early = list(ends)
    os.remove(slow)
    for thread in threads:
        thread.join(LIMIT)
    syncs = count_syncs() - before
    if early or ends != ["done"] * MANY or syncs > MANY - 2:
        sys.exit(f"{early} before others had ended; {ends}; {syncs} syncs")


def sync_often(file):
    for _ in range(LOOPS):
        os.write(file, b"again\n")
        os.fsync(file)


def loop(slow):
    """On a machine that is busy with other things they do not come back in time for the next one: tried again."""
    with open(f"{slow}-short", "w"):
        pass
    tries = []
    while not tries or (tries[-1] > LOOPS + LOOPS // 2 and len(tries) < TRIES):
        before = count_syncs()
        files = [os.open(f"synced{number}", os.O_CREAT | os.O_WRONLY, 0o644) for number in range(MANY)]
        threads = [threading.Thread(target=sync_often, args=(file,), daemon=True) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        for file in files:
            os.close(file)
        tries.append(count_syncs() - before)
    os.remove(f"{slow}-short")
    print("loop:", *tries, "syncs")
    if tries[-1] > LOOPS + LOOPS // 2:
        sys.exit(f"{MANY} that sync {LOOPS} times each do not share syncs")


def hold(slow):
    threads, ends = start(slow)
    print("waiting", flush=True)
    for thread in threads:
        thread.join(LIMIT)
    print(*sorted(set(ends)) if len(ends) == MANY else [f"{len(ends)} of {MANY} ended"], flush=True)
    os._exit(0)


FIRST_THREADS = min(64, 3 * len(os.sched_getaffinity(0)))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.chdir(sys.argv[1])
{"share": share, "loop": loop, "hold": hold}[sys.argv[3]](sys.argv[2])
