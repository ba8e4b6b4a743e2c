"""Errors that nobody foresaw: logged in full here, shown to the caller as a number only."""

import secrets

import structlog

from tidegate.contracts.errors import InternalError

_log = structlog.stdlib.get_logger(module=__name__)


def incident(where: str, error: BaseException) -> InternalError:
    """Log `error` under a new incident id, and return what the caller may see of it."""
    number = secrets.token_hex(6)
    _log.error("incident", incident=number, where=where, exc_info=error)
    return InternalError(f"Something went wrong on our side (incident {number}).")
