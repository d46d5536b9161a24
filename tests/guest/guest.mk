# Test kernels: every tests/guest/k/*.c becomes NAME.elf (linked high, as Linux is) and
# NAME-low.elf (linked low). Guest programs: every tests/guest/user/*.c becomes a static
# program in build/guest/bin.
GUEST_DIR := tests/guest
GUEST_KERNELS := $(notdir $(basename $(wildcard $(GUEST_DIR)/k/*.c)))
GUEST_PROGRAMS := $(notdir $(basename $(wildcard $(GUEST_DIR)/user/*.c)))
GUEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -ffreestanding -fpie -fno-plt \
	-mgeneral-regs-only -mno-red-zone -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -Wno-array-bounds -fno-tree-loop-distribute-patterns \
	-I$(GUEST_DIR)/lib
GUEST_LIB := $(addprefix $(GUEST_DIR)/lib/,start.S trap.S lib.c trap.c irq.c)
GUEST_HDR := $(wildcard $(GUEST_DIR)/lib/*.h) $(GUEST_DIR)/lib/kernel.lds.S $(GUEST_DIR)/guest.mk
GUEST_BASE_high := 0xffffffff80000000
GUEST_BASE_low := 0

define guest_flavour
$(BUILD)/guest/lib-$(1)/kernel.lds: $(GUEST_DIR)/lib/kernel.lds.S
	@mkdir -p $$(@D)
	$(CC) -E -P -x c -DKBASE=$(GUEST_BASE_$(1)) -o $$@ $$<
$(BUILD)/guest/lib-$(1)/lib.a: $(GUEST_LIB) $(GUEST_HDR)
	@mkdir -p $$(@D)
	@rm -f $$@
	set -e; for f in $(GUEST_LIB); do \
		$(CC) $(GUEST_CFLAGS) -DKBASE=$(GUEST_BASE_$(1)) -c -o $$(@D)/$$$$(basename $$$$f).o $$$$f; done
	$(AR) rcs $$@ $(addprefix $(BUILD)/guest/lib-$(1)/,$(addsuffix .o,$(notdir $(GUEST_LIB))))
endef
$(eval $(call guest_flavour,high))
$(eval $(call guest_flavour,low))

define guest_link
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -DKBASE=$(GUEST_BASE_$(1)) -nostdlib -static -no-pie \
		-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T $(BUILD)/guest/lib-$(1)/kernel.lds -o $@ $< \
		-Wl,--whole-archive $(BUILD)/guest/lib-$(1)/lib.a -Wl,--no-whole-archive
endef
$(BUILD)/guest/%-low.elf: $(GUEST_DIR)/k/%.c $(BUILD)/guest/lib-low/kernel.lds $(BUILD)/guest/lib-low/lib.a
	$(call guest_link,low)
$(BUILD)/guest/%.elf: $(GUEST_DIR)/k/%.c $(BUILD)/guest/lib-high/kernel.lds $(BUILD)/guest/lib-high/lib.a
	$(call guest_link,high)

$(BUILD)/guest/bin/%: $(GUEST_DIR)/user/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -static -pthread -o $@ $< -lm

GUEST_TARGETS += $(GUEST_KERNELS:%=$(BUILD)/guest/%.elf) $(GUEST_KERNELS:%=$(BUILD)/guest/%-low.elf) \
	$(GUEST_PROGRAMS:%=$(BUILD)/guest/bin/%)
