"""A plain Flask view and redis-py that run our own script, one round trip for each request."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import redis
from flask import Flask, Response, request

from app.store import keys

PEPPER = os.environ["PEPPER"]
LIMIT = os.environ["RATE_LIMIT_MAX"]
WINDOW_S = os.environ["RATE_LIMIT_WINDOW_SEC"]
SCRIPT = Path(__file__).resolve().parents[2] / "app" / "store" / "lua" / "take.lua"
STATUSES = {b"allowed": 200, b"wrong_host": 403, b"rate_limited": 429}
CHALLENGE = {"WWW-Authenticate": "Bearer"}
HEADERS = {401: CHALLENGE, 429: {"Retry-After": WINDOW_S}}

app = Flask(__name__)
store = redis.Redis(port=int(os.environ["REDIS_PORT"]))
take = store.register_script(SCRIPT.read_text("ascii"))


@app.errorhandler(redis.RedisError)
def unavailable(_: Exception) -> Response:
    """Fail closed."""
    return Response("redis unavailable", 503, mimetype="text/plain")


@app.get("/auth")
def auth() -> Response:
    """Answer a ForwardAuth sub-request."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return Response("missing bearer token", 401, CHALLENGE, "text/plain")
    host = request.headers.get("X-Forwarded-Host", "").lower()
    outcome = ask(sha256((token + PEPPER).encode()).hexdigest(), host)
    status = STATUSES.get(outcome, 401)
    return Response(outcome, status, HEADERS.get(status), "text/plain")


def ask(digest: str, host: str) -> bytes:
    """Return the script's outcome for that token and host."""
    args = (LIMIT, WINDOW_S, f",{host},", "", "", "", "the call")
    outcome: bytes = take(keys=keys.all_of(digest), args=args)[1]
    return outcome
