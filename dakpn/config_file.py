"""One loader for all configs: a YAML file plus `dotted.key=value` overrides, checked against the schema.

Of YAML's scalars, `true` and `false`, `null`, and plain decimal numbers are values; all others (`2026-11-27`, `yes`,
`010`) are text, which the schema takes as the type of the field asks. The value of an override is taken by that type
from the start: text and paths are what is written, but for quotes around the whole and, where a field may be empty,
`null`.

A file may build on others: `extends: recipes/paper.yaml`, or a list of paths relative to the file. Later ones win over
earlier ones, and the file itself over all; sections are merged key by key.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dakpn.errors import ConfigError

C = TypeVar("C", bound=BaseModel)
_EXTENDS = "extends"


class _ConfigLoader(yaml.SafeLoader):
    """Safe YAML with few kinds of scalars, which refuses a key given twice instead of silently keeping the last."""

    yaml_implicit_resolvers: dict[str, list] = {}  # noqa: RUF012 - as PyYAML declares it; see `_SCALARS`

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            spelled = key.lstrip("0") or "0" if isinstance(key, str) and key.isdecimal() else str(key)
            if spelled in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(spelled)
        return super().construct_mapping(node, deep)


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    "merge": (r"<<", "<"),
}
"""What is taken for more than text: name -> pattern, first characters. All of it is so in YAML 1.1, too, so that text
which PyYAML has written stays text."""
for _name, (_pattern, _firsts) in _SCALARS.items():
    _ConfigLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_firsts))


def load_config(
    schema: type[C], path: Path | str, overrides: Iterable[str] = (), *, leave_out: Collection[str] = ()
) -> C:
    """Read a YAML file, apply `dotted.key=value` overrides and validate.

    Args:
        schema: Class of the config.
        path: Path of the file.
        overrides: win over the file.
        leave_out: sections of the file that are for other commands.

    Raises:
        ConfigError: a file is missing or not YAML, or extends itself; an override is malformed; or a value or key
            does not fit the schema: the message names the path of the key and, for unknown keys, the valid ones.
    """
    values = {key: value for key, value in read_config(path).items() if key not in leave_out}
    return build_config(schema, values, overrides, origin=str(path))


def read_config(path: Path | str, named: Callable[[str], str | None] = lambda name: None) -> dict[str, Any]:
    """Read a YAML file and those that it extends, without validating anything.

    Args:
        path: Path of the file.
        named: the text of a file that goes by a name, to be extended by it; None for all other names, which are paths.

    Raises:
        ConfigError: a file is missing or not YAML, or extends itself.
    """
    return _read(Path(path), (), named)


def parse_config(schema: type[C], text: str, overrides: Iterable[str] = (), *, origin: str) -> C:
    """Parse YAML text, apply overrides and validate; see `load_config`. `origin` names the text in errors."""
    return build_config(schema, _mapping(text, origin), overrides, origin=origin)


def build_config(
    schema: type[C], values: Mapping[str, Any], overrides: Iterable[str] = (), *, origin: str = "command line"
) -> C:
    """Validate `values` with `overrides` applied; see `load_config`."""
    merged = _copy(values)
    for override in overrides:
        _apply(schema, merged, override)
    try:
        return schema.model_validate(merged)
    except ValidationError as error:
        problems = "; ".join(_describe(schema, dict(problem)) for problem in error.errors())
        raise ConfigError(f"{origin}: {problems}") from error


def to_yaml(config: BaseModel) -> str:
    """The resolved config as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path, within: tuple[Path, ...], named: Callable[[str], str | None]) -> dict[str, Any]:
    """The values of a file, laid over those of the files that it extends."""
    if path.resolve() in within:
        raise ConfigError(f"config {path} extends itself; take it out of its own {_EXTENDS!r}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        wanted = f", which {within[-1]} extends," if within else ""
        raise ConfigError(f"config {path}{wanted} cannot be read ({error}); give the path of a YAML file") from error
    values = _mapping(text, str(path))
    bases = values.pop(_EXTENDS, [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise ConfigError(f"config {path}: {_EXTENDS} holds {base!r}; expected the path of a YAML file, or several")
        text = named(base)
        below = _read(path.parent / base, (*within, path.resolve()), named) if text is None else _mapping(text, base)
        merged = _laid_over(merged, below)
    return _laid_over(merged, values)


def _mapping(text: str, origin: str) -> dict[str, Any]:
    values = _load_yaml(text, f"config {origin}")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"config {origin} holds a {type(values).__name__}; expected a mapping of settings")
    return values


def _laid_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    if "kind" in above and above["kind"] != below.get("kind"):
        return above  # another kind has other settings
    return {key: _laid_over(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}


def _load_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_ConfigLoader)  # noqa: S506 - a SafeLoader subclass
    # PyYAML lets through what it meets while making values: impossible dates, unhashable keys.
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from error


def _copy(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _copy(value) for key, value in values.items()}
    return values


def _apply(schema: type[BaseModel], values: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise ConfigError(f"override {override!r} is malformed; expected dotted.key=value")
    keys = dotted.split(".")
    value = _value(text, _types_at(schema, keys), override)
    *parents, last = keys
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
        values = child
    values[last] = value


def _value(text: str, types: Sequence[Any], override: str) -> Any:
    """The value of an override for a field of one of these types."""
    holds_text = any(_is_text(kind) for kind in types)
    flow = text.lstrip()[:1] in ("[", "{") and any(_is_collection(kind) for kind in types)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    null = not text or (type(None) in types and text in ("null", "Null", "NULL"))
    if holds_text and not (flow or quoted or null):
        return text
    if not quoted and re.search(r"(^|\s)#", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)):
        raise ConfigError(f"override {override!r}: what follows # would be a comment; put quotes around such text")
    value = _load_yaml(text, f"override {override!r}")
    return None if holds_text and value == "" else value  # an empty path would be the current folder


def _types_at(schema: type[BaseModel], keys: Sequence[str]) -> list[Any]:
    """What the field at a dotted path may be; nothing if there is no such field."""
    types: list[Any] = [schema]
    for key in keys:
        types = [inner for kind in types for found in _below(kind, key) for inner in _alternatives(found)]
    return types


def _below(kind: Any, key: str) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind.model_fields[key].annotation] if key in kind.model_fields else []
    return list(get_args(kind))[1:] if get_origin(kind) in (dict, Mapping) else []


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union, and of unions in it, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for member in get_args(annotation) for inner in _alternatives(member)]
    return [annotation]


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in get_args(kind))
    return isinstance(kind, type) and issubclass(kind, str | Path)


def _is_collection(kind: Any) -> bool:
    return get_origin(kind) is not Literal and (
        get_origin(kind) is not None or (isinstance(kind, type) and issubclass(kind, BaseModel | Mapping))
    )


def _describe(schema: type[BaseModel], problem: dict[str, Any]) -> str:
    location = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        valid = _valid_keys(schema, problem["loc"][:-1])
        return f"unknown key {location}; valid here: {', '.join(sorted(valid))}"
    if problem["type"] == "missing":
        return f"{location} is required and not set; set it in the YAML or as {location}=..."
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):  # a section's rule names its keys
        return f"{location}: {problem['ctx']['error']}"
    if problem["type"] in ("model_type", "model_attributes_type"):
        valid = ", ".join(sorted(_valid_keys(schema, problem["loc"])))
        return f"{location} = {problem['input']!r}: expected a section, set as {location}.KEY=VALUE; its keys: {valid}"
    return f"{location} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _valid_keys(schema: type[BaseModel], location: Iterable[Any]) -> set[str]:
    models = [schema]
    for part in location:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if fields:
            models = [model for field in fields for model in _models_in(field.annotation)]
        else:  # an index or the tag of a tagged union: stay, or narrow to the tagged model
            tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == part]
            models = tagged or models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple, list, dict) or get_args(annotation):
        return [model for argument in get_args(annotation) for model in _models_in(argument)]
    return []
