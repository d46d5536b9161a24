/* Byte ring between one producer and one consumer process in shared memory. */
#pragma once
#include "shadowbox/types.h"

#define RING_SIZE 65536u
struct ring {
	u32 head; /* next byte to write; free-running */
	u32 tail; /* next byte to read; free-running */
	u8 data[RING_SIZE];
};
static inline u32 ring_used(const struct ring *r)
{
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
}
static inline bool ring_put(struct ring *r, u8 byte)
{
	u32 head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
	if (head - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) >= RING_SIZE)
		return false;
	r->data[head % RING_SIZE] = byte;
	__atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE);
	return true;
}
static inline bool ring_get(struct ring *r, u8 *byte)
{
	u32 tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
	if (tail == __atomic_load_n(&r->head, __ATOMIC_ACQUIRE))
		return false;
	*byte = r->data[tail % RING_SIZE];
	__atomic_store_n(&r->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}
