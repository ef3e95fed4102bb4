"""`dakpn config`: every setting is described, and the documents say the same."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, NonNegativeInt, PositiveFloat

from dakpn.config import Config
from dakpn.config.base import Size, Unit
from dakpn.config.reference import settings_of
from tests.command import assert_failed, dakpn
from tests.setting_tables import DOCUMENTS, renewed, tables
from workflows.config import SCHEMAS


def config_classes(base: type[Config] = Config) -> Iterator[type[Config]]:
    for found in base.__subclasses__():
        if found.__module__.startswith("dakpn."):
            yield found
        yield from config_classes(found)


def test_every_field_of_every_config_is_described() -> None:
    classes = dict.fromkeys(config_classes())
    assert len(classes) > 40
    lacking = [
        f"{found.__name__}.{name}"
        for found in classes
        for name, field in found.model_fields.items()
        if name != "kind" and not field.description
    ]
    assert lacking == []


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_setting_of_a_command_has_a_type_and_a_meaning_in_words(command: str) -> None:
    for setting in settings_of(SCHEMAS[command]):
        assert len(setting.meaning) > 8, setting
        assert not setting.meaning.startswith(("of ", "that ")), setting
        assert not re.search(r"[<>{}]|typing", setting.type), setting


class _Small(Config):
    """The small kind."""

    kind: Literal["small"] = "small"
    width: Annotated[NonNegativeInt, Unit("channels")] = Field(default=4, le=9, description="how wide it is")


class _Named(Config):
    """The kind with a name. It has more lines.

    And more.
    """

    kind: Literal["named"] = "named"
    name: str = Field(description="how it is called")


class _Everything(Config):
    """All kinds of fields."""

    size: Size | None = Field(default=None, description="of images")
    rate: PositiveFloat = Field(default=2e-3, description="how fast")
    share: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["all"] = Field(default="all", description="how much")
    part: _Small = Field(default=_Small(width=7), description="one section")
    either: Annotated[_Small | _Named, Field(discriminator="kind")] = Field(default=_Small(), description="a choice")
    all_of: tuple[_Small, ...] = Field(default=(), description="a list")
    by_name: dict[str, _Named] = Field(description="a mapping")


def test_types_ranges_units_and_defaults_are_those_of_the_class() -> None:
    found = {(s.key, s.only_with): s for s in settings_of(_Everything)}
    told = {key: (s.type, s.unit, s.default) for key, s in found.items() if not s.is_section}
    assert told == {
        ("size", None): ("list of 2: whole number, 1 or more; or null", "pixels: height, width", None),
        ("rate", None): ("number, above 0", None, 0.002),
        ("share", None): ("number, above 0, below 1; or all", None, "all"),
        ("part.width", None): ("whole number, 0 to 9", "channels", 7),
        ("either.width", "small"): ("whole number, 0 to 9", "channels", 4),
        ("either.name", "named"): ("text", None, None),
        ("all_of[].width", None): ("whole number, 0 to 9", "channels", 4),
        ("by_name.NAME.name", None): ("text", None, None),
    }
    assert [key for (key, _), s in found.items() if s.required] == ["either.name", "by_name.NAME", "by_name.NAME.name"]
    choice = found["either.kind", None]
    assert (choice.type, choice.default) == ("one of small, named", "small")
    assert choice.meaning == "a choice. small: The small kind; named: The kind with a name. It has more lines"


def test_a_terminal_of_80_columns_shows_each_setting_whole() -> None:
    done = dakpn("config", "train", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "adversarial.patch_size=[96, 128]" in lines
    assert "run  (required)" in lines
    assert "encoder.network.variant=b0  (kind segformer)" in lines


def test_a_program_gets_one_json_document_of_one_section() -> None:
    done = dakpn("config", "evaluate", "real_labelled", "--json")
    found = {setting["key"]: setting for setting in json.loads(done.stdout)}
    assert next(iter(found)) == "real_labelled"
    assert found["real_labelled.counts"]["default"] == [0, 10, 30, 100, "all"]
    assert found["real_labelled.counts"]["unit"] == "images"
    assert found["real_labelled.dataset"]["required"]


def test_what_there_is_not_is_answered_with_what_there_is() -> None:
    assert_failed(dakpn("config", "paint"), 2, "paint", "train, tune, translate")
    assert_failed(dakpn("config", "train", "adversarial.stepz"), 2, "adversarial.stepz", "adversarial, stream")


def test_every_command_has_its_table_in_the_documents() -> None:
    shown = {table.split()[0] for page in DOCUMENTS for table in tables(page.read_text())}
    assert shown == set(SCHEMAS)


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if tables(page.read_text())], ids=lambda page: page.name)
def test_the_tables_of_the_documents_are_what_the_command_prints(page: Path) -> None:
    text = page.read_text()
    assert text == renewed(text), f"{page.name} is out of date; run `make settings`"
