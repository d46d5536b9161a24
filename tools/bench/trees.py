"""Suites: sets of rows that share a folder of programs, packed as an initramfs for guests and
staged in memory for native runs, so that both start from page cache."""

import os
import re
import shutil
import subprocess

import footprint
import inputs


class Suite:
    """rows: name -> description; files: (host path, path below /bench) pairs."""

    name, limit, elf, engines = "", 60, None, None  # engines: all, or those named

    def __init__(self, top, build):
        self.top, self.build = top, build
        self.rows = self.list_rows()
        self.stage = self.initrd = None
        self.missing = {}  # rows that cannot be run here -> why

    def files(self):
        raise NotImplementedError

    def prepare(self, stage):
        """Makes the initramfs and the native tree."""
        files = dict((guest, host) for host, guest in self.files())
        for host in list(files.values()):
            files.update((("lib/" + os.path.basename(lib)), lib) for lib in libraries(self.top, host))
        self.stage = os.path.join(stage, self.name)
        for guest, host in files.items():
            target = os.path.join(self.stage, guest)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(host, target)
        os.makedirs(os.path.join(self.stage, "tmp"))
        self.initrd = os.path.join(self.build, "bench", self.name + ".cpio")
        pack(self.top, self.build, self.initrd, [(os.path.join(self.stage, g), "/bench/" + g) for g in files])

    def run(self, session, engine, number):
        session.run_rows(self, engine, list(self.rows), number)


def pack(top, build, out, files):
    loader = [(p, p) for p in ["/lib64/ld-linux-x86-64.so.2"] if os.path.exists(p)]
    subprocess.run([os.path.join(top, "tools/mkinitramfs"), out] + [f"{h}:{g}" for h, g in files + loader],
                   env=dict(os.environ, B=build), check=True)


# Libraries that a minimal system lacks -> their packages.
LIBRARY_PACKAGES = {"libreadline.so.8": "libreadline8", "libtinfo.so.6": "libtinfo6",
                    "libluajit-5.1.so.2": "libluajit-5.1-2"}


def libraries(top, program):
    """The shared libraries of a dynamic program, those in the cache before those installed."""
    with open(program, "rb") as f:
        if f.read(4) != b"\x7fELF":
            return []
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    found = re.findall(r"=> (/\S+)", out)
    for name in re.findall(r"(\S+) => not found", out):
        if name not in LIBRARY_PACKAGES:
            raise Missing(f"{program} needs {name}")
        folder = fetch(top, LIBRARY_PACKAGES[name])
        at = [os.path.join(d, name) for d, _, names in os.walk(folder) if name in names]
        if not at:
            raise Missing(f"no {name} in {folder}")
        found += at[:1] + libraries(top, os.path.realpath(at[0]))
    return found


class Micro(Suite):
    name = "micro"

    def list_rows(self):
        out = subprocess.run([self.build + "/bench/bin/micro", "-l"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
        return {"micro." + line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()}

    def files(self):
        yield os.path.join(self.top, "tools/bench/run"), "run"
        for name in "micro", "exit-static", "exit-dynamic":
            yield os.path.join(self.build, "bench/bin", name), name


class Nano(Suite):
    """Bare metal: no initramfs; all rows are always run."""

    name, engines = "nano", ("native", "shadowbox", "tcg", "kvm")

    def __init__(self, top, build):
        self.elf = os.path.join(build, "bench/nano.elf")
        super().__init__(top, build)

    def list_rows(self):
        with open(os.path.join(self.top, "tools/bench/nano.c")) as f:
            return {"nano." + n: "" for n in re.findall(r'^\t{ "([a-z0-9-]+)", (?:KERNEL|USER)', f.read(), re.M)}

    def prepare(self, stage):
        pass


class Programs(Suite):
    name, limit = "prog", 240

    descriptions = {
        "prog.gzip": "gzip -6 of 3 MiB of words",
        "prog.xz": "xz -1 of the same",
        "prog.sort": "sort of its lines",
        "prog.awk": "mawk counts its words",
        "prog.sh-fork": "dash forks 1,000 times",
        "prog.sh-exec": "dash runs a program 100 times",
        "prog.tcc": "tcc compiles 69,000 lines of C",
        "prog.lua": "Lua: calls, tables, strings, floating point",
        "prog.luajit": "LuaJIT: Mandelbrot set, sieve, strings",
        "prog.perl": "Perl: hashes, regular expressions, sorting",
    }
    # row -> (program, package, path there if only the package's will do)
    needs = {
        "prog.gzip": ("gzip", "gzip", None), "prog.xz": ("xz", "xz-utils", None),
        "prog.sort": ("sort", "coreutils", None), "prog.awk": ("mawk", "mawk", None),
        "prog.sh-fork": ("dash", "dash", None), "prog.sh-exec": ("dash", "dash", None),
        "prog.tcc": ("tcc", "tcc", "usr/bin/tcc"), "prog.lua": ("lua5.4", "lua5.4", "usr/bin/lua5.4"),
        "prog.luajit": ("luajit", "luajit", "usr/bin/luajit"), "prog.perl": ("perl", "perl-base", None),
    }

    def list_rows(self):
        return dict(self.descriptions)

    def scripts(self):
        for name in "run", "programs":
            yield os.path.join(self.top, "tools/bench", name), name
        yield os.path.join(self.build, "bench/bin/timeit"), "timeit"
        folder = os.path.join(self.top, "tools/bench/scripts")
        for name in sorted(os.listdir(folder)):
            yield os.path.join(folder, name), "input/" + name
        folder = os.path.join(self.build, "bench/input")
        os.makedirs(folder, exist_ok=True)
        for name, content in inputs.all_inputs():
            with open(os.path.join(folder, name), "w") as f:
                f.write(content)
            yield os.path.join(folder, name), "input/" + name

    def files(self):
        yield from self.scripts()
        for row in list(self.rows):
            program, package, path = self.needs[row]
            try:
                found = [(find(self.top, program, package, path), program), *self.extras(row)]
                for host, _ in found:
                    libraries(self.top, host)
                yield from found
            except Missing as error:
                del self.rows[row]
                self.missing[row] = str(error)

    def extras(self, row):
        if row == "prog.sh-exec":
            yield find(self.top, "true", "coreutils"), "true"
        if row == "prog.tcc":
            folder = os.path.join(fetch(self.top, "tcc"), "usr/lib/x86_64-linux-gnu/tcc")
            for name in os.listdir(folder):
                if os.path.isfile(os.path.join(folder, name)):
                    yield os.path.join(folder, name), "tcclib/" + name
        if row.endswith(".perl"):
            found = subprocess.run(["perl", "-Mstrict", "-Mwarnings", "-e", "print join ' ', values %INC"],
                                   capture_output=True, text=True).stdout.split()
            for path in found:
                yield path, "perllib/" + os.path.basename(path)


class Cold(Programs):
    """First and second execution in a machine that has just started."""

    name, limit = "cold", 120
    descriptions = {
        "cold.perl": "Perl, a short script",
        "cold.cc1": "GCC's cc1 -O2, 500 lines of C",
    }
    needs = {"cold.perl": ("perl", "perl-base", None), "cold.cc1": ("cc1", "gcc", None)}

    def list_rows(self):
        return {f"{name}-{n}": f"{what}, {n} execution" for name, what in self.descriptions.items()
                for n in ("first", "second")}

    def prepare(self, stage):
        pairs = {}
        for row in self.rows:  # the two are run together
            pairs.setdefault(row.rsplit("-", 1)[0])
        self.rows = pairs
        super().prepare(stage)

    def run(self, session, engine, number):
        for row in self.rows:  # a machine each
            session.run_rows(self, engine, [row], number)
            status = session.failures.pop((row, engine.name), None)
            if status:
                for n in "first", "second":
                    session.failures[f"{row}-{n}", engine.name] = status


class Missing(Exception):
    pass


def fetch(top, package):
    done = subprocess.run([os.path.join(top, "tools/fetch-package"), package], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Missing(f"package {package} cannot be had")
    return done.stdout.strip()


def find(top, program, package, path=None):
    """A program of the host, or of a package in the cache."""
    if program == "cc1":
        found = subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, text=True).stdout.strip()
    else:
        found = not path and shutil.which(program)
    if not found:
        found = os.path.join(fetch(top, package), path or "usr/bin/" + program)
        if not os.path.exists(found):
            found = os.path.join(fetch(top, package), "bin", program)
    if not os.path.exists(found):
        raise Missing(f"no {program}")
    return os.path.realpath(found)


def probe_initrd(top, build):
    out = os.path.join(build, "bench", "probe.cpio")
    pack(top, build, out, [(os.path.join(top, "tools/bench/run"), "/bench/run")])
    return out


class Boots(Suite):
    """A kernel's way to /init: no rows inside, an initramfs with BusyBox only."""

    name, engines = "boot", ("shadowbox", "tcg", "uml", "kvm")

    def list_rows(self):
        return {"boot.uptime": "guest time at which /init starts",
                "boot.wall": "host time from the start of the monitor to /init"}

    def prepare(self, stage):
        self.initrd = probe_initrd(self.top, self.build)

    def run(self, session, engine, number):
        boot = session.boot(self, engine, [], number)
        if not boot.started or boot.init_uptime is None:
            for row in self.rows:
                session.failures[row, engine.name] = boot.status.get(None, "fail")
            return
        values = {"boot.uptime": boot.init_uptime, "boot.wall": boot.init_wall}
        for row in self.rows:
            session.add(row, engine, number, values[row] * 1000, "ms")


class Vmm(Programs):
    """What the monitor takes from the host while a guest that has worked is idle."""

    name, engines = "vmm", ("shadowbox", "tcg", "uml", "kvm")

    def list_rows(self):
        return {"vmm.idle": "processor time of an idle guest, in percent of one",
                "vmm.memory": "memory of the monitor's processes without guest RAM",
                "vmm.pagetables": "host page tables of the monitor's processes"}

    def files(self):
        yield from self.scripts()
        for name in "micro", "exit-static", "exit-dynamic":
            yield os.path.join(self.build, "bench/bin", name), name

    def run(self, session, engine, number):
        measured = {}
        boot = session.boot(self, engine, ["vmm.idle"], number,
                            on_quiet=lambda boot: measured.update(footprint.measure(boot.pid)))
        for row in self.rows:
            if row in measured:
                session.add(row, engine, number, *measured[row])
            elif not boot.finished:
                session.failures[row, engine.name] = "fail"


def all_suites(top, build):
    return [kind(top, build) for kind in (Nano, Micro, Boots, Programs, Cold, Vmm)]
