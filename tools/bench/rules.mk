# Programs of the benchmarks (make bench): natively and in guests the same files.
BENCH_DIR := tools/bench
BENCH_CFLAGS := -std=gnu11 -O2 -fno-math-errno -Wall -Wextra -Werror -D_GNU_SOURCE
BENCH_MICRO := $(wildcard $(BENCH_DIR)/micro*.c)
BENCH_PROGRAMS := $(addprefix $(B)/bench/bin/,micro timeit exit-static exit-dynamic) \
	$(B)/bench/nano.elf $(B)/bench/nano.elf-native

$(B)/bench/bin/micro: $(BENCH_MICRO) $(BENCH_DIR)/micro.h
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -static -pthread -o $@ $(BENCH_MICRO)

$(B)/bench/bin/timeit: $(BENCH_DIR)/timeit.c
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -static -o $@ $<

$(B)/bench/bin/exit-static: $(BENCH_DIR)/exit.c
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -static -o $@ $<

$(B)/bench/bin/exit-dynamic: $(BENCH_DIR)/exit.c
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -o $@ $<

.PHONY: bench
bench: setup
	@tools/setup python3 $(if $(filter-out native shadowbox,$(or $(ENGINES),$(if $(QUICK),,all))),qemu-system-x86)
	@$(MAKE) --no-print-directory -s all $(BENCH_PROGRAMS)
	@B=$(B) BENCH='$(BENCH)' ENGINES='$(ENGINES)' ROUNDS='$(ROUNDS)' QUICK='$(QUICK)' BASELINE='$(BASELINE)' \
		tools/bench/bench

# The bare-metal guest stands on the test kernels' library.
$(B)/bench/nano.elf: $(BENCH_DIR)/nano.c $(B)/guest/lib-high/kernel.lds $(B)/guest/lib-high/lib.a
	$(call guest_link,high)

$(B)/bench/nano.elf-native: $(BENCH_DIR)/nano_native.c
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -static -o $@ $<
