"""Attacks on the grading: wrong answers that claim to be right. None may pass any kind of check.

They pretend to be `double`, whose checks are in `journeyman.sandbox.selftest`.
"""

from journeyman.sandbox.attacks.attack import Attack

_LIAR = "class Liar:\n    def __eq__(self, other): return True\n    __hash__ = None\n"
_CODES = {
    "exits": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits when it is called": "import os\ndef double(x): os._exit(0)",
    "raises SystemExit when it is called": "def double(x): raise SystemExit(0)",
    "equals everything": _LIAR + "def double(x): return Liar()",
    "is a list that equals everything": (
        "class Liar(list):\n    def __eq__(self, other): return True\ndef double(x): return Liar()"
    ),
    "prints that it passed": "print('PASSED')\ndef double(x): print('ok 1 passed')",
    "patches doctest and unittest": (
        "import doctest, unittest\n"
        "doctest.OutputChecker.check_output = lambda *a: True\n"
        "doctest.testmod = unittest.main = lambda *a, **k: None\n"
        "def double(x): return 0"
    ),
    "patches the builtins": (
        "import builtins\nbuiltins.repr = lambda x: '4'\nbuiltins.AssertionError = ValueError\n"
        "builtins.compile = lambda *a, **k: None\ndef double(x): return 0"
    ),
    "closes every pipe": "import os\nos.closerange(0, 64)\ndef double(x): return x",
    "closes the pipe and waits": "import os, time\nos.closerange(0, 64)\ntime.sleep(60)",
    "writes its own results": (
        "import os\n"
        'line = b\'{"nonce":"","raised":"","message":"","text":"4\\\\n","cut":false}\\n\'\n'
        "for n in range(3, 64):\n"
        "    try: os.write(n, line)\n"
        "    except OSError: pass\n"
    ),
    "writes a malformed result": (
        "import os\n"
        "for n in range(3, 64):\n"
        "    try: os.write(n, b'[' * 100000 + b'\\n')\n"
        "    except OSError: pass\n"
    ),
    "finds its nonce and reports success": (
        "import sys\n"
        "frame = sys._getframe()\n"
        "while 'WIRE' not in frame.f_globals: frame = frame.f_back\n"
        "worker = frame.f_globals\n"
        "worker['answer'] = lambda request, names: {'nonce': request['nonce'], 'raised': '',\n"
        "    'message': '', 'text': 'True\\n', 'cut': False, 'value': ['bool', True]}\n"
        "def double(x): return x"
    ),
    "knows the first answer only": "def double(x): return 4",
    "exits at the end": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x): return 0",
    "poisons the modules": (
        "import sys, types\n"
        "class Any(types.ModuleType):\n"
        "    def __getattr__(self, name): return lambda *a, **k: True\n"
        "for name in ('json', 'doctest', 'pytest', '_pytest', '_pytest.runner', 'traceback'):\n"
        "    sys.modules[name] = Any(name)\n"
        "def double(x): return 0"
    ),
    "patches pytest": (
        "try:\n"
        "    import _pytest.runner as runner\n"
        "    runner.pytest_runtest_call = lambda item: None\n"
        "except ImportError: pass\n"
        "def double(x): return 0"
    ),
    "forks, and the child answers": (
        "import os\nif os.fork(): os._exit(0)\ndef double(x): return 0"
    ),
    "prints a summary and exits": (
        "import os\ndef double(x):\n    os.write(1, b'5 passed')\n    os._exit(0)"
    ),
    "deletes the tests": (
        "import glob, os\n"
        "for p in glob.glob('**/test*', recursive=True): os.path.isfile(p) and os.remove(p)\n"
        "def double(x): os._exit(0)"
    ),
    "makes assertions harmless": ("import builtins\nbuiltins.AssertionError = KeyError\nexit(0)"),
    "writes to every open file of every process": (
        "import glob\n"
        "for path in glob.glob('/proc/[0-9]*/fd/*'):\n"
        "    try: open(path, 'w').write('{}\\n')\n"
        "    except (OSError, ValueError): pass\n"
        "def double(x): return 0"
    ),
    "takes the helper over": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    for name in ('from_tags', 'perform', 'to_tags', 'answer', 'fault', 'plain'):\n"
        "        if name in frame.f_globals: frame.f_globals[name] = lambda *a: ['bool', True]\n"
        "    frame = frame.f_back\n"
        "def double(x): return True"
    ),
    "is empty": "",
    "is wrong": "def double(x):\n    return x",
}

LIES: list[Attack] = [
    Attack("lies", name, code, timeout_s=5.0, short=name in ("exits at once", "equals everything"))
    for name, code in _CODES.items()
]
