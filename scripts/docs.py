"""``make docs``: write the tables of settings, fields and findings into the docs, and ``.env.example``."""

from __future__ import annotations

import re
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.core.fields import FIELDS  # noqa: E402 - the path comes first
from app.core.findings import RULES  # noqa: E402
from app.settings import Settings  # noqa: E402

SETTINGS_PAGE, FIELDS_PAGE = ROOT / "docs/configuration.md", ROOT / "docs/tokens.md"
FINDINGS_PAGE = ROOT / "docs/doctor.md"


def settings_page(text: str) -> str:
    """Return the *text* of the settings' page with the table from the code."""
    rows = [f"| `{_name(s)}` | {_default(s)} | {s.metadata['help']} |" for s in fields(Settings)]
    return _filled(text, "settings", ["| Variable | Default | Meaning |", "| --- | --- | --- |", *rows])


def fields_page(text: str) -> str:
    """Return the *text* of the fields' page with the table from the code."""
    rows = [f"| `{name}` | {field.meaning()} | {field.kind} |" for name, field in FIELDS.items()]
    return _filled(text, "fields", ["| Field | Meaning | Value |", "| --- | --- | --- |", *rows])


def findings_page(text: str) -> str:
    """Return the *text* of the page of ``flask doctor`` with the table of findings from the code."""
    rows = [f"| {_found(r.what)} | `{name}` | {r.severity} | {_cell(r.fix)} |" for name, r in RULES.items()]
    head = ["| What is found | Id | Severity | What to change |", "| --- | --- | --- | --- |"]
    return _filled(text, "findings", [*head, *rows])


def _found(what: str) -> str:
    """Return the text of a finding with the names of its details."""
    return _cell(re.sub(r"\{(\w+)\}", r"*\1*", what.replace("{server}", "")))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _filled(text: str, what: str, lines: list[str]) -> str:
    """Return *text* with *lines* between the markers of *what*."""
    begin, end = f"<!-- {what}: made by `make docs` -->\n", f"<!-- end of {what} -->\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return "".join([before, begin, *(f"{line}\n" for line in lines), end, after])


def env_example() -> str:
    """Return a file with every setting, its meaning and its default."""
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
        need = setting.metadata["need"].upper()
        return f"required, unless `{need}` is false" if need else "required"
    return f"`{default}`" if default else ""


def main() -> None:
    """Rewrite the documents and ``.env.example``."""
    pages = {SETTINGS_PAGE: settings_page, FIELDS_PAGE: fields_page, FINDINGS_PAGE: findings_page}
    for page, write in pages.items():
        page.write_text(write(page.read_text("utf-8")), "utf-8")
    (ROOT / ".env.example").write_text(env_example(), "utf-8")


if __name__ == "__main__":
    main()
