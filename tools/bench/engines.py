"""Engines: how a set of rows is run natively, in shadowbox, in QEMU and in UML.

run_rows() boots a guest with the rows on its command line and reads the lines that the
script "run" prints. A row that stalls, or in which the guest dies, gets a status of its own
and the rest is run in a new boot."""

import os
import selectors
import shutil
import signal
import subprocess
import time

MEM = "512M"
QEMU = "qemu-system-x86_64"


class Engine:
    """command(job) gives the argument list that runs a job."""

    def __init__(self, name, title, command, scale=1, why_not=None):
        self.name, self.title, self.command = name, title, command
        self.scale = scale  # of the time limits
        self.why_not = why_not  # a reason to skip it

    def guest(self):
        return self.name != "native"


class Job:
    """What one boot runs."""

    def __init__(self, rows=(), initrd=None, kernel=None, tree=None, ms=100, samples=1, elf=None):
        self.rows, self.initrd, self.kernel, self.tree = list(rows), initrd, kernel, tree
        self.ms, self.samples, self.elf = ms, samples, elf

    def append(self):
        return (f"console=ttyS0 quiet panic=-1 sbx.run=/bench/run bench.rows={','.join(self.rows)} "
                f"bench.ms={self.ms} bench.samples={self.samples}")


def machine(job):
    """The options that every machine gets, whichever program runs it."""
    common = ["-display", "none", "-serial", "stdio", "-monitor", "none", "-nodefaults", "-no-reboot"]
    if job.elf:
        return ["-m", "128M", "-kernel", job.elf, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"] + common
    return ["-m", MEM, "-kernel", job.kernel, "-initrd", job.initrd, "-append", job.append()] + common


def native_command(job):
    if job.elf:
        return [job.elf + "-native"]
    return ["/bin/sh", job.tree + "/run"]


def qemu_command(*accel):
    return lambda job: [QEMU, *accel] + machine(job)


def uml_command(uml):
    def command(job):
        return [uml, "mem=" + MEM, "initrd=" + job.initrd, "con=null", "con0=fd:0,fd:1", "ssl=null",
                job.append().replace("console=ttyS0", "console=tty0")]
    return command


def kvm_nested_paging():
    for module, parameter in (("kvm_intel", "ept"), ("kvm_amd", "npt")):
        try:
            with open(f"/sys/module/{module}/parameters/{parameter}") as f:
                return "on" if f.read().strip() in ("Y", "1") else "off"
        except OSError:
            pass
    return "unknown"


def probe_kvm(job, seconds=20):
    """/dev/kvm may be there and be unable to run a kernel, or be too slow to be of use."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no access to /dev/kvm"
    kvm = Engine("kvm", "QEMU KVM", qemu_command("-accel", "kvm", "-cpu", "host"))
    result = Boot(kvm, job, start_limit=seconds).run()
    if not result.started:
        return f"a stock kernel does not reach /init within {seconds} s (nested paging {kvm_nested_paging()})"
    return None


def all_engines(wanted, shadowbox, extra, probe_job):
    """The engines of the list `wanted`, with why_not set for those that cannot run here."""
    qemu_missing = None if shutil.which(QEMU) else f"no {QEMU} (package qemu-system-x86)"
    uml = os.environ.get("UML") or shutil.which("linux.uml") or shutil.which("linux")
    table = {
        "native": lambda: Engine("native", "native", native_command),
        "shadowbox": lambda: Engine("shadowbox", "shadowbox", lambda job: [shadowbox, *extra] + machine(job)),
        "tcg": lambda: Engine("tcg", "QEMU TCG", qemu_command("-accel", "tcg", "-cpu", "max"), 3, qemu_missing),
        "uml": lambda: Engine("uml", "User-mode Linux", uml_command(uml), 2,
                              None if uml else "not installed (package user-mode-linux)"),
        "kvm": lambda: Engine("kvm", "QEMU KVM", qemu_command("-accel", "kvm", "-cpu", "host"), 2,
                              qemu_missing or probe_kvm(probe_job)),
    }
    unknown = [name for name in wanted if name not in table]
    if unknown:
        raise SystemExit(f"bench: no such engine: {' '.join(unknown)} (there are {' '.join(table)})")
    return [table[name]() for name in wanted]


class Boot:
    """One run of an engine: its output, values and the state that it ended in."""

    def __init__(self, engine, job, start_limit=120, row_limit=60, log=None, report=None, hook=None, on_quiet=None):
        self.engine, self.job, self.log = engine, job, log
        self.report, self.hook, self.on_quiet = report, hook, on_quiet
        self.start_limit, self.row_limit = start_limit, row_limit
        self.values, self.status = [], {}  # (row, value, unit); row -> "ok", "fail", "timeout"
        self.started, self.finished, self.current = False, False, None
        self.init_uptime = self.init_wall = None
        self.guest_start = self.host_start = self.clock_ratio = None

    def run(self):
        command = self.engine.command(self.job)
        self.begun = time.monotonic()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, start_new_session=True, **self.settings())
        except OSError as error:
            self.note(f"{command[0]}: {error}")
            return self
        self.pid = process.pid
        try:
            self.read(process)
        finally:
            self.end(process)
        return self

    def settings(self):
        if self.engine.guest():
            return {}
        env = dict(os.environ, ROWS=",".join(self.job.rows), MS=str(self.job.ms),
                   SAMPLES=str(self.job.samples), TMPDIR=(self.job.tree or "") + "/tmp")
        # Guests have one CPU: so has this, the last one.
        return {"env": env, "preexec_fn": lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})}

    def end(self, process):
        try:
            process.wait(timeout=0.2 if self.current else 3)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()

    def note(self, text):
        if self.log:
            self.log.write(f"[bench] {text}\n")

    def deadline(self):
        if not self.started:
            return self.begun + self.start_limit
        return self.row_begun + self.row_limit * self.engine.scale

    def read(self, process):
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        self.row_begun = self.begun
        rest = b""
        while not self.finished:
            left = self.deadline() - time.monotonic()
            if left <= 0:
                self.note("time limit")
                self.status[self.current] = "timeout"
                return
            if not selector.select(min(left, 1)):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                self.note("ended early")
                if self.current:
                    self.status[self.current] = "fail"
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.line(line.decode("utf-8", "replace").rstrip("\r"))

    def line(self, text):
        if self.log:
            self.log.write(f"{time.monotonic() - self.begun:8.3f} {text}\n")
        if text.startswith("init started at uptime "):
            self.init_uptime, self.init_wall = float(text.split()[4]), time.monotonic() - self.begun
        at = text.find("@")  # a kernel message may stand before it
        words = text[at + 1:].split() if at >= 0 else []
        handler = getattr(self, "at_" + words[0], None) if words else None
        if handler:
            try:
                handler(*words[1:])
            except (TypeError, ValueError):
                self.note("malformed line")

    def at_start(self, uptime):
        self.started = True
        self.guest_start, self.host_start = float(uptime), time.monotonic()
        self.row_begun = self.host_start

    def at_begin(self, row):
        self.current, self.row_begun = row, time.monotonic()
        if self.hook:
            self.hook(self, row)

    def at_row(self, row, value, unit):
        if value == "-":
            self.status[row] = unit
            return
        self.values.append((row, float(value), unit))
        if self.report:
            self.report(row, float(value), unit)

    def at_end(self, row, status):
        self.status.setdefault(row, "ok" if status == "0" else "fail")
        self.current = None

    def at_quiet(self):
        if self.on_quiet:
            self.on_quiet(self)

    def at_done(self, uptime):
        self.finished = True
        if uptime == "-":
            return
        host = time.monotonic() - self.host_start
        if host > 2:  # does the guest's clock go as fast as the host's?
            self.clock_ratio = (float(uptime) - self.guest_start) / host
