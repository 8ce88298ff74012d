"""Programs that take more than they may, crash, or never end; each must be over soon after its limit.

Every value is a program and how its run may end.
"""

# ruff: noqa: E501  (a program stands on one line)

TIME, MEMORY, OUTPUT, DISK, EXITED, KILLED = "time", "memory", "output", "disk", "exited", "killed"
Ways = tuple[str, ...]

ENDLESS: dict[str, tuple[str, Ways]] = {
    "loop": ("while True: pass", (TIME,)),
    "sleep": ("import time\ntime.sleep(1000)", (TIME,)),
    "pause": ("import signal\nsignal.pause()", (TIME,)),
    "deadlock": ("import threading\nl = threading.Lock()\nl.acquire(); l.acquire()", (TIME,)),
    "waiting thread": ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()", (TIME,)),
    "at exit": ("import atexit, time\natexit.register(time.sleep, 1000)", (TIME,)),
    "swallowed interrupts": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", (TIME,)),
    "ignored signals": ("import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass", (TIME,)),
    "catastrophic expression": ("import re\nre.match('(a+)+$', 'a' * 40 + 'b')", (TIME,)),
    "tower of powers": ("x = 9 ** 9 ** 9", (TIME, MEMORY, KILLED)),
    "factorial": ("import math\nmath.factorial(10 ** 8)", (TIME, MEMORY)),
    "sum": ("sum(range(10 ** 18))", (TIME,)),
    "while reading": ("import sys, time\nsys.stdin.read(); time.sleep(1000)", (TIME,)),
    "pipe that nobody writes": ("import os\nr, w = os.pipe()\nos.read(r, 1)", (TIME,)),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", (TIME, EXITED)),
    "threads that compute": ("import threading\ndef f():\n    while True: pass\nfor _ in range(8): threading.Thread(target=f).start()", (TIME,)),
    "generator": ("def f():\n    while True: yield 1\nlist(x for x in f() if x > 1)", (TIME,)),
    "hash collisions": ("class A:\n    def __hash__(self): return 1\n    def __eq__(self, o): return False\n{A() for _ in range(10 ** 5)}", (TIME,)),
    "compile": ("compile('+'.join(['x'] * 10 ** 7), '', 'eval')", (TIME, MEMORY, EXITED, KILLED)),
    "fold": ("eval('((1<<4000)**' + '(1<<20))' )", (TIME, MEMORY)),
}  # fmt: skip

GREEDY: dict[str, tuple[str, Ways]] = {
    "list": ("x = []\nwhile True: x.append(' ' * 2**20)", (MEMORY,)),
    "bytes": ("x = bytes(2 ** 34)", (MEMORY,)),
    "str": ("x = 'x' * 2 ** 40", (MEMORY,)),
    "list product": ("x = [0] * 2 ** 40", (MEMORY,)),
    "dict": ("x = {i: str(i) * 99 for i in range(10 ** 8)}", (MEMORY, TIME)),
    "mmap": ("import mmap\nx = [mmap.mmap(-1, 2 ** 28) for _ in range(99)]", (MEMORY, EXITED)),
    "anonymous memory by C": ("import ctypes\nl = ctypes.CDLL(None)\nl.malloc.restype = ctypes.c_void_p\nx = l.malloc(ctypes.c_size_t(2 ** 33))\nraise MemoryError if not x else SystemExit(0)", (MEMORY,)),
    "recursion of repr": ("x = []\nfor _ in range(10 ** 6): x = [x]\nprint(repr(x))", (EXITED, KILLED, MEMORY)),
    "deep recursion": ("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()", (MEMORY, KILLED, TIME)),
    "recursion": ("def f(): f()\nf()", (EXITED,)),
    "recursion in C": ("import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n    def __getattr__(self, n): return getattr(self, n + 'x')\nA().x", (MEMORY, KILLED, TIME, EXITED)),
    "threads": ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(1000,)).start()", (TIME, EXITED)),
    "thin threads": ("import threading, time\nthreading.stack_size(32768)\nwhile True: threading.Thread(target=time.sleep, args=(1000,)).start()", (TIME, MEMORY, EXITED)),
    "fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", (TIME,)),
    "one file": ("f = open('x', 'wb')\nwhile True: f.write(b'x' * 2**20)", (EXITED, DISK, KILLED)),
    "one file, stubborn": ("f = open('x', 'wb', buffering=0)\nwhile True:\n    try: f.write(b'x' * 2**16)\n    except OSError: pass", (TIME, DISK)),
    "many files": ("i = 0\nwhile True:\n    i += 1\n    open(str(i), 'w').write('x' * 4096)", (EXITED, DISK, TIME)),
    "many empty files": ("i = 0\nwhile True:\n    i += 1\n    open(str(i), 'w').close()", (EXITED, DISK, TIME)),
    "deep folders": ("import os\nfor _ in range(10 ** 5):\n    os.mkdir('d'); os.chdir('d')", (EXITED, DISK, TIME)),
    "closed folders": ("import os\nos.mkdir('d'); open('d/x', 'w').write('x'); os.mkdir('d/e', 0); os.mkdir('e', 0)", (EXITED, DISK)),
    "sparse file": ("f = open('x', 'wb')\nf.seek(2 ** 40); f.write(b'x')", (EXITED, KILLED)),
    "truncated file": ("f = open('x', 'wb')\nf.truncate(2 ** 40)", (EXITED, KILLED)),
    "files": ("x = []\nwhile True: x.append(open('/dev/null'))", (EXITED,)),
    "pipes": ("import os\nwhile True: os.pipe()", (EXITED,)),
    "stdout": ("while True: print('x' * 99)", (OUTPUT,)),
    "stderr": ("import sys\nwhile True: print('x' * 99, file=sys.stderr)", (OUTPUT,)),
    "stdout by os.write": ("import os\nwhile True: os.write(1, b'x' * 65536)", (OUTPUT,)),
    "one line": ("import sys\nwhile True: sys.stdout.write('x' * 65536)", (OUTPUT,)),
    "giant integer": ("import sys\nsys.set_int_max_str_digits(0)\nprint(7 ** 10 ** 7)", (TIME, MEMORY, OUTPUT)),
    "traceback": ("raise ValueError('x' * 10 ** 7)", (OUTPUT, EXITED)),
}  # fmt: skip

CRASHING: dict[str, tuple[str, Ways]] = {
    "null pointer": ("import ctypes\nctypes.string_at(0)", (KILLED,)),
    "wild write": ("import ctypes\nctypes.memset(1, 0, 9)", (KILLED,)),
    "abort": ("import os\nos.abort()", (KILLED,)),
    "fatal error": ("import faulthandler\nfaulthandler._sigsegv()", (KILLED,)),
    "kills itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", (EXITED,)),
    "kills itself by its thread": ("import signal, threading\nsignal.pthread_kill(threading.get_ident(), signal.SIGKILL)", (EXITED,)),
    "kills itself by a limit": ("import os, resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))\nwhile True: pass", (TIME,)),
    "raises its limit": ("import resource, signal, threading\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nl = resource.getrlimit(resource.RLIMIT_CPU)\nresource.setrlimit(resource.RLIMIT_CPU, (l[1], l[1]))\nfor _ in range(4): threading.Thread(target=sum, args=(range(10 ** 18),)).start()", (TIME,)),
    "bytecode": ("def f(): pass\nf.__code__ = f.__code__.replace(co_code=b'\\x64\\xff' * 9)\nf()", (KILLED, EXITED)),
    "marshal": ("import marshal\nmarshal.loads(b'\\xe3' + b'\\xff' * 99)", (EXITED, KILLED)),
    "pickle": ("import pickle\npickle.loads(b\"cos\\nsystem\\n(S'echo ESCAPED'\\ntR.\")\nraise SystemExit(3)", (EXITED,)),
    "reference counts": ("import ctypes\nfor o in (None, True, 0, ''): ctypes.pythonapi.Py_DecRef(ctypes.py_object(o))\nx = ctypes.c_long.from_address(id(type))\nx.value = 0\ndel type\n1 / 0", (KILLED, EXITED, TIME)),
    "closes everything": ("import os\nos.closerange(0, 99)\nprint(5, flush=True)", (EXITED,)),
    "trap": ("import signal\nsignal.raise_signal(signal.SIGTRAP)", (KILLED,)),
    "stack of threads": ("import threading\nthreading.stack_size(2 ** 40)\nthreading.Thread(target=print).start()", (EXITED, MEMORY)),
}  # fmt: skip

SOURCES: dict[str, str] = {
    "nothing": "",
    "null bytes": "print(5)\0",
    "ten megabytes": "x = 1\n" * 1_700_000,
    "one long line": "x = " + "1+" * 2_000_000 + "1",
    "deep brackets": "(" * 100_000 + ")" * 100_000,
    "deep blocks": "\n".join(" " * i + "if 1:" for i in range(500)),
    "deep minus": "x = " + "-" * 100_000 + "1",
    "surrogates": "print('\ud800')",
    "only a surrogate": "\udfff",
    "unknown encoding": "# -*- coding: no-such -*-\nprint(5)",
    "another encoding": "# -*- coding: utf-7 -*-\n+AHA-rint(4)",
    "byte order mark": "\ufeff\ufeffprint(5)",
    "not Python": "The answer is 5.",
    "bidirectional text": "print(4) # \u202e )5(tnirp",
    "digits": "x = " + "9" * 1_000_000,
    "format": "print(f'{" + "{" * 1000 + "}')",
    "future": "from __future__ import braces",
    "tabs": "if 1:\n\tx = 1\n        y = 2",
}
