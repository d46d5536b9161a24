/* The quick TLB: what translated code looks up by itself (shadow.h).
 *
 * It holds nothing that the software TLB (soft.c) would not answer the same way: filled
 * from there, emptied whenever that is flushed, for whatever reason. Beyond that, a page
 * that becomes traced must not be written unseen: then all is emptied if the page may have
 * been entered for writing.
 *
 * Lookups compare the page of an operand's last byte with the entry of its first: one that
 * crosses pages never hits, for the entries of neighbours differ. */
#include "internal.h"

/* Minus the address of a page that no lookup of entry i compares with: neither its own nor
 * its successor. */
static u64 empty_tag(u32 i)
{
	return i == 0 || i == QUICK_ENTRIES - 1 ? -(u64)(QUICK_ENTRIES / 2) << PAGE_SHIFT : 0;
}

static void clear(u32 i, bool user)
{
	struct quick_entry *e = &QUICK_TLB[i];

	for (unsigned use = 0; use < QUICK_USES; use++)
		e->of[user].neg_page[use] = empty_tag(i);
}

void quick_init(void)
{
	for (unsigned user = 0; user < 2; user++) {
		clear(0, user);
		clear(QUICK_ENTRIES - 1, user);
	}
}

void quick_flush(void)
{
	struct quick *q = &shadow_pool->quick;

	if (!q->used)
		return;
	for (u32 n = 0; n < q->used; n++)
		clear(q->list[n] / 2, q->list[n] & 1);
	q->used = 0;
	memset(q->written, 0, sizeof(q->written));
}

static u32 index_of(u64 a) { return a >> PAGE_SHIFT & (QUICK_ENTRIES - 1); }

void quick_drop(u64 a)
{
	clear(index_of(a), false);
	clear(index_of(a), true);
}

static u64 *written_word(u64 pfn, u64 *bit)
{
	u32 h = (u32)pfn * 0x9e3779b1u;

	*bit = BIT(h >> 20 & 63);
	return &shadow_pool->quick.written[h >> 26];
}

/* pa is RAM: for QUICK_WRITE not traced, for QUICK_STORE not as code. */
void quick_fill(u64 a, u64 pa, enum quick_use use, bool user)
{
	struct quick *q = &shadow_pool->quick;
	u64 page = a & PAGE_MASK, empty, bit, *word;
	u32 i = index_of(a);
	struct quick_entry *e = &QUICK_TLB[i];

	if (e->of[user].neg_page[use] == -page)
		return;
	empty = empty_tag(i);
	if (e->of[user].neg_page[QUICK_READ] == empty) {
		if (q->used == QUICK_USED_MAX)
			quick_flush();
		q->list[q->used++] = i * 2 + user;
	}
	if (e->of[user].neg_page[QUICK_READ] != -page)
		clear(i, user);
	e->of[user].neg_page[QUICK_READ] = -page;
	e->of[user].delta = (u64)physmem_ptr(gpa(pa & PAGE_MASK)) - page;
	if (use == QUICK_READ)
		return;
	e->of[user].neg_page[QUICK_STORE] = -page;
	if (use == QUICK_WRITE)
		e->of[user].neg_page[QUICK_WRITE] = -page;
	word = written_word(pa >> PAGE_SHIFT, &bit);
	*word |= bit;
}

void quick_traced(u32 pfn)
{
	u64 bit;

	if (*written_word(pfn, &bit) & bit)
		quick_flush();
}
