"""What every setting of a config is, read from its class: key, type, default, unit and meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dakpn.config.base import Config, Unit

_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", Any: "any value"}
_BOUNDS = {"ge": "{:g} or more", "gt": "above {:g}", "le": "{:g} or less", "lt": "below {:g}"}
_CLOSED = (("gt", "ge", 1), ("lt", "le", -1))
_TAG = "kind"


@dataclass(frozen=True)
class Setting:
    """One setting, or one section of them.

    Attributes:
        key: dotted, as an override has it; `[]` stands for the items of a list, NAME for a name of one's own.
        type: in words, with the range.
        required: whether it has to be given.
        default: as JSON; None where there is none, and of a section whose settings are listed.
        unit: what its numbers count or measure; None where they are plain numbers or none.
        meaning: what it does.
        only_with: the `kind` of its section that has it; None if it does not depend on one.
        is_section: whether it holds the settings that follow.
    """

    key: str
    type: str
    required: bool
    default: Any
    unit: str | None
    meaning: str
    only_with: str | None = None
    is_section: bool = False


def settings_of(schema: type[Config]) -> list[Setting]:
    """All settings of a config in the order of its classes, those of a section after the section."""
    return list(_below(schema, None, "", None, ()))


def _below(
    schema: type[Config], defaults: Config | None, prefix: str, only_with: str | None, above: tuple[type, ...]
) -> Iterator[Setting]:
    """Settings of one section.

    Args:
        schema: the section's class.
        defaults: the section as it is where nothing is given; None: the class's own defaults.
        prefix: Prefix of the keys.
        only_with: the kind of the section.
        above: classes whose settings are being listed; they are not listed again inside themselves.
    """
    for name, field in schema.model_fields.items():
        if name == _TAG and len(get_args(field.annotation)) == 1:
            continue  # told by the section itself
        default = getattr(defaults, name) if defaults is not None else field.get_default(call_default_factory=True)
        required = defaults is None and field.is_required()
        key = f"{prefix}{name}"
        sections, place = _sections(field.annotation)
        if not sections:
            unit = _unit(field.annotation, field.metadata)
            words = _words(field.annotation, field.metadata)
            yield Setting(key, words, required, _plain(default, required), unit, field.description or "", only_with)
            continue
        yield _section(key + place, field, sections, required, default, only_with)
        for section in sections:
            if section in above:
                continue
            kind = _kind(section) if len(sections) > 1 else only_with
            given = default if isinstance(default, section) else None
            yield from _below(section, given, f"{key}{place}.", kind, (*above, *sections))


def _section(
    key: str, field: FieldInfo, sections: list[type[Config]], required: bool, default: Any, only_with: str | None
) -> Setting:
    meaning = field.description or ""
    if len(sections) == 1:
        shown = None if isinstance(default, Config) else _plain(default, required)
        words = "section or null" if NoneType in get_args(field.annotation) else "section"
        return Setting(key, words, required, shown, None, meaning, only_with, True)
    kinds = {_kind(section): _summary(section) for section in sections}
    told = "; ".join(f"{kind}: {summary}" for kind, summary in kinds.items())
    if isinstance(default, Config):
        default = _kind(type(default))
    elif isinstance(default, tuple):
        default = [_kind(type(item)) for item in default]
    words = f"one of {', '.join(kinds)}"
    return Setting(
        f"{key}.{_TAG}", words, required, _plain(default, required), None, f"{meaning}. {told}", only_with, True
    )


def _sections(annotation: Any) -> tuple[list[type[Config]], str]:
    """The classes of sections that a field may hold, and how the keys of a list or mapping of them go on."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation], ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _sections(arguments[0])
    if origin in (Union, UnionType):
        return [section for member in arguments for section in _sections(member)[0]], ""
    if origin is tuple:
        return _sections(arguments[0])[0], "[]"
    if origin in (dict, Mapping):
        return _sections(arguments[1])[0], ".NAME"
    return [], ""


def _kind(section: type[Config]) -> str:
    return section.model_fields[_TAG].default


def _summary(section: type[Config]) -> str:
    return " ".join((section.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def _plain(value: Any, required: bool) -> Any:
    """A default as JSON."""
    if required:
        return None
    if isinstance(value, tuple | list):
        return [_plain(item, False) for item in value]
    return str(value) if isinstance(value, Path) else value


def _unit(annotation: Any, metadata: list[Any]) -> str | None:
    named = [extra.name for extra in metadata if isinstance(extra, Unit)]
    if named or get_origin(annotation) is Literal:
        return named[0] if named else None
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _unit(inner[0], list(inner[1:]))
    return next((unit for member in inner if (unit := _unit(member, []))), None)


def _words(annotation: Any, metadata: list[Any]) -> str:
    """A type in words, with its range."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        texts = [str(value) for value in arguments]
        return " or ".join(texts) if len(texts) < 3 else f"one of {', '.join(texts)}"
    if origin in (Union, UnionType):
        return _alternatives(annotation, metadata)
    if origin is tuple:
        one = _words(arguments[0], [])
        return f"list: {one}" if arguments[-1] is Ellipsis else f"list of {len(arguments)}: {one}"
    if annotation is NoneType:
        return "null"
    return ", ".join([_NAMES.get(annotation, str(annotation)), *_range(annotation is int, metadata)])


def _alternatives(union: Any, metadata: list[Any]) -> str:
    members = get_args(union)
    texts = tuple(text for member in members if get_origin(member) is Literal for text in get_args(member))
    words = [_words(m, metadata) for m in members if m is not NoneType and get_origin(m) is not Literal]
    words += [_words(Literal[texts], [])] * bool(texts) + ["null"] * (NoneType in members)
    return ("; or " if any(mark in word for word in words for mark in ",:") else " or ").join(words)


def _range(whole: bool, metadata: list[Any]) -> list[str]:
    """Bounds in words, such as "0 to 1" or "above 0"."""
    extras = [inner for extra in metadata for inner in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
    bounds = {name: getattr(extra, name) for extra in extras for name in _BOUNDS if hasattr(extra, name)}
    if whole:  # above 0 is 1 or more
        bounds |= {closed: bounds.pop(name) + by for name, closed, by in _CLOSED if name in bounds}
    if {"ge", "le"} <= bounds.keys():
        return [f"{bounds['ge']:g} to {bounds['le']:g}"]
    return [words.format(bounds[name]) for name, words in _BOUNDS.items() if name in bounds]
