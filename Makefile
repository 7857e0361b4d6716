# plsm: make | make test | make check-* | make bench | make install   (V=1 shows the commands)
# SANITIZE=address,undefined or SANITIZE=thread builds into build-address,undefined/ or build-thread/.

CC       ?= gcc
PREFIX   ?= /usr/local
SBINDIR  ?= /sbin
SANITIZE ?=
BUILD    := build$(if $(SANITIZE),-$(SANITIZE))

PKGS     := fuse3 libxxhash libcrypto
CPPFLAGS += -I. -D_GNU_SOURCE -DFUSE_USE_VERSION=314
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
CFLAGS   ?= -O2 -g
ALL_CFLAGS = -std=c17 $(WARNINGS) $(WERROR) -pthread -fno-strict-aliasing -fvisibility=hidden -MMD -MP $(CFLAGS) \
             $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined) \
             $(shell pkg-config --cflags $(PKGS))
LDLIBS    = $(shell pkg-config --libs libxxhash libcrypto) -pthread -lm
Q        := $(if $(V),,@)

rooms     = base learn lsm store
LIB_SRC  := $(foreach room,$(rooms),$(wildcard $(room)/*.c))
FS_SRC   := $(wildcard fs/*.c)
TOOL_SRC := $(wildcard tools/*.c) $(wildcard tools/bench/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
FS_OBJ   := $(FS_SRC:%.c=$(BUILD)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/%.o)
# Each tests/ROOM/test_*.c is a program of its own; other .c files in tests/ROOM and tests/harness are shared by them.
TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
# An archive, so that a test of a low room does not pull in helpers that need the rooms above it.
HARNESS_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/harness/*.c))
HARNESS_LIB := $(BUILD)/tests/libharness.a

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
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/plsmd: $(FS_OBJ) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(shell pkg-config --libs fuse3)

$(HARNESS_LIB): $(HARNESS_OBJ)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(HARNESS_LIB) $(BUILD)/libplsm.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs check) $(LDLIBS)

unit-binaries: $(TEST_BIN)

# The table of the README: plsm and, where their headers were there at build time, RocksDB, LevelDB and LMDB.
bench: $(BUILD)/plsm
	$(BUILD)/plsm bench first

clean:
	rm -rf build build-*

-include $(LIB_OBJ:.o=.d) $(FS_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_BIN:%=%.d) $(HARNESS_OBJ:.o=.d)
