/* Basic types. Address kinds are distinct struct types so that the compiler
 * refuses to mix them; only the named functions below convert. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

typedef struct { u64 v; } gla_t; /* guest linear address (after segmentation) */
typedef struct { u64 v; } gpa_t; /* guest physical address */

static inline gla_t gla(u64 v) { return (gla_t){ v }; }
static inline gpa_t gpa(u64 v) { return (gpa_t){ v }; }

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define BIT(n) (1UL << (n))

/* 48-bit linear addresses: bits 63-47 are all alike. */
static inline bool gla_is_canonical(u64 a) { return (u64)((i64)(a << 16) >> 16) == a; }
