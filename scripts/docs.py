"""``make docs``: write the table of settings into the documents and into ``.env.example``."""

from __future__ import annotations

import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.settings import Settings  # noqa: E402 - the path comes first

SETTINGS_PAGE = ROOT / "docs/configuration.md"
BEGIN, END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->\n"


def settings_page(text: str) -> str:
    """Return the *text* of the settings' page with their table as the code has it."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    rows = [f"| `{_name(s)}` | {_default(s)} | {s.metadata['help']} |" for s in fields(Settings)]
    table = "\n".join(["| Variable | Default | Meaning |", "| --- | --- | --- |", *rows])
    return f"{before}{BEGIN}{table}\n{END}{after}"


def env_example() -> str:
    """Return an example of .env with every setting, its meaning and its default."""
    head = "# Copy to .env and fill in the secrets, each for instance with: openssl rand -hex 32\n"
    return head + "".join(map(_example, fields(Settings)))


def _example(setting: Field[Any]) -> str:
    default = setting.metadata["default"]
    line = f"{_name(setting)}={default or ''}"
    return f"\n# {setting.metadata['help']}\n{line if default is None else f'#{line}'}\n"


def _name(setting: Field[Any]) -> str:
    return setting.name.upper()


def _default(setting: Field[Any]) -> str:
    default = setting.metadata["default"]
    if default is None:
        return "required"
    return f"`{default}`" if default else ""


def main() -> None:
    """Rewrite both files."""
    SETTINGS_PAGE.write_text(settings_page(SETTINGS_PAGE.read_text("utf-8")), "utf-8")
    (ROOT / ".env.example").write_text(env_example(), "utf-8")


if __name__ == "__main__":
    main()
