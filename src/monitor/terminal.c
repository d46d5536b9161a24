/* The terminal's mode. A guest's serial port needs every key as it is typed; whoever
 * started us needs the terminal as it was, however we end. (Killed by SIGKILL we cannot;
 * shells repair the terminal of a killed job.)
 *
 * The file-scope state is what the crash handler needs. */
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "monitor.h"

static struct terminal {
	struct termios saved, raw;
	int fd;
	bool active;
} terminal = { .fd = -1 };

static void set_mode(const struct termios *mode)
{
	sigset_t block, old;

	/* In the background this would stop us, and leave the terminal as it is. */
	sigemptyset(&block);
	sigaddset(&block, SIGTTOU);
	sigprocmask(SIG_BLOCK, &block, &old);
	tcsetattr(terminal.fd, TCSANOW, mode);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

void terminal_raw(int fd, bool keys_make_signals)
{
	struct termios *t = &terminal.raw;

	if (!isatty(fd) || tcgetattr(fd, &terminal.saved) < 0)
		return;
	*t = terminal.saved;
	t->c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t->c_oflag |= OPOST; /* our own messages end in a plain newline */
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!keys_make_signals)
		t->c_lflag &= ~(tcflag_t)ISIG;
	t->c_cflag = (t->c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
	terminal.fd = fd;
	terminal.active = true;
	set_mode(t);
}

void terminal_restore(void)
{
	if (!terminal.active)
		return;
	terminal.active = false;
	set_mode(&terminal.saved);
}

/* SIGTSTP: stop as the sender meant, with the terminal as it was; and come back. */
void terminal_suspend(void)
{
	bool active = terminal.active;

	terminal_restore();
	kill(getpid(), SIGSTOP);
	if (active) {
		terminal.active = true;
		set_mode(&terminal.raw);
	}
}

static void on_crash(int sig)
{
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

void terminal_restore_on_crash(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
	struct sigaction sa = { .sa_handler = on_crash, .sa_flags = SA_NODEFER };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &sa, NULL);
}
