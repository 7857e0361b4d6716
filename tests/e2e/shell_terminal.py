"""Sessions of `plsm shell` at a pseudo-terminal: prompts, editing, completion, history, questions, interrupts.

Usage: shell_terminal.py PLSM STORE STATE_HOME FILE_OF_PAIRS"""
import os, pty, re, select, signal, sys, time

PLSM, STORE, STATE, PAIRS = sys.argv[1:]
UP, LEFT, HOME_KEY, INTERRUPT, END, TAB = "\x1b[A", "\x1b[D", "\x01", "\x03", "\x04", "\t"


class Session:
    def __init__(self, *options, term="xterm"):
        self.got, self.closed = "", False
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM=term, LC_ALL="C.UTF-8")
            os.execv(PLSM, ["plsm", "shell", *options, STORE])
        self.wait_for("> ")

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            data = b""
            self.closed = True
        self.got += data.decode("utf-8", "replace")
        return len(data) > 0

    def wait_for(self, text, seconds=20):
        """Until `text` is there, behind what was waited for before. Returns what came up to it, the end of it at least,
        without controls."""
        until = time.monotonic() + seconds
        while text not in plain(self.got):
            if time.monotonic() > until or not self.read(until - time.monotonic()):
                raise AssertionError(f"{text!r} did not come, but {self.got[-2000:]!r}")
            self.got = self.got[-200000:]
        shown = plain(self.got)
        at = shown.index(text) + len(text)
        self.got = shown[at:]
        return shown[:at]

    def send(self, text):
        os.write(self.fd, text.encode())

    def run(self, line):
        """The output of one command."""
        self.send(line + "\r")
        return self.wait_for("> ")

    def interrupt(self, *texts):
        """Presses the key until all of `texts` have come: libedit loses it in the moment in front of its read."""
        for _ in range(10):
            self.send(INTERRUPT)
            try:
                self.wait_for(texts[0], 2)
                break
            except AssertionError:
                continue
        for text in texts[1:]:
            self.wait_for(text)

    def end(self, how=END, code=0):
        """Ends it; what is pressed in the moment in front of a read may be lost, too."""
        for _ in range(20):
            if self.closed:
                break
            self.send("\x15" + how)  # on an empty line
            while self.read(1):
                pass
        assert self.closed, f"it does not end: {self.got[-2000:]!r}"
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == code, (status, self.got[-3000:])
        os.close(self.fd)


def plain(text):
    """Without what moves the cursor, and with newlines as they were written."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\x07\x08]", "", text).replace("\r\n", "\n").replace("\r", "")


def basics():
    s = Session()
    shown = s.run("put apple 12")
    assert "plsm (learned)" in shown, shown
    assert "12" in s.run("get apple")
    assert "no such key" in s.run("get absent")
    assert "no such command" in s.run("frobnicate")
    assert "3 pairs" in s.run("l " + PAIRS)
    assert "3:31" in s.run("r 0 9")
    assert "index: traditional" in s.run("switch")
    assert "(traditional)" in s.run("timing on")
    assert re.search(r"\d ms", s.run("get apple"))
    editing = "tab key" in s.run("help")
    # what cannot be undone is asked for
    s.send("reset\r")
    s.wait_for("[y/N] ")
    s.send("n\r")
    s.wait_for("> ")
    assert "12" in s.run("get apple")
    s.send("reset\r")
    s.wait_for("[y/N] ")
    s.send("yes\r")
    s.wait_for("> ")
    assert "no such key" in s.run("get apple")
    s.end("exit\r")
    return editing


def interrupts():
    s = Session()
    s.send("put never")
    s.wait_for("never")
    s.interrupt("> ")  # drops the line, and nothing else
    assert "no such key" in s.run("get never")
    # a range that goes on for long
    with open(os.path.join(STATE, "many"), "wb") as file:
        for i in range(400000):
            file.write(i.to_bytes(4, "little") * 2)
    assert "400000 pairs" in s.run("l " + os.path.join(STATE, "many"))
    s.send("range\r")
    s.wait_for("\\x01\\x03")
    s.interrupt("interrupted", "> ")
    assert "7:7" in s.run("r 7 8")
    s.send("s\r")
    s.wait_for("Logical Pairs: 400000")
    s.interrupt("interrupted", "> ")
    s.end()


def editing():
    s = Session()
    s.run("put kingdom/one 1")
    s.run("put kingdom/two 2")
    s.run("put 'with space' 3")
    # completion: a command, a directory, a key; what is typed is kept
    s.send("ge" + TAB + "ki" + TAB)
    s.wait_for("kingdom/")
    s.send(TAB)  # both are shown
    shown = s.wait_for("kingdom/two")
    assert "kingdom/one" in shown, shown
    s.send("o" + TAB + "\r")
    s.wait_for("\n1\n")
    s.send("get w" + TAB + "\r")
    s.wait_for("\n3\n")
    s.wait_for("> ")
    s.send("get 'wi" + TAB + "\r")  # begun in quotes: written anew
    s.wait_for("\n3\n")
    s.wait_for("> ")
    s.send("l " + PAIRS[:-2] + TAB)
    s.wait_for(PAIRS)
    s.send("\r")
    s.wait_for("3 pairs")
    s.wait_for("> ")
    # editing within the line, and the line before
    s.send("et kingdom/two" + HOME_KEY + "g\r")
    s.wait_for("\n2\n")
    s.wait_for("> ")
    s.send(UP + UP + UP + "\r")
    s.wait_for("\n3\n")
    s.wait_for("> ")
    # characters of several bytes, and bytes that are none
    s.run("put größe 4")
    s.run("put no-\\xff\\xc3-character 1")
    assert "größe\t4" in s.run("range gr gs")
    assert "no-\\xff\\xc3-character\t1" in s.run("range no np")
    s.send("get gr" + TAB + "\r")
    s.wait_for("\n4\n")
    s.wait_for("> ")
    s.run("put large-1 5")
    s.end()
    # the history is there in the next session, for its owner alone
    history = os.path.join(STATE, "plsm", "history")
    assert [os.stat(path).st_mode & 0o777 for path in (history, os.path.dirname(history))] == [0o600, 0o700]
    s = Session()
    s.send(UP)
    s.wait_for("large-1")
    s.send("\r")
    s.wait_for("> ")
    s.send("\x12größe")  # backwards through it
    s.wait_for("größe")
    s.send("\x07")
    s.interrupt("> ")
    s.end()


def signals():
    """A stop and a window that changes its size while a line is edited."""
    s = Session()
    s.send("get kingdom/")
    s.wait_for("kingdom/")
    os.kill(s.pid, signal.SIGWINCH)
    time.sleep(0.2)
    s.send("one\r")
    s.wait_for("\n1\n")
    s.wait_for("> ")
    s.end()


def terminals():
    """A terminal that can do nothing, and one that goes away."""
    s = Session(term="dumb")
    assert "1" in s.run("get kingdom/one")
    s.interrupt("> ")
    s.end()
    s = Session()
    os.close(s.fd)
    os.waitpid(s.pid, 0)


os.makedirs(STATE, 0o700, exist_ok=True)
has_editing = basics()
interrupts()
if has_editing:  # otherwise it was built without libedit
    editing()
    signals()
    terminals()
