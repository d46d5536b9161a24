/* mkcpio: writes a cpio archive ("newc") to standard output from a list on standard
 * input, so that an initramfs with device nodes can be made without root. One entry a
 * line, fields separated by blanks:
 *
 *   dir PATH MODE
 *   file PATH MODE HOST-FILE     (the rest of the line)
 *   link PATH TARGET             (symbolic)
 *   node PATH MODE c|b MAJOR MINOR
 *
 * Parent folders that were not listed are made. Owner is root, times are 0: the same
 * input gives the same archive.
 * Follows: Documentation/driver-api/early-userspace/buffer-format.rst of Linux. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned long offset, inode = 1;
static char **made; /* paths of folders already in the archive */
static size_t made_count;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mkcpio: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	exit(1);
}

static void put(const void *data, size_t len)
{
	if (fwrite(data, 1, len, stdout) != len)
		fail("write error: %s", strerror(errno));
	offset += len;
}

static void pad(void)
{
	put("\0\0\0", -offset & 3);
}

static void put_header(const char *path, unsigned mode, unsigned long size, unsigned major, unsigned minor)
{
	char head[160];

	while (*path == '/')
		path++;
	size_t name = strlen(path) + 1;
	snprintf(head, sizeof(head), "070701%08lx%08x%08x%08x%08x%08x%08lx%08x%08x%08x%08x%08lx%08x",
		 inode++, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0);
	put(head, 110);
	put(path, name);
	pad();
}

static int is_made(const char *path)
{
	for (size_t i = 0; i < made_count; i++)
		if (!strcmp(made[i], path))
			return 1;
	return 0;
}

static void put_dir(const char *path, unsigned mode)
{
	if (is_made(path))
		return;
	made = realloc(made, (made_count + 1) * sizeof(*made));
	if (!made || !(made[made_count++] = strdup(path)))
		fail("out of memory");
	put_header(path, S_IFDIR | mode, 0, 0, 0);
}

static void put_parents(const char *path)
{
	char part[4096];

	for (size_t i = 1; path[i] && i < sizeof(part); i++)
		if (path[i] == '/') {
			memcpy(part, path, i);
			part[i] = 0;
			put_dir(part, 0755);
		}
}

static void put_file(const char *path, unsigned mode, const char *host)
{
	static char buf[65536];
	FILE *f = fopen(host, "rb");
	struct stat st;
	size_t n;

	if (!f || fstat(fileno(f), &st) < 0)
		fail("%s: %s", host, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > 0xffffffffL)
		fail("%s: not a regular file of less than 4 GiB", host);
	put_header(path, S_IFREG | mode, (unsigned long)st.st_size, 0, 0);
	for (unsigned long left = (unsigned long)st.st_size; left; left -= n) {
		n = fread(buf, 1, left < sizeof(buf) ? left : sizeof(buf), f);
		if (!n)
			fail("%s: read error", host);
		put(buf, n);
	}
	pad();
	fclose(f);
}

static void put_entry(char *line)
{
	char path[1024], rest[4096], type;
	unsigned mode, major, minor;

	if (sscanf(line, "dir %1023s %o", path, &mode) == 2) {
		put_parents(path);
		put_dir(path, mode);
	} else if (sscanf(line, "file %1023s %o %4095[^\n]", path, &mode, rest) == 3) {
		put_parents(path);
		put_file(path, mode, rest);
	} else if (sscanf(line, "link %1023s %4095s", path, rest) == 2) {
		put_parents(path);
		put_header(path, S_IFLNK | 0777, strlen(rest), 0, 0);
		put(rest, strlen(rest));
		pad();
	} else if (sscanf(line, "node %1023s %o %c %u %u", path, &mode, &type, &major, &minor) == 5) {
		put_parents(path);
		put_header(path, (type == 'c' ? S_IFCHR : S_IFBLK) | mode, 0, major, minor);
	} else {
		fail("cannot read this entry: %s", line);
	}
}

int main(void)
{
	char line[8192];

	while (fgets(line, sizeof(line), stdin))
		if (line[0] != '\n')
			put_entry(line);
	inode = 0;
	put_header("TRAILER!!!", 0, 0, 0, 0);
	if (fflush(stdout))
		fail("write error: %s", strerror(errno));
	return 0;
}
