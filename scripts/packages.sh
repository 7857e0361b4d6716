# shellcheck shell=sh disable=SC2034
# Installing what is missing; sourced by ./start and ./check. POSIX sh.

# What it takes to build and to mount. libc6-dev is only recommended by gcc, and recommendations are not installed.
packages_build="gcc libc6-dev make pkg-config libfuse3-dev fuse3 libssl-dev libxxhash-dev liburing-dev liblz4-dev libzstd-dev \
    libedit-dev"
# What the tests need beyond that. clang: the build must pass both compilers. mandoc: checks the manual pages.
packages_test="check clang rsync mandoc man-db attr perl openssl e2fsprogs util-linux mount procps python3 tar diffutils \
    findutils grep gnuplot-nox git sqlite3 zip unzip xz-utils cpio patch ed file inotify-tools vim-tiny libcap2-bin"
# Many real files of all sizes below /usr/include and /usr/share, for a download of 43 MB and nothing to configure:
# 14,328 headers, 11,751 sources, 1,900 scripts and help texts, and fonts.
packages_input="libboost1.74-dev golang-1.19-src vim-runtime fonts-noto-core"

say()
{
    printf '%s\n' "$*"
}

die()
{
    printf '%s\n' "$*" >&2
    exit 1
}

# Prints those of the named packages that are not installed.
missing_packages()
{
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

# install_packages WHY PACKAGE...: installs what is missing of them, after saying so, or dies with one clear line.
install_packages()
{
    why=$1
    shift
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "No apt-get here; going on as if this were installed: $*"
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -eq 0 ]; then
        as_root="env"
    elif command -v sudo >/dev/null; then
        as_root="sudo env"
    else
        die "Missing: ${missing}- neither root nor sudo here; have an administrator run: apt-get install $missing"
    fi
    say "Installing $why with apt-get${as_root#env}: $missing"
    # The lists of a fresh machine are empty: fetch them, also when the first try fails for old ones.
    # shellcheck disable=SC2086 # lists of words
    apt_install $missing || { $as_root apt-get update -q && apt_install $missing; } ||
        die "apt-get could not install: $missing"
}

apt_install()
{
    # shellcheck disable=SC2086 # $as_root is one or two words
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null
}

# Dies with one line when this user cannot mount.
need_fuse()
{
    hint="the store works without a mount: build/plsm --help"
    if [ ! -e /dev/fuse ] && [ "$(id -u)" -eq 0 ]; then
        modprobe fuse 2>/dev/null || true
    fi
    [ -e /dev/fuse ] ||
        die "Cannot mount: no /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN); $hint"
    # Opening tells more than the permission bits: a container may forbid the device to its root.
    (exec 3<>/dev/fuse) 2>/dev/null || die "Cannot mount: $(id -un) may not open /dev/fuse; $hint"
    [ "$(id -u)" -eq 0 ] || command -v fusermount3 >/dev/null ||
        die "Cannot mount: no fusermount3 (package fuse3); $hint"
}

processors()
{
    nproc 2>/dev/null || echo 1
}
