"""The HTTP surface of tokens for browsers: whoever has a key makes them for its pages."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from tidegate.chassis.keyring import Keyring
from tidegate.contracts.json_body import decode_body
from tidegate.gateway.entrance import Entrance
from tidegate.gateway.jobs import Jobs


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The job that a token is for; none: all of the tenant's."""

    job_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class TokenJson(msgspec.Struct, frozen=True):
    """A token; `expires_at` is seconds since the epoch."""

    token: str
    expires_at: int
    job_id: str | None


_decoder = msgspec.json.Decoder(TokenBody)


class TokensApi:
    """`seconds` is how long a token is good."""

    def __init__(self, jobs: Jobs, entrance: Entrance, keyring: Keyring, *, seconds: int) -> None:
        self._jobs = jobs
        self._entrance = entrance
        self._keyring = keyring
        self._seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.post("/v1/tokens", self.create)]

    async def create(self, request: web.Request) -> web.Response:
        """201 with a token, for one job or for all of the tenant's.

        Raises:
            InvalidRequest, RequestTooLarge, Unauthenticated, PermissionDenied: as they say.
            NotFound: there is no such job.
            FailedPrecondition: tokens are off.
        """
        caller, _ = self._entrance.admit(request)
        asked = decode_body(_decoder, await self._entrance.read_json_body(request))
        if asked.job_id is not None:
            await self._jobs.get(caller, asked.job_id)
        token, end = self._keyring.new_token(caller, job_id=asked.job_id, seconds=self._seconds)
        return web.Response(
            status=201,
            body=msgspec.json.encode(TokenJson(token, end, asked.job_id)),
            headers={"Cache-Control": "no-store"},
            content_type="application/json",
        )
