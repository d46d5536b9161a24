/* Values of command-line options. Pure functions of their arguments.
 *
 * Follows the spelling rules of QEMU's command line (qemu-options manual). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "optvalue.h"

/* The unit that a suffix letter stands for; 0 if there is no such suffix. */
static u64 suffix_unit(char c)
{
	static const char letters[] = "bkmgtp";
	const char *p = c ? strchr(letters, c | 0x20) : NULL;

	return p ? 1UL << (10 * (p - letters)) : 0;
}

bool opt_size(const char *s, u64 default_unit, u64 *out)
{
	u64 whole = 0, unit = default_unit, frac = 0, frac_div = 1, bytes;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (u64)(*p - '0'), &whole))
			return false;
	if (p == s)
		return false;
	if (*p == '.') {
		const char *digits = ++p;
		for (; *p >= '0' && *p <= '9'; p++)
			if (frac_div < 1000000) {
				frac = frac * 10 + (u64)(*p - '0');
				frac_div *= 10;
			}
		if (p == digits)
			return false;
	}
	if (*p) {
		unit = suffix_unit(*p++);
		if (!unit || *p)
			return false;
	}
	/* Fractions are of six digits at most, units of 2^50: this fits in 128 bits. */
	u64 part = (u64)((unsigned __int128)frac * unit / frac_div);
	if (__builtin_mul_overflow(whole, unit, &bytes) ||
	    __builtin_add_overflow(bytes, part, &bytes))
		return false;
	*out = bytes;
	return true;
}

bool opt_number(const char *s, u64 max, u64 *out)
{
	unsigned base = 10;
	u64 val = 0;

	if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
	}
	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned digit = *s >= '0' && *s <= '9' ? (unsigned)(*s - '0') :
				 (*s | 0x20) >= 'a' && (*s | 0x20) <= 'f' ? (unsigned)((*s | 0x20) - 'a' + 10) : 16;
		if (digit >= base || __builtin_mul_overflow(val, base, &val) ||
		    __builtin_add_overflow(val, digit, &val) || val > max)
			return false;
	}
	*out = val;
	return true;
}

bool opt_switch(const char *s, bool *out)
{
	static const char *const words[][2] = {
		{ "off", "on" }, { "no", "yes" }, { "false", "true" }, { "n", "y" }, { "0", "1" },
	};

	if (!s) {
		*out = true;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (int on = 0; on < 2; on++)
			if (!strcasecmp(s, words[i][on])) {
				*out = on;
				return true;
			}
	return false;
}

bool opt_next(const char **list, struct opt_item *it)
{
	char item[sizeof(it->text)];
	const char *p = *list;
	size_t n = 0;

	if (!p || !*p)
		return false;
	for (; *p && (*p != ',' || p[1] == ','); p++) {
		if (*p == ',')
			p++;
		if (n + 1 >= sizeof(item))
			return false;
		item[n++] = *p;
	}
	item[n] = 0;
	char *eq = strchr(item, '=');
	size_t key_len = eq ? (size_t)(eq - item) : n;
	if (key_len >= sizeof(it->key))
		return false;
	memcpy(it->key, item, key_len);
	it->key[key_len] = 0;
	strcpy(it->text, eq ? eq + 1 : "");
	it->value = eq ? it->text : NULL;
	*list = *p ? p + 1 : NULL;
	return true;
}

unsigned opt_distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t la = strnlen(a, 63), lb = strnlen(b, 63);

	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diag = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = diag + (a[i - 1] != b[j - 1]);
			diag = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}
