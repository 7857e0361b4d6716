"""metrics.py FILE: whether .plsm/metrics, copied there or in place, follows the rules of OpenMetrics and of promtool
that matter here: families together, HELP and TYPE in front, base units spelt out, an end; and whether there is a family
for each statistic that is asked for in the arguments behind."""
import re
import sys

lines = open(sys.argv[1]).read().split("\n")
assert lines[-2:] == ["# EOF", ""], lines[-3:]
seen, family, help_of = set(), None, None
for line in lines[:-2]:
    if line.startswith("# HELP "):
        help_of = line.split()[2]
        assert help_of not in seen, help_of
        seen.add(help_of)
    elif line.startswith("# TYPE "):
        family = line.split()[2]
        assert family == help_of and line.split()[3] == "gauge", line
        words = set(family.split("_"))
        assert not words & {"ns", "us", "ms", "s", "bits", "b", "kb", "kib", "mb", "mib", "gb", "count"}, family
    else:
        match = re.fullmatch(r'([a-z][a-z0-9_]*)(\{[a-z]+="[^"\\]*"\})? ([0-9.e+-]+|NaN|[+-]Inf)', line)
        assert match and match[1] == family, line
assert seen >= set(sys.argv[2:]), set(sys.argv[2:]) - seen
