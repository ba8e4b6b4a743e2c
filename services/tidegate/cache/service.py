"""The gRPC surface: CacheService of tidegate.v1."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from tidegate.cache.entries import StoreError
from tidegate.cache.explaining import Explaining
from tidegate.cache.lookups import Lookups
from tidegate.cache.proto import answer_of, explain_message, lookup_message, selection_of
from tidegate.cache.storing import Storing
from tidegate.cache.upkeep import Stats, Upkeep
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.grpc_methods import Context, add_service, authorization, unary
from tidegate.chassis.keyring import Keyring
from tidegate.contracts.errors import (
    InvalidRequest,
    PermissionDenied,
    Unavailable,
)
from tidegate.contracts.subjects import check_name
from tidegate.v1 import cache_pb2 as pb

SERVICE: Final = "tidegate.v1.CacheService"


@dataclass(frozen=True, slots=True)
class Core:
    """What the surface stands on. `store` and `embedder` are what the statistics tell."""

    lookups: Lookups
    storing: Storing
    explaining: Explaining
    upkeep: Upkeep
    store: str
    embedder: Callable[[], str]
    threshold: float
    now_ms: Callable[[], int]


class CacheService:
    """The servicer. Whose entries are meant is decided here, and nowhere below.

    The platform's own processes carry the fleet's key and name the tenant; callers carry an API
    key, which decides it.
    """

    def __init__(self, core: Core, keyring: Keyring, fleet: FleetKey) -> None:
        self._core = core
        self._keyring = keyring
        self._fleet = fleet

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        methods = {
            "Lookup": unary(pb.LookupRequest, self._lookup),
            "Store": unary(pb.StoreRequest, self._store),
            "Explain": unary(pb.ExplainRequest, self._explain),
            "Invalidate": unary(pb.InvalidateRequest, self._invalidate),
            "ReportFeedback": unary(pb.ReportFeedbackRequest, self._feedback),
            "GetStats": unary(pb.GetStatsRequest, self._stats),
        }
        add_service(server, SERVICE, methods)

    async def _lookup(self, request: pb.LookupRequest, context: Context) -> pb.LookupResponse:
        self._require_fleet(context)
        tenant = _tenant_named(request.tenant)
        found = await self._core.lookups.lookup(tenant, request.model, request.chat_json)
        return lookup_message(found)

    async def _store(self, request: pb.StoreRequest, context: Context) -> pb.StoreResponse:
        self._require_fleet(context)
        tenant = _tenant_named(request.tenant)
        reason = await self._core.storing.store(
            tenant,
            request.model,
            request.chat_json,
            answer_of(request.answer),
            shadow_of=request.shadow_of,
        )
        return pb.StoreResponse(stored=not reason, reason=reason)

    async def _explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        tenant = self._keyring.authenticate(authorization(context)).tenant
        explanation = await self._core.explaining.explain(tenant, request.model, request.chat_json)
        return explain_message(explanation)

    async def _invalidate(
        self, request: pb.InvalidateRequest, context: Context
    ) -> pb.InvalidateResponse:
        tenant = self._tenant(context, request.tenant)
        selection = selection_of(tenant, request, self._core.now_ms())
        try:
            removed = await self._core.upkeep.invalidate(selection)
        except StoreError as error:
            raise _away() from error
        return pb.InvalidateResponse(removed=removed)

    async def _feedback(
        self, request: pb.ReportFeedbackRequest, context: Context
    ) -> pb.ReportFeedbackResponse:
        tenant = self._tenant(context, request.tenant)
        if not request.entry_id:
            raise InvalidRequest("entry_id is required", field="entry_id")
        try:
            removed = await self._core.upkeep.feedback(
                tenant, request.entry_id, wrong=request.wrong
            )
        except StoreError as error:
            raise _away() from error
        return pb.ReportFeedbackResponse(removed=removed)

    async def _stats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        del request  # The key says it all.
        tenant = self._keyring.authenticate(authorization(context)).tenant
        try:
            stats = await self._core.upkeep.stats(tenant)
        except StoreError as error:
            raise _away() from error
        return self._stats_message(stats)

    def _stats_message(self, stats: Stats) -> pb.GetStatsResponse:
        record = stats.record
        low, high = record.interval() or (None, None)
        return pb.GetStatsResponse(
            entries=stats.entries,
            store=self._core.store,
            embedder=self._core.embedder(),
            threshold_set=self._core.threshold,
            threshold=stats.threshold,
            shadowed=record.shadowed,
            wrong=record.wrong_in_all,
            wrong_low=low,
            wrong_high=high,
        )

    def _require_fleet(self, context: Context) -> None:
        if self._fleet.accepts(authorization(context)):
            return
        # Who is known, and may not do this, is told so.
        self._keyring.authenticate_reader(authorization(context))
        raise PermissionDenied("this is for the platform's own processes, by the fleet's key")

    def _tenant(self, context: Context, named: str) -> str:
        """Whose entries are meant: the key's tenant, or whom the fleet names."""
        given = authorization(context)
        if self._fleet.accepts(given):
            return _tenant_named(named)
        tenant = self._keyring.authenticate(given).tenant
        if named not in {"", tenant}:
            raise PermissionDenied("an API key decides the tenant: leave it out")
        return tenant


def _tenant_named(name: str) -> str:
    return check_name(name, "tenant")


def _away() -> Unavailable:
    return Unavailable("the cache's store does not answer", retry_after=1.0)
