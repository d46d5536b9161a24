/* The memory that the monitor and all views share: memfds, mapped at the addresses of
 * layout.h before the zygote is forked, so that every process inherits the mappings.
 *
 * Sizes are sealed: no process can shrink a file under the others' feet. Guest RAM's
 * file offset is the guest physical address; the hole below 4 GiB is a hole there too. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

struct sandbox sandbox = {
	.ram_fd = -1, .arena_fd = -1, .code_fd = -1, .hot_fd = -1, .event_fd = -1, .sock = -1,
};

static int create_memfd(const char *name, u64 size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0) /* before Linux 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int e = errno;
		close(fd);
		return -e;
	}
	return fd;
}

struct region {
	const char *name;
	int *fd;
	u64 hva, len, off;
	int prot;
};

static int map_regions(const struct region *r, size_t n, char *err, size_t errlen)
{
	for (; n--; r++) {
		void *at;

		if (!r->len)
			continue;
		at = mmap((void *)r->hva, r->len, r->prot,
			  MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, *r->fd, (off_t)r->off);
		if (at != (void *)r->hva) {
			int e = at == MAP_FAILED ? errno : EEXIST;
			if (at != MAP_FAILED)
				munmap(at, r->len);
			snprintf(err, errlen, "cannot map %s (%lu MiB): %s", r->name, r->len >> 20,
				 strerror(e));
			return -e;
		}
		madvise(at, r->len, MADV_DONTDUMP);
	}
	return 0;
}

static int create_files(char *err, size_t errlen)
{
	const struct { const char *name; int *fd; u64 size; } files[] = {
		{ "shadowbox-ram", &sandbox.ram_fd, sandbox.ram_size },
		{ "shadowbox-arena", &sandbox.arena_fd, ARENA_SIZE },
		{ "shadowbox-code", &sandbox.code_fd, CODE_SIZE },
		{ "shadowbox-hot", &sandbox.hot_fd, HOT_SIZE },
	};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		int fd = create_memfd(files[i].name, files[i].size);
		if (fd < 0) {
			snprintf(err, errlen, "cannot create %lu MiB of shared memory (%s): %s",
				 files[i].size >> 20, files[i].name, strerror(-fd));
			return fd;
		}
		*files[i].fd = fd;
	}
	sandbox.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sandbox.event_fd < 0) {
		snprintf(err, errlen, "cannot create an eventfd: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

int sandbox_create(u64 ram_bytes, const struct policy *policy, char *err, size_t errlen)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct sandbox *s = &sandbox;
	struct physmem pm;
	int rc;

	physmem_layout(&pm, ram_bytes);
	s->ram_size = pm.high_end > PHYS_4G ? pm.high_end : pm.low_end;
	if (s->ram_size > PHYS_MAX) {
		snprintf(err, errlen, "%lu MiB of guest memory do not fit in the address space",
			 ram_bytes >> 20);
		return -E2BIG;
	}
	s->ram_end = s->ram_size;
	s->ram_size += PATCH_SIZE;
	rc = create_files(err, errlen);
	if (rc < 0)
		return rc;
	const struct region regions[] = {
		{ "the arena", &s->arena_fd, ARENA_HVA, ARENA_SIZE, 0, rw },
		{ "the code cache", &s->code_fd, CODE_RX_HVA, CODE_SIZE, 0, PROT_READ | PROT_EXEC },
		{ "the code cache", &s->code_fd, CODE_RW_HVA, CODE_SIZE, 0, rw },
		{ "the vCPU", &s->hot_fd, HOT_VCPU_HVA, HOT_VCPU_SIZE, HOT_OFF_VCPU, rw },
		{ "the bounce buffer", &s->hot_fd, HOT_BOUNCE_HVA, HOT_BOUNCE_SIZE, HOT_OFF_BOUNCE, rw },
		{ "the lookup table", &s->hot_fd, HOT_TABLE_K_HVA, TABLE_SIZE, HOT_OFF_TABLE_K, rw },
		{ "the lookup tables", &s->hot_fd, TABLES_U_HVA, VIEW_MAX * TABLE_SIZE, HOT_OFF_TABLES_U, rw },
		{ "the quick TLB", &s->hot_fd, HOT_QUICK_HVA, HOT_QUICK_SIZE, HOT_OFF_QUICK, rw },
		{ "patched code", &s->ram_fd, PATCH_HVA, PATCH_SIZE, s->ram_end, rw },
		{ "guest memory", &s->ram_fd, PHYS_HVA, pm.low_end, 0, rw },
		{ "guest memory", &s->ram_fd, PHYS_HVA + PHYS_4G,
		  pm.high_end > PHYS_4G ? pm.high_end - PHYS_4G : 0, PHYS_4G, rw },
	};
	rc = map_regions(regions, ARRAY_LEN(regions), err, errlen);
	if (rc < 0)
		return rc;
	/* Large pages where the host offers them; fails where it does not. */
	madvise((void *)PHYS_HVA, pm.low_end, MADV_HUGEPAGE);
	if (pm.high_end > PHYS_4G)
		madvise((void *)(PHYS_HVA + PHYS_4G), pm.high_end - PHYS_4G, MADV_HUGEPAGE);
	ARENA->machine.phys = pm;
	ARENA->policy = s->policy = *policy;
	ARENA->fold = FOLD_DEFAULT;
	probe_host(policy);
	ARENA->policy.uffd &= ARENA->host.uffd_wp;
	s->host = ARENA->host;
	s->uffd = ARENA->policy.uffd;
	return 0;
}

static void punch(int fd, u64 off, u64 end)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(end - off)) < 0)
		panic("cannot clear shared memory: errno %d", errno);
}

void sandbox_clear(void)
{
	struct arena *a = ARENA;

	punch(sandbox.ram_fd, 0, sandbox.ram_size);
	punch(sandbox.code_fd, 0, CODE_SIZE);
	punch(sandbox.hot_fd, 0, HOT_SIZE);
	punch(sandbox.arena_fd, offsetof(struct arena, shadow_area), ARENA_SIZE);
	memset(a->view, 0, sizeof(a->view));
	memset(a->flight, 0, sizeof(a->flight));
	a->host = sandbox.host; /* views may have written there */
	a->policy = sandbox.policy;
	a->fold = FOLD_DEFAULT;
	a->flight_next = 0;
	a->view_wanted = a->running_view = a->hlt_futex = 0;
	a->death[0] = 0;
}

size_t sandbox_arena_room(void)
{
	return ARENA_SIZE - offsetof(struct arena, shadow_area);
}
