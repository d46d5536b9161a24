/* A view without a sandbox: RAM on descriptor 3, arena, vCPU and private maps at their
 * fixed addresses in the test process; fakes for what lies above and below the shadow
 * layer; guest page tables; and memory accesses "by guest code" with the protection key
 * rights of each flavour, where the host has keys. */
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>
#include "src/shadow/internal.h"

#define RAM_LOW (64UL << 20)
#define RAM_HIGH (16UL << 20)
#define POOL_SIZE (64UL << 20)

/* --- fakes ------------------------------------------------------------------------ */
static unsigned fake_notified, fake_hold_ended;
static struct { gpa_t page; u32 off, len; bool all; unsigned n; } fake_code;
static struct { unsigned slot, n; u64 start, len; } fake_unmapped;
static struct { u64 addr, val; unsigned size, n; } fake_bus;

void dbt_code_written(gpa_t page, u32 off, u32 len, bool all)
{
	fake_code.page = page;
	fake_code.off = off;
	fake_code.len = len;
	fake_code.all = all;
	fake_code.n++;
}
void dbt_hold_ended(void) { fake_hold_ended++; }
void dbt_unmapped(unsigned slot, gla_t start, u64 len)
{
	fake_unmapped.slot = slot;
	fake_unmapped.start = start.v;
	fake_unmapped.len = len;
	fake_unmapped.n++;
}
u64 bus_read(struct machine *m, enum bus_space s, u64 addr, unsigned size)
{
	(void)m, (void)s;
	fake_bus.addr = addr;
	fake_bus.size = size;
	fake_bus.n++;
	return 0x1122334455667788UL;
}
void bus_write(struct machine *m, enum bus_space s, u64 addr, u64 val, unsigned size)
{
	(void)m, (void)s;
	fake_bus.addr = addr;
	fake_bus.val = val;
	fake_bus.size = size;
	fake_bus.n++;
}
void view_notify_monitor(void) { fake_notified++; }
int cpu_fault_err(struct vcpu *v, u8 vector, u32 error)
{
	v->exc = (struct exc){ .vector = vector, .has_error = true, .error = error };
	return CPU_FAULT;
}
int cpu_fault(struct vcpu *v, u8 vector)
{
	v->exc = (struct exc){ .vector = vector };
	return CPU_FAULT;
}
int cpu_fault_page(struct vcpu *v, gla_t addr, u32 error)
{
	cpu_fault_err(v, EXC_PF, error);
	v->exc.cr2 = addr.v;
	return CPU_FAULT;
}

/* --- the process ------------------------------------------------------------------- */
static bool real_keys;
static bool by_uffd;   /* traces of large mappings by userfaultfd */
static u64 next_table; /* bump allocator of table pages */

static inline void write_pkru(u32 val)
{
	if (real_keys)
		__asm__ volatile("wrpkru" : : "a"(val), "c"(0), "d"(0) : "memory");
}

static void map_fixed(u64 hva, u64 len, int flags, int fd)
{
	void *p = mmap((void *)hva, len, PROT_READ | PROT_WRITE,
		       MAP_FIXED_NOREPLACE | MAP_NORESERVE | flags, fd, 0);

	if (p != (void *)hva) {
		perror("mmap");
		exit(1);
	}
}

static u64 *pte_at(u64 table, unsigned i) { return (u64 *)physmem_ptr(gpa(table)) + i; }

/* The last word of every page says which it is (never a present entry). */
static void stamp(u64 pa) { *pte_at(pa, 511) = pa | 0xabc0000000000000UL; }
static u64 stamp_of(u64 pa) { return pa | 0xabc0000000000000UL; }

static u64 new_table(void)
{
	u64 t = next_table;

	next_table += PAGE_SIZE;
	memset(physmem_ptr(gpa(t)), 0, PAGE_SIZE);
	stamp(t);
	return t;
}

static void keys_probe(void)
{
	struct host_caps *h = &ARENA->host;
	int zone = syscall(SYS_pkey_alloc, 0, 0), kl = syscall(SYS_pkey_alloc, 0, 0);
	int kh = syscall(SYS_pkey_alloc, 0, 0);

	h->pkeys = true; /* without any, all pages have key 0 and nothing is denied */
	if (zone > 0 && kl > 0 && kh > 0) {
		real_keys = true;
		h->key_zone = zone;
		h->key_kl = kl;
		h->key_kh = kh;
	}
}

/* On descriptor 5, as in views; false where the host has none. */
__attribute__((unused)) static bool uffd_setup(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
								UFFD_FEATURE_WP_HUGETLBFS_SHMEM };
	int fd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

	by_uffd = fd >= 0 && (fd == 5 || dup2(fd, 5) == 5) && ioctl(5, UFFDIO_API, &api) == 0;
	return by_uffd;
}

static void on_segv(int sig);

static void process_setup(void)
{
	int fd = memfd_create("ram", 0);

	if (fd < 0 || ftruncate(fd, PHYS_4G + RAM_HIGH) || (fd != 3 && dup2(fd, 3) != 3))
		exit(1);
	map_fixed(PHYS_HVA, PHYS_4G + RAM_HIGH, MAP_SHARED, 3);
	map_fixed(ARENA_HVA, sizeof(struct arena) + POOL_SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
	map_fixed(HOT_VCPU_HVA, sizeof(struct vcpu), MAP_SHARED | MAP_ANONYMOUS, -1);
	map_fixed(HOT_QUICK_HVA, QUICK_ENTRIES * sizeof(struct quick_entry), MAP_SHARED | MAP_ANONYMOUS, -1);
	keys_probe();
	alarm(300); /* bounded, whatever happens */
}

/* A fresh machine in long mode at CPL 0, one READY running view, an empty root. */
static struct vcpu *machine_setup(void)
{
	/* cmocka puts its own handlers in place before each test. */
	struct sigaction sa = { .sa_handler = on_segv, .sa_flags = SA_NODEFER };
	static bool done;
	struct host_caps host;
	struct vcpu *v = VCPU;

	if (!done)
		process_setup();
	done = true;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	write_pkru(0);
	if (view_self) {
		map_flush(HALF_LOW);
		map_flush(HALF_HIGH);
	}
	host = ARENA->host;
	memset(ARENA, 0, sizeof(struct arena));
	madvise(ARENA->shadow_area, POOL_SIZE, MADV_REMOVE);
	madvise(QUICK_TLB, QUICK_ENTRIES * sizeof(struct quick_entry), MADV_REMOVE);
	memset(v, 0, sizeof(*v));
	ARENA->host = host;
	ARENA->fold = FOLD_DEFAULT;
	ARENA->policy.uffd = by_uffd;
	ARENA->machine.phys = (struct physmem){ RAM_LOW, PHYS_4G + RAM_HIGH };
	shadow_init(ARENA->shadow_area, POOL_SIZE);
	for (u64 a = 0; a < RAM_LOW; a += PAGE_SIZE)
		stamp(a);
	for (u64 a = PHYS_4G; a < PHYS_4G + RAM_HIGH; a += PAGE_SIZE)
		stamp(a);
	next_table = 1 << 20;
	v->cr0 = CR0_PE | CR0_PG | CR0_WP;
	v->cr4 = CR4_PAE | CR4_PGE;
	v->efer = EFER_LME | EFER_LMA | EFER_NXE;
	v->cr3 = new_table();
	v->cr2 = ~0UL;
	v->rip = 0xffffffff81000000UL;
	ARENA->view[0].state = VIEW_READY;
	shadow_view_init(0);
	shadow_view_enter(v, shadow_view_wanted(v, FLAVOUR_USER));
	mmu_mode_changed(v, true);
	fake_hold_ended = 0;
	memset(&fake_code, 0, sizeof(fake_code));
	memset(&fake_unmapped, 0, sizeof(fake_unmapped));
	memset(&fake_bus, 0, sizeof(fake_bus));
	return v;
}

/* --- guest page tables --------------------------------------------------------------- */
#define E_KERNEL (PTE_P | PTE_RW)
#define E_USER (PTE_P | PTE_RW | PTE_US)

/* The entry for a at `level`, with the tables above it made as needed. */
static u64 *guest_entry(u64 root, u64 a, unsigned level)
{
	u64 table = root;

	for (unsigned l = 4; l > level; l--) {
		u64 *e = pte_at(table, level_index(a, l));

		if (!(*e & PTE_P))
			*e = new_table() | E_USER;
		table = *e & PTE_ADDR;
	}
	return pte_at(table, level_index(a, level));
}
__attribute__((unused)) static void guest_map(u64 root, u64 a, u64 pa, unsigned level, u64 bits)
{
	*guest_entry(root, a, level) = pa | bits | (level > 1 ? PTE_PS : 0);
}
static u64 gpa_of(const void *p) { return (u64)p - PHYS_HVA; }

/* As guest code does it: traced where the page is. */
__attribute__((unused)) static void guest_write_pte(struct vcpu *v, u64 *e, u64 val)
{
	struct trace_write tw;

	if (!trace_is_traced(gpa(gpa_of(e)))) {
		*e = val;
		return;
	}
	trace_write_begin(&tw, gpa(gpa_of(e)), 8);
	*e = val;
	trace_write_end(v, &tw);
}

/* --- accesses by guest code ----------------------------------------------------------- */
static sigjmp_buf segv_jmp;
static volatile bool segv_armed;

static void on_segv(int sig)
{
	if (!segv_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	segv_armed = false;
	siglongjmp(segv_jmp, 1);
}

static u32 flavour_pkru(enum flavour f)
{
	const struct host_caps *h = &ARENA->host;
	u32 deny = 3u << 2 * h->key_zone;

	if (f == FLAVOUR_KHIGH)
		return deny | 3 | 3u << 2 * h->key_kl;
	deny |= 3u << 2 * h->key_kh;
	return f == FLAVOUR_USER ? deny | 3u << 2 * h->key_kl : deny;
}

/* One access of the word at hva with f's rights; false: it faulted. Key 0, the test's
 * own, cannot be denied here: for KHIGH a user page is told by its neighbours' keys. */
static bool try_access(u64 hva, bool write, enum flavour f, u64 *val)
{
	volatile u64 *p = (volatile u64 *)hva;
	volatile u64 got = 0;
	volatile bool ok = false;

	if (sigsetjmp(segv_jmp, 1) == 0) {
		segv_armed = true;
		write_pkru(flavour_pkru(f) & ~3u);
		got = *p;
		if (write)
			*p = got;
		ok = true;
	}
	write_pkru(0);
	segv_armed = false;
	if (val)
		*val = got;
	return ok;
}

/* Runs the access to its end as the engine would. */
static enum fill_result guest_access(struct vcpu *v, u64 hva, bool write, enum flavour f, u64 *val)
{
	for (int i = 0; i < 8; i++) {
		enum fill_result r;

		if (try_access(hva, write, f, val))
			return FILL_DONE;
		r = shadow_fill(v, hva, write, f);
		if (r != FILL_DONE)
			return r;
	}
	fail_msg("no progress at %#lx", hva);
	return FILL_SOFT;
}

__attribute__((unused)) static void assert_reads(struct vcpu *v, u64 a, enum flavour f, u64 pa)
{
	u64 val;

	assert_int_equal(guest_access(v, map_hva(a) + 0xff8, false, f, &val), FILL_DONE);
	assert_true(val == stamp_of(pa));
}
__attribute__((unused)) static bool host_mapped(u64 a, bool write)
{
	return try_access(map_hva(a) + 0xff8, write, gla_is_high(a) ? FLAVOUR_KHIGH : FLAVOUR_KLOW, NULL);
}
