/* One table of rows: a row does n operations, the driver in micro.c chooses n. */
#pragma once
#include <stdint.h>

typedef uint64_t u64;
typedef uint32_t u32;

struct row {
	const char *name;
	void (*run)(u64 n);
	void (*prepare)(void); /* before timing, may be null */
	int (*usable)(void);   /* null: always */
	const char *what;      /* one operation, for -l */
};

extern const struct row cpu_rows[], sys_rows[]; /* end with a null name */
extern volatile u64 sink; /* results go here, so that the work is not optimised away */
const char *micro_dir(void); /* where the program and its helpers are */
void micro_die(const char *what) __attribute__((noreturn));
