"""The client of the Kubernetes API, before a server that answers as the API does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from tests.support.certificate import certify
from tidegate.chassis import kubernetes_api
from tidegate.chassis.kubernetes_api import (
    ApiServerError,
    ConflictError,
    GoneError,
    KubernetesApi,
)
from tidegate.chassis.settings import PodSettings

PATH: Final = "/api/v1/namespaces/ns/things/one"
Answer = Callable[[web.Request], Awaitable[web.Response]]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pod has mounted; the key of the server's certificate is beside it."""
    folder = tmp_path_factory.mktemp("account")
    certify(folder / "server.key", folder / "ca.crt")
    (folder / "token").write_text("a token\n")
    (folder / "namespace").write_text("ns\n")
    return folder


class Server:
    """Answers with what a test has put there, in order, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[web.Response | Answer] = []
        self.requests: list[web.Request] = []
        self.port = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await answer(request)


def said(status: int = 200, message: str = "", **headers: str) -> web.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"message": message}, status=status, headers=given)


@pytest.fixture
async def server(account: Path) -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(account / "ca.crt", account / "server.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def pod(account: Path, port: int) -> PodSettings:
    return PodSettings(
        kubernetes_service_host="127.0.0.1",
        kubernetes_service_port=port,
        service_account_directory=account,
    )


@pytest.fixture
def heard() -> list[tuple[str, int]]:
    return []


@pytest.fixture
async def api(
    server: Server, account: Path, heard: list[tuple[str, int]]
) -> AsyncIterator[KubernetesApi]:
    def hear(method: str, status: int) -> None:
        heard.append((method, status))

    async with KubernetesApi(pod(account, server.port), hear) as api:
        yield api


async def test_it_comes_with_the_token_and_says_what_a_patch_is(
    api: KubernetesApi, server: Server
) -> None:
    server.answers = [said()]
    await api.apply(PATH, {"kind": "Thing"}, manager="me")
    (request,) = server.requests
    assert request.headers["Authorization"] == "Bearer a token"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.query == {"fieldManager": "me", "force": "true"}
    assert api.namespace == "ns"


async def test_a_server_with_another_certificate_is_not_spoken_to(
    server: Server, tmp_path: Path
) -> None:
    """Else the token would be anybody's who answers at that address."""
    certify(tmp_path / "another.key", tmp_path / "ca.crt")
    (tmp_path / "token").write_text("a token")
    (tmp_path / "namespace").write_text("ns")
    server.answers = [said()]
    async with KubernetesApi(pod(tmp_path, server.port)) as api:
        with pytest.raises(ApiServerError, match="certificate"):
            await api.get(PATH)
    assert server.requests == []


async def test_what_is_not_there_is_none_to_a_reader_and_an_error_to_a_writer(
    api: KubernetesApi, server: Server
) -> None:
    server.answers = [said(404, "things one not found")]
    assert await api.get(PATH) is None
    with pytest.raises(GoneError, match="things one not found") as gone:
        await api.patch(PATH, {})
    assert gone.value.status == 404


async def test_what_has_changed_is_told_from_what_is_wrong(
    api: KubernetesApi, server: Server
) -> None:
    server.answers = [said(409, "has been modified"), said(422, "is invalid")]
    with pytest.raises(ConflictError):
        await api.replace(PATH, {})
    with pytest.raises(ApiServerError) as refused:
        await api.replace(PATH, {})
    assert type(refused.value) is ApiServerError
    assert refused.value.status == 422
    assert "is invalid" in str(refused.value)


async def test_a_server_that_is_busy_is_asked_again_as_late_as_it_says(
    api: KubernetesApi, server: Server, heard: list[tuple[str, int]]
) -> None:
    server.answers = [said(429, Retry_After="1"), said(200)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await api.replace(PATH, {"one": 1})
    assert loop.time() - began >= 1.0
    assert heard == [("PUT", 429), ("PUT", 200)]
    bodies = [await request.json() for request in server.requests]
    assert bodies == [{"one": 1}] * 2


async def test_a_server_that_stays_busy_is_an_error_in_the_end(
    api: KubernetesApi, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It may name any time; the process has other things to do.
    monkeypatch.setattr(kubernetes_api, "_LONGEST_PAUSE", 0.01)
    server.answers = [said(429, "too many", Retry_After="3600")]
    with pytest.raises(ApiServerError, match="too many") as refused:
        await api.replace(PATH, {})
    assert refused.value.status == 429
    assert len(server.requests) == 4


@pytest.mark.parametrize("given", ["", "soon", "-1", "²"])
def test_a_time_that_is_none_is_a_second(given: str) -> None:
    assert kubernetes_api._pause({"Retry-After": given}) == 1.0


async def test_no_answer_is_an_error_without_a_status(
    api: KubernetesApi, server: Server, heard: list[tuple[str, int]]
) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answers = [hang_up]
    with pytest.raises(ApiServerError, match="does not answer") as refused:
        await api.patch(PATH, {})
    assert refused.value.status == 0
    assert heard[-1] == ("PATCH", 0)


async def test_words_of_what_stands_between_are_told_as_they_are(
    api: KubernetesApi, server: Server
) -> None:
    server.answers = [web.Response(status=502, text="<html>bad gateway</html>")]
    with pytest.raises(ApiServerError, match="bad gateway") as refused:
        await api.get(PATH)
    assert refused.value.status == 502


@pytest.mark.parametrize("body", ['"busy"', "[1]", "null", "7"])
async def test_an_answer_that_is_json_but_no_object_is_told_likewise(
    api: KubernetesApi, server: Server, body: str
) -> None:
    server.answers = [web.Response(status=503, text=body), web.Response(status=200, text=body)]
    with pytest.raises(ApiServerError) as refused:
        await api.get(PATH)
    assert body in str(refused.value)
    assert refused.value.status == 503
    with pytest.raises(ApiServerError) as unread:
        await api.get(PATH)
    assert body in str(unread.value)
    assert unread.value.status == 0


async def test_a_list_is_read_page_by_page_to_its_end(api: KubernetesApi, server: Server) -> None:
    def page(*names: str, going_on: str = "") -> web.Response:
        body: dict[str, Any] = {
            "metadata": {"continue": going_on},
            "items": [{"name": name} for name in names],
        }
        return web.json_response(body)

    server.answers = [page("a", "b", going_on="there"), page(going_on="further"), page("c")]
    pages = [items async for items in api.pages("/api/v1/things", "a=b")]
    assert [each["name"] for items in pages for each in items] == ["a", "b", "c"]
    asked = [
        (request.query["labelSelector"], request.query.get("continue"))
        for request in server.requests
    ]
    assert asked == [("a=b", None), ("a=b", "there"), ("a=b", "further")]


async def test_a_token_that_is_replaced_is_read_anew(
    api: KubernetesApi, server: Server, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "_TOKEN_SECONDS", 0.0)
    server.answers = [said()]
    try:
        await api.get(PATH)
        (account / "token").write_text("another token")
        await api.get(PATH)
    finally:
        (account / "token").write_text("a token\n")
    tokens = [request.headers["Authorization"] for request in server.requests]
    assert tokens == ["Bearer a token", "Bearer another token"]


async def test_outside_of_a_pod_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ApiServerError, match=r"namespace.*service account's token"):
        await KubernetesApi(pod(tmp_path, 1)).start()


async def test_before_it_has_begun_nothing_is_asked(account: Path) -> None:
    with pytest.raises(ApiServerError, match="not connected"):
        await KubernetesApi(pod(account, 1)).get(PATH)
