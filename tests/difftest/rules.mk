# The differential test: a static program without libc at a fixed address out of the way
# of 32-bit values.
DIFFTEST_DIR := tests/difftest
DIFFTEST_SRC := $(addprefix $(DIFFTEST_DIR)/,difftest.c gen.c gen_int.c gen_bits.c \
	gen_stack.c gen_flow.c gen_rare.c gen_vec.c emit.c entry.S)
DIFFTEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -ffreestanding -nostdlib -static \
	-fpie -no-pie -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns

$(B)/guest/bin/difftest: $(DIFFTEST_SRC) $(DIFFTEST_DIR)/difftest.h $(DIFFTEST_DIR)/gen.h
	@mkdir -p $(@D)
	@echo "  GUEST $@"
	@$(CC) $(DIFFTEST_CFLAGS) -Wl,-Ttext-segment=0x5a0000000,--build-id=none -o $@ $(DIFFTEST_SRC)

guests: $(B)/guest/bin/difftest
