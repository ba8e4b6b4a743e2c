"""Settings of the simulator; all have defaults with which it starts."""

from pydantic import Field, SecretStr

from tidegate.chassis.settings import DrainSettings, ListenAddress, LogSettings
from tidegate.simulator.faults import Behaviour


class SimulatorSettings(LogSettings, DrainSettings):
    """Where the simulator listens, what it offers, and how its calls behave by default.

    Behaviour can be changed for the next calls by `POST /faults`, and for one request by the header
    `x-simulator`.
    """

    simulator_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:8090"),
        description="host:port of everything: the API, the control API, health and metrics.",
    )
    simulator_api_key: SecretStr | None = Field(
        None,
        description="The one bearer key that is let in. None: any key, and no key, will do.",
    )
    simulator_seed: int = Field(
        1,
        ge=-(2**63),
        lt=2**63,
        description=(
            "Seed of all answers and of the dice for faults. The same seed and messages give the "
            "same answer on any machine."
        ),
    )
    simulator_models: str = Field(
        "sim-small,sim-large",
        description="Comma-separated names of the models that chat. They differ in name only.",
    )
    simulator_embedding_models: str = Field(
        "sim-embedding", description="Comma-separated names of the models that embed."
    )
    simulator_embedding_dimensions: int = Field(
        1536,
        ge=1,
        le=4096,
        description="Numbers in an embedding whose request does not say how many it wants.",
    )
    simulator_ttft_seconds: float = Field(
        0.2, ge=0, le=3600, description="Seconds from the request to the first token."
    )
    simulator_tokens_per_second: float = Field(
        40.0, gt=0, le=1_000_000, description="Tokens per second of each answer after the first."
    )
    simulator_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "How late a token may come at most, as a share of the time between two tokens; the "
            "time to the first is stretched by up to the same share. 0: exact times."
        ),
    )
    simulator_error_rate: float = Field(
        0.0, ge=0, le=1, description="Share of calls that are answered with a 500."
    )
    simulator_rate_limit_rate: float = Field(
        0.0, ge=0, le=1, description="Share of calls that are answered with a 429."
    )
    simulator_retry_after_seconds: float = Field(
        1.0, ge=0, le=3600, description="Seconds that a 429 or 503 names in Retry-After."
    )
    simulator_stall_rate: float = Field(
        0.0, ge=0, le=1, description="Share of calls that fall silent once between two tokens."
    )
    simulator_stall_seconds: float = Field(
        30.0, ge=0, le=3600, description="Seconds that such a silence lasts."
    )
    simulator_cut_rate: float = Field(
        0.0, ge=0, le=1, description="Share of calls whose connection is reset in mid-answer."
    )
    simulator_call_records: int = Field(
        10_000,
        ge=1,
        description="Single calls that `GET /stats` remembers; older ones are in the totals only.",
    )

    @property
    def chat_models(self) -> list[str]:
        """The names of `simulator_models`, one by one."""
        return _names(self.simulator_models)

    @property
    def embedding_models(self) -> list[str]:
        """The names of `simulator_embedding_models`, one by one."""
        return _names(self.simulator_embedding_models)

    @property
    def behaviour(self) -> Behaviour:
        """How calls behave that nobody says anything else about."""
        return Behaviour(
            ttft=self.simulator_ttft_seconds,
            tokens_per_s=self.simulator_tokens_per_second,
            jitter=self.simulator_jitter,
            error_rate=self.simulator_error_rate,
            rate_limit_rate=self.simulator_rate_limit_rate,
            retry_after=self.simulator_retry_after_seconds,
            stall_rate=self.simulator_stall_rate,
            stall_s=self.simulator_stall_seconds,
            cut_rate=self.simulator_cut_rate,
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
