# Test kernels: every tests/guest/k/*.c becomes NAME.elf (linked high, as Linux is) and
# NAME-low.elf (linked low). Guest programs: every tests/guest/user/*.c becomes a static
# program in $(B)/guest/bin. tests/guest/bad/*.c end badly on purpose: NAME-bad.elf.
GUEST_DIR := tests/guest
GUEST_KERNELS := $(notdir $(basename $(wildcard $(GUEST_DIR)/k/*.c)))
GUEST_BAD := $(notdir $(basename $(wildcard $(GUEST_DIR)/bad/*.c)))
GUEST_PROGRAMS := $(notdir $(basename $(wildcard $(GUEST_DIR)/user/*.c)))
GUEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -ffreestanding -fpie -fno-plt \
	-mgeneral-regs-only -mno-red-zone -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -Wno-array-bounds -fno-tree-loop-distribute-patterns \
	-I$(GUEST_DIR)/lib
GUEST_LIB := $(addprefix $(GUEST_DIR)/lib/,start.S trap.S lib.c trap.c irq.c)
GUEST_HDR := $(wildcard $(GUEST_DIR)/lib/*.h) $(GUEST_DIR)/lib/kernel.lds.S $(GUEST_DIR)/rules.mk
GUEST_BASE_high := 0xffffffff80000000
GUEST_BASE_low := 0

define guest_flavour
$(B)/guest/lib-$(1)/kernel.lds: $(GUEST_DIR)/lib/kernel.lds.S
	@mkdir -p $$(@D)
	@$(CC) -E -P -x c -DKBASE=$(GUEST_BASE_$(1)) -o $$@ $$<
$(B)/guest/lib-$(1)/lib.a: $(GUEST_LIB) $(GUEST_HDR)
	@mkdir -p $$(@D)
	@rm -f $$@
	@set -e; for f in $(GUEST_LIB); do \
		$(CC) $(GUEST_CFLAGS) -DKBASE=$(GUEST_BASE_$(1)) -c -o $$(@D)/$$$$(basename $$$$f).o $$$$f; done
	@$(AR) rcs $$@ $(addprefix $(B)/guest/lib-$(1)/,$(addsuffix .o,$(notdir $(GUEST_LIB))))
endef
$(eval $(call guest_flavour,high))
$(eval $(call guest_flavour,low))

define guest_link
	@mkdir -p $(@D)
	@echo "  GUEST $@"
	@$(CC) $(GUEST_CFLAGS) -DKBASE=$(GUEST_BASE_$(1)) -nostdlib -static -no-pie \
		-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T $(B)/guest/lib-$(1)/kernel.lds -o $@ $< \
		-Wl,--whole-archive $(B)/guest/lib-$(1)/lib.a -Wl,--no-whole-archive
endef
$(B)/guest/%-low.elf: $(GUEST_DIR)/k/%.c $(B)/guest/lib-low/kernel.lds $(B)/guest/lib-low/lib.a
	$(call guest_link,low)
$(B)/guest/%-bad.elf: $(GUEST_DIR)/bad/%.c $(B)/guest/lib-high/kernel.lds $(B)/guest/lib-high/lib.a
	$(call guest_link,high)
$(B)/guest/%.elf: $(GUEST_DIR)/k/%.c $(B)/guest/lib-high/kernel.lds $(B)/guest/lib-high/lib.a
	$(call guest_link,high)

$(B)/guest/bin/%: $(GUEST_DIR)/user/%.c
	@mkdir -p $(@D)
	@echo "  GUEST $@"
	@$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -static -pthread -o $@ $< -lm

guests: $(GUEST_KERNELS:%=$(B)/guest/%.elf) $(GUEST_KERNELS:%=$(B)/guest/%-low.elf) \
	$(GUEST_BAD:%=$(B)/guest/%-bad.elf) $(GUEST_PROGRAMS:%=$(B)/guest/bin/%)
