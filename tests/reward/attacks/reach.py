"""Programs that reach for what is outside: processes, signals, files, secrets, the network.

SECRET is a file outside that anyone may read, ROOT the folder of our sources, PORT, SOCKET and ABSTRACT a server that listens outside,
OUTSIDE a folder that anyone may write to. `escaped` says that a forbidden thing worked; `tried(f, ...)` says it unless f raises.
"""

# ruff: noqa: E501  (a program stands on one line)

HELPERS = """
import os, sys
def escaped(what):
    print("ESCAPED", what, flush=True)
def tried(function, *arguments, **named):
    try:
        result = function(*arguments, **named)
    except BaseException as error:
        print("refused:", type(error).__name__, error)
        return None
    escaped(repr(result)[:2000])
    return result
"""

PROCESSES = {
    "fork": "tried(os.fork)",
    "forkpty": "tried(os.forkpty)",
    "double fork": "if tried(os.fork) == 0:\n    tried(os.setsid)\n    tried(os.fork)\n    open(OUTSIDE + '/attack-mark', 'w')",
    "daemon thread forks": "import threading\nt = threading.Thread(target=tried, args=(os.fork,))\nt.start(); t.join()",
    "posix_spawn": "tried(os.posix_spawn, '/bin/true', ['true'], {})",
    "execv": "tried(os.execv, '/bin/sh', ['sh', '-c', 'echo ESCAPED'])",
    "exec python": "tried(os.execv, sys.executable, [sys.executable, '-c', 'print(\"ESCAPED\")'])",
    "subprocess": "import subprocess\ntried(subprocess.run, ['/bin/true'])",
    "subprocess with a shell": "import subprocess\ntried(subprocess.check_output, 'id', shell=True)",
    "os.system": "if os.system('true') == 0: escaped('system')",
    "os.popen": "tried(lambda: os.popen('id').read())",
    "pty": "import pty\ntried(pty.spawn, ['/bin/sh'])",
    "multiprocessing": "import multiprocessing as m\nfor kind in ('fork', 'spawn', 'forkserver'):\n"
    "    tried(lambda: m.get_context(kind).Process(target=print).start())",
    "process pool": "from concurrent.futures import ProcessPoolExecutor as P\ntried(lambda: P(1).submit(abs, -1).result(timeout=1))",
    "asyncio subprocess": "import asyncio\nasync def main():\n    return await asyncio.create_subprocess_exec('/bin/true')\ntried(asyncio.run, main())",
    "setsid": "tried(os.setsid)",
    "setpgrp": "tried(os.setpgrp)",
    "memfd and exec": "fd = tried(os.memfd_create, 'x')",
    "execve of a file it wrote": "open('x', 'wb').write(b'#!/bin/sh\\necho ESCAPED\\n')\ntried(os.chmod, 'x', 0o755)\ntried(os.execv, './x', ['x'])",
}  # fmt: skip

SIGNALS = {
    "signal the launcher": "tried(os.kill, os.getppid(), 0)",
    "kill the launcher": "tried(os.kill, os.getppid(), 9)",
    "stop the launcher": "tried(os.kill, os.getppid(), 19)",
    "kill everyone": "tried(os.kill, -1, 9)",
    "kill its group": "tried(os.killpg, 0, 9)",
    "kill the launcher's group": "tried(os.killpg, os.getpgid(os.getppid()), 9)",
    "kill init": "tried(os.kill, 1, 0)",
    "kill neighbours": "for pid in range(os.getpid() - 200, os.getpid() + 50):\n    if pid != os.getpid():\n        tried(os.kill, pid, 9)",
    "own a pipe for another": "import fcntl\ntried(fcntl.fcntl, 1, fcntl.F_SETOWN, os.getppid())\ntried(fcntl.fcntl, 1, 10, 9)",
    "asynchronous pipe": "import fcntl\ntried(fcntl.ioctl, 1, 0x5452, b'\\1\\0\\0\\0')",
    "pidfd of the launcher": "tried(os.pidfd_open, os.getppid())",
    "limits of the launcher": "import resource\ntried(resource.prlimit, os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
    "raise its own limits": "import resource\nfor w in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):\n"
    "    tried(resource.setrlimit, w, (resource.RLIM_INFINITY,) * 2)\n"
    "resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)\n"
    "if resource.RLIM_INFINITY in resource.getrlimit(resource.RLIMIT_CPU): escaped('CPU time')",
    "priority of the launcher": "tried(os.setpriority, os.PRIO_PROCESS, os.getppid(), 19)",
    "priority of everyone": "tried(os.setpriority, os.PRIO_USER, 0, 19)",
    "cores of the launcher": "tried(os.sched_setaffinity, os.getppid(), {0})",
    "become root": "for f in (os.setuid, os.setgid, os.seteuid, os.setegid):\n    tried(f, 0)\ntried(os.setresuid, 0, 0, 0)\ntried(os.setgroups, [0])",
    "live on without its parent": "import ctypes\nif ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0: escaped('PDEATHSIG')",
    "calls of another machine": "import ctypes, mmap, platform\nif platform.machine() == 'x86_64':\n"
    "    m = mmap.mmap(-1, 4096, prot=7)\n    m.write(bytes.fromhex('b814000000cd80c3'))\n"
    "    escaped(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))())",
    "calls of the x32 kind": "import ctypes, platform\nif platform.machine() == 'x86_64' and ctypes.CDLL(None).syscall(0x40000000 | 39) != -1: escaped('x32')",
    "be dumpable": "import ctypes\nif ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0: escaped('PR_SET_DUMPABLE')",
}  # fmt: skip

READING = {
    "secret file": "tried(lambda: open(SECRET).read())",
    "secret file by os.open": "tried(lambda: os.read(os.open(SECRET, os.O_RDONLY), 99))",
    "secret file by C": "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.open(SECRET.encode(), 0) >= 0: escaped('open')",
    "secret file by import": "from importlib.machinery import SourceFileLoader as L\ntried(L('secret', SECRET).get_data, SECRET)",
    "secret file by fileinput": "import fileinput\ntried(lambda: list(fileinput.input(SECRET)))",
    "secret file by linecache": "import linecache\nif linecache.getlines(SECRET): escaped(linecache.getlines(SECRET))",
    "secret file by a path through the library": "import os.path\ntried(lambda: open(os.path.dirname(os.__file__) + '/../' * 12 + SECRET).read())",
    "secret file by a link": "tried(os.symlink, SECRET, 'link')\ntried(lambda: open('link').read())",
    "secret file by a hard link": "tried(os.link, SECRET, 'link')\ntried(lambda: open('link').read())",
    "secret file by renaming": "tried(os.rename, SECRET, 'mine')\ntried(lambda: open('mine').read())",
    "secret file by a descriptor of its folder": "d = os.open(os.path.dirname(SECRET), os.O_PATH)\ntried(lambda: os.open(os.path.basename(SECRET), 0, dir_fd=d))",
    "secret folder": "tried(os.listdir, os.path.dirname(SECRET))",
    "password file": "tried(lambda: open('/etc/passwd').read())\ntried(lambda: open('/etc/shadow').read())",
    "password database": "import pwd\ntried(pwd.getpwnam, 'daemon')\nprint(pwd.getpwall())\nif len(pwd.getpwall()) > 2: escaped('users')",
    "home": "tried(os.listdir, '/root')\ntried(os.listdir, '/home')",
    "keys": "for name in ('id_rsa', 'id_ed25519'):\n    tried(open, '/root/.ssh/' + name)",
    "root of the tree": "tried(os.listdir, '/')\ntried(os.scandir, '/')",
    "walk up": "os.chdir('/') if os.access('/', 1) else None\ntried(os.listdir, '.')\ntried(os.listdir, '..')",
    "own environment": "print(dict(os.environ))\nimport ctypes\nfor n in (b'SENTINEL', b'PATH', b'HF_TOKEN'):\n"
    "    if ctypes.CDLL(None).getenv(n): escaped(n)",
    "environment in memory": "import ctypes\nc = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\n"
    "i = 0\nwhile c and c[i]:\n    print(c[i]); i += 1",
    "environment of processes": "for pid in ('self', os.getppid(), os.getpid(), 1):\n    tried(lambda: open(f'/proc/{pid}/environ').read())",
    "memory of processes": "for pid in ('self', os.getppid(), os.getpid(), 1):\n    tried(open, f'/proc/{pid}/mem', 'r+b')",
    "maps of processes": "for pid in ('self', os.getppid(), 1):\n    tried(lambda: open(f'/proc/{pid}/maps').read())",
    "command lines": "for pid in ('self', os.getppid(), 1):\n    tried(lambda: open(f'/proc/{pid}/cmdline').read())",
    "descriptors of processes": "for pid in (os.getppid(), 1):\n    for fd in range(20):\n        tried(open, f'/proc/{pid}/fd/{fd}')",
    "root of processes": "for pid in ('self', os.getppid(), 1):\n    tried(os.listdir, f'/proc/{pid}/root')",
    "list of processes": "tried(os.listdir, '/proc')",
    "kernel": "for p in ('/proc/kcore', '/proc/kallsyms', '/dev/mem', '/dev/kmsg', '/sys/kernel/notes', '/proc/sys/kernel/core_pattern'):\n    tried(open, p)",
    "disks": "for p in ('/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/fuse', '/dev/kvm', '/dev/tty', '/dev/ptmx'):\n    tried(open, p, 'rb')",
    "shared memory": "tried(os.listdir, '/dev/shm')\nfrom multiprocessing import shared_memory as s\ntried(s.SharedMemory, create=True, size=99)",
    "open descriptors": "import fcntl\nfor fd in range(3, 1024):\n    try: os.fstat(fd)\n    except OSError: continue\n    escaped(f'descriptor {fd}')",
    "our modules": "for name in ('reward.programs.code', 'reward.programs.sandbox', 'reward', 'tests.toys.model', 'configs.schema'):\n    tried(__import__, name)",
    "our modules by path": "sys.path.insert(0, ROOT)\ntried(__import__, 'reward.programs.code')\ntried(lambda: open(ROOT + '/reward/programs/code.py').read())",
    "installed packages": "import site\nfor name in ('numpy', 'torch', 'ray', 'pytest'):\n    tried(__import__, name)",
    "sys.modules": "for name in sys.modules:\n    if name.partition('.')[0] in ('reward', 'tests', 'pytest'): escaped(name)",
    "garbage collector": "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and {'outputs', 'expected', 'reference'} & set(map(str, o)): escaped(o)",
    "frames": "f = sys._getframe()\nwhile f:\n    print(f.f_code.co_name, sorted(map(str, f.f_locals))[:50])\n"
    "    if {'expected', 'reference', 'tests', 'outputs'} & set(f.f_locals): escaped('frame')\n    f = f.f_back",
    "frames of threads": "for i, f in sys._current_frames().items():\n    while f:\n        if 'expected' in f.f_locals: escaped('frame')\n        f = f.f_back",
    "sockets of the launcher": "import gc, socket\nfor o in gc.get_objects():\n    if type(o) is socket.socket: tried(o.send, b'{\"kill\": 1}')",
    "main of the launcher": "import __main__\nprint(vars(__main__).keys())\nif 'Launcher' in vars(__main__): escaped('launcher')",
    "write its own input": "tried(os.write, 0, b'x')\ntried(os.ftruncate, 0, 9)",
}  # fmt: skip

WRITING = {
    "outside": "tried(open, OUTSIDE + '/attack-mark', 'w')",
    "outside, by os.open": "tried(os.open, OUTSIDE + '/attack-mark', os.O_CREAT | os.O_WRONLY)",
    "outside, a folder": "tried(os.mkdir, OUTSIDE + '/attack-mark')",
    "outside, a link": "tried(os.symlink, '/', OUTSIDE + '/attack-mark')",
    "outside, a pipe": "tried(os.mkfifo, OUTSIDE + '/attack-mark')",
    "outside, a socket": "import socket\ntried(lambda: socket.socket(socket.AF_UNIX).bind(OUTSIDE + '/attack-mark'))",
    "outside, by renaming": "open('x', 'w').close()\ntried(os.rename, 'x', OUTSIDE + '/attack-mark')",
    "outside, by moving": "import shutil\nopen('x', 'w').close()\ntried(shutil.move, 'x', OUTSIDE + '/attack-mark')",
    "outside, by a hard link": "open('x', 'w').close()\ntried(os.link, 'x', OUTSIDE + '/attack-mark')",
    "outside, a database": "import sqlite3\ntried(lambda: sqlite3.connect(OUTSIDE + '/attack-mark').execute('create table t (x)'))",
    "outside, by dbm": "import dbm.dumb\ntried(dbm.dumb.open, OUTSIDE + '/attack-mark', 'n')",
    "remove the secret": "tried(os.unlink, SECRET)",
    "truncate the secret": "tried(os.truncate, SECRET, 0)\ntried(os.open, SECRET, os.O_TRUNC)\ntried(open, SECRET, 'w')",
    "mode of the secret": "tried(os.chmod, SECRET, 0o777)\ntried(os.utime, SECRET, (0, 0))\ntried(os.chown, SECRET, 0, 0)",
    "poison the library": "tried(open, os.path.dirname(os.__file__) + '/attack-mark.py', 'w')\ntried(open, os.__file__, 'a')\n"
    "tried(os.open, os.__file__, os.O_RDONLY | os.O_TRUNC)",
    "poison compiled files": "import importlib.util as u\ntried(open, u.cache_from_source(os.__file__), 'ab')",
    "poison site-packages": "import sysconfig\np = sysconfig.get_path('stdlib') + '/site-packages'\n"
    "tried(open, p + '/sitecustomize.py', 'a')\ntried(open, p + '/attack-mark.pth', 'w')",
    "poison our sources": "tried(open, ROOT + '/attack-mark', 'w')\ntried(open, ROOT + '/reward/__init__.py', 'a')",
    "cron and profile": "for p in ('/etc/cron.d/attack-mark', '/root/.bashrc', '/etc/ld.so.preload'):\n    tried(open, p, 'a')",
    "race with a link": "import threading\ndef swap():\n    for _ in range(200):\n        try: os.rename('a', 'b'); os.rename('b', 'a')\n"
    "        except OSError: pass\nos.mkdir('a'); t = threading.Thread(target=swap); t.start()\n"
    "for _ in range(200):\n    try: open('a/../../attack-mark', 'w'); escaped('race')\n    except OSError: pass\nt.join()",
    "mount": "import ctypes\nif ctypes.CDLL(None).mount(b'none', b'/', b'tmpfs', 0, 0) == 0: escaped('mount')",
}  # fmt: skip

NETWORK = {
    "tcp": "import socket\ntried(socket.create_connection, ('127.0.0.1', PORT), 1)",
    "tcp over version 6": "import socket\ntried(socket.create_connection, ('::1', PORT), 1)",
    "udp": "import socket\ntried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)))",
    "listen": "import socket\ntried(socket.create_server, ('127.0.0.1', 0))",
    "unix socket": "import socket\ntried(lambda: socket.socket(socket.AF_UNIX).connect(SOCKET))",
    "abstract socket": "import socket\ntried(lambda: socket.socket(socket.AF_UNIX).connect(ABSTRACT))",
    "datagram pair to another name": "import socket\ntried(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', ABSTRACT))",
    "stream pair to another name": "import socket\na, b = socket.socketpair()\ntried(a.connect, ABSTRACT)\ntried(a.sendto, b'x', ABSTRACT)",
    "descriptors over a pair": "import socket\na, b = socket.socketpair()\ntried(socket.send_fds, a, [b'x'], [0])",
    "netlink": "import socket\ntried(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "raw": "import socket\ntried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)\ntried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)",
    "vsock": "import socket\ntried(socket.socket, socket.AF_VSOCK)\ntried(socket.socket, socket.AF_ALG)",
    "names": "import socket\ntried(socket.gethostbyname, 'example.com')\ntried(socket.getaddrinfo, 'example.com', 80)",
    "http": "import urllib.request\ntried(urllib.request.urlopen, f'http://127.0.0.1:{PORT}/', timeout=1)",
    "asyncio": "import asyncio\nasync def main():\n    return await asyncio.open_connection('127.0.0.1', PORT)\ntried(asyncio.run, main())",
    "interfaces": "import socket\ntried(socket.if_nameindex)",
}  # fmt: skip

PROGRAMS = PROCESSES | SIGNALS | {f"read: {k}": v for k, v in READING.items()} | {f"write: {k}": v for k, v in WRITING.items()} | {
    f"network: {k}": v for k, v in NETWORK.items()
}  # fmt: skip
# In a tree of its own without Landlock, a program may look at that tree: libraries, and the folders that lead to them.
OWN_TREE = {"read: root of the tree", "read: walk up", "read: home"}
