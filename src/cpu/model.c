/* CPU models: what -cpu asks for, met by what the host has and what is virtualized.
 *
 * `host` (and `max`) offers every feature of the host that features.def allows, plus
 * those that shadowbox provides itself. A named model is a list of features cut to what
 * the host has; the vendor is always the host's, for guests choose instructions and
 * work-arounds by it. Features are then switched one by one.
 *
 * Runs once in the monitor, before views are forked, but like all of this folder without
 * libc. The one mutable object is cpu_model, constant after that. */
#include "priv.h"
#include "shadowbox/log.h"

#define ERR_INVAL (-22) /* -EINVAL */

struct cpu_model cpu_model;

enum feature_policy { HOST, OURS, INTEL, AMD, NEVER };
struct feature {
	u8 word, bit, policy;
	const char *names;
};
static const struct feature features[] = {
#define FEATURE(w, b, n, p) { .word = w, .bit = b, .policy = p, .names = n },
#include "features.def"
#undef FEATURE
};

/* Where each feature word comes from. */
static const struct { u32 leaf; u8 sub, reg; } word_source[FW_COUNT] = {
	[FW_1_ECX] = { 1, 0, 2 },
	[FW_1_EDX] = { 1, 0, 3 },
	[FW_7_EBX] = { 7, 0, 1 },
	[FW_7_ECX] = { 7, 0, 2 },
	[FW_7_EDX] = { 7, 0, 3 },
	[FW_7_1_EAX] = { 7, 1, 0 },
	[FW_7_2_EDX] = { 7, 2, 3 },
	[FW_D_1_EAX] = { 0xd, 1, 0 },
	[FW_80000001_ECX] = { 0x80000001, 0, 2 },
	[FW_80000001_EDX] = { 0x80000001, 0, 3 },
	[FW_80000007_EDX] = { 0x80000007, 0, 3 },
	[FW_80000008_EBX] = { 0x80000008, 0, 1 },
	[FW_80000021_EAX] = { 0x80000021, 0, 0 },
	[FW_80000021_ECX] = { 0x80000021, 0, 2 },
};

/* Features that are nothing without another one. */
static const char *const dependencies[][2] = {
	{ "avx", "xsave" }, { "xsaveopt", "xsave" }, { "xsavec", "xsave" }, { "xgetbv1", "xsave" },
	{ "fma", "avx" }, { "f16c", "avx" }, { "avx2", "avx" }, { "xop", "avx" }, { "fma4", "avx" },
	{ "avx512f", "avx2" }, { "avx512dq", "avx512f" }, { "avx512ifma", "avx512f" },
	{ "avx512pf", "avx512f" }, { "avx512er", "avx512f" }, { "avx512cd", "avx512f" },
	{ "avx512bw", "avx512f" }, { "avx512vl", "avx512f" }, { "avx512vbmi", "avx512f" },
	{ "avx512-vnni", "avx512f" }, { "bhi-ctrl", "spec-ctrl" },
};

/* --- named models --------------------------------------------------------------------- */
struct named_model {
	const char *name, *base; /* base: a model whose features it has too */
	u16 family;
	u8 model, stepping;
	const char *features;
};
static const struct named_model models[] = {
	{ "qemu64", NULL, 6, 15, 11,
	  "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
	  "sse sse2 pni cx16 syscall nx lm lahf-lm x2apic tsc-deadline hypervisor tsc-adjust "
	  "rdtscp invtsc spec-ctrl stibp ssbd bhi-ctrl mcdt-no arch-capabilities ibpb ibrs amd-stibp amd-ssbd "
	  "amd-no-ssb btc-no lfence-always-serializing null-sel-clr-base auto-ibrs srso-no "
	  "tsa-sq-no tsa-l1-no" },
	{ "Conroe", "qemu64", 6, 15, 3, "ssse3" },
	{ "Penryn", "Conroe", 6, 23, 3, "sse4.1" },
	{ "Nehalem", "Penryn", 6, 26, 3, "sse4.2 popcnt" },
	{ "Westmere", "Nehalem", 6, 44, 1, "aes pclmulqdq" },
	{ "SandyBridge", "Westmere", 6, 42, 1, "xsave avx xsaveopt" },
	{ "IvyBridge", "SandyBridge", 6, 58, 9, "f16c rdrand fsgsbase erms smep" },
	{ "Haswell", "IvyBridge", 6, 60, 4, "fma movbe bmi1 bmi2 avx2 abm pdpe1gb" },
	{ "Broadwell", "Haswell", 6, 61, 2, "rdseed adx 3dnowprefetch smap" },
	{ "Skylake-Client", "Broadwell", 6, 94, 3, "xsavec xgetbv1 clflushopt" },
	{ "Skylake-Server", "Skylake-Client", 6, 85, 4,
	  "clwb avx512f avx512dq avx512cd avx512bw avx512vl" },
	{ "Cascadelake-Server", "Skylake-Server", 6, 85, 6, "avx512-vnni" },
	{ "Icelake-Server", "Cascadelake-Server", 6, 106, 0, "avx512ifma avx512vbmi sha-ni rdpid fsrm" },
	{ "EPYC", "Broadwell", 23, 1, 2,
	  "sha-ni sse4a misalignsse mmxext clflushopt xsavec xgetbv1" },
	{ "EPYC-Rome", "EPYC", 23, 49, 0, "clwb rdpid wbnoinvd" },
};

/* --- text ------------------------------------------------------------------------------ */
static char fold_char(char c)
{
	return (c == '_' || c == '.') ? '-' : c;
}

static size_t text_len(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* Is [s, s+len) one of the alternatives in names? */
static bool name_matches(const char *names, const char *s, size_t len)
{
	while (*names) {
		size_t n = 0;

		while (n < len && names[n] && names[n] != '|' && fold_char(names[n]) == fold_char(s[n]))
			n++;
		if (n == len && (!names[n] || names[n] == '|'))
			return true;
		while (*names && *names++ != '|')
			;
	}
	return false;
}

static const struct feature *find_feature(const char *s, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(features); i++)
		if (name_matches(features[i].names, s, len))
			return &features[i];
	return NULL;
}

static const struct named_model *find_model(const char *s, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(models); i++)
		if (text_len(models[i].name) == len && !memcmp(models[i].name, s, len))
			return &models[i];
	return NULL;
}

/* --- what can be offered ------------------------------------------------------------------ */
struct host {
	u32 max_basic, max_ext;
	enum cpu_vendor vendor;
	u32 feat[FW_COUNT];
	u64 xcr0;
};

static u32 leaf_reg(const struct cpuid_leaf *l, unsigned reg)
{
	return reg == 0 ? l->eax : reg == 1 ? l->ebx : reg == 2 ? l->ecx : l->edx;
}

static bool leaf_exists(const struct host *h, u32 leaf)
{
	return leaf >= 0x80000000u ? leaf <= h->max_ext : leaf <= h->max_basic;
}

static enum cpu_vendor vendor_of(const struct cpuid_leaf *l0)
{
	char id[13] = { 0 };

	memcpy(id, &l0->ebx, 4);
	memcpy(id + 4, &l0->edx, 4);
	memcpy(id + 8, &l0->ecx, 4);
	if (!memcmp(id, "GenuineIntel", 12))
		return VENDOR_INTEL;
	if (!memcmp(id, "AuthenticAMD", 12) || !memcmp(id, "HygonGenuine", 12))
		return VENDOR_AMD;
	return VENDOR_OTHER;
}

static u64 host_xcr0(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

static void probe_host(struct host *h)
{
	struct cpuid_leaf l;

	host_cpuid(0x80000000, 0, &l);
	h->max_ext = l.eax;
	host_cpuid(0, 0, &l);
	h->max_basic = l.eax;
	h->vendor = vendor_of(&l);
	for (int w = 0; w < FW_COUNT; w++) {
		h->feat[w] = 0;
		if (!leaf_exists(h, word_source[w].leaf))
			continue;
		host_cpuid(word_source[w].leaf, word_source[w].sub, &l);
		h->feat[w] = leaf_reg(&l, word_source[w].reg);
	}
	/* OSXSAVE says that the host's kernel has turned XSAVE on. */
	h->xcr0 = (h->feat[FW_1_ECX] >> 27 & 1) ? host_xcr0() : 1;
	if (h->xcr0 == 1)
		h->feat[FW_1_ECX] &= ~(1u << 26 | 1u << 28);
	if ((h->xcr0 & 6) != 6)
		h->feat[FW_1_ECX] &= ~(1u << 28);
	if ((h->xcr0 & 0xe6) != 0xe6)
		h->feat[FW_7_EBX] &= ~(1u << 16);
}

static bool feature_available(const struct feature *f, const struct host *h)
{
	switch (f->policy) {
	case HOST: return h->feat[f->word] >> f->bit & 1;
	case OURS: return true;
	case INTEL: return h->vendor != VENDOR_AMD;
	case AMD: return h->vendor == VENDOR_AMD;
	}
	return false;
}

static void set_feature(struct cpu_model *m, const struct feature *f, bool on)
{
	m->feat[f->word] = (m->feat[f->word] & ~(1u << f->bit)) | (u32)on << f->bit;
}

static void add_all(struct cpu_model *m, const struct host *h)
{
	for (size_t i = 0; i < ARRAY_LEN(features); i++)
		set_feature(m, &features[i], feature_available(&features[i], h));
}

static void add_list(struct cpu_model *m, const struct host *h, const char *list)
{
	while (*list) {
		size_t n = 0;
		const struct feature *f;

		while (list[n] && list[n] != ' ')
			n++;
		f = find_feature(list, n);
		sb_assert(f);
		if (feature_available(f, h))
			set_feature(m, f, true);
		list += n + (list[n] == ' ');
	}
}

static void add_named(struct cpu_model *m, const struct host *h, const struct named_model *nm)
{
	if (nm->base)
		add_named(m, h, find_model(nm->base, text_len(nm->base)));
	add_list(m, h, nm->features);
}

static void drop_dependents(struct cpu_model *m)
{
	for (size_t i = 0; i < ARRAY_LEN(dependencies); i++) {
		const struct feature *f = find_feature(dependencies[i][0], text_len(dependencies[i][0]));
		const struct feature *on = find_feature(dependencies[i][1], text_len(dependencies[i][1]));

		sb_assert(f && on);
		if (!(m->feat[on->word] >> on->bit & 1))
			set_feature(m, f, false);
	}
}

/* --- identity and derived leaves -------------------------------------------------------------- */
static u32 signature_of(const struct named_model *nm)
{
	u32 family = nm->family > 15 ? 15 : nm->family, ext = nm->family - family;

	return ext << 20 | (nm->model >> 4) << 16 | family << 8 | (nm->model & 15) << 4 | nm->stepping;
}

static void set_identity(struct cpu_model *m, const struct host *h, const struct named_model *nm)
{
	struct cpuid_leaf l;

	host_cpuid(0, 0, &l);
	m->vendor = h->vendor;
	m->vendor_id[0] = l.ebx;
	m->vendor_id[1] = l.ecx;
	m->vendor_id[2] = l.edx;
	if (nm) {
		m->signature = signature_of(nm);
		fmt_format(m->brand, sizeof(m->brand), "shadowbox virtual CPU (%s)", nm->name);
		return;
	}
	host_cpuid(1, 0, &l);
	m->signature = l.eax & 0x0fff3fff;
	for (u32 i = 0; i < 3 && h->max_ext >= 0x80000004u; i++) {
		host_cpuid(0x80000002u + i, 0, &l);
		memcpy(m->brand + i * 16, &l, 16);
	}
}

static void copy_cache_leaves(struct cpu_model *m, const struct host *h)
{
	if (h->max_basic >= 2)
		host_cpuid(2, 0, &m->leaf2);
	for (u32 i = 0; h->max_basic >= 4 && i < ARRAY_LEN(m->cache4); i++) {
		host_cpuid(4, i, &m->cache4[i]);
		if (!(m->cache4[i].eax & 0x1f)) {
			m->cache4[i] = (struct cpuid_leaf){ 0 };
			break;
		}
		m->cache4[i].eax &= 0x3fff; /* one core, no sharing */
	}
	if (h->max_ext >= 0x80000006u) {
		host_cpuid(0x80000005u, 0, &m->ext5);
		host_cpuid(0x80000006u, 0, &m->ext6);
	}
}

/* XCR0 bits of the features offered, and their places in the standard format. */
static void set_xstate(struct cpu_model *m, const struct host *h)
{
	u64 mask = 3;

	if (!(m->feat[FW_1_ECX] >> 26 & 1)) {
		m->xcr0 = 1;
		return;
	}
	if (m->feat[FW_1_ECX] >> 28 & 1)
		mask |= 4;
	if (m->feat[FW_7_EBX] >> 16 & 1)
		mask |= 0xe0;
	m->xcr0 = h->xcr0 & mask;
	for (u32 i = 2; i < ARRAY_LEN(m->xstate); i++)
		if (m->xcr0 >> i & 1)
			host_cpuid(0xd, i, &m->xstate[i]);
}

/* |a/b - p/q| times b * q. */
static u64 ratio_error(u64 a, u64 b, u64 p, u64 q)
{
	return a * q > p * b ? a * q - p * b : p * b - a * q;
}

/* The best num/den for a/b with num below `limit` and a > b: the last convergent of its
 * continued fraction that fits, or the largest semiconvergent if that is closer. */
static void best_ratio(u64 a, u64 b, u64 limit, u32 *num, u32 *den)
{
	u64 p0 = 0, q0 = 1, p1 = 1, q1 = 0, x = a, y = b, k, p, q;

	while (y) {
		u64 t = x / y, r = x % y;

		if (t * p1 + p0 >= limit)
			break;
		p = t * p1 + p0, q = t * q1 + q0;
		p0 = p1, q0 = q1, p1 = p, q1 = q;
		x = y, y = r;
	}
	k = (limit - 1 - p0) / p1;
	p = k * p1 + p0, q = k * q1 + q0;
	if (y && ratio_error(a, b, p, q) * q1 < ratio_error(a, b, p1, q1) * q) {
		p1 = p;
		q1 = q;
	}
	*num = p1;
	*den = q1;
}

static void set_frequency(struct cpu_model *m)
{
	m->tsc_khz = cpu_tsc_khz();
	/* Guests multiply the crystal in kHz by num in 32 bits. */
	best_ratio(m->tsc_khz, CRYSTAL_KHZ, 0xffffffffu / CRYSTAL_KHZ, &m->tsc_num, &m->tsc_den);
}

static void set_limits(struct cpu_model *m, const struct host *h)
{
	struct cpuid_leaf l = { .eax = 36 };

	if (h->max_ext >= 0x80000008u)
		host_cpuid(0x80000008u, 0, &l);
	m->phys_bits = (l.eax & 0xff) > 46 ? 46 : l.eax & 0xff;
	m->max_basic = 0x16;
	m->max_ext = h->vendor == VENDOR_AMD ? 0x80000021u : 0x80000008u;
}

/* --- the option ---------------------------------------------------------------------------------- */
/* One item after the model: +name, -name, name, name=on, name=off. */
static int apply_item(struct cpu_model *m, const struct host *h, const char *s, size_t len, char *err,
		      size_t errlen)
{
	bool on = true;
	size_t n = 0;
	const struct feature *f;

	if (len && (*s == '+' || *s == '-')) {
		on = *s == '+';
		s++, len--;
	}
	while (n < len && s[n] != '=')
		n++;
	if (n < len) {
		bool is_off = len - n == 4 && !memcmp(s + n, "=off", 4);

		if (!is_off && !(len - n == 3 && !memcmp(s + n, "=on", 3))) {
			fmt_format(err, errlen, "-cpu: '%.*s' must be on or off", (int)n, s);
			return ERR_INVAL;
		}
		on = !is_off;
	}
	/* What they ask for is always done. */
	if (name_matches("check|enforce|migratable", s, n))
		return 0;
	f = find_feature(s, n);
	if (!f) {
		fmt_format(err, errlen, "-cpu: unknown feature '%.*s'", (int)n, s);
		return ERR_INVAL;
	}
	if (on && !feature_available(f, h)) {
		fmt_format(err, errlen, f->policy == HOST ? "-cpu: the host CPU lacks feature '%.*s'"
							  : "-cpu: feature '%.*s' is not virtualized",
			   (int)n, s);
		return ERR_INVAL;
	}
	set_feature(m, f, on);
	return 0;
}

static size_t item_len(const char *s)
{
	size_t n = 0;

	while (s[n] && s[n] != ',')
		n++;
	return n;
}

int cpu_model_parse(const char *spec, char *err, size_t errlen)
{
	size_t len = item_len(spec);
	const struct named_model *nm = NULL;
	static struct cpu_model m; /* large, and this runs once */
	struct host h;

	memset(&m, 0, sizeof(m));
	probe_host(&h);
	if (name_matches("host|max", spec, len)) {
		add_all(&m, &h);
	} else {
		nm = find_model(spec, len);
		if (!nm) {
			fmt_format(err, errlen, "-cpu: unknown model '%.*s' (-cpu help lists them)", (int)len, spec);
			return ERR_INVAL;
		}
		add_named(&m, &h, nm);
	}
	for (spec += len; *spec == ','; spec += len) {
		spec++;
		len = item_len(spec);
		if (apply_item(&m, &h, spec, len, err, errlen))
			return ERR_INVAL;
	}
	drop_dependents(&m);
	set_identity(&m, &h, nm);
	copy_cache_leaves(&m, &h);
	set_xstate(&m, &h);
	set_frequency(&m);
	set_limits(&m, &h);
	cpu_model = m;
	return 0;
}

void cpu_model_list(void (*print)(const char *line))
{
	print("host                the host CPU's features, less what is not virtualized (default)");
	print("max                 the same as host");
	for (size_t i = 0; i < ARRAY_LEN(models); i++)
		print(models[i].name);
}

bool cpu_offers_smap(void)
{
	return cpu_has(FW_7_EBX, 20);
}

u64 cpu_model_xcr0(void)
{
	return cpu_model.xcr0;
}

u64 model_cr4_mask(void)
{
	/* Always there: what long mode and every model have. */
	u64 mask = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		   CR4_OSXMMEXCPT;
	static const struct { u32 bit; u8 word, feature; } optional[] = {
		{ CR4_VME | CR4_PVI, FW_1_EDX, 1 }, { CR4_UMIP, FW_7_ECX, 2 }, { CR4_LA57, FW_7_ECX, 16 },
		{ CR4_FSGSBASE, FW_7_EBX, 0 },	    { CR4_PCIDE, FW_1_ECX, 17 },
		{ CR4_OSXSAVE, FW_1_ECX, 26 },	    { CR4_SMEP, FW_7_EBX, 7 },
		{ CR4_SMAP, FW_7_EBX, 20 },	    { CR4_PKE, FW_7_ECX, 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(optional); i++)
		if (cpu_has(optional[i].word, optional[i].feature))
			mask |= optional[i].bit;
	return mask;
}
