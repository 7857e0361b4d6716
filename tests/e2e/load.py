"""A load for a mount whose daemon is killed, and the check of what must be left.

load.py run DIRECTORY JOURNAL SEED    changes files until the mount dies. JOURNAL, on another file system, gets a line
                                      before ("try") and after ("did") each change.
load.py check DIRECTORY JOURNAL       compares: each file must be as the last "did" says or, where a "try" is behind
                                      it, as that says. Writes down what it found. Last line: how many files are there.

A content is determined by (length, number), so that the journal need not hold it."""
import errno
import hashlib
import json
import os
import random
import sys

GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.ECANCELED)


def content(size, number):
    seed = hashlib.sha256(f"{number}".encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def read_journal(path):
    """name -> the states it may have, None for absent or (size, number); and the change that was tried last."""
    states = {}
    pending = {}
    if not os.path.exists(path):
        return states, pending
    with open(path) as f:
        for line in f:
            if not line.endswith("\n"):
                break
            what, changes = json.loads(line)
            changes = {name: state and tuple(state) for name, state in changes.items()}
            if what == "try":
                pending = changes
            else:
                for name, state in changes.items():
                    states[name] = [state]
                pending = {}
    for name, state in pending.items():
        states.setdefault(name, [None])
        states[name] = states[name] + [state]
    return states, pending


def run(top, journal_path, seed):
    r = random.Random(seed)
    states, _ = read_journal(journal_path)
    now = {name: s[-1] for name, s in states.items()}
    number = seed * 1000000
    held = []  # files that were synced and are not closed: what they have must survive all the same
    with open(journal_path, "a") as journal:

        def note(what, changes):
            journal.write(json.dumps([what, changes]) + "\n")
            journal.flush()

        while True:
            number += 1
            kind = r.randrange(14)
            directory = f"d{r.randrange(6)}"
            name = f"{directory}/f{r.randrange(60)}"
            size = r.choice((0, 10, 100, 1000, 5000, 50000, 150000, 400000)) + r.randrange(50)
            try:
                os.makedirs(os.path.join(top, directory), exist_ok=True)
                if kind < 6:
                    changes = {name: (size, number)}
                    note("try", changes)
                    with open(os.path.join(top, name), "wb") as f:
                        data = content(size, number)
                        for at in range(0, size, 65536):
                            f.write(data[at : at + 65536])
                        if not data:  # what open alone has truncated waits for the release, which close does not
                            os.fsync(f.fileno())
                elif kind == 6:
                    changes = {name: (size, number)}
                    note("try", changes)
                    f = open(os.path.join(top, name), "wb")
                    f.write(content(size, number))
                    f.flush()
                    os.fsync(f.fileno())
                    held.append(f)
                    if len(held) > 5:
                        held.pop(0).close()
                elif kind == 7:
                    if now.get(name) is None:
                        continue
                    old, of = now[name]
                    changes = {name: (old + size, of)}
                    note("try", changes)
                    with open(os.path.join(top, name), "ab") as f:
                        f.write(content(old + size, of)[old:])
                elif kind < 10:
                    state = now.get(name)
                    try:
                        with open(os.path.join(top, name), "rb") as f:
                            data = f.read()
                    except FileNotFoundError:
                        data = None
                    if data != (content(*state) if state else None):
                        print(f"{name}: read {data and len(data)} bytes, not {state}")
                        return 1
                    continue
                elif kind < 12:
                    changes = {name: None}
                    if now.get(name) is None:
                        continue
                    note("try", changes)
                    os.unlink(os.path.join(top, name))
                else:
                    to = f"d{r.randrange(6)}/f{r.randrange(60)}"
                    if now.get(name) is None or to == name:
                        continue
                    os.makedirs(os.path.dirname(os.path.join(top, to)), exist_ok=True)
                    changes = {name: None, to: now[name]}
                    note("try", changes)
                    os.rename(os.path.join(top, name), os.path.join(top, to))
                note("did", changes)
                now.update(changes)
            except OSError as e:
                if e.errno in GONE:
                    return 0
                raise


def check(top, journal_path):
    states, pending = read_journal(journal_path)
    by_write = "publish=write" in os.environ.get("E2E_OPTIONS", "")
    found = {}
    for directory in os.listdir(top):
        for name in os.listdir(os.path.join(top, directory)):
            with open(os.path.join(top, directory, name), "rb") as f:
                found[f"{directory}/{name}"] = f.read()
    bad = 0
    settled = {}
    for name in sorted(set(states) | set(found)):
        data = found.get(name)
        fits = [s for s in states.get(name, []) if data == (content(*s) if s else None)]
        # a new file shows empty from its creation to its first publication
        if not fits and data == b"" and name in pending and states[name][0] is None:
            fits = [(0, 0)]
        # with publish=write what was written of it before the end is there
        if not fits and by_write and data is not None and pending.get(name):
            part = (len(data), pending[name][1])
            fits = [part] if data == content(*part) else []
        if not fits:
            bad += 1
            got = "absent" if data is None else f"{len(data)} bytes"
            print(f"{name}: {got}, but may be {states.get(name)}")
        elif name in pending:
            settled[name] = fits[-1]
    # a rename happens as a whole
    if not bad and len(pending) == 2 and None in pending.values():
        moved = [settled[name] == state for name, state in pending.items()]
        same = [states[name][0] == state for name, state in pending.items()]
        if True in moved and False in moved and not any(same):
            bad += 1
            print(f"half of a rename: {pending} {settled}")
    if bad:
        return 1
    with open(journal_path, "a") as journal:
        journal.write(json.dumps(["did", settled]) + "\n")
    print(len(found), "files")
    return 0


if sys.argv[1] == "run":
    sys.exit(run(sys.argv[2], sys.argv[3], int(sys.argv[4])))
sys.exit(check(sys.argv[2], sys.argv[3]))
