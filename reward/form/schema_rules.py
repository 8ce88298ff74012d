"""Rules for a JSON Schema that is a reference: valid, complete in itself, and not circular."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema.validators import SPECIFICATIONS, Draft202012Validator, validator_for
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

# Keywords whose schemas apply to the same value as the schema that contains them.
SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class View:
    """A schema within a schema, with what resolves its references."""

    schema: Any
    resolver: Any
    draft: Any

    def part(self, schema: Any) -> "View":
        """A schema inside this one."""
        return View(schema, self.resolver.in_subresource(self.draft.create_resource(schema)), self.draft)

    def parts(self) -> Iterator["View"]:
        """Every schema directly inside this one."""
        return map(self.part, self.draft.subresources_of(self.schema))

    def targets(self) -> Iterator["View"]:
        """What the schema refers to; ValueError when that is not within it."""
        references = [self.schema[key] for key in REFERENCES if key in self.schema] if isinstance(self.schema, dict) else []
        for reference in references:
            try:
                found = self.resolver.lookup(reference)
            except Unresolvable as error:
                raise ValueError(
                    f"the schema refers to {reference!r:.200}, which it does not contain: addresses are never fetched, put it under $defs"
                ) from error
            yield View(found.contents, found.resolver, self.draft)

    def same_value(self) -> Iterator["View"]:
        """The schemas that are applied to the very value that this one is applied to."""
        yield from self.targets()
        for key in SAME_VALUE if isinstance(self.schema, dict) else ():
            given = self.schema.get(key, [])
            if key == "dependentSchemas" and given:
                given = list(given.values())
            inner = given if isinstance(given, list) else [given]
            yield from map(self.part, inner)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema ready for use."""

    validator: Any
    root: View


def make_schema(schema: dict[str, Any]) -> Schema:
    """The schema with a validator that never fetches anything; ValueError when it is no schema or cannot be used."""
    named = schema.get("$schema", Draft202012Validator.META_SCHEMA["$id"])
    dialect = validator_for({"$schema": named}, default=None) if isinstance(named, str) else None
    if dialect is None:
        raise ValueError(f"$schema names no draft that is known: {named!r:.200}; leave it out for draft 2020-12")
    try:
        dialect.check_schema(schema)
        draft = specification_with(dialect.META_SCHEMA.get("$id") or dialect.META_SCHEMA["id"])
        resource = draft.create_resource(schema)
        resolver = SPECIFICATIONS.with_resource(resource.id() or "", resource).resolver(resource.id() or "")
        root = View(schema, resolver, draft)
        refuse_circles(root)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its root"
        raise ValueError(f"the schema is no JSON Schema, at {where}: {error.message:.300}") from error
    except RecursionError as error:
        raise ValueError("the schema is nested too deeply") from error
    return Schema(dialect(schema, registry=SPECIFICATIONS), root)


def refuse_circles(root: View) -> None:
    """ValueError when applying some schema within this one to a value leads back to it with that same value, for ever."""
    finished: set[int] = set()

    def follow(view: View, above: frozenset[int]) -> None:
        if id(view.schema) in above:
            raise ValueError(
                f"the schema refers to itself without an end, through {view.schema!r:.200}: refer back only beneath a property or item"
            )
        if id(view.schema) not in finished:
            for next_view in view.same_value():
                if isinstance(next_view.schema, dict):
                    follow(next_view, above | {id(view.schema)})
            finished.add(id(view.schema))

    waiting = [root]
    while waiting:
        view = waiting.pop()
        follow(view, frozenset())
        waiting += view.parts()
