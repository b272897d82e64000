"""Templates, compiled once by gunicorn's master for all workers that it forks.

Compiling one takes up to 60 ms, in which a worker would answer no other request.
"""

from __future__ import annotations

from types import CodeType

from flask import Flask
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from app.web import filters


class _Codes(BytecodeCache):
    """Keeps the code of templates in memory."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def get_bucket(self, environment: Environment, name: str, _: str | None, source: str) -> Bucket:
        # The name of the file would be part of the key, and jinja2 fails if it is not UTF-8.
        return super().get_bucket(environment, name, None, source)

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


_CODES = _Codes()


def register(app: Flask) -> None:
    """Let *app* use the templates that were compiled in this process or inherited by it."""
    app.jinja_env.bytecode_cache = _CODES


def compile_all() -> None:
    """Compile the templates that were not compiled before."""
    app = Flask("app")
    register(app)
    filters.register(app)
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)
