"""Right programs in the styles that people and models write them in; every one must pass in the sandbox."""

# ruff: noqa: E501  (a program stands on one line)
from typing import Any

SUM = {"inputs": ["2 3\n", "-1 1\n"], "outputs": ["5\n", "0"]}

PRINTING = {
    "input()": "a, b = map(int, input().split())\nprint(a + b)",
    "sys.stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "sys.stdin.readline": "from sys import stdin\na, b = stdin.readline().split()\nprint(int(a) + int(b))",
    "lines of stdin": "import sys\nfor line in sys.stdin:\n    print(sum(int(x) for x in line.split()))",
    "iter(input)": "try:\n    for line in iter(input, ''): print(sum(map(int, line.split())))\nexcept EOFError: pass",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "buffer of stdin": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
    "os.read": "import os\nprint(sum(map(int, os.read(0, 100).split())))",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(sum(map(int, line.split())))",
    "input rebound": "import sys\ninput = sys.stdin.readline\nprint(sum(map(int, input().split())))",
    "BytesIO": "import io, os\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\nprint(sum(map(int, input().split())))",
    "main guard": "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
    "sys.exit(0)": "import sys\nprint(sum(map(int, input().split())))\nsys.exit(0)",
    "os._exit after a flush": "import os, sys\nprint(sum(map(int, input().split())), flush=True)\nos._exit(0)",
    "sys.stdout.write": "import sys\nsys.stdout.write(str(sum(map(int, input().split()))))",
    "buffer of stdout": "import sys\nsys.stdout.buffer.write(b'%d\\n' % sum(map(int, input().split())))",
    "at exit": "import atexit\nx = sum(map(int, input().split()))\natexit.register(print, x)",
    "trailing spaces": "print(sum(map(int, input().split())), '  \\n\\n')",
    "words on stderr": "import sys\nprint('debug', file=sys.stderr)\nprint(sum(map(int, input().split())))",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else f(n - 1)\n"
    "print(f(50000) + sum(map(int, input().split())))",
    "thread with a large stack": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
    "def main(): print(sum(map(int, input().split())))\nt = threading.Thread(target=main)\nt.start()\nt.join()",
    "thread nobody joins": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print(sum(map(int, input().split()))))).start()",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\nx = input().split()\nwith ThreadPoolExecutor(4) as p: print(sum(p.map(int, x)))",
    "asyncio": "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print(sum(map(int, input().split())))\nasyncio.run(main())",
    "asyncio with a thread": "import asyncio\nasync def main():\n    print(sum(map(int, await asyncio.to_thread(lambda: input().split()))))\nasyncio.run(main())",
    "temporary file": "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n    f.write(input()); f.seek(0)\n    print(sum(map(int, f.read().split())))",
    "temporary folder": "import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n    p = os.path.join(d, 'x')\n    open(p, 'w').write(input())\n"
    "    os.rename(p, p + 'y')\n    print(sum(map(int, open(p + 'y').read().split())))",
    "file in its folder": "from pathlib import Path\nPath('a').mkdir()\nPath('a/x').write_text(input())\nprint(sum(map(int, Path('a/x').read_text().split())))",
    "database in memory": "import sqlite3\na, b = input().split()\nprint(sqlite3.connect(':memory:').execute('select ? + ?', (int(a), int(b))).fetchone()[0])",
    "collections": "from collections import Counter, deque, defaultdict, OrderedDict\nd = deque(map(int, input().split()))\nprint(d.popleft() + d.pop())",
    "itertools": "from itertools import accumulate\nprint(list(accumulate(map(int, input().split())))[-1])",
    "functools": "from functools import reduce, lru_cache, cache\n@lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n"
    "assert f(90) == 2880067194370816120\nprint(reduce(lambda a, b: a + b, map(int, input().split())))",
    "heapq and bisect": "import heapq, bisect\nh = list(map(int, input().split()))\nheapq.heapify(h)\nprint(heapq.heappop(h) + heapq.heappop(h))",
    "re": "import re\nprint(sum(map(int, re.findall(r'-?\\d+', input()))))",
    "json": "import json\nprint(json.dumps(sum(json.loads('[' + input().replace(' ', ',') + ']'))))",
    "decimal and fractions": "from decimal import Decimal\nfrom fractions import Fraction\na, b = input().split()\nprint(int(Decimal(a) + Fraction(b).numerator))",
    "datetime": "import datetime, calendar, zoneinfo\nassert datetime.date(2024, 2, 29).weekday() == 3\nprint(sum(map(int, input().split())))",
    "random": "import random\nrandom.seed(1)\nx = list(map(int, input().split()))\nrandom.shuffle(x)\nprint(sum(x))",
    "dataclasses and typing": "from dataclasses import dataclass\nfrom typing import List, Optional\n@dataclass\nclass P:\n    x: int\n    y: Optional[int] = None\n"
    "a, b = map(int, input().split())\nprint(P(a).x + P(b, 1).x)",
    "enum, abc, contextlib": "import enum, abc, contextlib\nclass E(enum.Enum):\n    A = 1\nwith contextlib.suppress(ValueError): raise ValueError\n"
    "print(sum(map(int, input().split())))",
    "numbers of the machine": "import os, sys, platform, time\nassert os.cpu_count() and os.getpid() and time.time() and len(os.urandom(4)) == 4\nprint(sum(map(int, input().split())))",
    "its own limits": "import resource, signal\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nsignal.alarm(5)\nprint(sum(map(int, input().split())))",
    "exec and eval": "exec('x = sum(map(int, input().split()))')\nprint(eval('x'))",
    "pickle": "import pickle, copy\nclass A: pass\nprint(sum(pickle.loads(pickle.dumps(list(map(int, input().split()))))))",
    "inspect and traceback": "import inspect, traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\nprint(sum(map(int, input().split())))",
    "hashlib and zlib": "import hashlib, zlib, base64, hmac, secrets, uuid\nhashlib.sha256(b'x'); zlib.compress(b'x'); uuid.uuid4()\nprint(sum(map(int, input().split())))",
    "ctypes": "import ctypes\nprint(ctypes.c_int(sum(map(int, input().split()))).value)",
    "unicode": "print('日本語 é'[:0] + str(sum(map(int, input().split()))))",
    "coding line": "# -*- coding: utf-8 -*-\nprint(sum(map(int, input().split())))",
    "future": "from __future__ import annotations\nprint(sum(map(int, input().split())))",
    "itself as a module": "import __main__\nx = sum(map(int, input().split()))\nprint(__main__.x)",
    "logging and argparse": "import logging, argparse\nlogging.warning('x')\nargparse.ArgumentParser().parse_args()\nprint(sum(map(int, input().split())))",
}  # fmt: skip

ADD = "def add(a, b):\n    return a + b"
VECTOR = """class Vector:
    def __init__(self, x, y=0): self.x, self.y = x, y
    def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
    def __add__(self, other): return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, k): return Vector(self.x * k, self.y * k)
    def __rmul__(self, k): return self * k
    def __matmul__(self, other): return self.x * other.x + self.y * other.y
    def __abs__(self): return (self @ self) ** .5
    def __len__(self): return 2
    def __iter__(self): return iter((self.x, self.y))
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __lt__(self, other): return abs(self) < abs(other)
    def __repr__(self): return f'Vector({self.x}, {self.y})'
    def grow(self): self.x += 1; return self
class Bad(ValueError): pass
def fail(kind): raise {'bad': Bad, 'key': KeyError, 'zero': ZeroDivisionError}[kind]('no')
"""

# Each with a reference of asserts that it passes.
ASSERTED: list[tuple[str, Any]] = [
    (ADD, ["assert add(1, 2) == 3", "assert add([1], [2]) == [1, 2]", "assert add('a', 'b') == 'ab'"]),
    (ADD, {"asserts": ["assert add(A, 2) == 3"], "setup": "A = 1"}),
    (ADD, {"test_list": ["assert math.isclose(add(.1, .2), .3)"], "setup": "import math"}),
    ("from __future__ import annotations\n" + ADD, {"asserts": ["assert add(1, 2) == 3"], "setup": "import math"}),
    (ADD, ["assert math.isclose(add(.1, .2), .3)"]),
    (ADD, {"test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    for i in range(9): assert candidate(i, i) == 2 * i", "entry_point": "add"}),
    (ADD, ["try:\n    add(1, 'a')\nexcept TypeError:\n    pass\nelse:\n    assert False"]),
    ("def sum(a, b): return a + b", ["assert sum(1, 2) == 3"]),
    ("def bisect(a): return a", ["assert bisect(3) == 3"]),
    ("def f(x): return {1: (x, {x}), 'a': frozenset([x]), None: b'x', 2.5: 1j}", ["assert f(2) == {1: (2, {2}), 'a': frozenset([2]), None: b'x', 2.5: 1j}"]),
    ("from collections import *\ndef f(x): return Counter(x)", ["assert f('aab') == {'a': 2, 'b': 1}", "assert f('aab').most_common(1) == [('a', 2)]"]),
    ("from collections import *\ndef f(x): return deque(x)", ["from collections import deque\nassert f('ab') == deque('ab')"]),
    ("from fractions import Fraction\ndef f(x): return Fraction(x, 3)", ["assert f(2) * 3 == 2"]),
    ("def f(n): yield from range(n)", ["assert list(f(3)) == [0, 1, 2]", "assert next(f(1)) == 0", "assert 2 in f(3)", "assert sum(f(4)) == 6"]),
    ("def f(g, x): return [g(v) for v in x]", ["assert f(lambda v: v + 1, [1, 2]) == [2, 3]", "assert f(str, [1]) == ['1']", "assert f(abs, [-1]) == [1]"]),
    ("def f(x): return lambda y: x + y", ["assert f(1)(2) == 3", "g = f(5)\nassert g(1) == 6"]),
    ("def f(g):\n    try: g()\n    except KeyError: return 'key'", ["def g(): raise KeyError(1)\nassert f(g) == 'key'"]),
    ("def f(x): x.sort()", ["a = [3, 1, 2]\nf(a)\nassert a == [1, 2, 3]"]),
    ("def f(x): return range(x)", ["assert f(3) == range(3)", "assert list(f(3)) == [0, 1, 2]"]),
    ("import math\ndef f(x): return math.sqrt(x)", ["assert abs(f(2) - 1.41421) < 1e-4", "assert round(f(2), 2) == 1.41"]),
    (VECTOR, ["assert Vector(1, 2).x == 1", "assert Vector(1, 2) + Vector(3, 4) == Vector(4, 6)", "assert (2 * Vector(1) * 3).x == 6"]),
    (VECTOR, ["assert Vector(1, 2) @ Vector(3, 4) == 11", "assert abs(Vector(3, 4)) == 5", "assert len(Vector(1)) == 2", "assert Vector(7)[0] == 7"]),
    (VECTOR, ["assert list(Vector(1, 2)) == [1, 2]", "assert str(Vector(1, 2)) == 'Vector(1, 2)'", "assert Vector(1) < Vector(2)"]),
    (VECTOR, ["v = Vector(1)\nv.grow().grow()\nassert v.x == 3", "v.x = 9\nassert v.x == 9", "assert isinstance(v, Vector)", "assert Vector(1) != Vector(2)"]),
    (VECTOR, ["assert sorted([Vector(3), Vector(1)])[0].x == 1", "assert Vector(1) in [Vector(1)]", "assert hasattr(v, 'x') if (v := Vector(1)) else 0"]),
    (VECTOR, ["try: fail('bad')\nexcept Bad as e: assert str(e) == 'no'", "try: fail('bad')\nexcept ValueError: pass", "try: fail('zero')\nexcept ArithmeticError: pass"]),
    ("def depth(node): return 0 if node is None else 1 + max(depth(node.left), depth(node.right))",
     {"asserts": ["assert depth(Node(1, Node(2))) == 2"], "setup": "class Node:\n    def __init__(self, v, left=None, right=None):\n        self.left, self.right = left, right"}),
    ("class Stack:\n    def __init__(self): self._x = []\n    def push(self, v): self._x.append(v)\n    def pop(self): return self._x.pop()",
     ["s = Stack()\ns.push(1)\ns.push([2])\nassert s.pop() == [2]\nassert s.pop() == 1", "try: s.pop()\nexcept IndexError: pass\nelse: assert False"]),
]  # fmt: skip
