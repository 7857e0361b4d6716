# plsm: make | make test | make check-* | make bench | make bench-mount | make install   (V=1 shows the commands)
# SANITIZE=address,undefined or SANITIZE=thread builds into build-address,undefined/ or build-thread/.

CC       ?= gcc
PREFIX   ?= /usr/local
SBINDIR  ?= /sbin
SANITIZE ?=
BUILD    := build$(if $(SANITIZE),-$(SANITIZE))

PKGS     := fuse3 libxxhash libcrypto
# Used where they are there: reads of many pages at once, compression. WITHOUT=libzstd builds without one.
OPTIONAL := $(foreach lib,$(filter-out $(WITHOUT),liburing liblz4 libzstd),$(shell pkg-config --exists $(lib) \
            2>/dev/null && echo $(lib)))
# Of the command alone, for editing lines in `plsm shell`.
EDIT     := $(foreach lib,$(filter-out $(WITHOUT),libedit),$(shell pkg-config --exists $(lib) 2>/dev/null && echo $(lib)))
HAVE_liburing = -DHAVE_LIBURING
HAVE_libedit  = -DHAVE_LIBEDIT
HAVE_liblz4   = -DHAVE_LZ4
HAVE_libzstd  = -DHAVE_ZSTD
CPPFLAGS += -I. -D_GNU_SOURCE -DFUSE_USE_VERSION=314 $(foreach lib,$(OPTIONAL) $(EDIT),$(HAVE_$(lib)))
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
CFLAGS   ?= -O2 -g
ALL_CFLAGS = -std=c17 $(WARNINGS) $(WERROR) -pthread -fno-strict-aliasing -fvisibility=hidden -MMD -MP $(CFLAGS) \
             $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined) \
             $(shell pkg-config --cflags $(PKGS) $(EDIT))
LDLIBS    = $(shell pkg-config --libs libxxhash libcrypto $(OPTIONAL)) -pthread -lm
EDIT_LIBS = $(if $(EDIT),$(shell pkg-config --libs $(EDIT)))
Q        := $(if $(V),,@)

rooms     = base learn lsm log store
LIB_SRC  := $(foreach room,$(rooms),$(wildcard $(room)/*.c))
FS_SRC   := $(wildcard fs/*.c)
TOOL_SRC := $(wildcard tools/*.c) $(wildcard tools/bench/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
FS_OBJ   := $(FS_SRC:%.c=$(BUILD)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/%.o)
# Each tests/ROOM/test_*.c is a program of its own; other .c files in tests/ROOM and tests/harness are shared by them.
TEST_SRC := $(wildcard tests/*/test_*.c)
# The longest first, so that in the end no processor waits for one of them.
LONGEST  := $(addprefix $(BUILD)/tests/,crash/test_corrupt crash/test_fault crash/test_crash crash/test_model \
            learn/test_indexes)
TEST_BIN := $(LONGEST) $(filter-out $(LONGEST),$(TEST_SRC:%.c=$(BUILD)/%))
# An archive, so that a test of a low room does not pull in helpers that need the rooms above it.
HARNESS_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/harness/*.c))
HARNESS_LIB := $(BUILD)/tests/libharness.a
# Some 200 programs are linked: with gold, where it is there, in a third of the time.
TEST_LINKER := $(shell ld.gold --version >/dev/null 2>&1 && echo -fuse-ld=gold)
CHECK_LIBS  := $(TEST_LINKER) $(shell pkg-config --libs check) -Wl,--wrap=_mark_point

.PHONY: all lib test unit bench clean
all: $(BUILD)/plsm $(BUILD)/plsmd

lib: $(BUILD)/libplsm.a

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/libplsm.a: $(LIB_OBJ)
	$(if $(V),,@echo "  AR    $@")
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/plsm: $(TOOL_OBJ) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(EDIT_LIBS)

$(BUILD)/plsmd: $(FS_OBJ) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(shell pkg-config --libs fuse3)

$(HARNESS_LIB): $(HARNESS_OBJ)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(HARNESS_LIB) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LDLIBS)

# The daemon but for its main function, for the tests of its parts.
FS_PARTS_LIB := $(BUILD)/tests/libfsparts.a
$(FS_PARTS_LIB): $(filter-out $(BUILD)/fs/main.o,$(FS_OBJ))
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/fs/%: $(BUILD)/tests/fs/%.o $(FS_PARTS_LIB) $(HARNESS_LIB) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(shell pkg-config --libs fuse3) $(LDLIBS)

# The command but for its main function, likewise.
TOOL_PARTS_LIB := $(BUILD)/tests/libtoolparts.a
$(TOOL_PARTS_LIB): $(filter-out $(BUILD)/tools/main.o,$(TOOL_OBJ))
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/tools/%: $(BUILD)/tests/tools/%.o $(TOOL_PARTS_LIB) $(HARNESS_LIB) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs check) $(LDLIBS) $(EDIT_LIBS)

unit-binaries: $(TEST_BIN)
test-objects: $(TEST_BIN:%=%.o) $(HARNESS_OBJ)

# --- tests: `make test` is the quick round, ./check is everything -----------------------------------------------------

E2E       = $(filter-out tests/e2e/lib.sh,$(wildcard tests/e2e/*.sh))
# Long, and one thread does the work: nothing for ThreadSanitizer to see.
ONE_THREAD = $(addprefix $(BUILD)/tests/,base/test_alloc base/test_env_memory crash/test_crash crash/test_fault \
             crash/test_corrupt learn/% tools/% fs/test_attr fs/test_escape log/test_append log/test_append_lost \
             log/test_hostile log/test_hybrid log/test_hybrid_lookups log/test_room lsm/test_compression lsm/test_memtable \
             lsm/test_memtable_lanes lsm/test_modes lsm/test_page_classic lsm/test_router lsm/test_simulated_costs \
             lsm/test_simulated_memory lsm/test_simulated_sides lsm/test_tiers lsm/test_tombstones lsm/test_tree \
             store/test_convert store/test_edit store/test_edit_crash store/test_edit_fault store/test_expiry \
             store/test_full_disk store/test_ingest store/test_inspect store/test_iterator_steps \
             store/test_links_crash store/test_links_fault store/test_pins store/test_ranges store/test_relocate)
# Of benchmarks: long, and what they call is tested elsewhere.
NO_ASAN   = $(addprefix $(BUILD)/tests/tools/,test_bench_data test_bench_disk test_bench_rows test_compare \
            test_shapes test_suite)
# What sanitizers slow down by 5 to 20 times is thinned out by as much: every 13th crash point, and so on.
# Also without them crashes and faults are too many for each time (make check-unit has them all).
THIN      = CRASH_STRIDE=3 FAULT_STRIDE=3 CORRUPT_STRIDE=3 MODEL_SETS=80
THIN_ASAN = TEST_THIN=4 CRASH_STRIDE=13 FAULT_STRIDE=79 CORRUPT_STRIDE=31 MODEL_SETS=20 MODEL_LISTS=4
THIN_TSAN = TEST_THIN=4 MODEL_SETS=12 MODEL_THREADS=1 MODEL_LISTS=0

.PHONY: bench-mount unit-binaries test-objects check-unit check-e2e check-asan check-tsan check-clang check-all lint fuzz soak \
    endure stress conformance tidy
test: all $(TEST_BIN)
	$(Q)$(THIN) tests/run.sh all tests/e2e/real.sh $(LONGEST) tests/lint.sh $(filter-out tests/e2e/real.sh,$(E2E)) \
	    $(filter-out $(LONGEST),$(TEST_BIN))

lint:
	$(Q)tests/lint.sh

check-unit: $(TEST_BIN)
	$(Q)tests/run.sh $(or $(SANITIZE),unit) $(TEST_BIN)

check-unit-memory: $(filter-out $(NO_ASAN),$(TEST_BIN))
	$(Q)tests/run.sh $(or $(SANITIZE),unit) $^

check-unit-threads: $(filter-out $(ONE_THREAD),$(TEST_BIN)) $(BUILD)/tests/learn/test_young_race
	$(Q)tests/run.sh $(or $(SANITIZE),unit) $^

check-e2e: all
	$(Q)tests/run.sh e2e $(E2E)

check-asan:
	$(Q)$(THIN_ASAN) $(MAKE) SANITIZE=address,undefined CFLAGS="-O1 -g1" check-unit-memory

check-tsan:
	$(Q)$(THIN_TSAN) $(MAKE) SANITIZE=thread CFLAGS="-O1 -g1" check-unit-threads

# Everything must compile without a warning under the other compiler too, and what is installed be linked.
check-clang:
	$(Q)$(MAKE) BUILD=build-clang CC=clang WERROR=-Werror CFLAGS=-O1 all test-objects

check-all:
	$(Q)tests/all.sh

FUZZERS = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz-binaries: $(FUZZERS)
# FUZZ_SECONDS (60) for each.
fuzz:
	$(Q)$(MAKE) SANITIZE=address,undefined CFLAGS="-O1 -g1" fuzz-binaries
	$(Q)for fuzzer in $(notdir $(FUZZERS)); do build-address,undefined/tests/fuzz/$$fuzzer || exit 1; done

# New seeds all the time, and kill -9, for SOAK_MINUTES (60).
soak: all $(TEST_BIN) $(FUZZERS)
	$(Q)tests/soak.sh

# What others test file systems with, on a fresh mount, as root: copies built elsewhere. PJDFSTEST: the directory of
# pjdfstest, built; FSX: the program fsx (FSX_OPERATIONS, FSX_SEED).
conformance: all
	$(Q)PJDFSTEST="$(PJDFSTEST)" FSX="$(FSX)" tests/conformance.sh

# The machine's floors; plsm and, where their headers were there at build time, RocksDB, LevelDB, LMDB and WiredTiger side
# by side, and with more and more keys, up to MAX_KEYS (100m: hours more); then plsm's own engines. The figures as CSV
# and pictures in build/bench. ROWS: groups of rows of the first table, such as threads,values. BENCH: further options of
# both tables, such as --keys=100k or --repeat=1.
GNUPLOT = $(shell command -v gnuplot)
MAX_KEYS ?= 1m
bench: $(BUILD)/plsm
	$(Q)mkdir -p $(BUILD)/bench
	$(BUILD)/plsm bench floor
	$(BUILD)/plsm bench contest --csv=$(BUILD)/bench/contest.csv \
	    $(if $(GNUPLOT),--plot=$(BUILD)/bench/contest.png) $(if $(ROWS),--rows=$(ROWS)) $(BENCH)
	$(BUILD)/plsm bench growth --max-keys=$(MAX_KEYS) --csv=$(BUILD)/bench/growth.csv \
	    $(if $(GNUPLOT),--plot=$(BUILD)/bench/growth.png)
	$(BUILD)/plsm bench engines --csv=$(BUILD)/bench/engines.csv \
	    $(if $(GNUPLOT),--plot=$(BUILD)/bench/engines) $(BENCH)

# Eight processes on a mount whose daemon is killed every minute, for ENDURE_MINUTES (60).
endure: all
	$(Q)tests/endure.sh

# dbench, stress-ng and fio, as far as they are installed, STRESS_SECONDS (5) for each stressor.
stress: all
	$(Q)tests/stress.sh

# The mount beside ext4, tmpfs and the thinnest file system that FUSE allows: tables with what is asked, and a CSV file.
# FILES, MANY, LARGE (MiB), ROUNDS, DISK (a directory on the disk that is measured; beside the build otherwise), BENCH:
# more options of tests/bench-mount/bench.py.
FILES  ?= 20000
MANY   ?= 100000
LARGE  ?= 1024
ROUNDS ?= 3
BENCH_MOUNT = $(addprefix $(BUILD)/bench-mount/,null_fs rows)
$(BUILD)/bench-mount/%: $(BUILD)/tests/bench-mount/%.o $(FS_PARTS_LIB) $(BUILD)/libplsm.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs fuse3) $(LDLIBS)

bench-mount: all $(BENCH_MOUNT)
	$(Q)mkdir -p $(BUILD)/bench
	$(Q)python3 tests/bench-mount/bench.py --build=$(BUILD) $(if $(DISK),--disk=$(DISK)) --files=$(FILES) --many=$(MANY) \
	    --large=$(LARGE) --rounds=$(ROUNDS) --csv=$(BUILD)/bench/mount.csv $(BENCH)

tidy:
	$(Q)if command -v cppcheck >/dev/null; then cppcheck -q --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --error-exitcode=1 --suppress=missingIncludeSystem -I. -D_GNU_SOURCE -D__x86_64__ $(rooms) fs tools; \
	    else echo "no cppcheck here"; fi
	$(Q)if command -v clang-tidy >/dev/null; then \
	    clang-tidy -quiet -checks='-*,bugprone-*,-bugprone-easily-swappable-parameters,clang-analyzer-*' \
	    $(LIB_SRC) $(FS_SRC) $(TOOL_SRC) -- -std=c17 $(CPPFLAGS) $(shell pkg-config --cflags $(PKGS)); \
	    else echo "no clang-tidy here"; fi

# --- installing -------------------------------------------------------------------------------------------------------

BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
VERSION    := $(shell sed -n 's/.*PLSM_VERSION_TEXT "\(.*\)".*/\1/p' tools/tool.h)
SONAME     := libplsm.so.0

# Shared libraries need objects of their own.
$(BUILD)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $< (pic)")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -fPIC -c -o $@ $<

$(BUILD)/install/$(SONAME): $(LIB_SRC:%.c=$(BUILD)/pic/%.o)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -o $@ $^ $(LDLIBS)

# One object in which only plsm_* is global, so that a program may have functions of its own named fail or buf_append.
$(BUILD)/install/libplsm.a: $(LIB_OBJ)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  AR    $@")
	$(Q)rm -f $@ && $(CC) -r -nostdlib -o $(BUILD)/install/plsm.o $^ && objcopy --localize-hidden $(BUILD)/install/plsm.o && \
	    ar rcs $@ $(BUILD)/install/plsm.o

# plsm.h with what it includes in it, each file once: one file for users.
$(BUILD)/install/plsm.h: store/plsm.h base/inspect.h base/slice.h base/status.h
	@mkdir -p $(@D)
	$(Q)awk 'function put(file,  line, part) { if (file in seen) return; seen[file]; \
	    while ((getline line < file) > 0) if (line ~ /^#include "/) { split(line, part, "\""); put(part[2]) } \
	    else print line } BEGIN { put("store/plsm.h") }' > $@

$(BUILD)/install/plsm.pc: Makefile tools/tool.h always
	@mkdir -p $(@D)
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: plsm' \
	    'Description: ordered key-value store with learned indexes' 'Version: $(VERSION)' 'Cflags: -I$${includedir}' \
	    'Libs: -L$${libdir} -lplsm' 'Libs.private: $(LDLIBS)' > $@

# mount(8) looks for helpers in /sbin alone, and at a remount by the kernel's name of the type, fuse.plsm; the helper
# finds the daemon by the path written into it.
$(BUILD)/install/mount.plsm: mount.plsm Makefile always
	@mkdir -p $(@D)
	$(Q)sed 's|@LIBEXECDIR@|$(LIBEXECDIR)|' mount.plsm > $@

# PREFIX may be another one than the last time.
.PHONY: always
always:

.PHONY: install uninstall fuzz-binaries check-unit-memory check-unit-threads
INSTALL_FILES = $(addprefix $(BUILD)/install/,$(SONAME) libplsm.a plsm.h plsm.pc mount.plsm)
install: all $(INSTALL_FILES)
	install -d $(addprefix "$(DESTDIR)",$(BINDIR) $(LIBDIR)/pkgconfig $(LIBEXECDIR) $(INCLUDEDIR) $(SBINDIR) \
	    $(MANDIR)/man1 $(MANDIR)/man8)
	install -m 755 $(BUILD)/plsm "$(DESTDIR)$(BINDIR)/plsm"
	install -m 755 $(BUILD)/plsmd "$(DESTDIR)$(LIBEXECDIR)/plsmd"
	install -m 755 $(BUILD)/install/mount.plsm "$(DESTDIR)$(SBINDIR)/mount.plsm"
	ln -sf mount.plsm "$(DESTDIR)$(SBINDIR)/mount.fuse.plsm"
	install -m 644 $(BUILD)/install/libplsm.a "$(DESTDIR)$(LIBDIR)/libplsm.a"
	install -m 755 $(BUILD)/install/$(SONAME) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libplsm.so"
	install -m 644 $(BUILD)/install/plsm.pc "$(DESTDIR)$(LIBDIR)/pkgconfig/plsm.pc"
	install -m 644 $(BUILD)/install/plsm.h "$(DESTDIR)$(INCLUDEDIR)/plsm.h"
	install -m 644 man/plsm.1 "$(DESTDIR)$(MANDIR)/man1/plsm.1"
	install -m 644 man/mount.plsm.8 "$(DESTDIR)$(MANDIR)/man8/mount.plsm.8"

uninstall:
	rm -f $(addprefix "$(DESTDIR)",$(BINDIR)/plsm $(LIBEXECDIR)/plsmd $(SBINDIR)/mount.plsm $(SBINDIR)/mount.fuse.plsm $(LIBDIR)/libplsm.a \
	    $(LIBDIR)/$(SONAME) $(LIBDIR)/libplsm.so $(LIBDIR)/pkgconfig/plsm.pc $(INCLUDEDIR)/plsm.h \
	    $(MANDIR)/man1/plsm.1 $(MANDIR)/man8/mount.plsm.8)

clean:
	rm -rf build build-*

.SECONDARY: # objects of tests are not thrown away

-include $(LIB_OBJ:.o=.d) $(LIB_SRC:%.c=$(BUILD)/pic/%.d) $(FS_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(HARNESS_OBJ:.o=.d) \
    $(TEST_BIN:%=%.d) $(FUZZERS:%=%.d) \
         $(BENCH_MOUNT:$(BUILD)/bench-mount/%=$(BUILD)/tests/bench-mount/%.d)
