/* The table of call-out handlers.
 *
 * Rows left out are #UD: virtualization, monitor/mwait, invpcid and protection key
 * instructions are not offered by CPUID; the XSAVE family is the engine's own. */
#include "priv.h"

const op_handler cpu_ops[OP_COUNT] = {
	[OP_JMP] = op_jmp, [OP_JCC] = op_jcc, [OP_JRCXZ] = op_jrcxz, [OP_LOOP] = op_loop,
	[OP_CALL] = op_call, [OP_RET] = op_ret, [OP_JMP_IND] = op_jmp_ind,
	[OP_CALL_IND] = op_call_ind, [OP_JMP_FAR] = op_jmp_far, [OP_CALL_FAR] = op_call_far,
	[OP_RET_FAR] = op_ret_far, [OP_IRET] = op_iret, [OP_INT] = op_int, [OP_INT3] = op_int3,
	[OP_INT1] = op_int1, [OP_INTO] = op_into, [OP_SYSCALL] = op_syscall,
	[OP_SYSRET] = op_sysret, [OP_SYSENTER] = op_sysenter, [OP_SYSEXIT] = op_sysexit,

	[OP_PUSH] = op_push, [OP_POP] = op_pop, [OP_PUSHF] = op_pushf, [OP_POPF] = op_popf,
	[OP_ENTER] = op_enter, [OP_LEAVE] = op_leave, [OP_PUSHA] = op_pusha, [OP_POPA] = op_popa,
	[OP_PUSH_SEG] = op_push_seg, [OP_POP_SEG] = op_pop_seg,

	[OP_MOVS] = op_movs, [OP_STOS] = op_stos, [OP_LODS] = op_lods, [OP_CMPS] = op_cmps,
	[OP_SCAS] = op_scas, [OP_INS] = op_ins, [OP_OUTS] = op_outs,

	[OP_CLI] = op_cli, [OP_STI] = op_sti, [OP_STAC] = op_stac, [OP_CLAC] = op_clac,
	[OP_HLT] = op_hlt, [OP_LAHF] = op_lahf, [OP_SAHF] = op_sahf,

	[OP_IN] = op_in, [OP_OUT] = op_out, [OP_MOV_CR] = op_mov_cr, [OP_MOV_DR] = op_mov_dr,
	[OP_CLTS] = op_clts, [OP_LMSW] = op_lmsw, [OP_SMSW] = op_smsw, [OP_LGDT] = op_lgdt,
	[OP_LIDT] = op_lidt, [OP_SGDT] = op_sgdt, [OP_SIDT] = op_sidt, [OP_LLDT] = op_lldt,
	[OP_LTR] = op_ltr, [OP_SLDT] = op_sldt, [OP_STR] = op_str, [OP_LAR] = op_lar,
	[OP_LSL] = op_lsl, [OP_VERR] = op_verr, [OP_VERW] = op_verw,
	[OP_MOV_TO_SEG] = op_mov_to_seg, [OP_MOV_FROM_SEG] = op_mov_from_seg,
	[OP_LOAD_FAR_PTR] = op_load_far_ptr, [OP_RDMSR] = op_rdmsr, [OP_WRMSR] = op_wrmsr,
	[OP_CPUID] = op_cpuid, [OP_RDTSC] = op_rdtsc, [OP_RDTSCP] = op_rdtscp,
	[OP_RDPMC] = op_rdpmc, [OP_RDPID] = op_rdpid, [OP_SWAPGS] = op_swapgs,
	[OP_RDFSBASE] = op_rdfsbase, [OP_RDGSBASE] = op_rdgsbase, [OP_WRFSBASE] = op_wrfsbase,
	[OP_WRGSBASE] = op_wrgsbase, [OP_INVLPG] = op_invlpg, [OP_INVD] = op_wbinvd,
	[OP_WBINVD] = op_wbinvd, [OP_XGETBV] = op_xgetbv, [OP_XSETBV] = op_xsetbv,
	[OP_PREFETCH] = op_prefetch,

	[OP_AAA] = op_ascii, [OP_DAA] = op_ascii, [OP_BOUND] = op_bound, [OP_ARPL] = op_arpl,
	[OP_SALC] = op_salc,
};
