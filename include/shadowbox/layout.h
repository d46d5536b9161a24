/* Where shadowbox keeps its own memory inside every view.
 *
 * A view's address space is the shadow of a guest address space, so all that
 * belongs to shadowbox sits in one 512 GiB slot (237) that guests rarely want:
 * it is the image, under the default fold, of the hole 0xfffffe80_00000000 in
 * Linux's kernel map. It lies below 0x7800_0000_0000 on purpose: a kernel-high
 * operand is gla + FOLD, and a guest *user* pointer dereferenced that way lands
 * at or above 0x7800_0000_0000, never in the zone. */
#pragma once

#define ZONE_BASE 0x768000000000UL /* the image is linked here (Makefile) */
#define ZONE_END 0x770000000000UL

#define ARENA_HVA 0x768100000000UL   /* struct arena, shared, +4 GiB */
#define CODE_RX_HVA 0x768200000000UL /* code cache, executable mapping */
#define CODE_SIZE 0x8000000UL        /* 128 MiB */
#define HOT_HVA 0x768240000000UL     /* within rel32 of the code cache */
#define CODE_RW_HVA 0x768300000000UL /* code cache, writable mapping */
#define PRIVATE_HVA 0x768400000000UL /* per-view private stacks and maps */
#define PATCH_HVA 0x768500000000UL /* patched copies of code pages: the RAM file behind RAM's end */
#define PATCH_SIZE 0x1000000UL
#define PHYS_HVA 0x769000000000UL    /* all guest RAM: hva = PHYS_HVA + gpa */
#define PHYS_MAX (ZONE_END - PHYS_HVA)

/* Sub-areas of HOT_HVA, each with its own protection key. The slots are private to a view:
 * what is in them matters within one instruction only. */
#define HOT_VCPU_HVA HOT_HVA                      /* struct vcpu, key P */
#define HOT_BOUNCE_HVA (HOT_HVA + 0x80000UL)      /* two pages between unmapped ones, key P */
#define HOT_SLOTS_U_HVA (HOT_HVA + 0x100000UL)    /* struct slots of user code, key S */
#define HOT_SLOTS_K_HVA (HOT_HVA + 0x180000UL)    /* struct slots of kernel code, key KS */
#define HOT_SELECT_HVA (HOT_HVA + 0x1c0000UL)     /* this view's system call selector, key D */
#define HOT_TABLE_K_HVA (HOT_HVA + 0x200000UL)    /* kernel lookup table, key KT */
#define HOT_TABLE_U_HVA (HOT_HVA + 0x400000UL)    /* this view's user lookup table, key T */
#define HOT_QUICK_HVA (HOT_HVA + 0x800000UL)      /* quick TLB (shadow.h), 4 MiB, key P */
#define HOT_STORES_HVA (HOT_QUICK_HVA + 0x400000UL) /* struct table_store (shadow.h), key P */

/* Default fold of the high half: hva = gla + FOLD (mod 2^64). */
#define FOLD_DEFAULT 0x780000000000UL
