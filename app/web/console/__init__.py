"""The operator's pages: one module for each page and its forms (docs/decisions/0004, 0032)."""

from app.web.console import audit, bulk, edit, errors, new, overview, token, tokens, trial
from app.web.console.blueprint import bp

__all__ = ["audit", "bp", "bulk", "edit", "errors", "new", "overview", "token", "tokens", "trial"]
