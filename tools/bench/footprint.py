"""What the processes of a monitor cost the host: memory beyond guest RAM, idle time.

Memory is the sum of PSS (each page counts once, shared ones divided among those that map
them) of all mappings of the process and its descendants, without

- guest RAM: a mapping of exactly the guest's memory size, or one whose name says so;
- the files of the guest (kernel, initramfs), which are the host's page cache.

Page tables are the sum of VmPTE. Idle time is user and system time over some seconds."""

import os
import re
import time

RAM_KIB = 512 * 1024  # engines.MEM
RAM_NAMES = re.compile(r"shadowbox-ram|^/dev/shm/#|/vm_file-")
GUEST_FILES = re.compile(r"\.cpio$|/vmlinuz-")


def children():
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            table.setdefault(parent, []).append(int(name))
    return table


def family(pid):
    table, found = children(), [pid]
    for p in found:
        found += table.get(p, [])
    return found


def ticks(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total


def overhead_kib(pid):
    """PSS of one process's mappings that are not the guest's."""
    total, counted = 0, False
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            words = line.split(None, 5)
            if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
                low, high = (int(x, 16) for x in words[0].split("-"))
                name = words[5].strip() if len(words) > 5 else ""
                counted = not (RAM_NAMES.search(name) or GUEST_FILES.search(name) or
                               (not name and high - low == RAM_KIB * 1024))
            elif counted and words[0] == "Pss:":
                total += int(words[1])
    return total


def page_tables_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("VmPTE:"))


def measure(pid, seconds=5):
    """row -> (value, unit); rows whose data cannot be read are missing."""
    time.sleep(1)
    pids = family(pid)
    before = ticks(pids)
    time.sleep(seconds)
    used = (ticks(pids) - before) / os.sysconf("SC_CLK_TCK") / seconds * 100
    result = {"vmm.idle": (used, "%")}
    try:
        result["vmm.memory"] = (sum(map(overhead_kib, pids)) / 1024, "MiB")
        result["vmm.pagetables"] = (sum(map(page_tables_kib, pids)) / 1024, "MiB")
    except OSError:
        pass
    return result
