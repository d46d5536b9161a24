"""Suites: sets of rows that share a folder of programs, packed as an initramfs for guests and
staged in memory for native runs, so that both start from page cache."""

import os
import re
import shutil
import subprocess


class Suite:
    """rows: name -> description; files: (host path, path below /bench) pairs."""

    name, limit, elf = "", 60, None

    def __init__(self, top, build):
        self.top, self.build = top, build
        self.rows = self.list_rows()
        self.stage = self.initrd = None

    def files(self):
        raise NotImplementedError

    def prepare(self, stage):
        """Makes the initramfs and the native tree."""
        files = dict((guest, host) for host, guest in self.files())
        for host in list(files.values()):
            files.update((("lib/" + os.path.basename(lib)), lib) for lib in libraries(host))
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


def libraries(program):
    """The shared libraries of a dynamic program."""
    with open(program, "rb") as f:
        if f.read(4) != b"\x7fELF":
            return []
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"=> (/\S+)", out)


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


def probe_initrd(top, build):
    out = os.path.join(build, "bench", "probe.cpio")
    pack(top, build, out, [(os.path.join(top, "tools/bench/run"), "/bench/run")])
    return out


def all_suites(top, build):
    return [kind(top, build) for kind in (Micro,)]
