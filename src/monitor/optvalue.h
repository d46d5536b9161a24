/* Values of command-line options: sizes, numbers, switches, "key=value,..." lists, and
 * the nearest name to a misspelt one. */
#pragma once
#include "shadowbox/types.h"

/* Bytes from "512", "512M", "1.5G"; without a suffix the number counts default_unit
 * bytes. The whole text must be consumed. */
bool opt_size(const char *s, u64 default_unit, u64 *out) MUST_CHECK;
/* Decimal, 0x hexadecimal; whole text, at most max. */
bool opt_number(const char *s, u64 max, u64 *out) MUST_CHECK;
/* on/off, yes/no, true/false, y/n; NULL counts as on. */
bool opt_switch(const char *s, bool *out) MUST_CHECK;

/* One item of a list: "key=value", or "key" alone (value NULL). */
struct opt_item {
	char key[64];
	char text[1024];
	const char *value; /* text or NULL */
};
/* Takes the next item off *list ("," between items, ",," for a comma within one).
 * false at the end, and for an item that is too long (*list then stays non-NULL). */
bool opt_next(const char **list, struct opt_item *it) MUST_CHECK;

/* Edit distance, for "did you mean". */
unsigned opt_distance(const char *a, const char *b);
