#!/usr/bin/env bash
# Files of a store that are cut short while it is mounted: who needs what is gone gets an error that names the file, all
# else is served, and the daemon stays. What is mapped would end it with SIGBUS otherwise. E2E_ENGINES: these engines.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

statistic() { sed -n "s/^$1 *//p" "$DIR/.stats"; }

# A segment of the append log, mapped or not.
segments() # LOG
{
    local file=$STORE/segment-000001
    seq -f 'k%06g' 5000 | awk '{printf "%s\t%0100d\n",$1,0}' |
        "$PLSM" load --create -o engine=appendlog,file_size=64K "$STORE" >"$WORK/out" 2>&1
    must_mount "log=$1"
    is "$(wc -c <"$DIR/k000300")" 100
    truncate -s 4096 "$file"
    drop_caches
    says 'Input/output error' timeout 20 cat "$DIR/k000400"
    case $(statistic fs.error_last) in *"$file"*) pass ;; *) fail "$(statistic fs.error_last)" ;; esac
    is "$(timeout 20 cat "$DIR/k000001" | wc -c)" 100 'what is left of it'
    is "$(timeout 20 cat "$DIR/k004999" | wc -c)" 100 'other segments'
    says 'Input/output error' timeout 60 grep -rq y "$DIR"
    echo new >"$DIR/new"
    is "$(timeout 20 cat "$DIR/new")" new
    must_unmount
    says "$file" timeout 60 "$PLSM" get "$STORE" k000002
    rm -rf "$STORE"
}

# The same under the command.
shell()
{
    local file=$STORE/segment-000001
    seq -f 'k%06g' 5000 | awk '{printf "%s\t%0100d\n",$1,0}' |
        "$PLSM" load --create -o engine=appendlog,file_size=64K "$STORE" >"$WORK/out" 2>&1
    mkfifo "$WORK/script"
    timeout 60 "$PLSM" shell "$STORE" <"$WORK/script" >"$WORK/said" 2>&1 &
    exec 5>"$WORK/script"
    echo 'get k000300' >&5
    for ((i = 0; i < 200; i++)); do [ -s "$WORK/said" ] && break || sleep 0.05; done
    truncate -s 4096 "$file"
    printf 'get k000400\nget k004999\nput k5 five\nget k5\n' >&5
    exec 5>&-
    wait $!
    is "$(grep -c "$file" "$WORK/said")" 1
    is "$(tail -n 1 "$WORK/said")" five
    rm -rf "$STORE" "$WORK/script"
}

# The log that is written to, of any engine: the first write to what is gone fails, then the store is read-only.
logs() # ENGINE
{
    local log i code=0
    must_mount "create,engine=$1"
    for ((i = 0; i < 300; i++)); do echo first >"$DIR/first"; done # more than a sync has at its end
    log=$(find "$STORE" -name 'log-*' -o -name 'segment-*' -o -name 'hybrid-redo-*' | sort | tail -n 1)
    truncate -s 0 "$log"
    for ((i = 0; i < 100 && code == 0; i++)); do # where logs are not mapped the file grows again
        timeout 20 bash -c 'echo value >"$1"' - "$DIR/$i" 2>"$WORK/err" || code=$?
    done
    case $(stat -f -c %T "$STORE") in ext2/ext3 | tmpfs) is "$code" 1 'a write fails' ;; esac
    if [ "$code" != 0 ]; then
        grep -q 'Input/output error' "$WORK/err" && pass || fail "$1: $(cat "$WORK/err")"
        says 'Read-only' timeout 20 bash -c 'echo value >"$1"' - "$DIR/later"
        is "$(statistic store.read_only)" 1
        case $(statistic fs.error_last) in *"$log"*) pass ;; *) fail "$(statistic fs.error_last)" ;; esac
    fi
    [ "$1" = appendlog ] || is "$(timeout 20 cat "$DIR/first")" first 'what is in memory'
    unmount_store || { fail 'cannot unmount'; exit 1; }
    rm -rf "$STORE"
}

case " $(engines) " in
*appendlog*)
    segments mapped
    segments written
    shell
    ;;
esac
for engine in $(engines); do
    logs "$engine"
done
