/* The memory that the translator works on, at its addresses. */
#pragma once
#include <stdlib.h>
#include <sys/mman.h>
#include "shadowbox/sandbox.h"
#include "src/dbt/engine.h"

static void map_fixed(u64 hva, u64 len)
{
	if (mmap((void *)hva, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		exit(1);
}

static void dbt_map(void)
{
	map_fixed(ARENA_HVA, 1UL << 30);
	map_fixed(HOT_HVA, 0x1000000);
	map_fixed(CODE_RW_HVA, CODE_SIZE);
	map_fixed(PRIVATE_HVA, 0x40000000UL + VIEW_MAX * TABLE_SIZE);
}

#define DBT_ROOM (900UL << 20)
static bool dbt_start(void) { return dbt_init(ARENA->shadow_area, DBT_ROOM); }
