"""The operator's pages: one module for each page and its forms (docs/decisions/0004, 0032)."""

from app.web.console import edit, errors, new, token, tokens
from app.web.console.blueprint import bp

__all__ = ["bp", "edit", "errors", "new", "token", "tokens"]
