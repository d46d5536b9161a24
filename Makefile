# shadowbox: build, run, test.
#
#   make          build/shadowbox (compiler and libraries must be there: tools/setup)
#   make run      install what is needed, build, boot a Debian kernel to a shell
#   make test     install what is needed, build, check, run every test
#   make bench    install what is needed, build, measure against native and QEMU (docs/benchmarks.md)
#   make check    layering and libc-freedom of the code that runs inside views
#   make clean
#
# Another build folder: make B=/tmp/b. A subset of the view-side folders, to work on one
# layer alone: make B=/tmp/b VIEW_DIRS="base cpu" HOST_DIRS= /tmp/b/tests/test_cpu.

B ?= build
CC = gcc
OBJCOPY = objcopy
VIEW_DIRS ?= base cpu shadow dbt devices sandbox
HOST_DIRS ?= sandbox monitor

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

COMMON_FLAGS = -std=gnu11 -O2 -g -Wall -Wextra -Werror -Iinclude -I$(B) -fPIE
# View-side code runs on the guest's FS, vector and x87 state: no TLS, no stack
# protector, general registers only, no libc.
VIEW_FLAGS = $(COMMON_FLAGS) -O3 -mgeneral-regs-only -fno-stack-protector -fno-builtin \
	-ffreestanding -fcf-protection=none -mno-red-zone -fno-strict-aliasing
# An exit from guest code passes through five folders: the program's view side is optimized as
# one unit (view.o). Tests link the objects one by one. LTO= builds faster.
LTO ?= -flto=auto
HOST_FLAGS = $(COMMON_FLAGS) -D_GNU_SOURCE
# The compiler emits calls to these by itself; libc's use vector registers.
REDEFINE = --redefine-sym memcpy=sb_memcpy --redefine-sym memset=sb_memset \
	--redefine-sym memmove=sb_memmove --redefine-sym memcmp=sb_memcmp

# --- sources ---------------------------------------------------------------------
VIEW_PLAIN = $(filter-out sandbox,$(VIEW_DIRS))
VIEW_SRC := $(filter-out src/base/asm-offsets.c, \
	$(foreach d,$(VIEW_PLAIN),$(wildcard src/$(d)/*.c src/$(d)/*.S)) \
	$(if $(filter sandbox,$(VIEW_DIRS)),$(wildcard src/sandbox/view*.c src/sandbox/*.S)))
HOST_SRC := $(filter-out $(wildcard src/sandbox/view*.c), \
	$(foreach d,$(HOST_DIRS),$(wildcard src/$(d)/*.c)))
TEST_SRC := $(wildcard tests/unit/test_*.c)

obj = $(patsubst %,$(B)/%.o,$(basename $(1)))
VIEW_OBJ := $(call obj,$(VIEW_SRC))
HOST_OBJ := $(call obj,$(HOST_SRC))
TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(TEST_SRC))

.PHONY: all tests guests run test check setup clean
all: $(B)/shadowbox
tests: $(TESTS)
guests:

# --- compile ---------------------------------------------------------------------
$(VIEW_OBJ): $(B)/%.o: $(B)/%.tmp.o
	@$(OBJCOPY) $(REDEFINE) --remove-section='.gnu.*lto_*' $< $@

$(B)/view.o: $(VIEW_OBJ)
	@echo "  LTO   $@"
	@$(CC) $(VIEW_FLAGS) $(LTO) -r -nostdlib $(if $(LTO),-flinker-output=nolto-rel) \
		$(VIEW_OBJ:.o=.tmp.o) -o $(B)/view.tmp.o
	@$(OBJCOPY) $(REDEFINE) $(B)/view.tmp.o $@

# string.c must not have its loops turned into calls of itself.
$(B)/src/base/string.tmp.o: VIEW_FLAGS += -fno-tree-loop-distribute-patterns -fno-lto

$(B)/%.tmp.o: %.c Makefile | $(B)/asm-offsets.h
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(VIEW_FLAGS) $(if $(LTO),-flto -ffat-lto-objects) -MMD -MP -MF $(@:.tmp.o=.d) -MT $@ -c $< -o $@

$(B)/%.tmp.o: %.S Makefile | $(B)/asm-offsets.h
	@mkdir -p $(@D)
	@echo "  AS    $<"
	@$(CC) -g -Wall -Werror -Iinclude -I$(B) -fPIE -MMD -MP -MF $(@:.tmp.o=.d) -MT $@ -c $< -o $@

$(HOST_OBJ): $(B)/%.o: %.c Makefile | $(B)/asm-offsets.h
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(HOST_FLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@

# Offsets of struct members for assembly: compiled, then read from the assembly text.
$(B)/asm-offsets.s: src/base/asm-offsets.c Makefile
	@mkdir -p $(@D)
	@$(CC) $(filter-out -g,$(VIEW_FLAGS)) -MMD -MP -MF $(@:.s=.d) -MT $@ -S $< -o $@

$(B)/asm-offsets.h: $(B)/asm-offsets.s
	@echo "  GEN   $@"
	@{ echo "/* Generated from src/base/asm-offsets.c. */"; echo "#pragma once"; \
	   sed -n 's/^.*->\([A-Z0-9_]*\) \$$\{0,1\}\(-\{0,1\}[0-9]*\).*$$/#define \1 \2/p' $<; } > $@

# --- link ------------------------------------------------------------------------
# The image sits in the zone at the top of the low half (layout.h), so that guests have
# the rest of the address space: static, at a fixed high address. crtbeginS and crtendS
# are the start files that reach any address. libc.a refers to many functions weakly;
# one that is missing has address 0, which is out of a call's reach from there, so all
# that libc.a has are pulled in (see also src/base/static_link.c), and --no-relax keeps
# the linker from turning address loads into 32-bit absolute ones.
WEAK = __call_tls_dtors __cxa_finalize __pthread_unwind __glibc_tls_internal_free \
	__libpthread_freeres __libc_dlerror_result_free __malloc_arena_thread_freeres \
	__res_thread_freeres __default_pthread_attr_freeres __mq_notify_fork_subprocess \
	__timer_fork_subprocess __nss_database_fork_prepare_parent \
	__nss_database_fork_subprocess __nss_action_freeres __nss_database_freeres \
	__nss_module_freeres _dl_find_object_init
comma := ,
LIBDIR := $(dir $(shell $(CC) -print-file-name=crt1.o))
GCCDIR := $(dir $(shell $(CC) -print-libgcc-file-name))
LINK_FLAGS = -static -no-pie -nostartfiles -Wl,--no-relax -Wl,-z,separate-code \
	-Wl,-Ttext-segment=0x768000000000 $(addprefix -Wl$(comma)-u$(comma),$(WEAK))

$(B)/shadowbox: $(B)/view.o $(HOST_OBJ) Makefile
	@echo "  LINK  $@"
	@$(CC) $(LINK_FLAGS) $(LIBDIR)crt1.o $(LIBDIR)crti.o $(GCCDIR)crtbeginS.o \
		$(B)/view.o $(HOST_OBJ) -lcapstone $(GCCDIR)crtendS.o $(LIBDIR)crtn.o -o $@

# --- tests -----------------------------------------------------------------------
$(B)/libview.a: $(VIEW_OBJ)
$(B)/libhost.a: $(filter-out $(B)/src/monitor/main.o,$(HOST_OBJ))
$(B)/lib%.a: | $(B)/asm-offsets.h
	@rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

# A test's own definition of a function replaces the one in the libraries (muldefs), so
# that it can fake what lies below the code under test. "src/..." reaches private headers.
$(B)/tests/%: tests/unit/%.c $(B)/libhost.a $(B)/libview.a Makefile
	@mkdir -p $(@D)
	@echo "  TEST  $@"
	@$(CC) $(HOST_FLAGS) -I. -MMD -MP -MF $@.d -MT $@ $< -Wl,-z,muldefs \
		-Wl,--start-group $(B)/libhost.a $(B)/libview.a -Wl,--end-group -lcmocka -lcapstone -o $@

check: $(VIEW_OBJ) $(B)/view.o
	@tools/check-layers
	@tools/check-symbols $(VIEW_OBJ)
	@tools/check-symbols $(B)/view.o

setup:
	@tools/setup

test: setup
	@$(MAKE) --no-print-directory all tests guests check
	@B=$(B) tests/run

run: setup
	@$(MAKE) --no-print-directory all
	@B=$(B) tools/boot

# Parts of the test suite with build rules of their own add to `tests` and `guests`.
include $(wildcard tests/*/rules.mk)
include tools/bench/rules.mk

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
