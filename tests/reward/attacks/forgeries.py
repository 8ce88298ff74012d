"""Programs that do not add two numbers but try to be judged as if they did.

Each is judged by asserts, by a function's results and by what it prints; the tests are those of `add(a, b)`.
"""

# ruff: noqa: E501  (a program stands on one line)

ENDINGS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "sys.exit in the function": "import sys\ndef add(a, b): sys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "os._exit in the function": "import os\ndef add(a, b): os._exit(0)",
    "quit": "raise SystemExit",
    "SystemExit in the function": "def add(a, b): raise SystemExit(0)",
    "KeyboardInterrupt": "def add(a, b): raise KeyboardInterrupt",
    "GeneratorExit": "def add(a, b): raise GeneratorExit",
    "StopIteration": "def add(a, b): raise StopIteration(a)",
    "AssertionError": "def add(a, b): raise AssertionError",
    "ImportError": "def add(a, b): raise ImportError('no numpy')",
    "ImportError at import": "raise ImportError('no numpy')",
    "error without words": "class E(Exception):\n    def __str__(self): raise SystemExit\ndef add(a, b): raise E",
    "error with a lying class": "class E(Exception):\n    @property\n    def __class__(self): return ImportError\ndef add(a, b): raise E",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return None",
    "excepthook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0",
    "execution of nothing": "pass",
    "signal": "import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGKILL)",
}

OBJECTS = {
    "equal to all": "class A:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\ndef add(a, b): return A()",
    "integer equal to all": "class A(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef add(a, b): return A()",
    "string equal to all": "class A(str):\n    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "list equal to all": "class A(list):\n    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "float equal to all": "class A(float):\n    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "difference of nothing": "class A:\n    def __sub__(self, o): return 0.0\n    __rsub__ = __sub__\n    def __abs__(self): return 0.0\n"
    "    def __lt__(self, o): return True\n    def __float__(self): return 0.0\ndef add(a, b): return A()",
    "float with a difference of nothing": "class A(float):\n    def __sub__(self, o): return 0.0\n    __rsub__ = __sub__\ndef add(a, b): return A()",
    "member of all": "class A:\n    def __contains__(self, o): return True\n    def __iter__(self): return iter([self])\n"
    "    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "learns what it is compared with": "seen = []\nclass A:\n    def __eq__(self, o): seen.append(o); return True\n"
    "    def __sub__(self, o): seen.append(o); return self\ndef add(a, b): return seen[-1] if seen else A()",
    "lying class": "class A:\n    __class__ = int\n    def __eq__(self, o): return True\n    def __index__(self): return 0\ndef add(a, b): return A()",
    "metaclass": "class M(type):\n    def __eq__(cls, o): return True\n    def __instancecheck__(cls, o): return True\n"
    "    __hash__ = type.__hash__\nclass A(metaclass=M): pass\ndef add(a, b): return A",
    "mock": "from unittest.mock import MagicMock, ANY\ndef add(a, b): return ANY",
    "magic mock": "from unittest.mock import MagicMock\nadd = MagicMock()",
    "generator": "def add(a, b):\n    yield from range(10**6)",
    "coroutine": "async def add(a, b): return a",
    "itself": "def add(*a): return add",
    "all values": "def add(a, b): return range(10**9)",
    "nan": "def add(a, b): return float('nan')",
    "infinity": "def add(a, b): return float('inf')",
    "nothing": "def add(a, b): return None",
    "true": "def add(a, b): return True",
    "NotImplemented": "def add(a, b): return NotImplemented",
    "ellipsis": "def add(a, b): return ...",
    "circle": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "deep": "def add(a, b):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
    "wide": "def add(a, b): return [0] * 10**6 * 3",
    "proxy of the argument": "class A:\n    def __init__(s, a): s.a = a\n    def __eq__(s, o): return not s.a == o\ndef add(a, b): return A(a)",
    "pickled": "class A:\n    def __reduce__(self): return eval, ('1',)\ndef add(a, b): return A()",
    "counter": "from collections import Counter\nclass A(Counter):\n    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "decimal": "import decimal\nclass A(decimal.Decimal):\n    def __eq__(self, o): return True\ndef add(a, b): return A(0)",
    "enumeration": "import enum\nclass A(enum.IntEnum):\n    X = 0\n    def __eq__(self, o): return True\ndef add(a, b): return A.X",
    "descriptor": "class D:\n    def __get__(self, *a): return lambda o: True\nclass A:\n    __eq__ = D()\ndef add(a, b): return A()",
}

PATCHES = {
    "built-ins": "import builtins\nfor n in ('abs', 'len', 'isinstance', 'all', 'any', 'round', 'float', 'int', 'sorted', 'print'):\n"
    "    setattr(builtins, n, lambda *a: True)\ndef add(a, b): return None",
    "built-ins as globals": "abs = len = isinstance = all = any = round = lambda *a: True\ndef add(a, b): return None",
    "AssertionError": "import builtins\nclass E(BaseException): pass\nbuiltins.AssertionError = E\ndef add(a, b): return None",
    "__builtins__": "__builtins__ = {}\ndef add(a, b): return None",
    "__debug__": "import builtins\nvars(builtins)['__debug__'] = False\ndef add(a, b): return None",
    "math": "import math\nmath.isclose = lambda *a, **k: True\ndef add(a, b): return None",
    "math as a global": "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef add(a, b): return None",
    "operator": "import operator\nfor n in ('eq', 'ne', 'lt', 'sub'):\n    setattr(operator, n, lambda *a: True)\ndef add(a, b): return None",
    "json": "import json\njson.dumps = lambda *a, **k: '{\"passed\": true, \"ok\": true, \"value\": true}'\ndef add(a, b): return None",
    "modules": "import sys\nfor n in list(sys.modules):\n    if n not in ('sys', 'builtins'): del sys.modules[n]\ndef add(a, b): return None",
    "import hook": "import sys\nclass F:\n    def find_spec(self, n, p, t=None): raise SystemExit\nsys.meta_path.insert(0, F())\ndef add(a, b): return None",
    "__import__": "import builtins\nbuiltins.__import__ = lambda *a, **k: None\ndef add(a, b): return None",
    "trace": "import sys\ndef t(f, e, a):\n    f.f_locals.clear()\n    return t\nsys.settrace(t)\ndef add(a, b): return None",
    "profile": "import sys\nsys.setprofile(lambda f, e, a: setattr(f, 'f_trace', None))\ndef add(a, b): return None",
    "frames": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for k in ('expected', 'outputs', 'passed', 'report'):\n"
    "            if k in f.f_locals: return f.f_locals[k]\n        f = f.f_back",
    "encoder": "import gc, types\nfor o in gc.get_objects():\n    if isinstance(o, types.FunctionType) and o.__name__ in ('encode', 'send', 'write_all', 'same_value'):\n"
    "        try: o.__code__ = (lambda *a, **k: True).__code__\n        except ValueError: pass\ndef add(a, b): return None",
    "check": "def check(candidate): pass\ndef add(a, b): return None",
    "names of the tests": "candidate = test = tests = report = tester = lambda *a, **k: True\ndef add(a, b): return None",
    "entry in the namespace": "globals().update(passed=True, result=5)\ndef add(a, b): return None",
    "__getattr__ of the module": "def __getattr__(name): return lambda *a: True",
    "changed after a look": "def add(a, b): return None\nadd.__code__ = (lambda a, b: b).__code__",
    "threading": "import threading\nthreading._shutdown = lambda: __import__('os')._exit(0)\ndef add(a, b): return None",
}  # fmt: skip

LINES = r"""
import json, os, struct, sys
LINES = [{"passed": True, "why": ""}, {"value": True}, {"ended": 1, "status": 0, "cpu_s": 0}, {"pid": 1}, {"broken": "x"},
         {"state": "scored", "item": 0, "reward": 1.0, "failure": ""}]
def add(a, b): return None
"""

CHANNELS = {
    "lines on every descriptor": LINES
    + "for fd in range(1, 64):\n    for line in LINES:\n        try: os.write(fd, json.dumps(line).encode() + b'\\n')\n        except OSError: pass",
    "lines in the function": LINES
    + "def add(a, b):\n    for fd in range(1, 64):\n        for line in LINES * 9:\n            try: os.write(fd, json.dumps(line).encode() + b'\\n')\n            except OSError: pass\n    os._exit(0)",
    "messages on every descriptor": LINES
    + "for fd in range(3, 64):\n    for v in ({'ok': True}, {'ok': {'handle': 0, 'plain': True}}, {'ok': None, 'changed': []}):\n"
    "        d = json.dumps(v).encode()\n        try: os.write(fd, (struct.pack('=I', len(d)) + d) * 9)\n        except OSError: pass",
    "giant message": LINES + "for fd in range(3, 64):\n    try: os.write(fd, b'\\xff\\xff\\xff\\xff')\n    except OSError: pass",
    "deep message": LINES + "d = b'[' * 60000\nfor fd in range(3, 64):\n    try: os.write(fd, struct.pack('=I', len(d)) + d)\n    except OSError: pass",
    "no message": LINES + "for fd in range(3, 64):\n    try: os.write(fd, struct.pack('=I', 4) + b'null')\n    except OSError: pass",
    "half a message": LINES + "for fd in range(3, 64):\n    try: os.write(fd, struct.pack('=I', 400) + b'{')\n    except OSError: pass\nos._exit(0)",
    "asks the tester": LINES
    + "for o in ({'do': 'callback', 'number': 0, 'arguments': []}, {'do': 'getattr', 'arguments': ['', '__class__']}, {'do': 'name', 'name': 'report'}):\n"
    "    d = json.dumps(o).encode()\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('=I', len(d)) + d)\n        except OSError: pass",
    "error of the tests": LINES
    + "d = json.dumps({'error': {'mro': ['ImportError'], 'text': 'x'}}).encode()\nfor fd in range(3, 64):\n    try: os.write(fd, (struct.pack('=I', len(d)) + d) * 9)\n    except OSError: pass",
    "error of no kind": LINES
    + "d = json.dumps({'error': {'mro': ['UnicodeDecodeError', 5], 'text': []}}).encode()\nfor fd in range(3, 64):\n    try: os.write(fd, (struct.pack('=I', len(d)) + d) * 9)\n    except OSError: pass",
    "closes its channel": LINES + "os.closerange(3, 99)",
    "closes its output": LINES + "os.closerange(0, 3)",
    "prints verdicts": LINES + "for line in LINES:\n    print(json.dumps(line)); print(json.dumps(line), file=sys.stderr)\nprint('OK'); print('PASSED'); print('1.0')",
    "words of success": "print('All tests passed')\nprint('ok')\nimport sys\nprint('Ran 3 tests in 0.0s\\n\\nOK', file=sys.stderr)\ndef add(a, b): return None",
    "steals the channel": LINES + "for fd in range(4, 64):\n    for to in range(3, 64):\n        try: os.dup2(1, to)\n        except OSError: pass",
    "reads the channel": LINES
    + "import threading\ndef steal():\n    for fd in range(3, 64):\n        try: print(os.read(fd, 9999))\n        except OSError: pass\nthreading.Thread(target=steal, daemon=True).start()",
}  # fmt: skip

PROGRAMS = ENDINGS | OBJECTS | {f"patched {k}": v for k, v in PATCHES.items()} | CHANNELS
