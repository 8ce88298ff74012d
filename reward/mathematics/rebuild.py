"""Trees with a part of them replaced."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from reward.mathematics.nodes import Call, Node, Symbol


def rebuilt(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with every node for which `change` gives another one replaced by it."""
    changed = change(node)
    if changed is not None:
        return changed
    updates: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            updates[field.name] = rebuilt(value, change)
        elif isinstance(value, tuple) and value and not isinstance(value[0], str):
            updates[field.name] = tuple(
                tuple(rebuilt(cell, change) for cell in item) if isinstance(item, tuple) else rebuilt(item, change) for item in value
            )
    return replace(node, **updates) if updates else node


def with_plusminus(node: Node) -> tuple[Node, Node] | None:
    """The tree with every plus-or-minus read as plus, and as minus; None where it has none."""
    seen = False

    def plus(one: Node) -> Node | None:
        nonlocal seen
        if isinstance(one, Call) and one.name == "plusminus":
            seen = True
            return rebuilt(one.args[0], plus)
        return None

    def minus(one: Node) -> Node | None:
        if isinstance(one, Call) and one.name == "plusminus":
            return Call("-", (rebuilt(one.args[0], minus),))
        return None

    first = rebuilt(node, plus)
    return (first, rebuilt(node, minus)) if seen else None


def without_degree(node: Node) -> Node:
    """The number before a degree sign that stands alone, since units are not compared."""
    if isinstance(node, Call) and node.name == "degree":
        return node.args[0]
    if isinstance(node, Call) and node.name == "-" and isinstance(node.args[0], Call) and node.args[0].name == "degree":
        return Call("-", node.args[0].args)
    return node


def renamed(node: Node, old: str, new: str) -> Node:
    """The tree with a variable renamed."""
    return rebuilt(node, lambda one: Symbol(new) if one == Symbol(old) else None)
