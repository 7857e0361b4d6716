#!/usr/bin/env bash
# `make install` into an empty root, and what a user does with it: the example of the README compiled against the
# installed header and libraries (C and C++, static and shared), the manual pages, and `make uninstall`.
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

ok() # NAME COMMAND...
{
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        sed 's/^/    /' "$work/out"
    fi
}

root=$work/root
install=(make -s DESTDIR="$root" PREFIX=/opt/plsm SBINDIR=/sbin)
ok "make install" "${install[@]}" install
for file in opt/plsm/bin/plsm opt/plsm/libexec/plsmd sbin/mount.plsm sbin/mount.fuse.plsm opt/plsm/lib/libplsm.a \
    opt/plsm/lib/libplsm.so \
    opt/plsm/lib/pkgconfig/plsm.pc opt/plsm/include/plsm.h opt/plsm/share/man/man1/plsm.1 \
    opt/plsm/share/man/man8/mount.plsm.8; do
    ok "$file is installed" test -e "$root/$file"
done
ok "the helper knows where the daemon is" grep -q /opt/plsm/libexec "$root/sbin/mount.plsm"
ok "no placeholder is left" sh -c "! grep -rn '@[A-Z]*@' '$root/sbin' '$root/opt/plsm/lib/pkgconfig'"

# As pkg-config sees it from inside that root.
export PKG_CONFIG_PATH=$root/opt/plsm/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
read -ra flags < <(pkg-config --cflags --libs plsm)
read -ra static < <(pkg-config --static --libs plsm | sed 's/-lplsm//')
include=$root/opt/plsm/include lib=$root/opt/plsm/lib
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$work/example.c"
cd "$work" || exit 1
ok "the README has an example" test -s example.c

strict=(-std=c17 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror)
ok "the header alone compiles strictly" sh -c "echo '#include <plsm.h>' |
    cc ${strict[*]} -I '$include' -fsyntax-only -x c -"
if command -v c++ >/dev/null; then
    cat >"$work/example.cc" <<'END'
#include <plsm.h>
#include <cstdio>
int main() { std::puts(plsm_status_name(plsm_options_check("cache_size=1M"))); return plsm_message()[0]; }
END
    ok "a C++ program links" c++ -Wall -Wextra -Werror -o "$work/cxx" "$work/example.cc" "${flags[@]}"
    ok "the header compiles as C++" sh -c "echo '#include <plsm.h>' |
        c++ -Wall -Wextra -Werror -I '$include' -fsyntax-only -x c++ -"
fi
ok "the example compiles" cc "${strict[@]}" -o shared example.c "${flags[@]}"
ok "the example runs with the shared library" sh -c "LD_LIBRARY_PATH='$lib' ./shared >shared.out"
ok "and prints the batch in key order" sh -c "printf 'stock/apples: 12\nstock/pears: 7\n' | cmp - shared.out"
ok "the example links statically" cc "${strict[@]}" -o static example.c -I "$include" "$lib/libplsm.a" \
    "${static[@]}"
ok "and opens the same store" sh -c "./static | cmp - shared.out"
ok "the command reads it" sh -c "test \"\$('$root/opt/plsm/bin/plsm' get example-store stock/pears)\" = 7"

# Whatever a program calls its own functions, it does not clash with the library's.
ok "the static library shows plsm_* alone" sh -c "
    ! nm -g --defined-only '$lib/libplsm.a' | grep ' [A-Z] ' | grep -v ' plsm_'"
ok "the shared library shows plsm_* alone" sh -c "
    ! nm -D --defined-only '$lib/libplsm.so' | grep ' [A-Z] ' | grep -v ' plsm_'"
if command -v man >/dev/null; then
    ok "the manual pages are found" man -M "$root/opt/plsm/share/man" -w plsm mount.plsm
fi

cd "$OLDPWD" || exit 1
ok "make uninstall" "${install[@]}" uninstall
ok "nothing is left" sh -c "test -z \"\$(find '$root' -type f -o -type l)\""
unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
ok "a path with a blank is no problem" make -s DESTDIR="$work/a root" PREFIX=/usr install

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
