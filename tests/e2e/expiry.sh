#!/usr/bin/env bash
# Files that expire: names and attributes are gone when their time comes, whatever the kernel had cached, an open file
# keeps its content, and a new file of the same name is another one.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

# until_gone NAME: waits for it, 20 seconds at most.
until_gone()
{
    local i
    for ((i = 0; i < 200; i++)); do
        [ -e "$DIR/$1" ] || { pass; return; }
        sleep 0.1
    done
    fail "$1 is still there"
}

must_mount create,ttl=3
mkdir "$DIR/sub"
echo short >"$DIR/sub/file"
echo old >"$DIR/held"
head -c 300000 /dev/zero >"$DIR/large"
echo target >"$DIR/target"
ln -s sub "$DIR/link"
echo source >"$DIR/renamed"
mv "$DIR/renamed" "$DIR/moved"
is "$(cat "$DIR/sub/file" "$DIR/held" "$DIR/moved")" "$(printf 'short\nold\nsource')"
is "$(ls "$DIR")" "$(printf 'held\nlarge\nlink\nmoved\nsub\ntarget')"
exec 7<"$DIR/held" 8>>"$DIR/sub/file"
chmod 600 "$DIR/held"
until_gone held
until_gone sub/file
until_gone large
until_gone moved
until_gone target
is "$(ls "$DIR")" sub "directories stay"
is "$(ls "$DIR/sub")" ""
is "$(cat <&7)" old "an open file keeps its content"
says "No such file" cat "$DIR/held"
says "No such file" rm "$DIR/large"
# New files of the names, while the old ones are open.
echo new >"$DIR/held"
is "$(cat "$DIR/held")" new
echo 2 >"$DIR/other"
ok mv "$DIR/other" "$DIR/target"
is "$(cat "$DIR/target")" 2
ok mkdir "$DIR/large"
exec 7<&- 8>&-
is "$(cat "$DIR/held")" new
# What is written again lives on.
for _ in 1 2 3 4 5; do
    echo more >>"$DIR/held"
    sleep 1
done
is "$(tail -n 1 "$DIR/held")" more "renewed by each write"
must_unmount
check_store

# Who has a file open when it expires goes on reading and writing it: what is written then is there again, under its
# name, also where that was looked up in between.
for options in ttl=2 ttl=2,publish=write; do
    must_mount "create,$options"
    ok timeout 60 python3 - "$DIR" <<'PY'
import os, sys, time
os.chdir(sys.argv[1])
def wait():
    for _ in range(200):
        if not any(map(os.path.exists, names)): return
        time.sleep(0.1)
    sys.exit("still there: %s" % os.listdir("."))
for size in 10, 400000:
    data = os.urandom(size)
    names = [kind + str(size) for kind in ("empty", "written", "opened", "cut", "old")]
    empty, written, opened, cut, old = (os.open(name, os.O_CREAT | os.O_RDWR) for name in names)
    for f in written, opened, cut, old: os.write(f, data)
    os.close(opened)
    opened = os.open(names[2], os.O_RDWR)
    os.fsync(cut)
    os.fsync(old)
    wait()
    for f in written, opened, cut, old:
        assert os.fstat(f).st_size == size and os.pread(f, size, 0) == data
    os.fchmod(old, 0o600)
    assert not os.path.exists(names[4])
    for f in written, opened: assert os.pwrite(f, b"+", size) == 1
    os.write(empty, b"+")
    os.ftruncate(cut, 5)
    for f in written, opened, empty, cut, old: os.close(f)
    assert not os.path.exists(names[4])
    for name, wanted in zip(names, (b"+", data + b"+", data + b"+", data[:5])):
        assert open(name, "rb").read() == wanted, name
        with open(name, "ab") as f: f.write(b"more")
        assert os.stat(name).st_size == len(wanted) + 4, name
PY
    must_unmount
    check_store
done

# Without the option files stay, and those that the library put with a time go.
timeout 60 "$PLSM" put --ttl 3 "$STORE" passing by || fail "put --ttl"
timeout 60 "$PLSM" put "$STORE" staying here || fail "put"
must_mount rw
is "$(cat "$DIR/passing" "$DIR/staying")" byhere
until_gone passing
is "$(cat "$DIR/staying")" here
ok ln -s elsewhere "$DIR/passing"
must_unmount
says "no such key" timeout 60 "$PLSM" get "$STORE" held
is "$(timeout 60 "$PLSM" scan --keys-only --prefix pass "$STORE")" passing
check_store

# Directories that go with what expires in them are not counted any more, though nobody has looked at it.
timeout 60 "$PLSM" put --ttl 3 "$STORE" links/passing/too by || fail "put --ttl"
timeout 60 "$PLSM" put "$STORE" links/staying/too here || fail "put"
must_mount rw
read_engine
[ "$ENGINE" = hybridlog ] && counts='1 1' || counts='4 3'
is "$(stat -c %h "$DIR/links")" "${counts% *}"
sleep 4
chmod 700 "$DIR/links"
is "$(stat -c %h "$DIR/links")" "${counts#* }"
must_unmount
check_store
