"""The routes file: a mistake in it is found at the start, by place, and without showing keys."""

from pathlib import Path

import pytest

from tidegate.providers.routes import RoutesError, Timeouts, load_routes, parse_routes

HERE = Path("/etc/tidegate/routes.yaml")

FULL = """
models:
  sim-1:
    queue: default
    base_url: http://127.0.0.1:8090/v1/
    upstream_model: sim-small
    provider: simulator
    api_key_env: SIM_KEY
    timeouts: {connect: 1, first_token: 2.5}
  other:
    queue: slow
    base_url: https://api.example.com/v1
    api_key_file: keys/other
"""


def refusal(text: str) -> str:
    with pytest.raises(RoutesError) as caught:
        parse_routes(text, HERE)
    return str(caught.value)


def test_a_full_file_is_taken_as_it_says() -> None:
    routes = parse_routes(FULL, HERE)
    assert list(routes) == ["sim-1", "other"]
    assert routes.queues == ("default", "slow")
    first, other = routes["sim-1"], routes["other"]
    assert first.base_url == "http://127.0.0.1:8090/v1"
    assert (first.upstream_model, first.provider) == ("sim-small", "simulator")
    assert first.timeouts == Timeouts(connect=1, first_token=2.5, between_tokens=30, total=600)
    assert (other.upstream_model, other.provider) == ("other", "api.example.com")
    assert other.api_key_file == HERE.parent / "keys/other"


@pytest.mark.parametrize(
    ("change", "place", "hint"),
    [
        (("queue: default", "queue: Default!"), "models.sim-1.queue", "a-z"),
        (("    queue: default\n", ""), "models.sim-1", "`queue`"),
        (("provider:", "providr:"), "models.sim-1", "providr"),
        (("connect: 1", "connect: 0"), "models.sim-1.timeouts.connect", "> 0"),
        (("connect: 1", "conect: 1"), "models.sim-1.timeouts", "conect"),
        (("http://127.0.0.1:8090/v1/", "127.0.0.1:8090"), "models.sim-1.base_url", "https://"),
        (("http://127", "http://me:pw@127"), "models.sim-1.base_url", "api_key_env"),
        (("api_key_env: SIM_KEY", "api_key_env: A\n    api_key_file: b"), "models.sim-1", "both"),
        (("other:", "sim-1:"), "line 10", "twice"),
        (("other:", "12:"), "models.12", "quotes"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: tuple[str, str], place: str, hint: str) -> None:
    message = refusal(FULL.replace(*change))
    assert message.startswith(f"{HERE}: {place}: ")
    assert hint in message


@pytest.mark.parametrize("text", ["", "[]", "models: {}", "models: []", "routes: {}", "models: {a"])
def test_a_file_without_models_is_refused(text: str) -> None:
    assert str(HERE) in refusal(text)


def test_a_broken_file_does_not_show_the_key_somebody_put_into_it() -> None:
    assert "hunter2" not in refusal("models:\n  a: {api_key: hunter2")
    assert "hunter2" not in refusal(FULL.replace("api_key_env: SIM_KEY", "api_key: hunter2"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RoutesError, match=r"missing\.yaml: cannot be read"):
        load_routes(tmp_path / "missing.yaml")


def test_a_key_is_read_when_it_is_needed(tmp_path: Path) -> None:
    """So that a rotated key is picked up, and the gateway starts without any."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "routes.yaml").write_text(FULL, encoding="utf-8")
    routes = load_routes(tmp_path / "routes.yaml")
    assert routes["sim-1"].read_api_key({"SIM_KEY": " k1\n"}) == "k1"
    with pytest.raises(RoutesError, match=r"models\.sim-1\.api_key_env: SIM_KEY is not set"):
        routes["sim-1"].read_api_key({})
    with pytest.raises(RoutesError, match=r"models\.other\.api_key_file"):
        routes["other"].read_api_key()
    (tmp_path / "keys" / "other").write_text("k2\n", encoding="utf-8")
    assert routes["other"].read_api_key() == "k2"
