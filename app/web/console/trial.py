"""The page that tries a request, which nobody sent, and spends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from flask import request

from app.core import trial_words
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.core.search import may_be_secret
from app.core.tokens import Token
from app.core.verdicts import Verdict
from app.services import services
from app.web import forms, parameters, trials
from app.web.console.blueprint import bp
from app.web.console.rendering import Shown, render
from app.web.messages import why

_SHARED = ("id", "host", "method", "path", "address")
_USUAL = {"method": "GET", "path": "/"}
_EITHER = "one of the two is needed: this, or the secret beside it"
_NO_SECRET = "an address takes no secret, because it is logged and kept; type it into the form"  # noqa: S105


class Result(NamedTuple):
    """The decision as the API returns it, in *words*, and the *token* if it is stored."""

    decided: Mapping[str, Any]
    words: trial_words.Words
    token: Token | None


@bp.get("/try")
def try_page() -> Shown:
    """Show the form, with what the address fills in."""
    try:
        return _form(_USUAL | _given())
    except InvalidFieldsError as error:
        return _form(request.args, problems=error.problems), 400


@bp.post("/try_token")
def try_token() -> Shown | tuple[str, int, dict[str, str]]:
    """Show what /auth would answer, and what to change."""
    typed = forms.as_typed(request.form)
    try:
        sent = _sent()
        return _form(typed, result=_result(sent))
    except InvalidFieldsError as error:
        return _form(typed, problems=error.problems), 400
    except NoSuchTokenError as error:
        return _form(typed, problems={"id": str(error)}), 404
    except ConflictError as error:
        return _form(typed, problems={"id": str(error)}), 409
    except StoreUnavailableError as error:
        return _form(typed, problems={"": why(error, request.endpoint)}), 503, {"Retry-After": "1"}


def _given() -> dict[str, str]:
    """Return what the address fills in; raise InvalidFieldsError."""
    if forms.TOKEN in request.args:
        raise InvalidFieldsError({forms.TOKEN: _NO_SECRET})
    parameters.refuse_others({*_SHARED})
    given = {name: text for name, text in request.args.items() if text}
    if problems := trials.invalid(given):
        raise InvalidFieldsError(problems)
    return given


def _sent() -> dict[str, str]:
    """Return the fields that are not blank; a secret counts as it was typed, as it does at /auth."""
    typed = forms.typed(request.form)
    sent = {name: text if name == forms.TOKEN else text.strip() for name, text in typed.items()}
    sent = {name: text for name, text in sent.items() if text or name not in {*_SHARED, forms.TOKEN}}
    if ("id" in sent) == (forms.TOKEN in sent):
        raise InvalidFieldsError({"id": _EITHER} | trials.invalid(sent))
    return sent


def _result(sent: dict[str, str]) -> Result:
    decided = trials.decide(services(), sent)
    words = trial_words.explain(Verdict(decided["verdict"]), decided["ended"], sent)
    return Result(decided, words, _stored(sent.get("id") or decided["id"]))


def _stored(name: str | None) -> Token | None:
    with suppress(NoSuchTokenError, ConflictError):
        return services().catalog.find_public(name) if name else None
    return None


def _form(typed: Mapping[str, str], **more: Any) -> str:
    """Return the page with what was *typed*, but without anything that may be a secret."""
    prefix = services().settings.token_prefix
    shown = trials.without_secrets({name: typed[name] for name in _SHARED if typed.get(name)}, "id")
    shared = {name: text for name, text in shown.items() if not may_be_secret(text, prefix)}
    return render("try.html", typed=shown, shared=shared, **{"problems": {}, "result": None} | more)
