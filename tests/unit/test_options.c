/* The command line: QEMU's spelling, the values, and one clear line for each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "shadowbox/log.h"
#include "shadowbox/options.h"
#include "src/monitor/optvalue.h"

void cpu_model_list(void (*print)(const char *line))
{
	print("host");
}

static struct options o;
static char err[256];
static char output[8192]; /* what the last parse printed */

/* Splits the line at spaces and parses it, with stdout caught. */
static enum options_result parse(const char *line)
{
	static char words[1024];
	char *argv[64] = { "shadowbox" };
	int argc = 1, out[2], saved = dup(1);
	enum options_result r;

	strcpy(words, line);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	dup2(out[1], 1);
	r = options_parse(argc, argv, &o, err, sizeof(err));
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	close(out[1]);
	ssize_t n = read(out[0], output, sizeof(output) - 1);
	output[n > 0 ? n : 0] = 0;
	close(out[0]);
	return r;
}

static void run(const char *line)
{
	if (parse(line) != OPTIONS_RUN)
		fail_msg("'%s' refused: %s", line, err);
}

static void refused(const char *line, const char *word)
{
	if (parse(line) != OPTIONS_ERROR)
		fail_msg("'%s' accepted", line);
	if (!strstr(err, word))
		fail_msg("'%s': no '%s' in: %s", line, word, err);
	assert_null(strchr(err, '\n'));
}

static void listed(const char *line, const char *word)
{
	if (parse(line) != OPTIONS_EXIT_OK)
		fail_msg("'%s' did not list: %s", line, err);
	if (!strstr(output, word))
		fail_msg("'%s': no '%s' in: %s", line, word, output);
}

static void test_defaults(void **state)
{
	(void)state;
	run("-kernel k");
	assert_string_equal(o.kernel, "k");
	assert_string_equal(o.append, "");
	assert_null(o.initrd);
	assert_int_equal(o.ram_bytes, 128UL << 20);
	assert_int_equal(o.cpus, 1);
	assert_false(o.no_reboot);
	assert_false(o.debug_exit);
	assert_true(o.policy.block_max > 0 && o.policy.uffd);
	assert_int_equal(o.log_mask, 0);
}

static void test_memory(void **state)
{
	static const struct { const char *arg; u64 bytes; } good[] = {
		{ "512", 512UL << 20 }, { "512M", 512UL << 20 }, { "2G", 2UL << 30 },
		{ "2g", 2UL << 30 }, { "size=1G", 1UL << 30 }, { "1.5G", 3UL << 29 },
		{ "1G,slots=2,maxmem=4G", 1UL << 30 }, { "131072k", 128UL << 20 },
		{ "0", 128UL << 20 }, { "134217728b", 128UL << 20 }, { "400G", 400UL << 30 },
		{ "0.25T", 256UL << 30 },
	};
	static const char *const bad[] = {
		"foo", "4M", "900G", "-1", "12Q", "1e9", "512MM", "", "99999999999999999999", "size=",
		"512,foo=1", "7.M", "18446744073709551615T", "1M",
	};
	char line[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		snprintf(line, sizeof(line), "-kernel k -m %s", good[i].arg);
		run(line);
		assert_int_equal(o.ram_bytes, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char *argv[] = { "shadowbox", "-kernel", "k", "-m", (char *)bad[i] };
		if (!*bad[i])
			continue;
		assert_int_equal(options_parse(5, argv, &o, err, sizeof(err)), OPTIONS_ERROR);
		assert_non_null(strstr(err, "-m"));
	}
	refused("-kernel k -m 4M", "too little");
	refused("-kernel k -m 900G", "too much");
}

static void test_cpus(void **state)
{
	(void)state;
	run("-kernel k -smp 1");
	run("-kernel k -smp cpus=1,sockets=1,cores=1,threads=1");
	run("-kernel k -smp 1,maxcpus=4");
	refused("-kernel k -smp 0", "at least one");
	refused("-kernel k -smp 2", "-smp 1");
	refused("-kernel k -smp cores=2", "2 CPUs");
	refused("-kernel k -smp x", "'x'");
	refused("-kernel k -smp foo=1", "'foo'");
}

static void test_spelling(void **state)
{
	(void)state;
	run("--kernel k --m 256 --no-reboot");
	assert_int_equal(o.ram_bytes, 256UL << 20);
	assert_true(o.no_reboot);
	refused("-kernel k -kernal x", "-kernel");
	refused("-kernel k -no-rebot", "-no-reboot");
	refused("-kernel k -netdev user", "-net");
	refused("-kernel k -mon x", "-monitor");
	refused("-kernel k ---m 5", "---m");
	refused("-kernel k disk.img", "disk.img");
	refused("-kernel", "requires an argument");
	refused("-kernel k -", "-");
	refused("", "-kernel");
	refused("-initrd x", "-initrd");
	refused("-append x", "-append");
}

static void test_console(void **state)
{
	(void)state;
	run("-kernel k -nographic");
	assert_int_equal(o.serial, SERIAL_STDIO);
	assert_true(o.nographic && o.mux_stdio);
	run("-kernel k -nographic -monitor none");
	assert_int_equal(o.serial, SERIAL_STDIO);
	assert_false(o.mux_stdio);
	run("-kernel k -display none -serial stdio -monitor none");
	assert_int_equal(o.serial, SERIAL_STDIO);
	assert_false(o.mux_stdio);
	run("-kernel k -serial mon:stdio");
	assert_true(o.mux_stdio);
	run("-kernel k -serial file:/tmp/x");
	assert_int_equal(o.serial, SERIAL_FILE);
	assert_string_equal(o.serial_path, "/tmp/x");
	run("-kernel k -serial null -serial none");
	assert_int_equal(o.serial, SERIAL_NULL);
	run("-kernel k -display none");
	assert_int_equal(o.serial, SERIAL_NULL);
	run("-kernel k -nodefaults -nographic");
	assert_int_equal(o.serial, SERIAL_NULL);
	refused("-kernel k -serial pty", "file:PATH");
	refused("-kernel k -serial file:", "file:PATH");
	refused("-kernel k -serial null -serial stdio", "one serial port");
	refused("-kernel k -display gtk", "none");
	refused("-kernel k -monitor stdio", "none");
	listed("-display help", "none");
}

static void test_accel(void **state)
{
	(void)state;
	run("-kernel k -accel dbt,soft=on,chain=off,views=one,pkeys=off,fsgsbase=off,block=7");
	assert_true(o.policy.all_soft && o.policy.no_chain && o.policy.one_view);
	assert_true(o.policy.no_pkeys && o.policy.no_fsgsbase);
	assert_int_equal(o.policy.block_max, 7);
	run("-kernel k -accel dbt,soft=off,chain=on,views=many,pkeys=on,fsgsbase=on");
	assert_false(o.policy.all_soft || o.policy.no_chain || o.policy.one_view);
	assert_false(o.policy.no_pkeys || o.policy.no_fsgsbase);
	run("-kernel k -accel dbt,trace=uffd,adaptive=off,prefill=off,views=5,maps=100,cache=600");
	assert_true(o.policy.uffd && o.policy.no_adaptive && o.policy.no_prefill && !o.policy.one_view);
	assert_int_equal(o.policy.view_max, 5);
	assert_int_equal(o.policy.map_max, 100);
	assert_int_equal(o.policy.cache_max, 600);
	run("-kernel k -accel dbt,trace=mprotect,adaptive=on,prefill=on,views=5,views=many");
	assert_false(o.policy.uffd || o.policy.no_adaptive || o.policy.no_prefill || o.policy.view_max);
	assert_int_equal(o.policy.traps, TRAPS_AUTO);
	assert_int_equal(o.policy.hold_after, 16);
	run("-kernel k -accel dbt,hold=0");
	assert_int_equal(o.policy.hold_after, 0);
	run("-kernel k -accel dbt,hold=65536");
	assert_int_equal(o.policy.hold_after, 65536);
	run("-kernel k -accel dbt,traps=ptrace,pkusig=off");
	assert_int_equal(o.policy.traps, TRAPS_PTRACE);
	assert_true(o.policy.no_pku_signals);
	run("-kernel k -accel dbt,traps=signal");
	assert_int_equal(o.policy.traps, TRAPS_SIGNAL);
	refused("-kernel k -accel dbt,traps=foo", "signal or ptrace");
	run("-kernel k -accel tcg,thread=single");
	assert_non_null(strstr(o.notes, "tcg asked for; dbt runs"));
	run("-kernel k -accel kvm -enable-kvm");
	run("-kernel k -machine pc,accel=kvm:tcg,usb=off");
	run("-kernel k -M q35 -machine pc-q35-7.2 -machine accel=tcg -singlestep");
	assert_int_equal(o.policy.block_max, 1);
	refused("-kernel k -accel foo", "use dbt");
	refused("-kernel k -accel soft=on", "name comes first");
	refused("-kernel k -accel dbt,soft=maybe", "on or off");
	refused("-kernel k -accel dbt,block=0", "block=0");
	refused("-kernel k -accel dbt,cache=131073", "from 576 to 131072");
	refused("-kernel k -accel dbt,hold=65537", "from 0 to 65536");
	refused("-kernel k -accel dbt,hold=off", "hold=off");
	refused("-kernel k -accel dbt,hold", "hold");
	refused("-kernel k -accel dbt,views=1", "from 2 to");
	refused("-kernel k -accel dbt,views=1000", "from 2 to");
	refused("-kernel k -accel dbt,maps=3", "maps=3");
	refused("-kernel k -accel dbt,trace=on", "mprotect or uffd");
	refused("-kernel k -accel dbt,bar=1", "'bar'");
	refused("-kernel k -machine isapc", "'isapc'");
	refused("-kernel k -machine pc,foo=on", "'foo'");
	listed("-accel help", "soft=on|off");
	listed("-machine help", "pc ");
	listed("-M ?", "pc ");
}

static void test_devices(void **state)
{
	(void)state;
	run("-kernel k -device isa-debug-exit,iobase=0xf4,iosize=0x4");
	assert_true(o.debug_exit);
	assert_int_equal(o.debug_exit_port, 0xf4);
	assert_int_equal(o.debug_exit_size, 4);
	run("-kernel k -device isa-debug-exit,id=x");
	assert_int_equal(o.debug_exit_port, 0x501);
	assert_int_equal(o.debug_exit_size, 2);
	refused("-kernel k -device isa-debug-exit,iobase=0xffff,iosize=4", "0xffff");
	refused("-kernel k -device isa-debug-exit,iosize=3", "iosize=3");
	refused("-kernel k -device isa-debug-exit,iobase=zz", "iobase=zz");
	refused("-kernel k -device isa-debug-exit,foo=1", "'foo'");
	refused("-kernel k -device virtio-blk-pci,drive=d", "virtio-blk-pci");
	listed("-device help", "isa-debug-exit");
	listed("-device ?", "isa-debug-exit");
	listed("-device isa-debug-exit,help", "iobase");
}

static void test_tracing(void **state)
{
	(void)state;
	run("-kernel k -d int,mmu -d stats -D /tmp/log");
	assert_int_equal(o.log_mask, LOG_INT | LOG_MMU | LOG_STATS);
	assert_string_equal(o.log_file, "/tmp/log");
	run("-kernel k -d in_asm,out_asm,cpu,exits,config,guest_errors,nochain");
	assert_true(o.policy.no_chain);
	refused("-kernel k -d foo", "'foo'");
	listed("-d help", "guest_errors");
	listed("-d int,help", "guest_errors");
}

static void test_information(void **state)
{
	(void)state;
	listed("-version", "version");
	listed("--version", "version");
	listed("-h", "-kernel FILE");
	listed("--help", "-kernel FILE");
	listed("-cpu help", "host");
	run("-kernel k -cpu host,-avx");
	assert_string_equal(o.cpu_model, "host,-avx");
}

static void test_noted(void **state)
{
	(void)state;
	run("-kernel k -no-user-config -nodefaults -name vm -rtc base=utc -global kvm-pit.x=y "
	    "-boot once=d -vga none -net none -parallel none -echr 1 -action reboot=shutdown");
	assert_true(o.nodefaults && o.no_reboot);
	assert_non_null(strstr(o.notes, "-name: accepted without effect: vm\n"));
	assert_non_null(strstr(o.notes, "-no-user-config"));
	refused("-kernel k -vga std", "none");
}

/* Notes and messages from very long arguments stay inside their buffers, on one line. */
static void test_long_arguments(void **state)
{
	static char huge[100000];
	char *argv[] = { "shadowbox", "-kernel", "k", "-name", huge, "-device", huge, NULL };
	static const char *const options[] = {
		"-m", "-smp", "-accel", "-machine", "-device", "-d", "-serial", "-display", "-monitor",
	};

	(void)state;
	memset(huge, 'a', sizeof(huge) - 1);
	huge[1] = '\n';
	assert_int_equal(options_parse(5, argv, &o, err, sizeof(err)), OPTIONS_RUN);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		argv[5] = (char *)options[i];
		assert_int_equal(options_parse(7, argv, &o, err, sizeof(err)), OPTIONS_ERROR);
		assert_null(strchr(err, '\n'));
	}
	argv[5] = huge;
	assert_int_equal(options_parse(6, argv, &o, err, sizeof(err)), OPTIONS_ERROR);
}

static void test_values(void **state)
{
	const char *list = "a=1,b,c=x,,y,,,d";
	struct opt_item it;
	u64 n;

	(void)state;
	assert_true(opt_next(&list, &it));
	assert_string_equal(it.key, "a");
	assert_string_equal(it.value, "1");
	assert_true(opt_next(&list, &it));
	assert_null(it.value);
	assert_true(opt_next(&list, &it));
	assert_string_equal(it.value, "x,y,");
	assert_true(opt_next(&list, &it));
	assert_string_equal(it.key, "d");
	assert_false(opt_next(&list, &it));
	assert_null(list);
	assert_true(opt_number("0xFf", 255, &n) && n == 255);
	assert_false(opt_number("256", 255, &n));
	assert_false(opt_number("0x", 255, &n));
	assert_false(opt_number("1f", 255, &n));
	assert_int_equal(opt_distance("kitten", "sitting"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_spelling),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_accel),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_tracing),
		cmocka_unit_test(test_information),
		cmocka_unit_test(test_noted),
		cmocka_unit_test(test_long_arguments),
		cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
