"""How a process ended that could not say it in Python: by a signal, out of memory, or in native code."""

import re
from pathlib import Path

from reward.processes.children import describe_end

BY_RAY = re.compile(r"killed due to the node running low on memory[^\n]*|Task was killed due to the node[^\n]*", re.IGNORECASE)
DUMPS = (
    re.compile(r"\*\*\* (SIG[A-Z]+) received"),  # of Ray's handler in actors
    re.compile(r"Fatal Python error: ([^\n]+)"),  # of faulthandler
    re.compile(r"!{4,} (Segfault) encountered"),  # of PyTorch's handler
)
PROGRESS = re.compile(r"\d+%(?:\||\s+Completed)")  # bars that say nothing about a failure
DUMPED = 3  # lines of a dump; further ones are frames of the interpreter
NATIVE = re.compile(r"^\s*what\(\):\s*(.+)$", re.MULTILINE)  # of an uncaught C++ exception
ENDED = re.compile(r"\(process \d+\): (.+)$", re.MULTILINE)  # of `describe_exit`, in the log of an engine
# Of vLLM, for one of the several workers of an engine. It may not know the exit code yet.
LOST_WORKER = re.compile(r"Worker proc (\S+) died unexpectedly(?: \(exit code: (-?\d+))?")
EXIT_CODE = re.compile(r"exit code: (-?\d+)|[Ff]ailed core proc\(s\): \{[^}]*: (-?\d+)")  # of vLLM
NAMES = {
    "Segmentation fault": "SIGSEGV",
    "Segfault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
}
VMSTAT = Path("/proc/vmstat")
UNSAID = "killed without a word, as SIGKILL does: by the kernel's out-of-memory killer, or by hand"


def describe_exit(code: int) -> str:
    """How a child process ended, in words without a verb: "exited with status 1", "killed by SIGSEGV"."""
    return describe_end(code).removeprefix("was ")


def how_it_died(log: str, said: str, oom_kills: int = 0) -> str:
    """How a process ended, from its log and from what Ray says; `oom_kills` counts those of this machine during the run."""
    if by_ray := BY_RAY.search(said):
        return f"killed by Ray's memory monitor ({by_ray.group(0).strip(' .')})"
    child = [found.group(1) for found in ENDED.finditer(log)]
    how, whose = f"engine core {child[-1]}" if child else "", ""
    if lost := LOST_WORKER.findall(log):
        worker, code = lost[0]
        how, whose = describe_exit(int(code)) if code else "", f"its worker {worker} "
    if not how and (codes := [int(first or second) for first, second in EXIT_CODE.findall(log + said)]):
        how = f"a child process {describe_exit(codes[-1])}"
    for dump in DUMPS:
        if not how and (found := dump.findall(log)):
            how = f"killed by {NAMES.get(found[-1], found[-1])}"
    if native := NATIVE.findall(log):
        how = f"{how or 'ended by an error of native code'} ({native[-1].strip()})"
    if "SIGTERM" in said and not how:
        how = "ended by SIGTERM"
    how = how or UNSAID
    if oom_kills and "SIGKILL" in how:
        count = f"{oom_kills} process{'es' * (oom_kills != 1)} of this machine meanwhile"
        by = f"most likely by the kernel's out-of-memory killer, which ended {count}"
        how = f"killed by SIGKILL, {by}" if how == UNSAID else f"{how}, {by}"
    return whose + how


def lost_a_worker(log: str) -> bool:
    """Whether vLLM's engine core says that one of its workers died. The engine's own error then only says "cancelled"."""
    return LOST_WORKER.search(log) is not None


def last_words(log: str, lines: int) -> list[str]:
    """The lines of a log that tell most about a death without a traceback: those after a signal's name, else the last ones."""
    said = [line.rstrip()[:200] for line in log.splitlines() if line.strip(" -=\t") and not PROGRESS.search(line)]
    dumped = next((place for place, line in enumerate(said) if any(dump.search(line) for dump in DUMPS)), None)
    return said[-lines:] if dumped is None else said[dumped : dumped + DUMPED]


def oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended on this machine since it booted; 0 where it does not say."""
    if not VMSTAT.exists():
        return 0
    found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0
