#!/bin/bash
# The command plsm from outside: every subcommand, its exit codes, its errors, and exactness for any bytes.
# Usage: tests/e2e/cli.sh   (BUILD names the build directory, default build). It mounts nothing, so it needs no lib.sh.
set -u
cd "$(dirname "$0")/../.." || exit 3
PLSM=$(realpath "${BUILD:-build}/plsm")
[ -x "$PLSM" ] || { echo "no ${BUILD:-build}/plsm: run make first" >&2; exit 3; }
ROOT=$PWD
export LC_ALL=C
WORK=$(mktemp -d "${TMPDIR:-/tmp}/plsm-cli-XXXXXX") || exit 3
passed=0 failed=0 writer=

finish()
{
    [ -z "$writer" ] || kill "$writer" 2>/dev/null
    rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
cd "$WORK" || exit 3

pass() { passed=$((passed + 1)); }
fail()
{
    failed=$((failed + 1))
    echo "FAILED (line ${BASH_LINENO[-2]}): $1"
    [ ! -s err ] || sed 's/^/    stderr: /' err | head -5
}

# expect CODE [COMMAND...]: runs it with stdout in `out` and stderr in `err`; its exit code must be CODE.
expect()
{
    local wanted=$1 code
    shift
    "$@" >out 2>err
    code=$?
    if [ $code -eq "$wanted" ]; then pass; else fail "exit code $code, not $wanted: ${*:0:6}"; fi
}
# says FILE TEXT: FILE holds TEXT.
says() { if grep -qF -- "$2" "$1"; then pass; else fail "'$2' is not in $1: $(head -c 300 "$1")"; fi; }
silent() { if [ ! -s "$1" ]; then pass; else fail "$1 is not empty: $(head -c 300 "$1")"; fi; }
# holds FILE TEXT: FILE is exactly TEXT (as printf %b makes it).
holds() { if printf %b "$2" | cmp -s - "$1"; then pass; else fail "$1 is not '$2' but '$(head -c 300 "$1")'"; fi; }
same() { if cmp -s "$1" "$2"; then pass; else fail "$1 and $2 differ"; fi; }
is() { if [ "$1" = "$2" ]; then pass; else fail "'$1', not '$2'"; fi; }

# --- usage ---------------------------------------------------------------------------------------------------------
expect 2 "$PLSM"
says err Subcommands:
expect 0 "$PLSM" --help
says out Subcommands:
expect 0 "$PLSM" --version
says out 'plsm '
expect 2 "$PLSM" frobnicate
says err frobnicate
for slip in gte:get scna:scan rm:delete ls:scan checkpont:checkpoint dupm:dump; do
    expect 2 "$PLSM" ${slip%:*} store
    says err "did you mean '${slip#*:}'?"
done
for slip in x zz frob; do
    expect 2 "$PLSM" $slip store
    ! grep -q 'did you mean' err && pass || fail "$slip: $(cat err)"
done
expect 2 "$PLSM" mount store dir
says err mount.plsm
"$PLSM" get --help >help
expect 0 "$PLSM" help get
same out help
expect 2 "$PLSM" get store
says err 'KEY is missing'
expect 2 "$PLSM" delete --range store a
says err 'TO is missing'
expect 2 "$PLSM" checkpoint --list
says err 'DIRECTORY is missing'
for command in create get put delete scan load ingest dump stats check compact retrain convert tune shell bench; do
    expect 0 "$PLSM" $command --help
    says out "Usage: plsm $command"
    says out Example
    silent err
    expect 2 "$PLSM" $command --frobnicate
    says err frobnicate
    expect 2 "$PLSM" $command
    says err missing
    expect 2 "$PLSM" $command -o
    grep -q "^\.It.* Cm $command" "$ROOT/man/plsm.1" || fail "$command is not in the man page"
done
expect 2 "$PLSM" get store
expect 2 "$PLSM" get store key more
expect 2 "$PLSM" put store
expect 2 "$PLSM" put store key value more
expect 2 "$PLSM" delete store
expect 2 "$PLSM" create one two
expect 2 "$PLSM" scan store from to more
expect 2 "$PLSM" scan --prefix p store from
says err --prefix
expect 2 "$PLSM" scan --limit many store
says err many
expect 2 "$PLSM" get -e store 'bad\q'
says err 'bad\q'
for option in $("$PLSM" create --help | sed -n 's/^  \([a-z0-9_]*\)=.*/\1/p'); do
    grep -q "Cm $option " "$ROOT/man/plsm.1" && grep -q "Cm $option " "$ROOT/man/mount.plsm.8" ||
        fail "the store option $option is not in both man pages"
    pass
done

# --- create, and stores that are none ------------------------------------------------------------------------------
expect 2 "$PLSM" create -o frobnicate=1 s
says err frobnicate
[ ! -e s ] && pass || fail "a wrong option left a store"
expect 2 "$PLSM" create -o cache_size=many s
says err many
expect 0 "$PLSM" create -o index=traditional,cache_size=16M -o buffer_size=1M s
silent out
silent err
expect 3 "$PLSM" create s
says err s
for command in 'get none k' 'put none k v' 'delete none k' 'scan none' 'dump none' 'stats none' 'check none' \
    'compact none' 'retrain none' 'load none'; do
    expect 3 "$PLSM" $command </dev/null
    says err none
    [ ! -e none ] || fail "$command made a store"
done
says err 'plsm create none'
echo text >file
expect 3 "$PLSM" get file k
says err file
expect 3 "$PLSM" create file
mkdir empty
expect 3 "$PLSM" scan empty
says err empty
expect 0 "$PLSM" create empty

# --- put, get, delete ----------------------------------------------------------------------------------------------
expect 0 "$PLSM" put s greeting hello
silent err
expect 0 "$PLSM" get s greeting
holds out hello
expect 0 "$PLSM" put --sync s greeting 'good day'
expect 0 "$PLSM" get -o index=learned s greeting
holds out 'good day'
expect 1 "$PLSM" get s absent
silent out
says err absent
printf 'line\nline\n\0end' >value
expect 0 "$PLSM" put s piped <value
expect 0 "$PLSM" get s piped
same out value
expect 0 "$PLSM" put s dash - <value
expect 0 "$PLSM" get s dash
same out value
expect 0 "$PLSM" put s empty ''
expect 0 "$PLSM" get s empty
silent out
expect 0 "$PLSM" put s nothing </dev/null
expect 0 "$PLSM" get s nothing
silent out
expect 0 "$PLSM" put s -- -k -v
expect 0 "$PLSM" get s -- -k
holds out -v
expect 0 "$PLSM" put -e s 'a\tb\0c\xff' escaped
expect 0 "$PLSM" get -e s 'a\x09b\x00c\xff'
holds out escaped
expect 1 "$PLSM" get s 'a\tb\0c\xff'
says err 'a\\tb'
expect 3 "$PLSM" put s '' value
expect 3 "$PLSM" get s ''
long=$(perl -e 'print "k" x 8192')
expect 0 "$PLSM" put s "$long" long
expect 0 "$PLSM" get s "$long"
holds out long
expect 3 "$PLSM" put s "${long}k" longer
expect 3 "$PLSM" get s "${long}k"
expect 1 "$PLSM" delete s greeting absent piped
says err absent
expect 1 "$PLSM" get s greeting
expect 1 "$PLSM" get s piped
expect 0 "$PLSM" delete s dash empty
expect 1 "$PLSM" delete s dash
expect 0 "$PLSM" delete -e s 'a\tb\0c\xff' -- -k
for key in r1 r2 r3 r4; do expect 0 "$PLSM" put s $key v; done
expect 0 "$PLSM" delete --range s r2 r4
expect 1 "$PLSM" get s r2
expect 1 "$PLSM" get s r3
expect 0 "$PLSM" get s r4
expect 0 "$PLSM" delete -r s r9 r2
expect 0 "$PLSM" get s r1
expect 0 "$PLSM" delete -e --range s 'r\x31' ''
expect 1 "$PLSM" get s r1
expect 1 "$PLSM" get s r4
expect 2 "$PLSM" delete --range s r1
expect 2 "$PLSM" delete --range s r1 r2 r3
expect 3 "$PLSM" put s closed <&-
says err 'standard input'
expect 1 "$PLSM" get s closed
"$PLSM" stats s >&- 2>err
is $? 3
says err 'standard output'

# --- large values: around the limits of the tree and of the pieces they are streamed in ---------------------------
perl -e 'srand 7; print pack "L*", map { int rand 4294967296 } 1 .. (5 << 18)' >large
for size in 131071 131072 131073 262143 262144 262145 307200 5242880; do
    head -c $size large >part
    expect 0 "$PLSM" put s large-$size <part
    expect 0 "$PLSM" get s large-$size
    same out part
done
expect 0 "$PLSM" put s large-131073 small
expect 0 "$PLSM" get s large-131073
holds out small

# --- scan ----------------------------------------------------------------------------------------------------------
expect 0 "$PLSM" create t
printf 'b\t2\na\t1\nab\t1.5\nc/x\t3\nc/y\t4\nd\t\n' >records
expect 0 "$PLSM" load t <records
silent out
silent err
expect 0 "$PLSM" scan t
holds out 'a\t1\nab\t1.5\nb\t2\nc/x\t3\nc/y\t4\nd\t\n'
expect 0 "$PLSM" scan t ab c/y
holds out 'ab\t1.5\nb\t2\nc/x\t3\n'
expect 0 "$PLSM" scan t c/y
holds out 'c/y\t4\nd\t\n'
expect 0 "$PLSM" scan -k -r t
holds out 'd\nc/y\nc/x\nb\nab\na\n'
expect 0 "$PLSM" scan --reverse --limit 2 t a c
holds out 'b\t2\nab\t1.5\n'
expect 0 "$PLSM" scan --prefix c/ --keys-only t
holds out 'c/x\nc/y\n'
expect 0 "$PLSM" scan --prefix a --limit 1 t
holds out 'a\t1\n'
expect 0 "$PLSM" scan --limit 0 t
silent out
expect 0 "$PLSM" scan --null t b c/y
if printf 'b\0002\0c/x\0003\0' | cmp -s - out; then pass; else fail "scan --null"; fi
expect 0 "$PLSM" scan t z
silent out
expect 0 "$PLSM" scan t d a
silent out
expect 0 "$PLSM" put -e t '\xff\xff' top
expect 0 "$PLSM" put -e t '\xff' nearly
expect 0 "$PLSM" scan -e --prefix '\xff' t
holds out '\xff\tnearly\n\xff\xff\ttop\n'

# --- load and dump -------------------------------------------------------------------------------------------------
expect 0 "$PLSM" create --sync all
perl -e 'for (0 .. 255) { printf "k\\x%02x\t%s\n", $_, sprintf("\\x%02X", $_) x ($_ % 5) }
    print "\\x00\tfirst\n"; print "K" x 8192, "\t", join("", map { sprintf "\\x%02x", $_ } 0 .. 255), "\n"' >binary
expect 0 "$PLSM" load --sync all <binary
expect 0 "$PLSM" put all large <large
expect 0 "$PLSM" put all medium < <(head -c 307200 large)
for format in '' --null; do
    source=all
    [ -z "$format" ] || source=t # records separated by NUL cannot hold one
    expect 0 "$PLSM" dump $format $source
    mv out first
    rm -rf copy
    expect 0 "$PLSM" load --create $format copy <first
    expect 0 "$PLSM" dump $format copy
    same out first
done
expect 0 "$PLSM" dump all
mv out first
is "$(wc -l <first)" 260
rm -rf copy
expect 3 "$PLSM" load copy <first
says err copy
expect 0 "$PLSM" load -c -o index=traditional copy <first
for key in large medium; do
    "$PLSM" get copy $key >part
    head -c "$(stat -c %s part)" large | cmp -s - part && pass || fail "the $key value differs"
done
is "$(stat -c %s part)" 307200
expect 0 "$PLSM" get -e copy 'k\x00'
silent out
expect 0 "$PLSM" get -e copy 'k\x09'
holds out '\t\t\t\t'
expect 0 "$PLSM" get -e copy '\0'
holds out first
expect 0 "$PLSM" get copy "$(perl -e 'print "K" x 8192')"
perl -e 'print pack "C*", 0 .. 255' >value
same out value
expect 3 "$PLSM" dump --null all
says err NUL

# Input cut at any place: reads of a pipe end within keys, escapes and values.
rm -rf pieces
expect 0 "$PLSM" load -c pieces < <(perl -e '$| = 1; undef $/; my $in = <STDIN>;
    while (length $in) { syswrite STDOUT, substr($in, 0, 1 + int rand 500, "") }' <binary)
expect 0 "$PLSM" dump pieces
grep -v -a -e $'^large\t' -e $'^medium\t' first | cmp -s - out && pass || fail "input in pieces loads differently"

# Many records, more than a batch; keys that come again; small and large by turns.
perl -e 'printf "%08d\tvalue %d\n", $_, $_ for 1 .. 12345' >many
rm -rf n
expect 0 "$PLSM" load -c n <many
expect 0 "$PLSM" scan n
same out many
perl -e 'print "x\t1\n"; print "x\t", "y" x 200000, "\n"; print "x\t3\n"; print "z\t", "y" x 200000, "\n"' >again
expect 0 "$PLSM" load n <again
expect 0 "$PLSM" get n x
holds out 3
is "$("$PLSM" get n z | wc -c)" 200000
printf 'tab\tone\ttwo\nlast\tno newline' >loose
expect 0 "$PLSM" load n <loose
expect 0 "$PLSM" get n tab
holds out 'one\ttwo'
expect 0 "$PLSM" get n last
holds out 'no newline'

# Sorted records, as dump leaves them: into an empty store, over what is there, and with large values in between.
for format in '' --null; do
    source=all
    [ -z "$format" ] || source=t
    expect 0 "$PLSM" dump $format $source
    mv out first
    rm -rf copy
    for _ in 1 2; do
        expect 0 "$PLSM" load --create --sorted $format copy <first
        expect 0 "$PLSM" dump $format copy
        same out first
    done
done
expect 0 "$PLSM" check copy

# Files of a store that was loaded so go into another one; damaged they do not.
rm -rf part copy
expect 0 "$PLSM" load -c -s part <many
expect 0 "$PLSM" ingest -c copy part/run-*
expect 0 "$PLSM" dump copy
same out many
expect 0 "$PLSM" check copy
expect 3 "$PLSM" ingest copy part/run-* nowhere
says err nowhere
printf X | dd of="$(echo part/run-*)" bs=1 seek=5000 conv=notrunc status=none
expect 3 "$PLSM" ingest copy part/run-*
says err 'part/run-'
expect 2 "$PLSM" ingest copy
expect 0 "$PLSM" dump copy
same out many

# bad INPUT MESSAGE STORED [OPTION]: input (for printf %b, where \0000 is NUL) that must be refused, and how many
# records before it are stored.
bad()
{
    rm -rf bad
    printf %b "$1" >input
    expect 3 "$PLSM" load -c ${4-} bad <input
    says err "$2"
    is "$("$PLSM" scan -k bad | wc -l)" "$3"
}
bad 'a\t1\nb\t2\nno tab\nc\t3\n' 'record 3' 2
bad 'a\t1\nb\t\\q\n' 'record 2' 1
bad 'a\t1\n\nb\t2\n' 'empty line' 1
bad 'a\t1\n\t2\n' 'key is empty' 1
bad 'a\t1\nb\t2\\x4' escape 1
bad "a\t1\n${long}k\t2\n" 8192 1
bad 'no tab at all' 'record 1' 0
bad 'a\00001\0000b\0000' 'within a record' 1 --null
bad '\00001\0000' 'key is empty' 0 --null
# Sorted: none is stored.
bad 'a\t1\nb\t2\nno tab\nc\t3\n' 'record 3' 0 --sorted
bad 'a\t1\nc\t2\nb\t3\n' 'record 3: its key b does not come behind' 0 --sorted
bad 'a\t1\na\t2\n' 'record 2' 0 -s
says err 'nothing is stored'
expect 0 "$PLSM" load bad </dev/null

# --- checkpoint, restore --------------------------------------------------------------------------------------------
expect 0 "$PLSM" create kept
expect 0 "$PLSM" put kept fruit apple
expect 0 "$PLSM" checkpoint --name=first kept checkpoints
says out 'first: 3 files'
expect 0 "$PLSM" put kept fruit pear
expect 0 "$PLSM" checkpoint --copy kept checkpoints
expect 0 "$PLSM" checkpoint --name=third kept checkpoints
says out 'new: 0 files, 0 B copied'
expect 3 "$PLSM" checkpoint --name=first kept checkpoints
says err 'first already'
expect 3 "$PLSM" checkpoint --name=a/b kept checkpoints
expect 3 "$PLSM" checkpoint kept kept
says err 'no directory of checkpoints'
expect 2 "$PLSM" checkpoint --list --copy checkpoints
expect 2 "$PLSM" checkpoint kept
expect 0 "$PLSM" checkpoint --list checkpoints
says out 'name   '
expect 0 "$PLSM" checkpoint --list --json checkpoints
python3 -c 'import json; assert [c["name"] for c in json.load(open("out")).popitem()[1]][::2] == ["first", "third"]' &&
    pass || fail "checkpoint --list --json: $(head -c 300 out)"
expect 0 "$PLSM" checkpoint --check checkpoints
expect 0 "$PLSM" restore --name=first checkpoints restored
expect 0 "$PLSM" get restored fruit
is "$(cat out)" apple
expect 0 "$PLSM" check restored
expect 0 "$PLSM" restore --at="@$(date +%s)" checkpoints newest
expect 0 "$PLSM" get newest fruit
is "$(cat out)" pear
expect 3 "$PLSM" restore --at=2001-02-03T04:05:06Z checkpoints never
says err 'as old as that'
expect 2 "$PLSM" restore --at=yesterday checkpoints never
expect 3 "$PLSM" restore checkpoints newest
says err 'something already'
mkfifo fifo
expect 3 timeout 20 "$PLSM" restore checkpoints fifo
says err 'something already'
for command in create scan; do
    expect 3 timeout 20 "$PLSM" $command fifo
    says err 'fifo: is no directory, so no store'
done
expect 0 "$PLSM" checkpoint --remove=first checkpoints
expect 3 "$PLSM" restore --name=first checkpoints never
for file in checkpoints/files/*; do break; done
printf x | dd of="$file" bs=1 seek=3 conv=notrunc status=none
expect 1 "$PLSM" checkpoint --check checkpoints
says out altered
expect 3 "$PLSM" restore checkpoints never
says err altered
[ -e never ] || [ -e never.restoring ] && fail "something is left of a restoration that failed" || pass

# --- tune ----------------------------------------------------------------------------------------------------------
expect 0 "$PLSM" tune --puts=50 --gets=40 --absent=5 --scans=5 --scan-entries=50 --entries=2m --entry-bytes=1k \
    --memory=256m --device=ssd
expect 0 "$PLSM" create -o "$(head -1 out)" tuned
expect 0 "$PLSM" tune --gets=1 --json
python3 -c 'import json; s = json.load(open("out"))["settings"]; assert s[0]["mean_us"] <= s[1]["mean_us"]' &&
    pass || fail "tune --json is no JSON document"
"$PLSM" stats n >observed
expect 0 "$PLSM" tune --stats=observed --scans=1
says out '12.4 k entries'
expect 3 "$PLSM" tune --stats=nowhere
expect 3 "$PLSM" tune --gets=1 --device=tape
says err tape
expect 3 "$PLSM" tune --gets=1 --memory=1k
expect 2 "$PLSM" tune --puts=-1
expect 2 "$PLSM" tune extra

# --- stats, check, compact -----------------------------------------------------------------------------------------
expect 0 "$PLSM" stats n
says out store.keys
grep -qvE '^[a-z0-9_.]+ +[^ ]' out && fail "a line of stats is not 'name value'" || pass
expect 0 "$PLSM" scan n
mv out before
expect 0 "$PLSM" compact n
silent err
expect 0 "$PLSM" scan n
same out before
expect 0 "$PLSM" compact n 00000100 00000200
expect 0 "$PLSM" scan -o index=traditional n
same out before
expect 0 "$PLSM" check n
says out 'no problems'
run=$(find n -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2)
perl -e 'open F, "+<", $ARGV[0] or die; seek F, 8292, 0; read F, $b, 1; seek F, 8292, 0; print F chr(ord($b) ^ 1)' \
    "$run"
expect 1 "$PLSM" check n
says out "$(basename "$run")"
expect 3 "$PLSM" dump n
says err "$(basename "$run")"

# --- in use by another process -------------------------------------------------------------------------------------
mkfifo feed
expect 0 "$PLSM" put t seen before
"$PLSM" load t <feed 2>writer-err &
writer=$!
exec 7>feed
for _ in $(seq 100); do # until the writer has the lock of the store, which nobody else may try to take meanwhile
    [ -n "$(find "/proc/$writer/fd" -lname '*/t/manifest*')" ] && break
    sleep 0.05
done
for command in 'put t k v' 'delete t a' 'compact t' 'retrain t' 'load t'; do
    expect 3 "$PLSM" $command </dev/null
    says err 'in use by another process'
done
for command in 'get t seen' 'scan t' 'dump t' 'stats t' 'check t'; do
    expect 0 "$PLSM" $command
done
expect 0 "$PLSM" get t seen
holds out before
printf 'late\trecord\n' >&7
exec 7>&-
wait $writer
is $? 0
writer=
expect 0 "$PLSM" get t late
holds out record

# --- output that fails ---------------------------------------------------------------------------------------------
for command in '--help' '--version' 'get --help' 'get s large-5242880' 'get t a' 'scan t' 'dump all' 'stats t' \
    'check t'; do
    "$PLSM" $command >/dev/full 2>err
    is $? 3
    says err 'No space left'
done
# yes-like output into a pipe that closes: ended by SIGPIPE, silently; with SIGPIPE ignored an error is told.
("$PLSM" dump all 2>err; echo $? >code) | head -c 1 >/dev/null
is "$(cat code)" 141
silent err
(trap '' PIPE; "$PLSM" dump all 2>err; echo $? >code) | head -c 1 >/dev/null
is "$(cat code)" 3
says err 'Broken pipe'

# --- progress, for terminals only ----------------------------------------------------------------------------------
if command -v script >/dev/null; then
    slow='for i in 1 2 3 4 5 6 7 8; do printf "p$i\t1\n"; sleep 0.4; done'
    script -qec "($slow) | $PLSM load t" /dev/null >typed </dev/null
    is $? 0
    says typed 'load '
    says typed /s
    says typed '8 records'
    script -qec "$PLSM dump all | (sleep 3; cat >/dev/null)" /dev/null >typed </dev/null
    says typed '%'
    says typed ETA
    bash -c "$slow" | "$PLSM" load t 2>err
    silent err
else
    fail "script(1) is missing (Debian: bsdutils)"
fi

# --- bench ---------------------------------------------------------------------------------------------------------
mkdir scratch
for workload in fillseq fillrandom overwrite deleterandom readrandom readseq readabsent readhot readzipf seekrandom \
    mixed ycsb-a ycsb-b ycsb-c ycsb-d ycsb-e ycsb-f; do
    expect 0 "$PLSM" bench $workload --index=both --keys=3k --batch=7 --threads=2 --json --dir=scratch
    is "$(wc -l <out)" 2
    for name in workload engine keys value_bytes batch threads sync state ops_per_s cpu_ns_per_op p50_ns p99_ns \
        p9999_ns max_ns pages_per_op disk_pages_per_op write_amplification space_amplification resident_bytes; do
        [ "$(grep -c "\"$name\":" out)" -eq 2 ] || fail "$workload: no $name"
    done
done
expect 0 "$PLSM" bench readrandom --index=all3 --keys=3k --dir=scratch
for index in learned traditional classic; do
    says out "plsm $index"
done
expect 0 "$PLSM" bench seekrandom --index=classic --keys=3k --json --dir=scratch
says out '"index":"classic"'
is "$(wc -l <out)" 1
expect 0 "$PLSM" bench fillrandom --keys=100 --sync --repeat=3 --value-bytes=0 --dir=scratch
says out 'CPU ns/op'
expect 0 "$PLSM" bench first --keys=1k --repeat=1 --engine=lsm --dir=scratch
says out 'plsm traditional'
for state in warm reopened cold; do
    expect 0 "$PLSM" bench readrandom --state=$state --keys=2k --json --dir=scratch
    says out "\"state\":\"$state\""
done
expect 0 "$PLSM" bench overwrite --keys=5 --value-bytes=1m --json --dir=scratch
expect 0 "$PLSM" bench overwrite --keys=50 --value-bytes=0 --json --dir=scratch
expect 2 "$PLSM" bench overwrite --value-bytes=1m --batch=2
expect 2 "$PLSM" bench fillrandom --state=cold
expect 2 "$PLSM" bench readrandom --state=hot
expect 2 "$PLSM" bench deleterandom --keys=10 --ops=11
expect 2 "$PLSM" bench readrandom --engine=frob
expect 2 "$PLSM" bench readrandom --engine=plsm,frob
expect 0 "$PLSM" bench readrandom --engine=plsm,appendlog --keys=500 --ops=500 --json --dir=scratch
says out '"engine":"hybridlog"'
expect 2 "$PLSM" bench readrandom --index=frob
expect 2 "$PLSM" bench readrandom --keys=0
expect 2 "$PLSM" bench readrandom --batch=x
expect 2 "$PLSM" bench readrandom -o frob=1
expect 2 "$PLSM" bench frob
expect 3 "$PLSM" bench readrandom --dir=none
is "$(ls scratch)" ''

# Shapes of keys for every workload.
for shape in hex decimal ycsb counters counters10 counters75 series series_jitter; do
    expect 0 "$PLSM" bench ycsb-e --shape=$shape --keys=2k --json --dir=scratch
    says out "\"key_type\":\"$shape\""
    expect 0 "$PLSM" bench readabsent --shape=$shape --keys=2k --index=both --dir=scratch
done
mkdir -p sets/plsm-key-sets
find "$ROOT" -type f -name '*.[ch]' | LC_ALL=C sort -u >sets/plsm-key-sets/paths.txt
expect 0 env XDG_CACHE_HOME="$PWD/sets" "$PLSM" bench fillseq --shape=paths --keys=100 --dir=scratch
expect 3 env XDG_CACHE_HOME="$PWD/none" "$PLSM" bench fillseq --shape=paths --keys=100 --dir=scratch
says err key-sets
expect 2 "$PLSM" bench readrandom --shape=frob
says err counters75
expect 2 "$PLSM" bench fillseq --shape=hex
expect 2 "$PLSM" bench readrandom --keys=1k,2k

# --- bench: several rows ------------------------------------------------------------------------------------------
expect 0 "$PLSM" bench floor --memory-bytes=1m --json --dir=scratch
python3 -c 'import json; f = json.load(open("out")); assert len(f) == 16 and f["dram_miss_ns"] > 0, f' && pass ||
    fail "floors"
expect 0 "$PLSM" bench contest --engine=lsm --index=both --keys=2k --repeat=2 --csv=rows.csv --dir=scratch \
    --rows=fillrandom:batch=100,readrandom:threads=2,readabsent:state=cold:ops=100,overwrite:sync:ops=20
says out 'fillrandom:batch=100'
says out 'plsm traditional'
is "$(grep -cE '^overwrite +plsm (learned|traditional) +2.0 k +100 +1 +1 on +warm ' out)" 2
python3 - rows.csv <<'END' && pass || fail "columns of a contest"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert [row["row"] for row in rows][::2] == ["fillrandom:batch=100", "readrandom:threads=2",
                                             "readabsent:state=cold:ops=100", "overwrite:sync:ops=20"]
for row in rows:
    assert None not in row and None not in row.values(), row
    assert float(row["cpu_ns_per_op"]) > 0 and float(row["resident_bytes"]) > 0
    assert float(row["floors"]) > 0 and float(row["disk_pages_per_op"]) >= 0
    assert row["device_times"] == "" or row["sync"] == "1" or row["state"] == "cold", row
    assert row["sync"] == "0" or float(row["device_times"]) > 0, row
    assert (float(row["cpu_over_learned"]) == 1) == (row["index"] == "learned")
assert {row["state"] for row in rows} == {"new", "warm", "cold"} and rows[7]["sync"] == "1"
END
expect 0 "$PLSM" bench stalls --engine=lsm --seconds=2 --keys=2k --threads=2 --csv=stalls.csv --dir=scratch
is "$(wc -l <stalls.csv)" 3
is "$(grep -cE '^lsm,learned,[12],[0-9]+,[0-9]+,[0-9]+,[0-9]+,[0-9]+,2000,100,1,2,0,[0-9.]+,[0-9.]+,[0-9.]+,[0-9]+,1$' \
    stalls.csv)" 2
says out 'at most 50 ms: met'
expect 0 "$PLSM" bench stalls --engine=lsm,appendlog --seconds=1 --keys=2k --json --dir=scratch
is "$(grep -oE '"p9999_ns_limit":.*' out)" '"p9999_ns_limit":50000000,"met":true}
"p9999_ns_limit":50000000,"met":null}'
expect 0 "$PLSM" bench growth --engine=lsm --max-keys=3k --ops=500 --json --csv=growth.csv --dir=scratch
is "$(wc -l <out)" 4
is "$(wc -l <growth.csv)" 5
expect 0 "$PLSM" bench billion --keys=20k --json --dir=scratch
python3 -c 'import json; b = json.load(open("out")); assert b["keys"] == 20000 and b["mem.bytes"] > 0, b' &&
    pass || fail "figures of a billion"
expect 3 "$PLSM" bench growth --value-bytes=1m --max-keys=1g --dir=scratch
says err 'free'
expect 0 "$PLSM" bench targets --engine=lsm --keys=1k --ops=400 --dir=scratch
says out 'could not be measured: no rocksdb here'
for about in '>= 5.0 M/s' '<= 50 ms' 'in reads of the device alone' 'cold point read without a cache, pages' \
    'the same of absent keys, pages' 'plsm bench stalls'; do
    says out "$about"
done
is "$(grep -cE '^point read .*\(seed 004\).* (met|not met) ' out)" 1
expect 0 "$PLSM" bench targets --engine=lsm --keys=1k --ops=400 --json --dir=scratch
python3 - out <<'END' && pass || fail "targets that could not be measured"
import json, sys
targets = [json.loads(line) for line in open(sys.argv[1])]
assert all((target["measured"] is None) == (target["met"] is None) for target in targets)
assert all(target["measured"] is None for target in targets if "rocksdb" in target["limit"])
cold = [target for target in targets if target["target"].startswith("the same, page cache cold")]
pages = [target for target in targets if target["target"].startswith("cold point read")]
assert len(cold) == 1 and "readrandom, 2 ops" in cold[0]["conditions"], cold # one of 500 keys
assert len(pages) == 1 and 0.99 <= pages[0]["measured"] <= 1.1, pages
END
if command -v gnuplot >/dev/null; then
    expect 0 "$PLSM" bench contest --engine=lsm --keys=1k --repeat=1 --rows=readrandom --plot="it's.png" --dir=scratch
    is "$(head -c 4 "it's.png" | tail -c 3)" PNG
    expect 0 "$PLSM" bench stalls --engine=lsm --seconds=1 --keys=1k --plot=stalls.svg --dir=scratch
    says stalls.svg '<svg'
    expect 0 "$PLSM" bench growth --engine=lsm --max-keys=1k --ops=100 --plot=growth.svg --dir=scratch
    says growth.svg '<svg'
fi
expect 2 "$PLSM" bench contest --rows=frob
expect 2 "$PLSM" bench contest --plot=picture
expect 2 "$PLSM" bench stalls --seconds=1 --minutes=1
expect 2 "$PLSM" bench billion --shape=random
expect 2 "$PLSM" bench targets --engine=lmdb,frob
expect 2 "$PLSM" bench growth --keys=3
expect 2 "$PLSM" bench floor --sync
expect 3 "$PLSM" bench contest --engine=lsm --csv=none/rows.csv --dir=scratch
is "$(ls scratch)" ''

# --- bench engines: plsm's own -------------------------------------------------------------------------------------
expect 0 "$PLSM" bench engines --keys=100,2k --ops=3k --max-keys=3k --repeat=1 --csv=engines.csv --dir=scratch
says out 'number of distinct choices for keys and values: 100'
says out 'distribution:   HotSet'
says out '3.0e+03 writes'
says out 'cells of seed 003'
says out 'longest put during checkpoints'
python3 - engines.csv <<'END' && pass || fail "figures of engines"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
parts = ["table", "integers", "scaling", "threads", "listing", "flush", "space", "recovery", "checkpoint"]
assert list(dict.fromkeys(row["part"] for row in rows)) == parts, rows
for row in rows:
    assert None not in row and None not in row.values(), row
    assert row["engine"] != "lsm" or row["median"] or "flush every" in row["figure"] or "hints" in row["figure"], row
    assert not row["median"] or float(row["least"]) <= float(row["median"]) <= float(row["most"]), row
    assert not row["ratio"] or row["part"] == "table", row
assert {row["writes"] for row in rows if row["part"] == "recovery"} == {"each"}
assert {row["writes"] for row in rows if row["part"] == "table" and row["engine"] == "lsm"} == {"each", "batch"}
volatile = {row["engine"] for row in rows if row["writes"] == "volatile"}
assert volatile == {"hybridlog"} & {row["engine"] for row in rows}, volatile
hintless = {row["engine"]: row["median"] for row in rows if row["figure"].endswith("the same without hints")}
assert hintless["lsm"] == "" and float(hintless.get("appendlog", 1)) > 0, hintless
unchanged = [row for row in rows if row["figure"] == "new files, nothing changed" and row["engine"] == "lsm"]
assert [float(row["median"]) for row in unchanged] == [0], unchanged
END
expect 0 "$PLSM" bench engines --engine=lsm --keys=100 --ops=1k --batch=1 --parts=table --repeat=2 --json --dir=scratch
python3 - <<'END' && pass || fail "lines of engines"
import json
rows = [json.loads(line) for line in open("out")]
assert len(rows) == 12 and {row["writes"] for row in rows} == {"each"}, rows
cell = [row for row in rows if row["figure"] == "Zipfian, writes"][0]
assert abs(cell["published"] - 0.741 / 1000) < 1e-9
assert abs(cell["ratio"] * cell["median"] / cell["published"] - 1) < 0.01
assert cell["beaten"] == (cell["ratio"] >= 10) and rows[2]["beaten"] is None
END
if command -v gnuplot >/dev/null; then
    expect 0 "$PLSM" bench engines --keys=20 --ops=500 --max-keys=1k --parts=table,scaling,listing --repeat=1 \
        --plot="it's engines" --dir=scratch
    is "$(find "it's engines" -type f | wc -l)" 6
    says "it's engines/scaling.svg" '<svg'
fi
expect 2 "$PLSM" bench engines --engine=rocksdb,frob
expect 2 "$PLSM" bench engines --parts=table,frob
says err checkpoint
expect 2 "$PLSM" bench engines --keys=4
expect 2 "$PLSM" bench engines --rows=readrandom
# Whatever ends it, nothing stays: here while a process of its own is written to, that is to be killed.
for signal in INT TERM; do
    "$PLSM" bench engines --engine=lsm --keys=10m --parts=recovery --dir=scratch >/dev/null 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        ls scratch/*/row/closed >/dev/null 2>&1 && break
        sleep 0.1
    done
    is "$(ls scratch/*/row 2>/dev/null)" closed
    kill -$signal $pid
    wait $pid
    is $? $((128 + $(kill -l $signal)))
    is "$(ls scratch)" ''
done

# --- bench compare -------------------------------------------------------------------------------------------------
compare="--keys=2k --rounds=3 --ops=200 --dir=scratch -o buffer_size=64K,file_size=64K"
# shellcheck disable=SC2086
expect 0 "$PLSM" bench compare $compare
for text in 'modes: learned traditional' 'rounds: 3 of 200' 'random: 2000 keys' get_uniform get_zipf get_hot \
    get_sequential get_absent get_level_0 predict_file predict_page multi_get_16 multi_get_100 multi_get_100_to_get \
    range_100 get_uncached absent_uncached get_small_cache zipf_small_cache put_and_compact compact write_all memory; do
    says out "$text"
done
silent err
# shellcheck disable=SC2086
expect 0 env XDG_CACHE_HOME="$PWD/none" "$PLSM" bench compare $compare --keys=1k,2k --shapes=series,random --json \
    --csv=figures.csv
python3 - out figures.csv <<'END' && pass || fail "rows of compare"
import csv, json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
table = list(csv.DictReader(open(sys.argv[2])))
assert len(rows) == len(table), (len(rows), len(table))
for row, line in zip(rows, table):
    for name, value in row.items():
        other = line[name]
        assert str(value) == other or abs(float(value) - float(other)) <= 1e-6 * abs(float(value)), (name, value, other)
    assert all(line[name] == "" for name in line if name not in row)
for shape in "series", "random":
    for keys in 1000, 2000:
        for mode in "learned", "traditional":
            own = {r["operation"]: r for r in rows if (r["shape"], r["keys"], r["mode"]) == (shape, keys, mode)}
            for name in "get_uniform", "get_absent", "multi_get_16", "range_100", "predict_page", "get_uncached":
                assert own[name]["cpu_ns_per_op"] > 0 and own[name]["rounds"] == 3, own[name]
                assert own[name]["against"] == "traditional"
                assert mode == "learned" or own[name]["cpu_ratio"] == 1
            assert own["get_uniform"]["pages_per_op"] >= 1
            assert own["get_uncached"]["reads_per_op"] >= 1
            assert own["memory"]["index_bytes"] > 0 and own["memory"]["filter_bytes"] > 0
            assert own["put"]["ops"] == keys
            assert own["write_all"]["filter_ns_per_key"] > 0
            assert ("block_accuracy" in own["get_uniform"]) == (mode == "learned")
        assert "get_absent_changed" in own or shape == "random"
END
if command -v gnuplot >/dev/null; then
    # shellcheck disable=SC2086
    expect 0 "$PLSM" bench compare $compare --plot="pictures of it's"
    for file in time-2000 memory-2000; do
        is "$(head -c 4 "pictures of it's/$file.png" | tail -c 3)" PNG
        says "pictures of it's/$file.svg" '<svg'
    done
fi
mkdir bare
# shellcheck disable=SC2086
expect 3 env PATH="$PWD/bare" "$PLSM" bench compare $compare --plot=pictures
says err 'gnuplot'
# shellcheck disable=SC2086
expect 3 env XDG_CACHE_HOME="$PWD/none" "$PLSM" bench compare $compare --shapes=words
says err key-sets
# shellcheck disable=SC2086
expect 0 env XDG_CACHE_HOME="$PWD/none" "$PLSM" bench compare $compare --keys=1k --shapes=all --verify=1k
says err 'left out: words'
says err 'left out: paths'
is "$(grep -c '^verified .* 1000 lookups, .* 0 wrong, of 1000' out)" 9
# shellcheck disable=SC2086
expect 0 "$PLSM" bench compare $compare --verify=3k --threads=2 --json --modes=traditional,learned
python3 -c 'import json; row = json.load(open("out")); assert row["lookups"] == 3000 and row["wrong"] == 0' &&
    pass || fail "counts of verify"
expect 2 "$PLSM" bench compare --modes=learned,frob
expect 2 "$PLSM" bench compare --modes=learned,learned
expect 2 "$PLSM" bench compare --shapes=random,frob
expect 2 "$PLSM" bench compare --threads=2
expect 2 "$PLSM" bench compare --verify=10 --csv=x.csv
expect 2 "$PLSM" bench compare --engine=lsm
expect 2 "$PLSM" bench readrandom --rounds=3
expect 3 "$PLSM" bench compare --keys=10 --csv=none/figures.csv --dir=scratch
is "$(ls scratch)" ''

# --- bench requirements --------------------------------------------------------------------------------------------
# shellcheck disable=SC2086
expect 0 "$PLSM" bench requirements $compare
is "$(grep -cE '^(6\.[1-4]|10\.[1-3]) ' out)" 27
is "$(grep -cE '^10\.3 .*not measurable here' out)" 3
says out 'not met, '
# shellcheck disable=SC2086
expect 0 "$PLSM" bench requirements $compare --shape=series --json
python3 - out <<'END' && pass || fail "lines of requirements"
import collections, json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
counts = collections.Counter(line["section"] for line in lines)
assert counts == {"6.1": 4, "6.2": 4, "6.3": 4, "6.4": 4, "10.1": 4, "10.2": 4, "10.3": 3}, counts
by_name = {line["requirement"]: line for line in lines}
for name in "corruption or loss in model updates", "recovery from model failures":
    assert by_name[name]["verdict"] == "met", by_name[name]
assert all(line["verdict"] in ("met", "not met", "not measurable here") and line["measured"] for line in lines)
END
expect 2 "$PLSM" bench requirements --modes=learned
expect 2 "$PLSM" bench requirements --keys=1k,2k
is "$(ls scratch)" ''

for workload in readrandom compare requirements; do
    "$PLSM" bench $workload --keys=50m --dir=scratch >/dev/null 2>&1 &
    writer=$!
    for _ in $(seq 300); do
        [ -z "$(ls scratch)" ] || break
        sleep 0.1
    done
    [ -n "$(ls scratch)" ] && pass || fail "the bench made no directory"
    kill -TERM $writer
    wait $writer
    is $? 143
    writer=
    is "$(ls scratch)" ''
done

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
