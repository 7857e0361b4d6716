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
