# Programs of the benchmarks (make bench): natively and in guests the same files.
BENCH_DIR := tools/bench
BENCH_CFLAGS := -std=gnu11 -O2 -fno-math-errno -Wall -Wextra -Werror -D_GNU_SOURCE
BENCH_MICRO := $(wildcard $(BENCH_DIR)/micro*.c)
BENCH_PROGRAMS := $(addprefix $(B)/bench/bin/,micro exit-static exit-dynamic)

$(B)/bench/bin/micro: $(BENCH_MICRO) $(BENCH_DIR)/micro.h
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) $(BENCH_CFLAGS) -static -pthread -o $@ $(BENCH_MICRO)

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
	@tools/setup python3 $(if $(filter-out native shadowbox,$(or $(ENGINES),all)),qemu-system-x86)
	@$(MAKE) --no-print-directory -s all $(BENCH_PROGRAMS)
	@B=$(B) BENCH='$(BENCH)' ENGINES='$(ENGINES)' ROUNDS='$(ROUNDS)' QUICK='$(QUICK)' tools/bench/bench
