#!/usr/bin/env bash
# The mount helper as mount(8), fstab(5) and ordinary users call it: mount -t plsm, remount, stale mounts, sync, owners
# of what has none, messages, user namespaces.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

# --- what the mount table says, and the same directory or store again ------------------------------------------------
must_mount create,noatime
is "$(awk -v dir="$DIR" '$2 == dir { print $1, $3 }' /proc/mounts)" "$STORE fuse.plsm"
awk -v dir="$DIR" '$2 == dir { print $4 }' /proc/mounts | grep -q noatime && pass || fail "noatime"
mkdir "$WORK/dir2"
start=$SECONDS
says "mounted on $DIR already" "$PLSMD" "$STORE" "$WORK/dir2"
says 'mounted there already' "$PLSMD" "$STORE" "$DIR"
[ $((SECONDS - start)) -lt 8 ] && pass || fail "waited for a lock that nobody will let go"
not mountpoint -q "$WORK/dir2"
ok "$PLSMD" -o ro "$STORE" "$WORK/dir2" # reading beside it is something else
ok unmount_store "$WORK/dir2"

# --- a dead mount -----------------------------------------------------------------------------------------------------
echo kept >"$DIR/file"
kill_daemon
says 'not connected' cat "$DIR/file"
must_mount rw
is "$(cat "$DIR/file")" kept
is "$(grep -c " $DIR " /proc/self/mountinfo)" 1 "the dead mount is gone, not covered"

# --- sync and dirsync: durable before the call returns ----------------------------------------------------------------
# synced COMMAND...: how often the log was synced by it
synced()
{
    local before
    before=$(statistic lsm.log_syncs)
    "$@" || fail "$*"
    echo $(($(statistic lsm.log_syncs) - before))
}
write() { python3 -c 'import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(3): os.write(f, b"x")
os._exit(0)' "$1"; } # ends without a close of its own
open_empty() { python3 -c 'import os, sys; os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC); os._exit(0)' "$1"; }
for option in async dirsync sync; do
    remount "$option"
    rm -rf "${DIR:?}"/*
    sleep 1.5 # what the times of directories write
    names=0
    for change in "mkdir $DIR/d" "mv $DIR/d $DIR/e" "ln -s x $DIR/l" "mkfifo $DIR/p" "rm $DIR/p" \
        "rmdir $DIR/e" "ln -P $DIR/l $DIR/m"; do
        # shellcheck disable=SC2086
        [ "$(synced $change)" -gt 0 ] && names=$((names + 1))
    done
    touch "$DIR/f"
    writes=$(synced write "$DIR/f")
    modes=$(synced chmod 600 "$DIR/f")
    cuts=$(synced truncate -s 1 "$DIR/f")
    empties=$(synced open_empty "$DIR/f")
    case $option in
    # new inode numbers may take one
    async) [ "$names" -lt 3 ] && [ "$writes $modes $cuts $empties" = '0 0 0 0' ] && pass ||
        fail "async: $names $writes $modes $cuts $empties" ;;
    dirsync) is "$names $writes $modes $cuts $empties" '7 0 0 0 0' "$option" ;;
    sync) [ "$names" -eq 7 ] && [ "$writes" -ge 3 ] && [ "$modes" -gt 0 ] && [ "$cuts" -gt 0 ] &&
        [ "$empties" -gt 0 ] && pass || fail "sync: $names $writes $modes $cuts $empties" ;;
    esac
done
# a reader of the store sees each change of content at once
for option in sync publish=write; do
    remount "$option"
    ok python3 - "$DIR" "$PLSM" "$STORE" <<'PY'
import ctypes, os, subprocess, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def shows(wanted):
    got = subprocess.run([sys.argv[2], "get", sys.argv[3], "live"], capture_output=True, timeout=60).stdout
    assert got.rstrip(b"\n") == wanted, (got[:100], wanted[:100], len(got), len(wanted))
def fallocate(mode, offset, size):
    assert libc.fallocate(f, mode, ctypes.c_long(offset), ctypes.c_long(size)) == 0, ctypes.get_errno()
with open("other", "wb") as other: other.write(b"0123456789")
f = os.open("live", os.O_RDWR | os.O_CREAT)
for text in (b"one", b"one two"):
    os.pwrite(f, text, 0)
    shows(text)
os.link("live", "linked")
os.pwrite(f, b"all", 0)
shows(b"all two")
fallocate(0, 0, 9)
shows(b"all two\0\0")
fallocate(16, 1, 2) # zero
shows(b"a\0\0 two\0\0")
fallocate(3, 6, 1) # punch
shows(b"a\0\0 tw\0\0\0")
os.ftruncate(f, 5)
shows(b"a\0\0 t")
other = os.open("other", os.O_RDONLY)
assert os.copy_file_range(other, f, 10, 0, 2) == 10
shows(b"a\x000123456789")
os.ftruncate(f, 300000)
shows(b"a\x000123456789" + bytes(299988))
os.unlink("linked")
os.pwrite(f, b"end", 299997)
shows(b"a\x000123456789" + bytes(299985) + b"end")
os.unlink("live")
PY
done

# --- owners and modes of what has none --------------------------------------------------------------------------------
must_unmount
echo 1 | "$PLSM" put "$STORE" library/one
shown() { stat -c '%u:%g %a' "$DIR/$1"; }
must_mount rw
is "$(shown library/one) $(shown library)" "$(id -u):$(id -g) 644 $(id -u):$(id -g) 755"
remount uid=1234,gid=4321,umask=027
is "$(shown library/one) $(shown library)" '1234:4321 640 1234:4321 750'
remount fmask=0177,dmask=0
is "$(shown library/one) $(shown library)" "$(id -u):$(id -g) 600 $(id -u):$(id -g) 777"
remount uid=1234
touch "$DIR/own"
is "$(shown own)" "$(id -u):$(id -g) 644" "what is made here has its own"
chmod 611 "$DIR/library/one"
remount rw
is "$(shown library/one)" '1234:'"$(id -g)"' 611' "the first change makes them permanent"
must_unmount

# --- messages ---------------------------------------------------------------------------------------------------------
timeout 60 "$PLSMD" -d "$STORE" "$DIR" 2>"$WORK/debug" </dev/null &
for ((i = 0; i < 100; i++)); do mountpoint -q "$DIR" && break; sleep 0.05; done
ls "$DIR" >/dev/null
ok fusermount3 -u "$DIR"
wait $!
is $? 0 "-d ends well"
grep -q 'opcode: INIT' "$WORK/debug" && pass || fail "-d tells no requests: $(head -c 300 "$WORK/debug")"

# --- as root, in a mount namespace where things can be put in place ---------------------------------------------------
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    echo "skipped: mount(8), fstab and other users (needs root and mount namespaces)"
    exit 0
fi
mkdir -p "$WORK/root/sbin" # as `make install` does
sed "s|@LIBEXECDIR@|$(dirname "$PLSMD")|" mount.plsm >"$WORK/root/sbin/mount.plsm"
chmod 755 "$WORK/root/sbin/mount.plsm"
ln -s mount.plsm "$WORK/root/sbin/mount.fuse.plsm"
chmod 755 "$WORK"
cat >"$WORK/fstab" <<END
$STORE $DIR plsm noauto,user,x-systemd.automount,index=learned,cache_size=20M,nofail,_netdev 0 0
$WORK/users/store $WORK/users/dir plsm noauto,user,x-systemd.automount 0 0
END
# A store with a value whose page is damaged.
ok "$PLSM" create "$WORK/damaged"
seq 20000 | "$PLSM" put "$WORK/damaged" damaged
ok "$PLSM" compact "$WORK/damaged"
for file in "$WORK/damaged"/*; do
    python3 - "$file" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = data.find(b"\n12345\n")
    if at >= 0:
        f.seek(at)
        f.write(b"?")
PY
done
cat >"$WORK/inside" <<'END'
# In the namespace: a /sbin with nothing but the helper, a /dev where anyone may use fuse and whose log is kept.
cd "$ROOT" || exit 3
mount --make-rprivate /
mount --bind "$WORK/root/sbin" /usr/sbin && mount --bind "$WORK/fstab" /etc/fstab || exit 3
mount -t tmpfs -o mode=755 none /dev || exit 3
mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/fuse c 10 229 && mknod -m 666 /dev/urandom c 1 9 || exit 3
ln -s /proc/self/fd /dev/fd
python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/dev/log")
with open(sys.argv[1], "ab", buffering=0) as f:
    while True:
        f.write(s.recv(4096) + b"\n")' "$WORK/log" &
logger=$!
. "$WORK/functions"
options() { awk -v dir="$DIR" '$2 == dir { print $4 }' /proc/mounts; }

ok mount -t plsm -o rw,noexec "$STORE" "$DIR"
is "$(awk -v dir="$DIR" '$2 == dir { print $1, $3 }' /proc/mounts)" "$STORE fuse.plsm"
echo 1 >"$DIR/by-mount"
# read-only and back, by the line in the mount table
ok mount -o remount,ro "$DIR"
says 'Read-only' touch "$DIR/by-mount"
is "$(cat "$DIR/by-mount")" 1
grep -q '^ro,.*noexec' <(options) && pass || fail "$(options)"
ok mount -o remount,rw,exec "$DIR"
echo 2 >"$DIR/by-mount"
grep -q noexec <(options) && fail "still noexec" || pass
grep -q nosuid <(options) && pass || fail "a remount must not drop nosuid"
exec 5>>"$DIR/by-mount"
says 'open for writing' mount -o remount,ro "$DIR"
exec 5>&-
says 'cannot turn on sync' mount -o remount,sync "$DIR"
ok umount "$DIR"
says 'nothing to remount' "$WORK/root/sbin/mount.plsm" -o remount,ro "$STORE" "$DIR"
ok mount -t fuse.plsm -o ro "$STORE" "$DIR"
says 'Read-only' touch "$DIR/by-mount"
says 'opened read-only' mount -o remount,rw "$DIR"
ok umount "$DIR"

# mount(8)'s flags, its exit codes, and the line in fstab
ok mount -f -t plsm "$STORE" "$DIR"
not mountpoint -q "$DIR"
ok mount -n -v -s -t plsm "$STORE" "$DIR"
ok umount "$DIR"
mount -t plsm -o frobnicate "$STORE" "$DIR" >"$WORK/out" 2>&1
is $? 1
mount -t plsm "$WORK/nowhere" "$DIR" >"$WORK/out" 2>&1
is $? 32
is "$(wc -l <"$WORK/out")" 1 "one line: $(cat "$WORK/out")"
ok mount "$DIR"
is "$(cat "$DIR/by-mount")" 2
ok umount "$DIR"
ok mount "$STORE"
ok umount "$DIR"

# what the daemon has to say goes to the system's log, and in the foreground to standard error too
ok mount -t plsm "$WORK/damaged" "$DIR"
says 'Input/output error' cat "$DIR/damaged"
ok umount "$DIR"
grep -q 'plsmd\[[0-9]*\]: corrupt: .*checksum' "$WORK/log" && pass || fail "log: $(cat "$WORK/log")"
grep -q '^<27>' "$WORK/log" && pass || fail "not from LOG_DAEMON: $(cat "$WORK/log")"
"$PLSMD" -f "$WORK/damaged" "$DIR" 2>"$WORK/messages" &
for ((i = 0; i < 200; i++)); do mountpoint -q "$DIR" && break; sleep 0.05; done
says 'Input/output error' cat "$DIR/damaged"
ok umount "$DIR"
wait $!
grep -q checksum "$WORK/messages" && pass || fail "messages: $(cat "$WORK/messages")"

# ordinary users: through fusermount3, and by the line in fstab that says so
user=$(id -u nobody)
mkdir "$WORK/users" "$WORK/users/dir"
chown -R "$user" "$WORK/users"
STORE=$WORK/users/store DIR=$WORK/users/dir
as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
ok as_user "$WORK/root/sbin/mount.plsm" -o create "$STORE" "$DIR"
ok as_user sh -c "echo user >'$DIR/by-user'"
is "$(as_user stat -c %u "$DIR/by-user")" "$user"
says 'Permission denied' cat "$DIR/by-user" # not even root, without allow_other
says 'only root can remount' as_user "$WORK/root/sbin/mount.plsm" -o remount,ro "$STORE" "$DIR"
kill_daemon # a dead mount of a user is his to clean up
ok as_user "$WORK/root/sbin/mount.plsm" "$STORE" "$DIR"
is "$(as_user cat "$DIR/by-user")" user
ok as_user fusermount3 -u "$DIR"
ok as_user mount "$DIR"
is "$(as_user cat "$DIR/by-user")" user
grep -q "user_id=$user" <(options) && pass || fail "$(options)"
ok as_user umount "$DIR"
says 'fusermount3' as_user "$WORK/root/sbin/mount.plsm" -o allow_other "$STORE" "$DIR"

# in a user namespace, whose root is that user: in the store it is user 0
if as_user unshare -Urm true 2>/dev/null; then
    cat >"$WORK/user-namespace" <<'INNER'
"$1" -o create "$2" "$3" || exit 1
echo namespace >"$3/by-namespace" && [ "$(stat -c %u "$3/by-namespace")" = 0 ]
code=$?
umount "$3"
exit $code
INNER
    ok as_user unshare -Urm sh "$WORK/user-namespace" "$WORK/root/sbin/mount.plsm" "$STORE-of-root" "$DIR"
    ok as_user "$WORK/root/sbin/mount.plsm" "$STORE-of-root" "$DIR"
    is "$(as_user cat "$DIR/by-namespace")" namespace
    ok as_user fusermount3 -u "$DIR"
else
    echo "skipped: user namespaces are not allowed here"
fi
kill $logger
echo "$passed $failed" >"$WORK/inside.result"
END
{
    declare -f pass ok not is says daemon_of ended kill_daemon
    # shellcheck disable=SC2016
    echo 'fail() { failed=$((failed + 1)); echo "FAILED (inside, line ${BASH_LINENO[0]}, ${BASH_LINENO[1]}): $*"; }'
    echo 'passed=0 failed=0'
} >"$WORK/functions"
export WORK STORE DIR PLSMD PLSM ROOT
timeout 300 unshare -m bash "$WORK/inside"
if read -r inside_passed inside_failed <"$WORK/inside.result"; then
    passed=$((passed + inside_passed)) failed=$((failed + inside_failed))
else
    fail "the part in a namespace ended early"
fi
