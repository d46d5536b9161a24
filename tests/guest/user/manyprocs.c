/* manyprocs N ROUNDS: N processes alive at once, each with private memory of its own. A
 * token goes around all of them; who has it checks and changes what is its own. More
 * address spaces than any monitor keeps ready have to be found again, as they were. */
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 3

static struct shared {
	atomic_uint turn;     /* counts up; whose turn it is: turn % n */
	atomic_uint trouble;
	atomic_uint word[];   /* of each process, woken when its turn comes */
} *sh;
static unsigned n, rounds;
static unsigned long own[PAGES][512] __attribute__((aligned(4096)));

static void pass_on(unsigned me)
{
	unsigned next = (me + 1) % n;

	atomic_fetch_add(&sh->turn, 1);
	atomic_fetch_add(&sh->word[next], 1);
	syscall(SYS_futex, &sh->word[next], FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void await_turn(unsigned me, unsigned turn)
{
	unsigned seen;

	while (seen = atomic_load(&sh->word[me]), atomic_load(&sh->turn) != turn)
		syscall(SYS_futex, &sh->word[me], FUTEX_WAIT, seen, NULL, NULL, 0);
}

/* What all pages hold: who, and how often it was here. */
static void check_own(unsigned me, unsigned round)
{
	for (unsigned i = 0; i < PAGES; i++) {
		unsigned long *p = &own[i][(me * 7 + i) % 512];

		if (*p != (round ? (unsigned long)me << 32 | round : 0)) {
			fprintf(stderr, "process %u, round %u, page %u: %lx\n", me, round, i, *p);
			atomic_fetch_add(&sh->trouble, 1);
		}
		*p = (unsigned long)me << 32 | (round + 1);
	}
}

static void child(unsigned me)
{
	for (unsigned round = 0; round < rounds; round++) {
		await_turn(me, round * n + me);
		check_own(me, round);
		pass_on(me);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned ended = 0;
	int status;

	n = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
	rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 3;
	sh = mmap(NULL, sizeof(*sh) + n * sizeof(sh->word[0]), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 1;
	atomic_store(&sh->turn, ~0u); /* nobody's, until all are there */
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0)
			child(i);
		if (pid < 0) {
			printf("FAIL manyprocs: fork %u\n", i);
			return 1;
		}
	}
	printf("manyprocs: %u processes\n", n);
	fflush(stdout);
	pass_on(n - 1);
	while (wait(&status) > 0)
		ended += status == 0;
	if (ended != n || sh->trouble) {
		printf("FAIL manyprocs: %u of %u ended well, %u troubles\n", ended, n, sh->trouble);
		return 1;
	}
	printf("PASS manyprocs\n");
	return 0;
}
