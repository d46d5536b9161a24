/* The serial port's other end: standard input and output, a file, or nothing.
 *
 * Input is read only when the guest's ring has room, so a flood waits in the pipe; keys of a
 * terminal are always read, for Ctrl-A X, and dropped if there is none. The end of input is not the end of the machine. Output never blocks the monitor for long:
 * one write per turn, when poll() says that it can be taken; output that nobody can take
 * any more (closed pipe) is dropped.
 * Keys after Ctrl-A follow QEMU's multiplexer; there is no monitor console to switch to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "monitor.h"

#define ESCAPE 1 /* Ctrl-A */
#define WRITE_MAX 2048

int console_open(struct console *c, const struct options *o, char *err, size_t errlen)
{
	c->in_fd = c->out_fd = -1;
	c->mux = o->mux_stdio;
	c->keys = c->mux && o->serial == SERIAL_STDIO && isatty(STDIN_FILENO);
	if (o->serial == SERIAL_STDIO) {
		c->in_fd = STDIN_FILENO;
		c->out_fd = STDOUT_FILENO;
	} else if (o->serial == SERIAL_FILE) {
		c->out_fd = open(o->serial_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (c->out_fd < 0) {
			snprintf(err, errlen, "-serial: cannot write %s: %s", o->serial_path, strerror(errno));
			return -errno;
		}
	}
	return 0;
}

void console_close(struct console *c)
{
	if (c->out_fd > STDERR_FILENO)
		close(c->out_fd);
	c->in_fd = c->out_fd = -1;
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		return; /* nobody is there to be told */
}

static void escape_key(struct console *c, u8 key)
{
	static const char help[] =
		"\n"
		"C-a h    print this help\n"
		"C-a x    quit\n"
		"C-a c    switch to a monitor console (there is none)\n"
		"C-a C-a  send C-a\n";

	switch (key) {
	case 'x':
	case 'X':
		c->quit = true;
		break;
	case 'h':
	case '?':
		say(help);
		break;
	case 'c':
		say("\nshadowbox: there is no monitor console\n");
		break;
	case ESCAPE:
		(void)ring_put(&ARENA->machine.rx, key);
		break;
	}
}

static size_t input_room(void)
{
	u32 used = ring_used(&ARENA->machine.rx);

	return used < RING_SIZE ? RING_SIZE - used : 0;
}

bool console_can_take(const struct console *c) { return c->keys || input_room() > 0; }

bool console_input(struct console *c)
{
	struct ring *rx = &ARENA->machine.rx;
	u32 before = rx->head;
	size_t room = c->keys ? sizeof(((struct ring *)0)->data) : input_room();
	u8 buf[512];
	ssize_t n;

	if (!room) /* a view has filled it meanwhile */
		return false;
	n = read(c->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n <= 0) {
		c->in_fd = -1;
		return false;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (c->escaped) {
			c->escaped = false;
			escape_key(c, buf[i]);
		} else if (c->mux && buf[i] == ESCAPE) {
			c->escaped = true;
		} else {
			(void)ring_put(rx, buf[i]);
		}
	}
	return rx->head != before;
}

bool console_output(struct console *c)
{
	struct ring *tx = &ARENA->machine.tx;
	u32 used = ring_used(tx), at = tx->tail % RING_SIZE;
	u32 len = used < RING_SIZE - at ? used : RING_SIZE - at;
	ssize_t n;

	/* A view may have written nonsense there. */
	if (used > RING_SIZE)
		used = len = 0, __atomic_store_n(&tx->tail, tx->head, __ATOMIC_RELEASE);
	if (!used)
		return false;
	if (len > WRITE_MAX)
		len = WRITE_MAX;
	n = c->out_fd < 0 ? (ssize_t)len : write(c->out_fd, tx->data + at, len);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n < 0) {
		if (c->out_fd > STDERR_FILENO)
			close(c->out_fd);
		c->out_fd = -1;
		n = (ssize_t)len;
	}
	__atomic_store_n(&tx->tail, tx->tail + (u32)n, __ATOMIC_RELEASE);
	return true;
}
