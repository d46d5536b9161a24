"""Drives shadowbox through a pseudo-terminal, as a user would."""
import os
import pty
import select
import subprocess
import sys
import termios
import time

COMMAND = sys.argv[1:]


class Session:
    def __init__(self, extra=()):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        self.mark = 0
        self.proc = subprocess.Popen(
            COMMAND + list(extra), stdin=self.slave, stdout=self.slave, stderr=self.slave,
            preexec_fn=self.own_terminal)

    def own_terminal(self):
        import fcntl
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def pump(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.text += os.read(self.master, 65536).decode("latin-1")

    def expect(self, what, seconds=30):
        end = time.time() + seconds
        while what not in self.text[self.mark:]:
            if time.time() > end:
                self.fail(f"never saw {what!r}")
            self.pump(0.2)
        self.mark = self.text.index(what, self.mark) + len(what)

    def send(self, what):
        os.write(self.master, what.encode("latin-1"))

    def ended(self, code, seconds=20):
        end = time.time() + seconds
        while self.proc.poll() is None:
            if time.time() > end:
                self.fail("does not end")
            self.pump(0.1)
        if code is not None and self.proc.returncode != code:
            self.fail(f"exit code {self.proc.returncode}, not {code}")
        if termios.tcgetattr(self.slave) != self.before:
            self.fail("the terminal is not as it was")

    def fail(self, why):
        print(self.text[-1500:].replace("\r", ""))
        print("FAIL:", why)
        self.proc.kill()
        sys.exit(1)

    def shell(self):
        self.expect("# ", 60)
        self.send("echo rea''dy\r")
        self.expect("ready")
        self.expect("# ")


def typing():
    s = Session()
    s.shell()
    s.send("echo $((6 * 7)) x\x7fy\r")
    s.expect("42 y")
    s.send("sleep 1000\r")
    time.sleep(1)
    s.send("\x03")
    s.expect("# ", 10)
    s.send("echo af''ter\r")
    s.expect("after")
    s.send("sleep 500 & \r")
    s.send("jobs; echo li''sted\r")
    s.expect("sleep 500")
    s.expect("listed")
    s.send("sleep 600\r")
    time.sleep(1)
    s.send("\x1a")  # Ctrl-Z
    s.expect("# ", 10)
    s.send("jobs; echo li''sted\r")
    s.expect("Stopped")
    s.expect("listed")
    s.send("kill %1 %2; cat\r")
    for i in range(50):
        s.send(f"line {i} of a paste, long enough to need a FIFO and more than one interrupt\r")
    s.send("\x04")
    s.expect("line 49 of a paste, long enough to need a FIFO and more than one interrupt")
    s.send("poweroff\r")
    s.ended(0, 30)
    print("ok typing, Ctrl-C, jobs, poweroff")


def reboot():
    s = Session(["-no-reboot"])
    s.shell()
    s.send("reboot\r")
    s.ended(0, 30)
    print("ok reboot with -no-reboot")
    s = Session()
    s.shell()
    s.send("reboot\r")
    s.expect("init started", 60)  # the old shell's prompt comes once more before
    s.shell()
    s.send("\x01x")
    s.ended(0)
    print("ok reboot, Ctrl-A X")


def endings():
    for name, number in (("SIGTERM", 15), ("SIGHUP", 1), ("SIGINT", 2)):
        s = Session()
        s.shell()
        os.kill(s.proc.pid, number)
        s.ended(None)
        print(f"ok terminal after {name}: exit code {s.proc.returncode}")
    s = Session()
    time.sleep(0.3)
    s.send("\x01x")
    s.ended(0)
    print("ok Ctrl-A X during the boot")
    s = Session()
    s.shell()
    s.send("\x01h")
    s.expect("\n")
    s.send("\x01\x01")  # a Ctrl-A for the guest
    s.send("echo st''ill\r")
    s.expect("still")
    s.send("echo o >/proc/sysrq-trigger\r")  # power off by the kernel
    s.ended(0)
    print("ok Ctrl-A H, Ctrl-A Ctrl-A")


typing()
reboot()
endings()
