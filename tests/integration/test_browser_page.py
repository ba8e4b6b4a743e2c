"""The example page in a real browser: what it shows is the stored answer, whatever is cut."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.chromium import Chromium, Page
from tests.support.platform import Platform
from tests.support.processes import ROOT
from tests.support.tcp_proxy import TcpProxy
from tidegate.chassis.tokens import Tokens, parse_secrets

pytestmark = pytest.mark.timeout(180)
EXAMPLES = ROOT / "docs" / "examples"
STRANGER = "app.example"
_KEY = {"Authorization": "Bearer tidegate-dev"}
_TOKENS = 120

# Notes what the page asks for, and lets it do so.
_SPY = """
window.asked = [];
const real = window.fetch;
window.fetch = (url, options) => {
  window.asked.push(Number(options.headers["Last-Event-ID"]));
  return real(url, options);
};
"""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=_KEY) as client:
        yield client


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    async with Chromium(tmp_path, hosts=(STRANGER,)) as started:
        yield started


@pytest.fixture
async def pages() -> AsyncIterator[int]:
    """The port at which the examples are served, as `python3 -m http.server` would."""
    app = web.Application()
    app.router.add_static("/", EXAMPLES)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def new_job(
    platform: Platform, session: aiohttp.ClientSession, *, tokens: int = _TOKENS
) -> tuple[str, str]:
    """A job of some seconds, and a token for it."""
    request = {
        "model": "sim-small",
        "messages": [{"role": "user", "content": "What does the tide bring?"}],
        "max_tokens": tokens,
    }
    job = (await post(platform, session, "/v1/jobs", 202, request=request))["id"]
    token = (await post(platform, session, "/v1/tokens", 201, job_id=job))["token"]
    return job, token


async def post(
    platform: Platform, session: aiohttp.ClientSession, path: str, status: int, **body: Any
) -> dict[str, Any]:
    async with session.post(f"{platform.url}{path}", json=body) as answer:
        found: dict[str, Any] = await answer.json()
        assert answer.status == status, found
        return found


async def answer_of(
    platform: Platform, session: aiohttp.ClientSession, job: str
) -> tuple[str, dict[str, Any]]:
    """The text of a completed job as it is stored, and the job."""
    async with session.get(f"{platform.url}/v1/jobs/{job}") as answer:
        view = await answer.json()
    assert view["state"] == "completed", view["error"]
    return view["answer"]["text"], view


async def submit(page: Page, sse_port: int, job: str, token: str) -> None:
    """Fills the form in and sends it, as a person would."""
    await page.run(
        f"form = document.forms[0]; form.url.value = 'http://127.0.0.1:{sse_port}';"
        f"form.job.value = {job!r}; form.token.value = {token!r}; form.requestSubmit()"
    )


async def shown(page: Page) -> tuple[str, str]:
    """The text once the page has come to an end, and what it says of that."""
    state = await page.until("document.forms[0].state.value")
    return await page.run("document.querySelector('pre').textContent"), state


def more_than(characters: int) -> str:
    return f"document.querySelector('pre').textContent.length > {characters}"


async def test_the_page_shows_the_answer_exactly_though_its_connection_is_cut(
    platform: Platform, session: aiohttp.ClientSession, browser: Chromium, pages: int
) -> None:
    async with TcpProxy(platform.port("streaming SSE")) as proxy:
        page = await browser.open(f"http://127.0.0.1:{pages}/stream.html")
        await page.run(_SPY)
        job, token = await new_job(platform, session)
        await submit(page, proxy.port, job, token)
        for characters in (50, 300):
            await page.until(more_than(characters))
            proxy.cut()
        text, state = await shown(page)
    stored, _ = await answer_of(platform, session, job)
    assert (text, state) == (stored, "completed")
    asked = await page.run("window.asked")
    assert asked[0] == 0
    assert len(asked) >= 3, "the page has connected again after each cut"
    assert sorted(set(asked)) == asked, "and gone on from where it was"


async def test_the_page_drops_the_text_of_a_lost_attempt(
    platform: Platform, session: aiohttp.ClientSession, browser: Chromium, pages: int
) -> None:
    page = await browser.open(f"http://localhost:{pages}/stream.html")
    job, token = await new_job(platform, session, tokens=400)
    await submit(page, platform.port("streaming SSE"), job, token)
    await page.until(more_than(50))
    await platform.kill("worker")
    text, state = await shown(page)
    stored, view = await answer_of(platform, session, job)
    assert view["attempts"] >= 2
    assert (text, state) == (stored, "completed")


async def test_the_page_says_why_it_may_not_read(
    platform: Platform, session: aiohttp.ClientSession, browser: Chromium, pages: int
) -> None:
    """A refusal without its CORS headers would be a network error without a reason."""
    job, token = await new_job(platform, session)
    secret = platform.data / "token-secret"
    tokens = Tokens(parse_secrets(secret, secret.read_bytes()))
    late, _ = tokens.make("dev", "development", job_id=job, seconds=-60)
    other = "job_" + "a" * 26
    for wanted, given, says in (
        (job, late, "expired"),
        (job, "tidegate", "not known"),
        (other, token, "no such job"),
    ):
        page = await browser.open(f"http://127.0.0.1:{pages}/stream.html")
        await submit(page, platform.port("streaming SSE"), wanted, given)
        text, state = await shown(page)
        assert text == ""
        assert says in state
        assert given not in state


_SOCKET = """
new Promise((done) => {
  const socket = new WebSocket("%s", ["tidegate.v1", "tidegate.token.%s"]);
  let text = "";
  socket.onopen = () => socket.send(JSON.stringify({type: "subscribe", job_id: "%s"}));
  socket.onclose = (close) => done({code: close.code});
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "attempt_started" && !event.continues) text = "";
    if (event.type === "delta") text += event.data;
    if (event.type === "completed") done({text, protocol: socket.protocol});
  };
})
"""


async def test_a_page_opens_a_socket_with_its_token(
    platform: Platform, session: aiohttp.ClientSession, browser: Chromium, pages: int
) -> None:
    page = await browser.open(f"http://127.0.0.1:{pages}/stream.html")
    job, token = await new_job(platform, session, tokens=40)
    url = f"ws://127.0.0.1:{platform.port('streaming WebSocket')}/v1/ws"
    got = await page.run(_SOCKET % (url, token, job))
    stored, _ = await answer_of(platform, session, job)
    assert got == {"text": stored, "protocol": "tidegate.v1"}


async def test_a_page_of_another_origin_gets_nothing_with_a_good_token(
    platform: Platform, session: aiohttp.ClientSession, browser: Chromium, pages: int
) -> None:
    """In development only pages on loopback may call, since the key is known to everybody."""
    job, token = await new_job(platform, session)
    page = await browser.open(f"http://{STRANGER}:{pages}/stream.html")
    for url in (
        f"{platform.url}/v1/jobs/{job}",
        f"http://127.0.0.1:{platform.port('streaming SSE')}/v1/jobs/{job}/events",
        f"{platform.url}/.well-known/tidegate",
    ):
        asking = f"fetch('{url}', {{headers: {{Authorization: 'Bearer {token}'}}}})"
        assert await page.run(f"{asking}.then(() => 'read', (error) => error.name)") == "TypeError"
    url = f"ws://127.0.0.1:{platform.port('streaming WebSocket')}/v1/ws"
    assert await page.run(_SOCKET % (url, token, job)) == {"code": 1006}
