"""What the programs of tests in this directory share. The last line that they print is "N passed, M failed"."""
import errno
import os
import sys
import traceback


def fails(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as e:
        assert e.errno == error, f"{errno.errorcode.get(e.errno)} instead of {errno.errorcode[error]}: {args}"
        return
    assert False, f"should have failed with {errno.errorcode[error]}: {args}"


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def directory_links(count):
    """The link count of a directory that has so many: 1 with UNCOUNTED in the environment, as where names have no order,
    since counting the directories in one would look at all names there."""
    return 1 if "UNCOUNTED" in os.environ else count


def run(names, top, kind="test_", again=False):
    """Calls each function of `names` (globals()) that begins with `kind`, in a directory of its own below `top`, which
    is there when it is run `again`."""
    passed = failed = 0
    for name, function in sorted(names.items()):
        if not name.startswith(kind):
            continue
        where = os.path.join(top, name.removeprefix(kind))
        os.makedirs(where, exist_ok=again)
        os.chdir(where)
        try:
            function()
            passed += 1
        except Exception:
            failed += 1
            print("FAILED:", name)
            traceback.print_exc(file=sys.stdout)
    os.chdir("/")
    print(f"{passed} passed, {failed} failed")
