"""One loader for all configs: a YAML file plus `dotted.key=value` overrides, checked against the schema.

A file may build on others: `extends: recipes/paper.yaml`, or a list of paths relative to the file. Later ones win over
earlier ones, and the file itself over all; sections are merged key by key.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dakpn.errors import ConfigError

C = TypeVar("C", bound=BaseModel)
_EXTENDS = "extends"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(
    schema: type[C], path: Path | str, overrides: Iterable[str] = (), *, leave_out: Collection[str] = ()
) -> C:
    """Read a YAML file, apply `dotted.key=value` overrides and validate.

    Args:
        schema: of the config.
        path: of the file.
        overrides: win over the file.
        leave_out: sections of the file that are for other commands.

    Raises:
        ConfigError: a file is missing or not YAML, or extends itself; an override is malformed; or a value or key
            does not fit the schema: the message names the path of the key and, for unknown keys, the valid ones.
    """
    values = {key: value for key, value in _read(Path(path), ()).items() if key not in leave_out}
    return build_config(schema, values, overrides, origin=str(path))


def parse_config(schema: type[C], text: str, overrides: Iterable[str] = (), *, origin: str) -> C:
    """Parse YAML text, apply overrides and validate; see `load_config`. `origin` names the text in errors."""
    return build_config(schema, _mapping(text, origin), overrides, origin=origin)


def build_config(
    schema: type[C], values: Mapping[str, Any], overrides: Iterable[str] = (), *, origin: str = "command line"
) -> C:
    """Validate `values` with `overrides` applied; see `load_config`."""
    merged = _copy(values)
    for override in overrides:
        _apply(merged, override)
    try:
        return schema.model_validate(merged)
    except ValidationError as error:
        problems = "; ".join(_describe(schema, dict(problem)) for problem in error.errors())
        raise ConfigError(f"{origin}: {problems}") from error


def to_yaml(config: BaseModel) -> str:
    """The resolved config as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path, within: tuple[Path, ...]) -> dict[str, Any]:
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
        merged = _laid_over(merged, _read(path.parent / base, (*within, path.resolve())))
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
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader subclass
    # PyYAML lets through what it meets while making values: impossible dates, unhashable keys.
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from error


def _copy(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _copy(value) for key, value in values.items()}
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise ConfigError(f"override {override!r} is malformed; expected dotted.key=value")
    value = _load_yaml(text, f"override {override!r}")
    *parents, last = dotted.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
        values = child
    values[last] = value


def _describe(schema: type[BaseModel], problem: dict[str, Any]) -> str:
    location = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        valid = _valid_keys(schema, problem["loc"][:-1])
        return f"unknown key {location}; valid here: {', '.join(sorted(valid))}"
    if problem["type"] == "missing":
        return f"{location} is required and not set; set it in the YAML or as {location}=..."
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):  # a section's rule names its keys
        return f"{location}: {problem['ctx']['error']}"
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
