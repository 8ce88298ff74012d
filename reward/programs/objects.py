"""The program's side of its objects: which handle stands for which object, and what a test may do to it."""

import builtins
from typing import Any

from reward.programs.coroutines import is_coroutine
from reward.programs.handle import DOABLE
from reward.programs.link import Link
from reward.programs.values import Json, decode, encode


class Objects:
    """The program's global names, and the objects that the tester has handles of."""

    def __init__(self, names: dict[str, Any], channel: int) -> None:
        self.names = names
        self.held: list[object] = []
        self.link = Link(channel, self.obey)

    def export(self, value: object, plain: Json) -> Json:
        self.held.append(value)
        return {"handle": len(self.held) - 1, "plain": plain, "type": type(value).__name__, "coroutine": is_coroutine(value)}

    def take(self, data: Json) -> object:
        """The object itself, a built-in by its name, or a function that calls the tester's."""
        if "handle" in data:
            return self.held[data["handle"]]
        if isinstance(data["callback"], str):
            return getattr(builtins, data["callback"])
        return Callback(self, data["callback"])

    def obey(self, order: Json) -> Json:
        """The answer to one request; an exception goes to the tester, as in one process."""
        try:
            return self.do(order)
        except Exception as error:
            return {"error": {"mro": [kind.__name__ for kind in type(error).__mro__], "text": text_of(error)}}

    def do(self, order: Json) -> Json:
        """Look up a name, call, or do one of DOABLE."""
        take = self.take
        if order["do"] == "name":
            if order["name"] not in self.names:
                return {"missing": order["name"]}
            found = self.names[order["name"]]
            is_error = isinstance(found, type) and issubclass(found, Exception)
            return {"ok": encode(found, self.export)} | ({"mro": [kind.__name__ for kind in found.__mro__]} if is_error else {})
        arguments = [decode(argument, take) for argument in order["arguments"]]
        if order["do"] == "call":
            function: Any = take(order)
            result = function(*arguments, **{name: decode(value, take) for name, value in order["named"].items()})
            lists = [argument if type(argument) in (list, dict, set) else None for argument in arguments]
            changed = {"changed": encode(lists, self.export)} if result is None and any(item is not None for item in lists) else {}
            return {"ok": encode(result, self.export)} | changed
        result = DOABLE[order["do"]](*arguments)
        return {"ok": self.export(result, None) if order["keep"] else encode(result, self.export)}


def text_of(error: Exception) -> str:
    """The text from which the tester makes the same error; of a KeyError its key, since str() would quote it twice."""
    keyed = isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str)
    return str(error.args[0] if keyed else error)


class Callback:
    """A function of the tester's that the program may call."""

    def __init__(self, objects: Objects, number: int) -> None:
        self.objects, self.number = objects, number

    def __call__(self, *arguments: Any) -> Any:
        objects = self.objects
        answer = objects.link.ask({"do": "callback", "number": self.number, "arguments": [encode(a, objects.export) for a in arguments]})
        if "error" in answer:
            kind = getattr(builtins, answer["error"]["mro"][0], RuntimeError)
            raise kind(answer["error"]["text"])
        return decode(answer["ok"], objects.take)


def serve_objects(names: dict[str, Any], channel: int) -> None:
    """Let the tester use the program's names until it closes its end."""
    Objects(names, channel).link.serve()
