"""Counts what scripts of calls see, which end with "N passed, M failed"."""
passed = failed = 0


def count(ok, *told):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAILED:", *told)


def same(what, wanted, *why):
    count(what == wanted, f"{what!r}, not {wanted!r}", *why)


def end():
    print(f"{passed} passed, {failed} failed")
