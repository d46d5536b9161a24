/* Addresses of the test kernels. KBASE is 0 or the high half's image base. */
#pragma once
#if KBASE
#define DIRECT 0xffff888000000000
#define KTEST 0xffffc90000000000 /* kernel test mappings, slot 402 */
#else
#define DIRECT 0
#define KTEST 0x500000000
#endif
#define UCODE 0x400000000 /* user test mappings */
#define UDATA 0x401000000
#define USTACK_TOP 0x402010000
#define POOL_START 0x1000000 /* physical pages handed out by page_alloc */
#define POOL_END 0x6000000

#define SEL_KCS 0x10
#define SEL_KDS 0x18
#define SEL_UCS32 0x23 /* user 32-bit code, then data, then 64-bit code: as SYSRET wants */
#define SEL_UDS 0x2b
#define SEL_UCS 0x33
#define SEL_TSS 0x40
#define SEL_CONF 0x50 /* conforming 64-bit code */
#define SEL_NP 0x58   /* not-present data */
#define SEL_UDS_RO 0x63
#define VEC_EXIT 0x81
#define VEC_SPURIOUS 0xff
