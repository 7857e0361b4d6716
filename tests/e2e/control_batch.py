"""Who closes .plsm/batch, and when that commits; who is interrupted in .plsm/ctl: control_batch.py DIRECTORY. The last
line is "N passed, M failed"."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import tally
from tally import same

BATCH = ".plsm/batch"


def statistic(name):
    with open(".stats") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(name + " "))


def batches():
    return statistic("fs.control.batches")


def there():
    return {name: open("p/" + name).read() for name in sorted(os.listdir("p"))} if os.path.exists("p") else {}


def sees(wanted, *why):
    """A moment later, where the last close is nobody's."""
    end = time.monotonic() + 5
    while there() != wanted and time.monotonic() < end:
        time.sleep(0.05)
    same(there(), wanted, *why)


def clear():
    for name in there():
        os.unlink("p/" + name)
    if os.path.exists("p"):
        os.rmdir("p")
    time.sleep(0.1)


# Each writes the keys p/1, p/2 and p/3: with one commit.
WHOLE = {
    "a command": r"exec env printf 'p/1\t1\np/2\t2\np/3\t3\n' >$0",
    "a group": r"{ printf 'p/1\t1\n'; env printf 'p/2\t2\np/3\t'; printf '3\n'; } >$0",
    "a subshell": r"( printf 'p/1\t1\n'; env printf 'p/2\t2\n'; printf 'p/3\t3\n' ) >$0",
    "builtins with other outputs": r"{ printf 'p/1\t1\n'; echo >/dev/null; printf 'p/2\t2\n' 2>&1; echo >&2; "
                                   r"printf 'p/3\t3\n'; } >$0",
    "pipelines": r"{ printf 'p/1\t1\n' | cat; yes | head -1 >/dev/null; printf 'p/2\t2\np/3\t3\n' | env cat; } >$0",
    "a descriptor": r"exec 3>$0; for i in 1 2 3; do env printf 'p/%s\t%s\n' $i $i >&3; done; exec 3>&-",
    "a script's end": r"exec 3>$0; for i in 1 2 3; do env printf 'p/%s\t%s\n' $i $i >&3; done",
    "readers meanwhile": r"{ printf 'p/1\t1\n'; cat $0 >/dev/null; (exit 3); env printf 'p/2\t2\n'; printf 'p/3\t3\n'; } >$0",
    "a child that a signal ends": r"{ printf 'p/1\t1\n'; timeout -s KILL 0.1 sleep 9; printf 'p/2\t2\np/3\t3\n'; } >$0",
    "a signal behind one who wrote": r"{ env printf 'p/1\t1\n'; timeout -s KILL 0.1 sleep 9; "
                                     r"env printf 'p/2\t2\np/3\t3\n'; } >$0",
    "a signal behind all who wrote": r"exec 3>$0; env printf 'p/1\t1\np/2\t2\np/3\t3\n' >&3; yes | head -1 >/dev/null; "
                                     r"exec 3>&-",
    "a signal behind many who wrote": r"exec 3>$0; for i in $(seq 40); do env printf 'p/1\t1\np/2\t2\np/3\t3\n' >&3; done; "
                                      r"timeout -s KILL 0.1 sleep 9; exec 3>&-",
    "shells one after the other": r"""true >$0; echo >/dev/null
        { printf 'p/1\t1\n'; env printf 'p/2\t2\n'; printf 'p/3\t3\n'; } >$0""",
}


def whole():
    for shell in "bash", "dash":
        for what, script in WHOLE.items():
            clear()
            before = batches()
            same(subprocess.run([shell, "-c", script, BATCH], timeout=30, stderr=subprocess.DEVNULL).returncode, 0, what)
            sees({"1": "1", "2": "2", "3": "3"}, shell, what)
            same(batches() - before, 1, shell, what)
    # A child whose parent has closed the file; and one that closes its copy as it executes a program.
    for early in True, False:
        clear()
        before = batches()
        with open(BATCH, "w") as f:
            child = subprocess.Popen(["bash", "-c", r"read; for i in 1 2 3; do env printf 'p/%s\t%s\n' $i $i; done"],
                                     stdin=subprocess.PIPE, stdout=f)
            if early:
                f.close()
            child.communicate(b"\n", timeout=30)
            same(there(), {}, "a child") if not early else None
        sees({"1": "1", "2": "2", "3": "3"}, "a child")
        same(batches() - before, 1, "a child")
    clear()
    script = f"import os; f = os.open('{BATCH}', os.O_WRONLY); os.write(f, b'p/1\\t1\\n'); os.execlp('true', 'true')"
    same(subprocess.run(["python3", "-c", script], timeout=30).returncode, 0, "exec")
    sees({"1": "1"}, "exec")


def two():
    """A process that has two open is told what became of each as it closes it."""
    clear()
    files = [os.open(BATCH, os.O_WRONLY) for _ in range(2)]
    for i, f in enumerate(files):
        os.write(f, b"p/%d\tx\n" % i)
    for i, f in enumerate(files):
        os.close(f)
        sees({str(number): "x" for number in range(i + 1)}, "two")
    # So it is when the other is a file of that name elsewhere.
    for place in "p", tempfile.mkdtemp():
        os.makedirs(place + "/.plsm", exist_ok=True)
        other = os.open(place + "/.plsm/batch", os.O_CREAT | os.O_WRONLY)
        f = os.open(BATCH, os.O_WRONLY)
        os.write(f, b"\\!p/0\n")
        try:
            os.close(f)
            same("closed", "FileExistsError", place)
        except FileExistsError:
            same("FileExistsError", "FileExistsError")
        os.close(other)
        shutil.rmtree(place + "/.plsm")
        if place != "p":
            os.rmdir(place)


def threads():
    """Each has a file of its own, and hears of its own failures, whatever the others have open."""
    clear()
    before = batches()
    heard = []

    def work(number):
        for i in range(30):
            f = os.open(BATCH, os.O_WRONLY)
            os.write(f, b"\\!p/%d-%d\np/%d-%d\tx\n" % (number, i // 2, number, i // 2))
            try:
                os.close(f)
            except FileExistsError:
                heard.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    same(len(there()), 60, "threads")
    same(len(heard), 60, "threads")
    same(batches() - before, 60, "threads")


# Each writes a half of what it would, and a signal ends it.
KILLED = {
    "a half line": r"p/1\t1\np/2\t2",
    "whole lines": r"p/1\t1\n",
}


# One of those that write is ended by a signal while another goes on.
HALVES = {
    "one in the background": r"""{ bash -c "printf 'p/1\t1\np/2\t2\np/3\tha'; sleep .4; kill -9 \$\$" & sleep .1
        printf 'lf\np/4\t4\n'; wait; printf 'p/5\t5\n'; } >$0""",
    "the one that opened it": r"""bash -c 'exec 3>$0; printf "p/1\t1\n" >&3
        { printf "p/2\t2\n"; sleep .3; printf "p/3\t3\n"; } >&3 & sleep .1; kill -9 $$' $0; sleep .4""",
}


def killed():
    for what, text in KILLED.items():
        for number in signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV:
            clear()
            before = batches()
            script = f"import os, time; f = os.open('{BATCH}', 1); os.write(f, b'{text}'); " \
                     f"os.kill(os.getpid(), {int(number)}); time.sleep(9)"
            child = subprocess.run(["python3", "-c", script], timeout=30)
            same(child.returncode, -number, what)
            time.sleep(0.1)
            sees({}, what, number)
            same(batches() - before, 0, what)
            same("a signal ended" in open(".plsm/batch.error").read(), True, what)
    # By a thread, with others.
    clear()
    script = f"import os, threading, time; f = os.open('{BATCH}', 1); " \
             "threading.Thread(target=lambda: (os.write(f, b'p/1\\t1'), os.kill(os.getpid(), 9))).start(); time.sleep(9)"
    same(subprocess.run(["python3", "-c", script], timeout=30).returncode, -9, "a thread")
    time.sleep(0.1)
    sees({}, "a thread")
    # Of several, whoever writes behind it and whoever has written last: nothing of the batch is done.
    for what, script in HALVES.items():
        clear()
        before = batches()
        subprocess.run(["bash", "-c", script, BATCH], timeout=30, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        sees({}, what)
        same(batches() - before, 0, what)
    # In a group the others hear of it, and nothing of the batch is done.
    clear()
    script = r"""{ printf 'p/1\t1\n'; bash -c 'printf "p/2\t2"; kill -9 $$'; printf '3\n' || exit 3; } >$0"""
    child = subprocess.run(["bash", "-c", script, BATCH], timeout=30, stderr=subprocess.PIPE)
    same((child.returncode, b"Operation canceled" in child.stderr), (3, True), child.stderr)
    time.sleep(0.1)
    sees({}, "a part of a group")
    # The next batch begins anew; an end with a code that is no success is none by a signal.
    same(subprocess.run(["bash", "-c", r"{ printf 'p/1\t1\n'; exit 7; } >$0", BATCH], timeout=30).returncode, 7)
    sees({"1": "1"}, "afterwards")
    same(open(".plsm/batch.error").read(), "")
    # A command of ctl that was cut off.
    before = open(".plsm/ctl").read().count("flush: done")
    subprocess.run(["python3", "-c", "import os; os.write(os.open('.plsm/ctl', 1), b'flush'); os.kill(os.getpid(), 9)"],
                   timeout=30)
    time.sleep(1.1)
    same(open(".plsm/ctl").read().count("flush: done") - before, 0, "ctl")
    same(subprocess.run(["bash", "-c", "{ printf fl; env printf us; printf h; } >.plsm/ctl"], timeout=30).returncode, 0)
    time.sleep(1.1)
    same(open(".plsm/ctl").read().count("flush: done") - before, 1, "ctl in pieces")


def interrupted():
    """A signal to whoever waits for commands ends the waiting, and not the commands."""
    class Interrupted(Exception):
        pass

    def on_alarm(*_):
        raise Interrupted

    f = os.open(BATCH, os.O_WRONLY)
    os.write(f, b"".join(b"interrupted/%06d\tvalue\n" % i for i in range(20000)))
    os.close(f)
    signal.signal(signal.SIGALRM, on_alarm)
    left = 0
    for lines in 100, 400, 1600:  # until they take long enough
        before = statistic("fs.control.commands")
        f = os.open(".plsm/ctl", os.O_WRONLY)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            os.write(f, b"retrain all\n" * lines)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            left = before + lines - statistic("fs.control.commands")
        os.close(f)
        with open(".plsm/ctl", "w") as f:
            f.write("flush\n")  # waits for those before it
        done = statistic("fs.control.commands") - before
        if done == 1:
            left = 0  # the signal came before the write began
            continue
        same(done, lines + 1, "the commands went on")
        if left > 0:
            break
    same(left > 0, True, "a signal ended the waiting")
    f = os.open(BATCH, os.O_WRONLY)
    os.write(f, b"\\~interrupted/\tinterrupted0\n")
    os.close(f)


def uncounted():
    """A signal to whoever waits for the size of a range ends the counting."""
    f = os.open(BATCH, os.O_WRONLY)
    for i in range(400):
        os.write(f, b"interrupted/%d\t%s\n" % (i, b"x" * 131000))
    os.close(f)
    signal.signal(signal.SIGALRM, lambda *_: None)
    told = 0
    for _ in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            os.stat(".plsm/range/interrupted%2F..interrupted0.tsv")
            told += 1
        except InterruptedError:
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    same(told < 20, True, "a signal ended the counting")
    same(os.stat(".plsm/range/interrupted%2F..interrupted0.tsv").st_size > 400 * 131000, True)
    f = os.open(BATCH, os.O_WRONLY)
    os.write(f, b"\\~interrupted/\tinterrupted0\n")
    os.close(f)


def main():
    os.chdir(sys.argv[1])
    whole()
    two()
    threads()
    killed()
    interrupted()
    uncounted()
    clear()
    tally.end()


main()
