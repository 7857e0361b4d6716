#!/usr/bin/env bash
# plsm shell: scripts on standard input with their exact output, a mounted store, and sessions at a terminal.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh
export HOME=$WORK/home XDG_STATE_HOME=$WORK/state
mkdir "$HOME"

# run SCRIPT [OPTIONS...]: SCRIPT, as printf %b makes it, on a store; output in out and err, exit code in $code.
run()
{
    local script=$1
    shift
    printf %b "$script" | timeout 60 "$PLSM" shell "$@" "$STORE" >"$WORK/out" 2>"$WORK/err"
    code=$?
}
# gives SCRIPT OUTPUT [CODE]: exactly this on standard output; nothing on standard error when CODE is 0, the default.
gives()
{
    run "$1"
    is $code "${3:-0}" "exit code; $(head -c 300 "$WORK/err")"
    if printf %b "$2" | cmp -s - "$WORK/out"; then pass; else fail "not '$2' but '$(head -c 500 "$WORK/out")'"; fi
    [ "${3:-0}" -ne 0 ] || [ ! -s "$WORK/err" ] || fail "said: $(head -c 300 "$WORK/err")"
}
told() { if grep -qF -- "$1" "$WORK/err"; then pass; else fail "'$1' is not told: $(head -c 300 "$WORK/err")"; fi; }
fresh() { rm -rf "$STORE" && "$PLSM" create "$STORE" || fail "create"; }

# --- the language of the course ---------------------------------------------------------------------------------------
fresh
gives 'p 10 7\np 63 222\np 10 5\n' ''
gives 'g 10\ng 15\np 15 5\ng 15\n' '5\n\n5\n'
fresh
gives 'p 10 7\np 13 2\np 17 99\np 12 22\nr 10 12\nr 10 15\nr 14 17\nr 0 100\n' \
    '10:7\n10:7 12:22 13:2\n\n10:7 12:22 13:2 17:99\n'
gives 'g 10\nd 10\ng 10\ng 12\nd 4711\n' '7\n\n22\n'
fresh
gives 'p 1 0\np 1 1\np 20 -1\np 21 2\nr 1 21\n' '1:1 20:-1\n'
gives 'r 21 1\nr 5 5\n' '\n\n' # an empty range, whichever way
# the whole of the integers, in their order; bounds may lie outside
gives 'p -2147483648 1\np 2147483647 -2147483648\np -1 4\np 0 0\nr -2147483648 2147483647\nr -9999999999 9999999999\n' \
    '-2147483648:1 -1:4 0:0 1:1 20:-1 21:2\n-2147483648:1 -1:4 0:0 1:1 20:-1 21:2 2147483647:-2147483648\n'
gives '  g   20  \r\n\n# a comment\ng 21' '-1\n2\n' # spaces, empty lines, carriage returns, no newline at the end
gives 'g 2147483648\n' '' 3
told 'line 1: g: 2147483648 is no 32-bit integer'
gives 'p 1\n' '' 3
told 'usage: p K V'
gives 'g apples\ng 20\n' '-1\n' 3 # and on
gives 'x 1\n' '' 3
told 'x: no such command; help'
gives 'gte 1\n' '' 3
told 'did you mean get?'

# what is printed of the tree: the memory is L0, and what it holds of a key counts
fresh
gives 's\n' 'Logical Pairs: 0\n\n'
gives 'p 45 64\np 7 32\np 58 3\nflush\np 45 56\np 91 45\nput text "no pair"\ns\n' \
    'Logical Pairs: 4\nLVL0: 2, LVL1: 2\n45:56:L0 91:45:L0\n7:32:L1 58:3:L1\n'
gives 's 1\n' 'Logical Pairs: 4\nLVL0: 2, LVL1: 2\n45:56:L0\n7:32:L1\n'
gives 's 0\n' 'Logical Pairs: 4\nLVL0: 2, LVL1: 2\n'
gives 's x\n' '' 3
ok "$PLSM" compact "$STORE"
run 's\n'
is "$(sed -n 1p "$WORK/out")" 'Logical Pairs: 4'
is "$(sed -n 3p "$WORK/out" | sed 's/:L[0-9]*//g')" '7:32 45:56 58:3 91:45'

# files of pairs
fresh
python3 - "$WORK" <<'PY'
import os, struct, sys
os.chdir(sys.argv[1])
def pairs(name, pairs): open(name, "wb").write(b"".join(struct.pack("<ii", *pair) for pair in pairs))
pairs("small", [(3, 30), (-1, -10), (3, 31)])
pairs("with space", [(4, 40)])
pairs("home/below", [(5, 50)])
pairs("empty", [])
pairs("large", [(key * 2654435761 % 2**32 - 2**31, key) for key in range(300000)])
open("odd", "wb").write(b"123456789")
PY
gives "l \"$WORK/small\"\nr -5 5\n" '-1:-10 3:31\n'
gives "l $WORK/with space\nl $WORK/empty\nl \"~/below\"\nr 0 9\n" '3:31 4:40 5:50\n'
gives "l $WORK/odd\nr 0 9\n" '3:31 4:40 5:50\n' 3
told 'nothing is loaded'
gives "l $WORK/nowhere\n" '' 3
told 'No such file'
gives "l $WORK\n" '' 3
mkfifo "$WORK/fifo"
gives "l $WORK/fifo\n" '' 3
told 'no regular file'
gives 'l\n' '' 3
run "l $WORK/large\nr -2147483648 2147483648\n"
is $code 0
is "$(tr ' ' '\n' <"$WORK/out" | wc -l)" 300004
python3 - "$WORK/out" <<'PY' || fail "the pairs of the large file are not there"
import sys
want = {key * 2654435761 % 2**32 - 2**31: key for key in range(300000)}
got = [tuple(map(int, pair.split(":"))) for pair in open(sys.argv[1]).read().split()]
assert [key for key, _ in got] == sorted(key for key, _ in got)
got = dict(got)
assert all(got[key] == value for key, value in want.items())
PY

# --- words ------------------------------------------------------------------------------------------------------------
fresh
gives 'put apple 12\nput "b c" \x27two words\x27\nput d\\ e ""\nget apple\nget b\\ c\nget "d e"\n' \
    '12\ntwo words\n\n'
gives 'range\n' 'apple\t12\nb c\ttwo words\nd e\t\n'
gives 'range b c\nrange "" b\nrange d\nrange d b\n' 'b c\ttwo words\napple\t12\nd e\t\n'
gives 'put \\0\\xff "tab\\tnewline\\n\\"quote\\""\nget \\0\\xff\n' 'tab\\tnewline\\n"quote"\n'
is "$("$PLSM" get -e "$STORE" '\0\xff' | od -An -c | tr -d ' \n')" 'tab\tnewline\n"quote"'
gives 'get absent\nget apple\n' '12\n' 1
told 'line 1: get: absent: no such key'
gives 'remove absent\nremove apple\nget apple\n' '' 1
gives 'put a b c\n' '' 3
told 'quotes'
gives 'put "a b\n' '' 3
told 'not closed'
gives 'put a\\q b\n' '' 3
gives 'put "" b\n' '' 3
gives 'flush now\n' '' 3
gives 'exit\nget absent\n' ''
gives 'quit\nget absent\n' ''
gives 'q\nget absent\n' ''
# words and integers do not meet
gives 'p 1 2\nput 1 text\ng 1\nget 1\nr 0 9\n' '2\ntext\n1:2\n'
# values that are large
head -c 300000 /dev/zero | tr '\0' v >"$WORK/large-value"
{ printf 'put large '; cat "$WORK/large-value"; printf '\nget large\n'; } >"$WORK/script"
"$PLSM" shell "$STORE" <"$WORK/script" >"$WORK/out" 2>"$WORK/err" && echo | cat "$WORK/large-value" - |
    cmp -s - "$WORK/out" && pass || fail "a large value: $(head -c 300 "$WORK/err")"
{ printf 'put large '; head -c 17000000 /dev/zero | tr '\0' v; printf '\nget b\\ c\n'; } >"$WORK/script"
"$PLSM" shell "$STORE" <"$WORK/script" >"$WORK/out" 2>"$WORK/err"
is "$? $(cat "$WORK/out")" '3 two words' "behind a line that is too long"
told 'line 1: the line has more than 16 MiB'

# --- the session ------------------------------------------------------------------------------------------------------
gives 'switch\nget 1\nswitch\nswitch classic\nget 1\n' \
    'index: traditional\ntext\nindex: learned\nindex: classic\ntext\n'
gives 'switch slow\nget 1\n' 'text\n' 3
told 'slow'
run 'stats store.i\nswitch\nstats store.i\n' --index=traditional
is "$(tr -s ' ' <"$WORK/out")" $'store.index traditional\nindex: learned\nstore.index learned'
run 'stats\n'
grep -q '^lsm.flushes ' "$WORK/out" && pass || fail "stats"
gives 'reset\nget 1\n' 'text\n' 3
told 'reset yes'
gives 'reset yes\nget 1\nrange\nput new 1\nrange\n' 'new\t1\n' 1
check_store
run 'timing\ntiming on\ntiming\ntiming off\ntiming\n'
is "$code $(cat "$WORK/out")" $'0 timing: off\ntiming: on\ntiming: off'
is "$(wc -l <"$WORK/err")" 1 # of the command in between
run 'get new\n' --timing
grep -qE '^[0-9]+\.[0-9]{3} ms' "$WORK/err" && pass || fail "timing: $(cat "$WORK/err")"
is "$(cat "$WORK/out")" 1
run 'put a 1\nput b 2\nflush\n' --timing --sync
grep -qE '^[0-9.]+ ms.*, [0-9]+ writes? of ' "$WORK/err" && pass || fail "writes: $(cat "$WORK/err")"
run 'get absent\nnonsense\nget new\n' --bail
is "$code $(cat "$WORK/out")" '3 '
gives 'help\n' "$("$PLSM" shell "$STORE" <<<help | sed 's/\\/\\\\/g')\n"
for word in put get range remove flush stats switch reset timing help exit; do
    grep -q "^  $word " "$WORK/out" || fail "help does not know $word"
done
gives 'help switch\nhelp nothing\n' 'switch [INDEX]\n  go on with the other index, or learned, traditional, classic\n' 3

# pipes: the answer comes before the next question
coproc "$PLSM" shell "$STORE"
echo 'get new' >&"${COPROC[1]}"
read -r -t 20 answer <&"${COPROC[0]}"
is "$answer" 1
echo 'exit' >&"${COPROC[1]}"
wait "$COPROC_PID"
is $? 0
"$PLSM" shell "$STORE" < <(yes range | head -n 100000) 2>"$WORK/err" | head -n 1 >"$WORK/out"
is "${PIPESTATUS[0]}" 141 "the reader of its output has gone"

# the other engines: the same answers
for engine in lsm appendlog hybridlog; do
    rm -rf "$STORE"
    "$PLSM" create -o engine=$engine "$STORE" 2>"$WORK/err" || { grep -q 'must be one of' "$WORK/err" && continue; }
    gives 'p 10 7\np -3 9\np 10 8\nput text 1\nr -5 99\nd 10\ng 10\ng -3\nrange t\n' '-3:9 10:8\n\n9\ntext\t1\n'
    run 's\nflush\ns 0\nreset yes\ng -3\nrange\n'
    is "$(sed '2d;3s/:L.*//;5d' "$WORK/out")" $'Logical Pairs: 1\n-3:9\nLogical Pairs: 1' "$engine"
    is "$code $(wc -l <"$WORK/out")" '0 6' "$engine: $(cat "$WORK/err")"
    run 'stats store.engine\n'
    is "$(awk '{ print $2 }' "$WORK/out")" $engine
done
fresh

# stores that are not there, or not free
STORE=$WORK/none run 'p 1 2\n'
is $code 3
told 'plsm create'
STORE=$WORK/made run 'p 1 2\ng 1\n' --create
is "$code $(cat "$WORK/out")" '0 2'
run '' --engine=none
is $code 2
told none
run '' --index=none
is $code 2
run '' --index=learned,ttl=1
is $code 2
says 'the store is missing' "$PLSM" shell

# --- a mounted store: changed through its daemon, read beside it ------------------------------------------------------
fresh
must_mount rw
echo -n 12 >"$DIR/apples"
gives 'get apples\nput pears 7\nget pears\nremove apples\nremove apples\np 1 2\nr 0 9\nrange p q\n' \
    '12\n7\n1:2\npears\t7\n' 1
is "$(cat "$DIR/pears")" 7
not test -e "$DIR/apples"
gives "l $WORK/small\nr -5 5\nswitch\nflush\ns\n" \
    '-1:-10 1:2 3:31\nindex: traditional\nLogical Pairs: 3\nLVL1: 3\n-1:-10:L1 1:2:L1 3:31:L1\n'
run 'stats store.index\nget pears\n' --timing
is $code 0
gives 'reset yes\nrange\nr 0 9\n' '\n'
not test -e "$DIR/pears"
must_unmount
check_store

# --- at a terminal ----------------------------------------------------------------------------------------------------
fresh
timeout 120 python3 tests/e2e/shell_terminal.py "$PLSM" "$STORE" "$XDG_STATE_HOME" "$WORK/small" \
    >"$WORK/out" 2>"$WORK/err"
is $? 0 "$(tail -n 5 "$WORK/out" "$WORK/err")"
check_store
