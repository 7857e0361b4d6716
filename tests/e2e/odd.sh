#!/usr/bin/env bash
# The commands of odd.txt, on a mount with attributes and beside it: see everyday.sh.
cd "$(dirname "$0")/../.." || exit 3
EVERYDAY_LIST=tests/e2e/odd.txt EVERYDAY_OPTIONS=xattr EVERYDAY_LEAST=100 exec tests/e2e/everyday.sh
