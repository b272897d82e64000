"""Apply TOKENS_FILE once per start and reload, in one worker (docs/decisions/0030)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from app.core.declared import InvalidFileError
from app.core.durability import WARNINGS
from app.core.errors import BusyError, ConflictError, StoreUnavailableError
from app.services import Services
from app.tokens_file import SHARED, TokensFile

log = logging.getLogger(__name__)

_POLL_S = 1.0
_FIRST_WAIT_S, _LAST_WAIT_S = 0.5, 30.0


def apply_in_turn(services: Services, is_alive: Callable[[], bool], file: TokensFile = SHARED) -> None:
    """Apply the file unless another worker does; try again until it is applied, or the worker stops."""
    wait_s = _FIRST_WAIT_S
    while services.settings.tokens_file and is_alive() and not file.is_done:
        if not file.take_charge():
            gevent.sleep(_POLL_S)
            continue
        try:
            _apply(services)
            file.finish()
        except (BusyError, ConflictError, StoreUnavailableError) as error:
            fields = {"error": error, "wait_s": wait_s}
            level = logging.INFO if isinstance(error, BusyError) else logging.WARNING
            log.log(level, "TOKENS_FILE is not applied yet: %(error)s wait_s=%(wait_s)s", fields)
            gevent.sleep(wait_s)
            wait_s = min(2 * wait_s, _LAST_WAIT_S)


def _apply(services: Services) -> None:
    """Apply the file, and log each change; a file that is not valid, after a reload, changes nothing."""
    settings = services.settings
    try:
        applied = services.applier.apply(
            settings.tokens_file.tokens,
            prune=settings.tokens_file_prune,
            report=lambda step: log.info("TOKENS_FILE: %(change)s", {"change": step}),
        )
    except InvalidFileError as error:
        problems = "; ".join(str(error).splitlines())
        log.error("TOKENS_FILE is not valid, nothing was changed: %(error)s", {"error": problems})  # noqa: TRY400 - no traceback
        return
    for note in applied.plan.notes:
        log.info("TOKENS_FILE: %(change)s", {"change": note})
    log.info("TOKENS_FILE was applied: %(change)s", {"change": applied.plan.summary(is_done=True)})
    if warning := WARNINGS.get(applied.durability):
        log.warning(warning)
