#!/usr/bin/env bash
# What a kill -9 of the daemon leaves of files that are open: never less than what the store had before.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

# killed PYTHON: runs a program in the mount until it says that it is ready, kills the daemon while it keeps its files
# open, and mounts again.
killed()
{
    local pid line=
    pid=$(daemon_of)
    coproc HOLDER { cd "$DIR" && exec python3 -uc "import ctypes, os
def put(name, data):
    with open(name, 'wb') as f:
        f.write(data)
$1
print('ready')
input()" 2>&1; }
    local holder=$HOLDER_PID
    read -r -t 60 line <&"${HOLDER[0]}"
    is "$line" ready
    kill -9 "$pid"
    echo >&"${HOLDER[1]}"
    wait "$holder" 2>/dev/null
    must_mount rw,publish_interval=0
}
# either NAME TEXT...: the file holds one of the texts.
either()
{
    local name=$1 got text
    shift
    got=$(cat "$DIR/$name" 2>&1)
    for text; do [ "$got" != "$text" ] || { pass; return; }; done
    fail "$name holds '$got', none of: $*"
}

must_mount create,publish_interval=0
# --- a rename over a file, with the new content not yet closed -------------------------------------------------------
killed "put('target', b'OLD')
f = os.open('tmp', os.O_CREAT | os.O_WRONLY)
os.write(f, b'NEW')
os.rename('tmp', 'target')"
either target OLD NEW
# an existing file that is truncated and written, and a large one
killed "put('target', b'OLD')
put('tmp', b'OTHER')
f = os.open('tmp', os.O_TRUNC | os.O_WRONLY)
os.write(f, b'NEW' * 1000000)
os.rename('tmp', 'target')"
[ "$(head -c 3 "$DIR/target")" = OLD ] || is "$(stat -c %s "$DIR/target")" 3000000
# what is written behind the rename goes to the new name
killed "put('target', b'OLD')
f = os.open('tmp', os.O_CREAT | os.O_WRONLY)
os.write(f, b'NEW')
os.rename('tmp', 'target')
os.write(f, b'ER')
os.fsync(f)"
is "$(cat "$DIR/target")" NEWER
not test -e "$DIR/tmp"
# an exchange: each name has what one of both files had or got
killed "put('a', b'A')
put('b', b'B')
f, g = os.open('a', os.O_TRUNC | os.O_WRONLY), os.open('b', os.O_TRUNC | os.O_WRONLY)
os.write(f, b'AA')
os.write(g, b'BB')
assert ctypes.CDLL(None).renameat2(-100, b'a', -100, b'b', 2) == 0"
either a BB B A AA
either b AA A B BB

# --- a reader that closes does not publish what a writer is in the middle of -----------------------------------------
killed "import subprocess as s # started before: a process that is forked later closes copies of the writer's descriptor
put('half', b'complete')
reader = s.Popen(['sh', '-c', 'read line && cat half && echo'], stdin=s.PIPE, stdout=s.PIPE)
f = os.open('half', os.O_TRUNC | os.O_WRONLY)
os.write(f, b'comp')
assert reader.communicate(b'go\n')[0] == b'comp\n'
r = os.open('half', os.O_RDONLY)
assert os.read(r, 100) == b'comp'
os.close(r)"
is "$(cat "$DIR/half")" "$(by_write && echo comp || echo complete)"
# but the writer's own close does, while a reader stays
killed "put('half', b'complete')
r = os.open('half', os.O_RDONLY)
put('half', b'anew')"
is "$(cat "$DIR/half")" anew
must_unmount
check_store
