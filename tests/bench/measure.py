"""How long a command takes, and how much memory: whole processes, with all that they start."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """Seconds of wall and CPU time; bytes of the largest process (as GNU time has it) and of the whole tree at its peak,
    if it was watched."""

    wall: float
    cpu: float
    largest: int
    tree: int | None


class Failed(Exception):
    """A command that exited otherwise than with 0; the message has the end of what it printed."""


def children(pid):
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text().split())


def resident(pid):
    """Resident bytes of a process and all below it: a page that several of them map, as after a fork, is counted once
    (`Pss`, proc_pid_smaps(5))."""
    total = 0
    with contextlib.suppress(OSError, TypeError, ValueError):  # it may end while it is looked at
        total = int(re.search(r"(?m)^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        total += sum(resident(child) for child in children(pid))
    return total


def run(command, log, cwd=None, env=None, watched=True):
    """Runs `command`, its output to the file `log`. If it is watched, which costs it time, the tree is looked at every 25 ms."""
    peak, done = [0], threading.Event()

    def watch(pid):
        while watched and not done.wait(0.025):
            peak[0] = max(peak[0], resident(pid))

    # The kernel counts what a process was before exec, too: of this interpreter. GNU time is a parent of 2 MB.
    memory = f"{log}.memory"
    os.sync()  # nobody waits for what another one has left to be written
    command = ["time", "-f", "%M", "-o", memory, *command]
    with open(log, "wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        watcher = threading.Thread(target=watch, args=[child.pid])
        watcher.start()
        try:
            status, usage = os.wait4(child.pid, 0)[1:]
            wall = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:  # stopped from outside: nothing is left running
            for pid in [*children(child.pid), child.pid]:
                os.kill(pid, signal.SIGTERM)
            raise
        finally:
            done.set()
            watcher.join()
    if child.returncode:
        tail = "\n".join(Path(log).read_text(errors="replace").splitlines()[-30:])
        raise Failed(f"`{' '.join(map(str, command[5:]))}` failed with {child.returncode}:\n{tail}")
    largest = int(Path(memory).read_text().split()[-1]) * 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, largest, max(peak[0], largest) if watched else None)


def machine():
    """The processor, its cores, the memory and the kernel, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), os.uname().machine)
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release.split('-')[0]}"


def die(message):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


class Trash:
    """Directories that are in the way go here, and away when all is measured: ext4 looks at every inode that was freed in the
    last minutes before it gives one out (recently_deleted), which makes whoever writes files next several times slower."""

    directory, count = None, 0

    @classmethod
    def take(cls, path):
        if path.is_symlink() or not path.exists():
            return
        cls.directory.mkdir(parents=True, exist_ok=True)
        cls.count += 1
        path.rename(cls.directory / f"{os.getpid()}-{cls.count}")

    @classmethod
    def empty(cls):
        shutil.rmtree(cls.directory, ignore_errors=True)
