/* The guest page walker against an independent reference, over all combinations of
 * rights; the software TLB and the copies on top of it. */
#include "test_shadow_fixture.h"

#define VA 0x12345678abcUL

struct expect { int code; /* error code, or -1 */ u64 pa; };

static bool ref_reserved(const struct vcpu *v, unsigned level, u64 e)
{
	if (e & 0x000fc00000000000UL)
		return true;
	if ((e >> 63) && !(v->efer & EFER_NXE))
		return true;
	if (level == 4)
		return e & 0x80;
	if (level == 3 && (e & 0x80))
		return e & 0x3fffe000UL;
	return level == 2 && (e & 0x80) && (e & 0x1fe000UL);
}

/* Recursive, entry by entry, with rights passed down: unlike the code under test. */
static struct expect ref_walk(const struct vcpu *v, u64 table, unsigned level, u64 a, u32 acc,
			      bool user, bool w, bool u, bool x)
{
	bool wr = acc & ACC_WRITE, ex = acc & ACC_EXEC;
	int base = (wr ? 2 : 0) | (user ? 4 : 0) |
		   (ex && ((v->efer & EFER_NXE) || (v->cr4 & CR4_SMEP)) ? 16 : 0);
	u64 e = *pte_at(table, a >> (12 + 9 * (level - 1)) & 511), size = 4096;
	bool ok;

	if (!(e & 1))
		return (struct expect){ base, 0 };
	if (ref_reserved(v, level, e))
		return (struct expect){ base | 9, 0 };
	w = w && (e & 2);
	u = u && (e & 4);
	x = x && !(e >> 63);
	if (level > 1 && !(e & 0x80))
		return ref_walk(v, e & 0x3ffffffff000UL, level - 1, a, acc, user, w, u, x);
	for (unsigned l = level; l > 1; l--)
		size *= 512;
	if (user)
		ok = u && (!wr || w) && (!ex || x);
	else if (ex)
		ok = x && !(u && (v->cr4 & CR4_SMEP));
	else
		ok = !(u && (v->cr4 & CR4_SMAP) &&
		       ((acc & ACC_IMPLICIT_SUPERVISOR) || !(v->rflags & FL_AC))) &&
		     (!wr || w || !(v->cr0 & CR0_WP));
	if (!ok)
		return (struct expect){ base | 1, 0 };
	return (struct expect){ -1, (e & 0x3ffffffff000UL & ~(size - 1)) + (a & (size - 1)) };
}

static void check_walk(struct vcpu *v, u64 a, u32 acc, bool user)
{
	struct expect x = ref_walk(v, v->cr3, 4, a, acc, user, true, true, true);
	struct walk w;
	int r = walk_gla(v, gla(a), acc, user, &w);

	if (x.code >= 0) {
		if (r != CPU_FAULT || v->exc.error != (u32)x.code || v->exc.cr2 != a ||
		    v->exc.vector != EXC_PF)
			fail_msg("acc %x user %d: got %d code %x, want %x", acc, user, r, v->exc.error, x.code);
		return;
	}
	assert_int_equal(r, 0);
	assert_true(w.gpa.v == x.pa);
	for (unsigned i = 0; i < w.levels; i++) {
		u64 e = *pte_at(w.table[i].v, level_index(a, 4 - i));

		assert_true(e & PTE_A);
		assert_int_equal(!!(e & PTE_D), i == w.levels - 1u && (acc & ACC_WRITE));
		*pte_at(w.table[i].v, level_index(a, 4 - i)) = e & ~(PTE_A | PTE_D);
	}
	assert_int_equal(w.dirty, !!(acc & ACC_WRITE));
}

static u64 bits_of(unsigned n)
{
	return PTE_P | (n & 1 ? PTE_RW : 0) | (n & 2 ? PTE_US : 0) | (n & 4 ? PTE_NX : 0);
}

static void set_controls(struct vcpu *v, unsigned n)
{
	v->cr0 = CR0_PE | CR0_PG | (n & 1 ? CR0_WP : 0);
	v->cr4 = CR4_PAE | CR4_PGE | (n & 2 ? CR4_SMEP : 0) | (n & 4 ? CR4_SMAP : 0);
	v->rflags = n & 8 ? FL_AC : 0;
	v->efer = EFER_LME | EFER_LMA | (n & 16 ? EFER_NXE : 0);
}

static void check_all_accesses(struct vcpu *v)
{
	static const u32 accs[] = { ACC_READ, ACC_WRITE, ACC_EXEC, ACC_READ | ACC_WRITE,
				    ACC_READ | ACC_IMPLICIT_SUPERVISOR, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR };

	for (unsigned c = 0; c < 32; c++) {
		set_controls(v, c);
		for (unsigned i = 0; i < ARRAY_LEN(accs); i++) {
			check_walk(v, VA, accs[i], false);
			if (!(accs[i] & ACC_IMPLICIT_SUPERVISOR))
				check_walk(v, VA, accs[i], true);
		}
	}
}

/* Every combination of rights at the leaf and one level above, of every page size. */
static void walker_rights(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	for (unsigned level = 1; level <= 3; level++)
		for (unsigned n = 0; n < 64; n++) {
			u64 *up = guest_entry(v->cr3, VA, level + 1);

			guest_map(v->cr3, VA, 1UL << 30, level, bits_of(n & 7));
			*up = (*up & PTE_ADDR) | bits_of(n >> 3);
			check_all_accesses(v);
			*up = (*up & PTE_ADDR) | E_USER;
			*guest_entry(v->cr3, VA, level) = 0;
		}
}

/* Not present, and reserved bits, at every level. */
static void walker_broken_entries(void **state)
{
	static const u64 flip[] = { PTE_P, BIT(46), BIT(51), PTE_PS, BIT(13), BIT(20), BIT(29), PTE_NX };

	(void)state;
	for (unsigned leaf = 1; leaf <= 3; leaf++) {
		struct vcpu *v = machine_setup();

		for (unsigned level = leaf; level <= 4; level++)
			for (unsigned i = 0; i < ARRAY_LEN(flip); i++) {
				u64 *e;

				guest_map(v->cr3, VA, 1UL << 30, leaf, E_USER);
				e = guest_entry(v->cr3, VA, level);
				/* Would make another table of it, outside RAM. */
				if (level > leaf && (flip[i] & (BIT(13) | BIT(20) | BIT(29))))
					continue;
				if (level == leaf && level > 1 && flip[i] == PTE_PS)
					continue;
				*e ^= flip[i];
				check_all_accesses(v);
				*e ^= flip[i];
			}
	}
}

static void walker_special(void **state)
{
	struct vcpu *v = machine_setup();
	struct walk w;

	(void)state;
	assert_int_equal(walk_gla(v, gla(0x800000000000), ACC_READ, false, &w), CPU_FAULT);
	assert_int_equal(v->exc.vector, EXC_GP);
	assert_int_equal(v->exc.error, 0);
	/* A table outside RAM reads as all ones: reserved bits. */
	*guest_entry(v->cr3, VA, 4) = 0x80000000UL | E_USER;
	assert_int_equal(walk_gla(v, gla(VA), ACC_WRITE, true, &w), CPU_FAULT);
	assert_int_equal(v->exc.error, PF_P | PF_W | PF_U | PF_RSVD);
	v->cr0 &= ~CR0_PG;
	assert_int_equal(walk_gla(v, gla(0x1234), ACC_WRITE, false, &w), 0);
	assert_true(w.gpa.v == 0x1234 && w.levels == 0 && w.writable && w.dirty);
}

static void soft_copies(void **state)
{
	struct vcpu *v = machine_setup();
	u8 out[300], in[300];
	u64 x;

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_USER);
	guest_map(v->cr3, 0x401000, 0x340000, 1, E_USER);
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = i * 7;
	assert_int_equal(mem_write(v, gla(0x400f80), in, sizeof(in), ACC_WRITE), CPU_NEXT);
	assert_int_equal(mem_read(v, gla(0x400f80), out, sizeof(in), ACC_READ), CPU_NEXT);
	assert_memory_equal(in, out, sizeof(in));
	assert_memory_equal(in + 128, physmem_ptr(gpa(0x340000)), sizeof(in) - 128);
	/* The second page is missing: nothing may be written. */
	guest_map(v->cr3, 0x403000, 0x350000, 1, E_USER);
	*(u64 *)physmem_ptr(gpa(0x350ff8)) = 5;
	assert_int_equal(mem_write(v, gla(0x403ffc), in, 8, ACC_WRITE), CPU_FAULT);
	assert_true(v->exc.cr2 == 0x404000 && v->exc.error == PF_W);
	assert_true(*(u64 *)physmem_ptr(gpa(0x350ff8)) == 5);
	assert_int_equal(mem_probe_write(v, gla(0x403ffc), 8, 0), CPU_FAULT);
	/* MMIO in aligned pieces. */
	guest_map(v->cr3, 0x405000, 0xfee00000, 1, E_KERNEL);
	assert_int_equal(mem_read(v, gla(0x405020), &x, 8, ACC_READ), CPU_NEXT);
	assert_true(x == 0x1122334455667788UL && fake_bus.addr == 0xfee00020 && fake_bus.size == 8);
	assert_int_equal(mem_write(v, gla(0x405022), &x, 6, ACC_WRITE), CPU_NEXT);
	assert_true(fake_bus.addr == 0xfee00024 && fake_bus.size == 4 && fake_bus.n == 3);
}

static void soft_tlb_is_a_tlb(void **state)
{
	struct vcpu *v = machine_setup();
	struct soft_ref ref;
	u64 *e = guest_entry(v->cr3, 0x400000, 1);

	(void)state;
	*e = 0x300000 | E_USER;
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), 0);
	assert_true(ref.kind == SOFT_RAM && ref.gpa.v == 0x300010);
	*e = 0;
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), 0); /* still cached */
	mmu_invlpg(v, gla(0x400010));
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), CPU_FAULT);
	/* Reads do not give the right to write: D would be missed. */
	*e = 0x300000 | E_USER;
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), 0);
	assert_false(*e & PTE_D);
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_WRITE, &ref), 0);
	assert_true(*e & PTE_D);
	/* Global entries outlive CR3 writes, others do not. */
	*e |= PTE_G;
	mmu_flush_all(v);
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), 0);
	*e = 0;
	mmu_cr3_written(v);
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), 0);
	mmu_mode_changed(v, true);
	assert_int_equal(soft_resolve(v, gla(0x400010), 8, ACC_READ, &ref), CPU_FAULT);
}

static void soft_privilege(void **state)
{
	struct vcpu *v = machine_setup();
	struct soft_ref ref;

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_KERNEL);
	guest_map(v->cr3, 0x401000, 0x301000, 1, E_USER);
	assert_int_equal(soft_resolve(v, gla(0x400000), 8, ACC_READ, &ref), 0);
	v->cpl = 3;
	assert_int_equal(soft_resolve(v, gla(0x400000), 8, ACC_READ, &ref), CPU_FAULT);
	assert_int_equal(v->exc.error, PF_P | PF_U);
	assert_int_equal(soft_resolve(v, gla(0x400000), 8, ACC_READ | ACC_IMPLICIT_SUPERVISOR, &ref), 0);
	v->cpl = 0;
	v->cr4 |= CR4_SMAP;
	mmu_mode_changed(v, false);
	v->rflags |= FL_AC;
	assert_int_equal(soft_resolve(v, gla(0x401000), 8, ACC_READ, &ref), 0);
	v->rflags &= ~(u64)FL_AC; /* no flush: AC counts at every use */
	assert_int_equal(soft_resolve(v, gla(0x401000), 8, ACC_READ, &ref), CPU_FAULT);
	assert_int_equal(v->exc.error, PF_P);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walker_rights),
		cmocka_unit_test(walker_broken_entries),
		cmocka_unit_test(walker_special),
		cmocka_unit_test(soft_copies),
		cmocka_unit_test(soft_tlb_is_a_tlb),
		cmocka_unit_test(soft_privilege),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
