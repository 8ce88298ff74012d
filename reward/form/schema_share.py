"""How much of a value obeys a JSON Schema that it breaks."""

from typing import Any

from reward.form.schema_rules import Schema, View

Path = tuple[str | int, ...]
MOST_ERRORS = 10_000  # that are counted; parts beyond them count as right


def share_obeyed(schema: Schema, value: Any) -> float:
    """The share of an invalid value that is right: at least 0, below 1.

    A value without an error in it counts 1, a broken one that is neither object nor array, or of the wrong type, 0. An object counts
    the mean over its required properties and those of the schema's `properties` that it has; a missing one counts 0. An array counts
    the mean over its items, if the schema has `items`. Each error of the object or array itself joins its mean with 0. Properties that
    the schema does not name add nothing. `$ref` and `allOf` are followed; inside `anyOf`, `oneOf` and `if` nothing is told apart.
    """
    broken: dict[Path, list[Any]] = {}
    for error, _ in zip(schema.validator.iter_errors(value), range(MOST_ERRORS), strict=False):
        path = tuple(error.absolute_path)
        for length in range(len(path)):
            broken.setdefault(path[:length], [])
        broken.setdefault(path, []).append(error)
    return _share([schema.root], value, (), broken)


def _share(schemas: list[View], value: Any, path: Path, broken: dict[Path, list[Any]]) -> float:
    """The share of the value at this path, for which all these schemas hold."""
    if path not in broken:
        return 1.0
    errors = broken[path]
    if not isinstance(value, dict | list) or any(error.validator == "type" for error in errors):
        return 0.0
    views = [view for schema in schemas for view in _together(schema)]
    if isinstance(value, dict):
        named: dict[str, list[View]] = {}
        for view in views:
            for name, part in view.schema.get("properties", {}).items():
                named.setdefault(name, []).append(view.part(part))
        required = {name for view in views for name in view.schema.get("required", ())}
        names = required | (named.keys() & value.keys()) | {name for name in value if (*path, name) in broken}
        shares = [_share(named.get(name, []), value[name], (*path, name), broken) for name in sorted(names & value.keys())]
        wrong = max(len(errors), len(names - value.keys()))
    else:
        items = [view.part(view.schema["items"]) for view in views if isinstance(view.schema.get("items"), dict)]
        counted = [place for place in range(len(value)) if items or (*path, place) in broken]
        shares = [_share(items, value[place], (*path, place), broken) for place in counted]
        wrong = len(errors)
    return sum(shares) / (len(shares) + wrong) if shares else 0.0


def _together(view: View) -> list[View]:
    """This schema and those that hold with it for the same value: what it refers to, and its allOf. There are no circles in them."""
    if not isinstance(view.schema, dict):
        return []
    inner = [*view.targets(), *map(view.part, view.schema.get("allOf", ()))]
    return [view, *(found for part in inner for found in _together(part))]
