/* The libc-free formatter, log and panic, and the memory functions of src/base: checked
 * against libc's on the conversions that both know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "shadowbox/counters.h"
#include "shadowbox/log.h"

void *sb_memcpy(void *dst, const void *src, size_t n);
void *sb_memset(void *dst, int c, size_t n);
void *sb_memmove(void *dst, const void *src, size_t n);
int sb_memcmp(const void *a, const void *b, size_t n);

#define SAME(...) \
	do { \
		char ours[256], theirs[256]; \
		size_t len = fmt_format(ours, sizeof(ours), __VA_ARGS__); \
		snprintf(theirs, sizeof(theirs), __VA_ARGS__); \
		assert_string_equal(ours, theirs); \
		assert_int_equal(len, strlen(theirs)); \
	} while (0)

static void test_numbers(void **state)
{
	(void)state;
	SAME("%d %i %u", -1, INT_MIN, UINT_MAX);
	SAME("%ld %lu %lld %llu", LONG_MIN, ULONG_MAX, (long long)INT64_MAX, ULLONG_MAX);
	SAME("%x %lx %#x %p", 0xabcu, ~0UL, 0x10u, (void *)0x1234);
	SAME("[%8d] [%-8d] [%08d] [%8d]", 42, 42, -42, -42);
	SAME("[%16lx] [%016lx] [%-16lx] [%2x]", 0xdeadUL, 0xdeadUL, 0xdeadUL, 0xdeadu);
	SAME("%zu %zd %X", (size_t)7, (ssize_t)-7, 0xBEEFu);
	SAME("%d%%", 0);
}

static void test_text(void **state)
{
	(void)state;
	SAME("%s|%10s|%-10s|%.3s|%.*s", "abc", "right", "left", "truncated", 2, "xyz");
	SAME("%c%3c%-3c|", 'a', 'b', 'c');
	SAME("%*d|%-*d|", 5, 1, 5, 2);
	SAME("plain");
	SAME("%s", "");
}

static void test_bounds(void **state)
{
	char buf[8];

	(void)state;
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(fmt_format(buf, 4, "%s", "abcdef"), 3);
	assert_string_equal(buf, "abc");
	assert_int_equal(buf[4], 'x');
	assert_int_equal(fmt_format(buf, 1, "%d", 5), 0);
	assert_int_equal(buf[0], 0);
	assert_int_equal(fmt_format(buf, sizeof(buf), "%1000d", 5), 7);
	const char *unknown = "a%kb";
	char big[16];
	size_t (*volatile f)(char *, size_t, const char *, ...) = fmt_format;
	f(buf, sizeof(buf), "%s", (char *)NULL);
	assert_string_equal(buf, "(null)");
	f(big, sizeof(big), unknown);
	assert_string_equal(big, "a%kb");
	f(big, sizeof(big), "50%");
	assert_string_equal(big, "50%");
}

static char seen[2048];
static void sink(const char *text, size_t len)
{
	strncat(seen, text, len);
}

static jmp_buf panic_jump;
static void hook(void)
{
	longjmp(panic_jump, 1);
}

static void test_log_and_panic(void **state)
{
	(void)state;
	seen[0] = 0;
	log_set_sink(sink);
	log_enabled = LOG_INT;
	log_msg(LOG_INT, "vector %d", 14);
	log_msg(LOG_MMU, "not this");
	assert_string_equal(seen, "vector 14");
	panic_hook = hook;
	seen[0] = 0;
	if (!setjmp(panic_jump))
		panic("bad %s", "thing");
	assert_non_null(strstr(seen, "bad thing\n"));
	assert_non_null(strstr(seen, "test_fmt.c"));
	log_set_sink(NULL);
}

static void test_counters(void **state)
{
	(void)state;
	for (int i = 0; i < CTR_MAX; i++)
		assert_non_null(counter_names[i]);
}

/* Every size and distance around the thresholds of the implementations. */
static void test_memory_functions(void **state)
{
	u8 a[300], b[300], from[300];

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (u8)rand();
	for (size_t n = 0; n < 140; n++) {
		memset(a, 1, sizeof(a));
		memset(b, 1, sizeof(b));
		assert_ptr_equal(sb_memcpy(a + 3, from, n), a + 3);
		memcpy(b + 3, from, n);
		assert_memory_equal(a, b, sizeof(a));
		assert_ptr_equal(sb_memset(a + 5, 0x1a5, n), a + 5);
		memset(b + 5, 0x1a5, n);
		assert_memory_equal(a, b, sizeof(a));
		for (size_t d = 0; d < 150; d++) {
			memcpy(a, from, sizeof(a));
			memcpy(b, from, sizeof(b));
			sb_memmove(a + d, a + 75, n);
			memmove(b + d, b + 75, n);
			assert_memory_equal(a, b, sizeof(a));
		}
	}
	memcpy(a, from, sizeof(a));
	for (size_t i = 0; i < 64; i++) {
		assert_int_equal(sb_memcmp(a, from, i), 0);
		a[i] ^= 0x80;
		assert_int_equal(sb_memcmp(a, from, 64) > 0, memcmp(a, from, 64) > 0);
		assert_true(sb_memcmp(a, from, 64) != 0);
		assert_int_equal(sb_memcmp(a, from, i), 0);
		a[i] ^= 0x80;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_log_and_panic),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_memory_functions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
