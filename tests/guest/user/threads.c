/* Eight threads pass messages around a ring for some seconds, by futexes (mutex and
 * condition variable), pipes and spinning on atomics; nothing may be lost or reordered.
 *
 * usage: threads [SECONDS] */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N = 8, DEPTH = 16 };

struct box {
	pthread_mutex_t lock;
	pthread_cond_t more, less;
	uint64_t msg[DEPTH];
	unsigned head, tail;
	int pipe[2];
	_Atomic uint64_t slot; /* 0: empty */
};

static struct box boxes[N];
static volatile int stop;
static _Atomic uint64_t sent, received, errors;

static void put(struct box *b, uint64_t m)
{
	pthread_mutex_lock(&b->lock);
	while (b->head - b->tail == DEPTH)
		pthread_cond_wait(&b->less, &b->lock);
	b->msg[b->head++ % DEPTH] = m;
	pthread_cond_signal(&b->more);
	pthread_mutex_unlock(&b->lock);
}

static uint64_t get(struct box *b)
{
	pthread_mutex_lock(&b->lock);
	while (b->head == b->tail)
		pthread_cond_wait(&b->more, &b->lock);
	uint64_t m = b->msg[b->tail++ % DEPTH];
	pthread_cond_signal(&b->less);
	pthread_mutex_unlock(&b->lock);
	return m;
}

/* Each thread first feeds its neighbour, then drains its own box: one token of each kind
 * per thread circulates, and carries a count that every hop raises by one. */
static void *run(void *arg)
{
	long me = (long)arg;
	struct box *mine = &boxes[me], *next = &boxes[(me + 1) % N];
	uint64_t m;

	put(next, 1);
	m = 1;
	if (write(next->pipe[1], &m, 8) != 8)
		atomic_fetch_add(&errors, 1);
	atomic_fetch_add(&sent, 2);
	for (;;) {
		m = get(mine);
		atomic_fetch_add(&received, 1);
		if (m == ~0UL || stop) { /* pass it on: the neighbour may be waiting */
			put(next, ~0UL);
			break;
		}
		put(next, m + 1);
		struct pollfd p = { mine->pipe[0], POLLIN, 0 };
		while (poll(&p, 1, 0) > 0) {
			if (read(mine->pipe[0], &m, 8) != 8) {
				atomic_fetch_add(&errors, 1);
				break;
			}
			m++;
			if (write(next->pipe[1], &m, 8) != 8)
				atomic_fetch_add(&errors, 1);
		}
		uint64_t zero = 0;
		atomic_compare_exchange_strong(&next->slot, &zero, m | 1);
		atomic_exchange(&mine->slot, 0);
		atomic_fetch_add(&sent, 1);
	}
	return NULL;
}

/* A contended counter with every kind of lock. */
static pthread_spinlock_t spin;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t atomic_count;
static uint64_t spin_count, mutex_count;
enum { ROUNDS = 20000 };

static void *contend(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&atomic_count, 1);
		if (i % 64 == 0) {
			pthread_spin_lock(&spin);
			spin_count++;
			pthread_spin_unlock(&spin);
		}
		pthread_mutex_lock(&mutex);
		mutex_count++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	pthread_t t[N];

	for (int i = 0; i < N; i++) {
		pthread_mutex_init(&boxes[i].lock, NULL);
		pthread_cond_init(&boxes[i].more, NULL);
		pthread_cond_init(&boxes[i].less, NULL);
		if (pipe(boxes[i].pipe))
			return 1;
	}
	pthread_spin_init(&spin, 0);
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	sleep(seconds);
	for (int i = 0; i < 60 && received < 100; i++) /* the host was busy elsewhere */
		sleep(1);
	stop = 1;
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, contend, NULL);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	uint64_t want = (uint64_t)N * ROUNDS, w2 = (uint64_t)N * ((ROUNDS + 63) / 64);
	int bad = atomic_count != want || mutex_count != want || spin_count != w2 || errors ||
		  received < 100;
	printf("%s threads %lu messages, counters %lu %lu %lu, errors %lu\n", bad ? "FAIL" : "PASS",
	       received, atomic_count, mutex_count, spin_count, errors);
	return bad;
}
