"""Recognizes plain requests to /auth in the bytes of a connection (docs/decisions/0007).

This is a recognizer for a subset of HTTP and no second parser. Whatever does not match the grammar below as a
whole is left to gunicorn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app.core.credentials import Source, headers
from app.web.forwarded import LOGGED_HEADERS, READ_HEADERS
from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

_START = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /auth")
_FIELD_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n"  # RFC 9110 section 5, with obs-text
_REQUEST_LINE = re.compile(rb"%b(?:[/?][!-~]*+)? HTTP/1\.([01])\r\n" % _START.pattern)
_HEAD = re.compile(rb"%b((?:%b){1,%d}+)\r\n" % (_REQUEST_LINE.pattern, _FIELD_LINE, MAX_FIELDS))
_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # of a head; or a bare LF, which no match contains
_FRAMING = ("Host", "Connection", "Content-Length", "Content-Type")
_UNSUPPORTED = ("Transfer-Encoding", "Expect")
_PERSISTENCE = ("close", "keep-alive")  # defaults of Connection by minor version, and its supported values


class Request(NamedTuple):
    """A recognized request."""

    fields: dict[str, str]  # only those with a meaning
    version: int  # minor version of HTTP/1
    is_head: bool  # the response has no body
    is_last: bool  # the connection closes after the response
    end: int  # offset of the next request


def field_names(sources: Iterable[Source]) -> Mapping[str, str]:
    """Return the names of the fields with a meaning, by their lower-case forms; "" for unsupported fields.

    The response or its log line depends on them, or they frame the request; Flask ignores all others too.
    """
    read = (*READ_HEADERS, *LOGGED_HEADERS, *headers(sources), *_FRAMING)
    return {name.lower(): name for name in read} | dict.fromkeys(map(str.lower, _UNSUPPORTED), "")


def recognize(data: bytes, names: Mapping[str, str]) -> Request | None:
    """Return the request at the start of *data*, or None if it does not match the supported subset.

    *names* are those that ``field_names`` returns.
    """
    head = _HEAD.match(data, 0, MAX_HEAD_BYTES)
    if not head:
        return None
    fields, version = _read_fields(head[3].decode("latin-1"), names), int(head[2])
    if fields is None:
        return None
    persistence = fields.get("Connection", _PERSISTENCE[version]).lower()
    if persistence not in _PERSISTENCE or fields.get("Content-Length", "0") != "0":
        return None
    return Request(fields, version, head[1] == b"HEAD", persistence == "close", head.end())


def _read_fields(lines: str, names: Mapping[str, str]) -> dict[str, str] | None:
    """Return the fields with a meaning; None if one of them is repeated, or if any field is unsupported."""
    fields: dict[str, str] = {}
    for line in lines.split("\r\n"):
        sent, _, value = line.partition(":")
        name = names.get(sent.lower())
        if name is None:
            continue
        if not name or name in fields:
            return None
        fields[name] = value.strip(" \t")
    return fields


def is_incomplete(data: bytes | bytearray, checked: int = 0) -> bool:
    """Tell whether *data* may become a head that ``recognize`` accepts; *checked* bytes were tested before.

    A complete bad request line is not worth waiting for, because gunicorn rejects it at once. This runs for
    each packet, so it searches no byte twice.
    """
    if len(data) >= MAX_HEAD_BYTES or not _START.match(data) or _END.search(data, max(0, checked - 3)):
        return False
    return data.find(b"\n") < checked or bool(_REQUEST_LINE.match(data))
