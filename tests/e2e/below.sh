#!/usr/bin/env bash
# Another file system mounted below the mount: it stays there while the store changes behind the kernel's back.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh

if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    echo "skipped: mounting needs root"
    exit 0
fi
B=$DIR/.plsm/batch
batch() { dd of="$B" bs=1M iflag=fullblock status=none conv=notrunc; }
# stays: what is mounted below can be reached, by every path that leads there.
stays() { is "$(cat "$DIR/a/b/below/in" 2>&1)" inside "$1"; }

must_mount create,allow_other
mkdir -p "$DIR/a/b/below" "$DIR/a/c" && echo 1 >"$DIR/a/b/below/under"
ok mount -t tmpfs none "$DIR/a/b/below"
echo inside >"$DIR/a/b/below/in"

# --- more names that the kernel holds for absent than it is told of one by one --------------------------------------
for ((i = 0; i < 3000; i++)); do [ ! -e "$DIR/a/c/new$i" ] || fail "new$i is there"; done
for ((i = 0; i < 3000; i++)); do printf 'a/c/new%d\t%d\n' $i $i; done | batch
stays "after many new names"
is "$(cat "$DIR/a/c/new17")" 17
is "$(find "$DIR/a/c" -type f | wc -l)" 3000

# --- changes of the directories themselves ---------------------------------------------------------------------------
printf 'a/\t\na/b/\t\na/b/below/\t\n' | batch
stays "after changes of the directories above"
"$PLSM" delete "$STORE" a/b/ || fail "cannot delete"
stays "after a directory has lost its entry"
printf '\\~a/c/\ta/c0\n' | batch
stays "after a deleted range beside it"
not test -e "$DIR/a/c/new0"
printf '\\~a/b/below/under\ta/b/below/under0\n' | batch
stays "after a deletion of what lies below it"

# --- a directory that goes takes along what is mounted there, as rmdir in another mount namespace would --------------
printf '\\~a/b/\ta/b0\n' | batch
not test -e "$DIR/a/b/below/in"
not test -e "$DIR/a/b"
is "$(awk -v below="$DIR/a/b/below" '$5 == below' /proc/self/mountinfo | wc -l)" 0

# --- without one, many new names are told at once --------------------------------------------------------------------
for ((i = 0; i < 3000; i++)); do [ ! -e "$DIR/a/new$i" ] || fail "new$i is there"; done
for ((i = 0; i < 3000; i++)); do printf 'a/new%d\t%d\n' $i $i; done | batch
for ((i = 0; i < 3000; i += 100)); do is "$(cat "$DIR/a/new$i" 2>&1)" $i; done
must_unmount
check_store
