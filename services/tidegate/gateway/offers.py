"""Which models there are, for callers that name one. No I/O."""

from typing import Final

from tidegate.contracts.errors import InvalidRequest, NotFound, Reason
from tidegate.providers.routes import Route, Routes

_MODELS_NAMED: Final = 20
_LONGEST_ECHO: Final = 200
_PATHS: Final = {"chat": "/v1/chat/completions or /v1/jobs", "embeddings": "/v1/embeddings"}


def route_of(routes: Routes, model: str, kind: str, *, field: str = "model") -> Route:
    """The route of a public model of this kind; `field` is where the caller names it.

    Raises:
        NotFound: MODEL_NOT_FOUND, with the models that there are.
        InvalidRequest: the model is of the other kind, with the path where that is called.
    """
    route = routes.get(model)
    if route is None:
        raise no_such_model(routes, model, kind, field=field)
    if route.kind != kind:
        raise InvalidRequest(
            f"{model!r} is a model of {route.kind}: call it at {_PATHS[route.kind]}",
            field=field,
        )
    return route


def no_such_model(
    routes: Routes, model: str, kind: str | None = None, *, field: str = "model"
) -> NotFound:
    """The refusal of a model that is not offered; it names those that are (of `kind`, if given)."""
    names = [name for name, route in routes.items() if kind in (None, route.kind)]
    more = len(names) - _MODELS_NAMED
    offered = ", ".join(names[:_MODELS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return NotFound(
        f"there is no model {model[:_LONGEST_ECHO]!r}; there are {offered or 'none'}",
        reason=Reason.MODEL_NOT_FOUND,
        field=field,
    )
