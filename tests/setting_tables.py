"""The tables of settings in the documents; `python -m tests.setting_tables` renews them from the config classes."""

import re

from tests.paths import REPOSITORY
from workflows import config

DOCUMENTS = sorted((REPOSITORY / "docs").glob("*.md"))
_BLOCK = re.compile(r"(<!-- dakpn config (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def tables(text: str) -> list[str]:
    """The arguments of `dakpn config` that each marked table of a document is made with."""
    return [match[2] for match in _BLOCK.finditer(text)]


def renewed(text: str) -> str:
    """A document with its marked tables as `dakpn config ... --markdown` prints them."""
    return _BLOCK.sub(lambda m: f"{m[1]}{config.as_markdown(config.main(*m[2].split()))}\n{m[4]}", text)


if __name__ == "__main__":
    for page in DOCUMENTS:
        page.write_text(renewed(page.read_text()))
