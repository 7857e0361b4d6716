#!/usr/bin/env bash
# What people type all day, on the mount and beside it: the same output and the same tree. The commands stand in
# everyday.txt; those whose program is not installed here are skipped, and named at the end. For odd.sh: EVERYDAY_LIST,
# the commands, EVERYDAY_OPTIONS, of the mount, and EVERYDAY_LEAST, how many must be run.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

list=${EVERYDAY_LIST:-tests/e2e/everyday.txt} options=${EVERYDAY_OPTIONS:-rw} least=${EVERYDAY_LEAST:-90}
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='@1700000000 +0000'
export GIT_COMMITTER_DATE='@1700000000 +0000' PYTHONDONTWRITEBYTECODE=1 HOME=$WORK TZ=UTC0

# Runs a line in $1; what it says, with the directory's own path taken out, and its exit code.
run_line() # DIRECTORY LINE
{
    (cd "$1" && timeout -s KILL 60 bash -c "$2" 2>&1 </dev/null; echo "exit code $?") |
        sed -e "s|$1|HERE|g" -e 's/line [0-9]*: //'
}

# The tree with types, modes, owners, sizes of files, targets and contents.
describe() # DIRECTORY
{
    (cd "$1" && find . -name .stats -prune -o -name .git -prune -o \( -type d -printf '%P %y %m %U:%G\n' -o \
        -printf '%P %y %m %U:%G %s %l\n' \) | sort
    find . -name .git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum)
}

# A database and what git packs hold times and random numbers; they are compared by the commands themselves.
comparable() { sed -E '/ \.\/.*\.(db|tgz|zip|cpio|tar|gz)$/d; /^[^ ]*\.(tgz|zip|cpio|tar|gz) /d'; }

if ! command -v vim >/dev/null && command -v vim.tiny >/dev/null; then
    mkdir "$WORK/bin" && ln -s "$(command -v vim.tiny)" "$WORK/bin/vim"
    PATH=$WORK/bin:$PATH
fi
must_mount "create,$options"
mkdir "$DIR/here" "$WORK/reference"
touch "$DIR/link-from"
ln "$DIR/link-from" "$DIR/link-to" 2>/dev/null && hard_links=yes || hard_links=no
read_engine
[ "$ENGINE" != hybridlog ] && counted=yes || counted=no
declare -A missing=()
number=0 skipped=0
while IFS= read -r line; do
    [[ $line != '#'* ]] || continue
    while ! bash -n -c "$line" 2>/dev/null && IFS= read -r more; do line+=$'\n'$more; done
    number=$((number + 1))
    needed=
    for program in cc make vim git sqlite3 rsync zip unzip xz cpio patch ed perl file strip shred inotifywait flock; do
        if ! command -v $program >/dev/null && grep -qE "(^|[ (;|&])$program( |\$)" <<<"$line"; then
            needed=$program
        fi
    done
    [[ $line != *needs-hard-links* ]] || [ $hard_links = yes ] || needed='hard links'
    [[ $line != *needs-counted-directories* ]] || [ $counted = yes ] || needed='counted directories'
    if [ -n "$needed" ]; then
        missing[$needed]=1
        skipped=$((skipped + 1))
        continue
    fi
    run_line "$DIR/here" "$line" >"$WORK/on-mount" &
    run_line "$WORK/reference" "$line" >"$WORK/beside"
    wait $!
    if grep -qx 'exit code 137' "$WORK/beside"; then
        fail "not done in 60 s: $line"
    elif cmp -s "$WORK/on-mount" "$WORK/beside"; then
        pass
    else
        fail "$line"
        diff "$WORK/beside" "$WORK/on-mount" | head -n 6
    fi
done <"$list"
[ $((number - skipped)) -ge "$least" ] && pass || fail "only $((number - skipped)) of $number commands were run"

compare() # WHEN
{
    describe "$DIR/here" | comparable >"$WORK/on-mount"
    describe "$WORK/reference" | comparable >"$WORK/beside"
    if cmp -s "$WORK/on-mount" "$WORK/beside"; then
        pass
    else
        fail "the trees differ $1"
        diff "$WORK/beside" "$WORK/on-mount" | head -n 20
    fi
}
compare "at the end"
remount "$options"
compare "after a remount"
must_unmount
check_store
echo "$((number - skipped)) commands, $skipped skipped${missing[*]:+, not installed: ${!missing[*]}}"
