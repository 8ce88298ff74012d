"""A program's object as a test holds it: a handle, whose every use asks the program's process."""

import builtins
import operator
from collections.abc import Callable, Iterator
from typing import Any

from reward.programs.coroutines import result_of

# What can be done to a handle; the program's process looks them up here.
DOABLE: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod")},
    **{name: getattr(operator, name) for name in ("pow", "matmul", "and_", "or_", "xor", "lshift", "rshift", "neg", "pos", "invert")},
    **{name: getattr(operator, name) for name in ("getitem", "setitem", "delitem")},
    **{name: getattr(builtins, name) for name in ("len", "iter", "next", "str", "repr", "bool", "int", "float", "complex", "abs", "round")},
    **{name: getattr(builtins, name) for name in ("reversed", "isinstance", "issubclass", "getattr", "setattr", "delattr", "format")},
    "await": result_of,
}


class Handle:
    """An object of the program's, in the tester.

    It proves nothing: it equals data only where the program sent data with it, and never by its own `==`. Arithmetic with data gives
    a handle too, whose truth, length, number and items are not available. So an object whose `-` gives 0 passes neither
    `abs(f(x) - 2.5) < 1e-6` nor `not f(x) - 2.5`. `in` compares the items one by one. Two handles are compared by the program's own `==`.
    """

    def __init__(self, tester: Any, number: int, plain: Any, *, computed: bool = False) -> None:
        object.__setattr__(self, "_handle_tester", tester)
        object.__setattr__(self, "_handle_number", number)
        object.__setattr__(self, "_handle_plain", plain)
        object.__setattr__(self, "_handle_computed", computed)

    def __getattr__(self, name: str) -> Any:
        return self._handle_tester.do("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._handle_tester.do("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._handle_tester.do("delattr", self, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._handle_tester.call(self, arguments, named)

    def __iter__(self) -> Iterator[Any]:
        items = _judge("iter")(self)
        while True:
            try:
                yield self._handle_tester.do("next", items)
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._handle_tester.do("next", self)

    def __contains__(self, value: object) -> bool:
        return any(value == item for item in self)

    def __hash__(self) -> int:
        return hash(self._handle_number)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Handle):
            return self._handle_tester.do("eq", self, other) is True
        return self._handle_plain is not None and bool(self._handle_plain == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Handle) and self._handle_tester.do("isinstance", instance, self) is True

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()

    def __exit__(self, *_: object) -> Any:
        return self.__getattr__("__exit__")(None, None, None)

    def __aiter__(self) -> Any:
        return self.__getattr__("__aiter__")()

    async def __anext__(self) -> Any:
        return self._handle_tester.do("await", self.__getattr__("__anext__")())

    async def __aenter__(self) -> Any:
        return self._handle_tester.do("await", self.__getattr__("__aenter__")())

    async def __aexit__(self, *_: object) -> Any:
        return self._handle_tester.do("await", self.__getattr__("__aexit__")(None, None, None))


class CoroutineHandle(Handle):
    """A coroutine of the program's. Whoever awaits it in a test waits until it has run to its end in the program's process."""

    def send(self, value: None) -> None:
        raise StopIteration(self._handle_tester.do("await", self))

    def __next__(self) -> None:  # asyncio sends None so
        self.send(None)

    def throw(self, *error: Any) -> None:
        raise error[0]

    def close(self) -> None:
        """Nothing of it runs here."""

    def __await__(self) -> Iterator[Any]:
        yield from ()
        return self._handle_tester.do("await", self)


def _compare(name: str) -> Callable[[Handle, Any], Any]:
    def compare(self: Handle, other: Any) -> Any:
        if isinstance(other, Handle):
            return self._handle_tester.do(name, self, other) is True
        return NotImplemented if self._handle_plain is None else DOABLE[name](self._handle_plain, other)

    return compare


def _compute(name: str, *, swapped: bool = False) -> Callable[..., Any]:
    def compute(self: Handle, *others: Any) -> Any:
        alien = any(not isinstance(other, Handle) for other in others)
        if self._handle_plain is not None and all(not isinstance(other, Handle) for other in others):
            return DOABLE[name](*((*others, self._handle_plain) if swapped else (self._handle_plain, *others)))
        keep = alien or any(operand._handle_computed for operand in (self, *others))
        return self._handle_tester.do(name, *((*others, self) if swapped else (self, *others)), keep=keep)

    return compute


def _ask(name: str) -> Callable[..., Any]:
    return lambda self, *others: self._handle_tester.do(name, self, *others)


def _judge(name: str) -> Callable[[Handle], Any]:
    def judge(self: Handle) -> Any:
        if self._handle_computed:
            raise TypeError(f"{name}() of a result that the program's object computed from a test's data would prove nothing")
        return self._handle_tester.do(name, self)

    return judge


for _name in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_name}__", _compare(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
    setattr(Handle, f"__{_name.rstrip('_')}__", _compute(_name))
    setattr(Handle, f"__r{_name.rstrip('_')}__", _compute(_name, swapped=True))
for _name in ("neg", "pos", "invert", "abs", "round"):
    setattr(Handle, f"__{_name}__", _compute(_name))
for _name in ("len", "bool", "int", "float", "complex", "reversed"):
    setattr(Handle, f"__{_name}__", _judge(_name))
for _name in ("str", "repr", "format", "getitem", "setitem", "delitem"):
    setattr(Handle, f"__{_name}__", _ask(_name))
