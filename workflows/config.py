"""`dakpn config`: every setting of a command, as its config class has it."""

import json
import shutil
import textwrap
from dataclasses import asdict
from typing import Any

import typer

from dakpn.config.reference import Setting, settings_of
from dakpn.errors import UsageError
from dakpn.storage import StorageOptions
from workflows.command_configs import CONFIGS

SCHEMAS = {**CONFIGS, "storage": StorageOptions}
"""The command's name, or `storage` for the file that DAKPN_STORAGE_OPTIONS names: the class of all its settings."""
_WIDEST = 100
_INDENT = "    "


def main(command: str, section: str | None = None) -> list[Setting]:
    """Return the settings of a command, or those of one section of it.

    Raises:
        UsageError: The command has no settings of this kind, or there is no such section.
    """
    if command not in SCHEMAS:
        raise UsageError(f"got the command {command!r}; expected one of {', '.join(SCHEMAS)}")
    settings = settings_of(SCHEMAS[command])
    if section is None:
        return settings
    found = [s for s in settings if s.key == section or s.key.startswith((f"{section}.", f"{section}[]"))]
    if not found:
        names = dict.fromkeys(s.key.partition(".")[0].removesuffix("[]") for s in settings)
        raise UsageError(f"{command} has no setting {section!r}; its settings and sections are {', '.join(names)}")
    return found


def as_json(settings: list[Setting]) -> str:
    """One JSON document: a list of objects with the attributes of `Setting`."""
    return json.dumps([asdict(setting) for setting in settings], indent=2)


def as_markdown(settings: list[Setting]) -> str:
    """One table."""
    rows = ["| setting | type | unit | default | meaning |", "|---|---|---|---|---|"]
    for setting in settings:
        default = "**required**" if setting.required else _code(_default(setting))
        meaning = f"(`{setting.only_with}`) {setting.meaning}" if setting.only_with else setting.meaning
        cells = [f"`{setting.key}`", setting.type, setting.unit or "", default, meaning]
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def print_settings(settings: list[Setting]) -> None:
    """Print KEY=DEFAULT, below it type and unit, and below them the meaning, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    for setting in settings:
        default = _default(setting)
        head = f"{setting.key}={default}" if default else setting.key
        notes = [f"kind {setting.only_with}"] * bool(setting.only_with) + ["required"] * setting.required
        typer.echo(f"{head}  ({', '.join(notes)})" if notes else head)
        words = f"{setting.type} ({setting.unit})" if setting.unit else setting.type
        for text in (words, setting.meaning):
            for line in textwrap.wrap(text, width - len(_INDENT), break_on_hyphens=False):
                typer.echo(f"{_INDENT}{line}")


def _default(setting: Setting) -> str:
    """As an override would give it; nothing where there is none."""
    if setting.required or (setting.is_section and setting.default is None and "null" not in setting.type):
        return ""
    return _flow(setting.default)


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_flow(item) for item in value)}]"
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
