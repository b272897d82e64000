"""The same check as the usual FastAPI + uvicorn + redis.asyncio app would make it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Annotated

import redis.asyncio as redis
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import PlainTextResponse

PEPPER = os.environ["PEPPER"]
LIMIT = int(os.environ["RATE_LIMIT_MAX"])
WINDOW_S = int(os.environ["RATE_LIMIT_WINDOW_SEC"])

# By default the pool raises at the 101st connection, which 256 callers need.
store = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True, max_connections=1024)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the pool at the end."""
    yield
    await store.aclose()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(redis.RedisError)
async def unavailable(_: Request, __: Exception) -> PlainTextResponse:
    """Fail closed."""
    return PlainTextResponse("redis unavailable", 503)


@app.get("/auth", response_class=PlainTextResponse)
async def auth(
    authorization: Annotated[str, Header()] = "", x_forwarded_host: Annotated[str, Header()] = ""
) -> str:
    """Answer a ForwardAuth sub-request."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "missing bearer token", {"WWW-Authenticate": "Bearer"})
    digest = sha256((token + PEPPER).encode()).hexdigest()
    hosts = await store.hget(f"tokens:{digest}", "hosts")
    if hosts is None:
        raise HTTPException(401, "invalid token", {"WWW-Authenticate": "Bearer"})
    if x_forwarded_host.lower() not in str(hosts).split(","):
        raise HTTPException(403, "forbidden for host")
    if await requests_in_window(digest) > LIMIT:
        raise HTTPException(429, "rate limit exceeded", {"Retry-After": str(WINDOW_S)})
    return "OK"


async def requests_in_window(digest: str) -> int:
    """Count this request in its token's fixed window."""
    key = f"rate:{digest}"
    count = int(await store.incr(key))
    if count == 1:
        await store.expire(key, WINDOW_S)
    return count
