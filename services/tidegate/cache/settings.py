"""Settings of the cache; keys are needed, all else has defaults that start it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from tidegate.chassis.keyring import KeySettings
from tidegate.chassis.settings import (
    DrainSettings,
    GrpcServerSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    ServiceSettings,
    TracingSettings,
)

EmbedderKind = Literal["minilm", "path", "route", "none"]

_EMBEDDER: Final = re.compile(r"minilm|none|path:.+|route:.+")


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """Which embedder; `value` is the folder of `path`, the public model of `route`, or empty."""

    kind: EmbedderKind
    value: str = ""


class CacheStoreSettings(ServiceSettings):
    """Where entries are kept, how many, and for how long."""

    cache_store: Literal["embedded", "qdrant"] = Field(
        "embedded",
        description=(
            "`embedded`: Qdrant's engine in a child of this process, in `cache_directory`; for one "
            "cache process. `qdrant`: a server, which several cache processes share."
        ),
    )
    cache_directory: Path = Field(
        Path(".tidegate/cache"),
        description="Folder of the embedded store, made where it is missing. One process owns it.",
    )
    cache_max_entries: int = Field(
        100_000,
        ge=100,
        description="Entries in the embedded store, above which the oldest of the tenant with most "
        "of them make room.",
    )
    qdrant_url: str = Field(
        "http://127.0.0.1:6333", description="URL of the Qdrant server, for `cache_store=qdrant`."
    )
    qdrant_api_key_file: Path | None = Field(
        None, description="File of the key for the Qdrant server. None: it asks for none."
    )
    cache_ttl_seconds: float = Field(
        86_400.0, ge=1, description="Seconds that an answer is kept and served."
    )
    cache_ttl_jitter: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description=(
            "Share of that time of which a random part is taken off, so that what was stored "
            "together is not asked anew together."
        ),
    )


class CacheEmbedderSettings(ServiceSettings):
    """How questions become vectors, and what a threshold means to whoever makes them."""

    cache_embedder: str = Field(
        "minilm",
        description=(
            "`minilm`: the model that comes with Tidegate. `path:DIR`: model.onnx and "
            "tokenizer.json in a folder. `route:MODEL`: an embeddings model of the routes. `none`: "
            "only the same question is answered again."
        ),
    )
    cache_embedder_dimension: int | None = Field(
        None,
        ge=1,
        le=16_384,
        description=(
            "Numbers in a vector, needed for `route:MODEL`: without it the entries could not be "
            "found while the provider is down."
        ),
    )
    cache_embedder_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description=(
            "Seconds that the provider of `route:MODEL` has for an answer. Lookups do not wait as "
            "long; but who is slower has failed, and counts so for its circuit breaker."
        ),
    )
    cache_calibration_file: Path | None = Field(
        None,
        description=(
            "File made by `tidegate cache calibrate`, which says what thresholds mean to the "
            "embedder. Read at start. None: only embedders with a built-in table compare questions."
        ),
    )

    @property
    def embedder(self) -> EmbedderChoice:
        """What `cache_embedder` says."""
        kind, _, value = self.cache_embedder.partition(":")
        kinds: dict[str, EmbedderKind] = {"path": "path", "route": "route", "none": "none"}
        return EmbedderChoice(kinds.get(kind, "minilm"), value)

    @model_validator(mode="after")
    def _embedder_is_known(self) -> Self:
        if not _EMBEDDER.fullmatch(self.cache_embedder):
            raise ValueError(
                "TIDEGATE_CACHE_EMBEDDER must be minilm, path:DIR, route:MODEL or none"
            )
        if self.embedder.kind == "route" and self.cache_embedder_dimension is None:
            raise ValueError("TIDEGATE_CACHE_EMBEDDER_DIMENSION is needed with route:MODEL")
        return self


class CacheDecisionSettings(ServiceSettings):
    """What is cached, and how like a question must be to be answered from memory."""

    cache_threshold: float = Field(
        0.92,
        ge=0.5,
        le=1,
        description=(
            "Cosine similarity of two questions from which one's answer serves the other, on the "
            "scale of MiniLM in fp32, which the embedder's calibration maps to its own. What the "
            "guard can say of two questions lowers it by a discount. Another value lets go of what "
            "shadows have learnt."
        ),
    )
    cache_accounted_discount: float = Field(
        0.20,
        ge=0,
        le=0.5,
        description=(
            "Taken off the threshold where the guard found a counterpart for every word of both "
            "questions. 0: the threshold itself counts."
        ),
    )
    cache_extra_discount: float = Field(
        0.12,
        ge=0,
        le=0.5,
        description=(
            "Taken off the threshold where one question has a word or two more than the other, and "
            "the guard sees nothing else between them. 0: the threshold itself counts."
        ),
    )
    cache_rival_margin: float = Field(
        0.08,
        ge=0,
        le=0.5,
        description=(
            "No entry is served while another one, less near by at most this, holds an answer that "
            "says something else, unless the guard is certain that it is about something else. 0: "
            "others are not looked at."
        ),
    )
    cache_foreign_margin: float = Field(
        0.04,
        ge=0,
        le=0.5,
        description=(
            "Added to the threshold for questions that are not in English, which the guard cannot "
            "read; for them there is no other way to be served."
        ),
    )
    cache_max_temperature: float = Field(
        0.7,
        ge=0,
        le=2,
        description=(
            "Highest temperature at which a request is cached: above it, variety is asked for. One "
            "that names none is cached."
        ),
    )
    cache_max_question_characters: int = Field(
        2_000,
        ge=1,
        le=8_000,
        description="Longest question that like ones are looked for; longer ones only the same.",
    )
    cache_deadline_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description=(
            "Seconds after which a lookup is given up as a miss, without the verifier's. Whoever "
            "asks waits for TIDEGATE_CACHE_LOOKUP_SECONDS at most."
        ),
    )


class CacheHonestySettings(ServiceSettings):
    """How hits are checked, and by whom near ones are decided."""

    shadow_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "Share of the hits by a like question that the model answers as well: the caller gets "
            "the model's answer, at its price, and both are compared."
        ),
    )
    answer_agreement: float = Field(
        0.75,
        ge=0,
        le=1,
        description=(
            "Cosine similarity of two answers' beginnings from which they say the same: those of "
            "a shadow (with a verifier, that decides instead), and those of neighbouring entries."
        ),
    )
    max_false_hits: float = Field(
        0.01,
        gt=0,
        lt=1,
        description=(
            "Share of hits that may be wrong. Where more are, of at least 20 shadows and at 95 % "
            "confidence, the tenant's threshold rises by 0.01 and its discounts shrink by a "
            "quarter, until the lowest in force is 0.99."
        ),
    )
    verifier_model: str | None = Field(
        None,
        description=(
            "Chat model of the routes that is asked whether two questions have the same answer, "
            "where they are near and below the threshold. None: that is a miss."
        ),
    )
    verifier_band_low: float = Field(
        0.85,
        ge=0.5,
        le=1,
        description="Similarity from which the verifier is asked; at most `cache_threshold`.",
    )
    verifier_seconds: float = Field(
        2.0,
        gt=0,
        le=30,
        description=(
            "Seconds that the verifier has; then its answer is no. Workers wait no longer than "
            "TIDEGATE_CACHE_LOOKUP_SECONDS for all of a lookup: set that longer than this, or no "
            "verified answer is ever in time."
        ),
    )


class CacheSettings(
    LogSettings,
    NatsSettings,
    HealthSettings,
    TracingSettings,
    DrainSettings,
    GrpcServerSettings,
    KeySettings,
    CacheStoreSettings,
    CacheEmbedderSettings,
    CacheDecisionSettings,
    CacheHonestySettings,
):
    """Where the cache listens, who may ask it, what it keeps, and how strict it is."""

    cache_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:50052"), description="host:port of the gRPC API."
    )
    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9103"),
        description="host:port of /livez, /readyz and /metrics; in a container use `:9103`.",
    )
    cache_key_file: Path = Field(
        description=(
            "File of the secret that the platform's own processes know each other by: at least 32 "
            "bytes, one secret per line; the first is presented, all are accepted. Read at start."
        ),
    )
    routes_file: Path | None = Field(
        None,
        description=(
            "File of the routes, needed where a model of theirs embeds or verifies. None: neither."
        ),
    )

    @model_validator(mode="after")
    def _models_have_routes(self) -> Self:
        named = self.verifier_model is not None or self.embedder.kind == "route"
        if named and self.routes_file is None:
            raise ValueError(
                "TIDEGATE_ROUTES_FILE is needed with TIDEGATE_VERIFIER_MODEL and with route:MODEL "
                "as TIDEGATE_CACHE_EMBEDDER"
            )
        return self

    @model_validator(mode="after")
    def _band_is_below_the_threshold(self) -> Self:
        if self.verifier_model is not None and self.verifier_band_low > self.cache_threshold:
            raise ValueError(
                "TIDEGATE_VERIFIER_BAND_LOW must not be above TIDEGATE_CACHE_THRESHOLD"
            )
        return self

    @model_validator(mode="after")
    def _like_questions_need_an_embedder(self) -> Self:
        if self.embedder.kind == "none" and (self.shadow_share or self.verifier_model is not None):
            raise ValueError(
                "TIDEGATE_SHADOW_SHARE and TIDEGATE_VERIFIER_MODEL say nothing without an embedder "
                "(TIDEGATE_CACHE_EMBEDDER is none)"
            )
        return self
