"""Streaming must not start in a way that lets strangers in."""

import pytest

from tidegate.chassis.settings import ListenAddress, SettingsError
from tidegate.streaming.app import make_streaming
from tidegate.streaming.settings import StreamingSettings

PUBLIC = ListenAddress(":9999")


@pytest.mark.parametrize("field", ["websocket_listen", "sse_listen", "health_listen"])
async def test_the_well_known_key_is_refused_beside_any_public_address(
    field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metrics and readiness tell of a platform that anybody could then use."""
    settings = StreamingSettings(development=True).model_copy(update={field: PUBLIC})
    with pytest.raises(SettingsError, match=r"TIDEGATE_DEVELOPMENT.*0\.0\.0\.0:9999"):
        make_streaming(settings)
    assert not capsys.readouterr().out, "the cure is all that is said"


async def test_on_loopback_the_well_known_key_may_be_used() -> None:
    make_streaming(StreamingSettings(development=True))
