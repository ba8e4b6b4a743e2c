"""Tokens: whoever can forge, stretch or outlive one reads what another's key protects."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.tokens import (
    LEEWAY_SECONDS,
    Scope,
    Tokens,
    TokenSecretError,
    is_token,
    parse_secrets,
)
from tidegate.contracts.errors import Unauthenticated

SECRET = b"s" * 32
OTHER = b"o" * 32
JOB = "job_" + "a" * 26
TOKENS = Tokens((SECRET,))


def forged(
    claims: dict[str, Any] | None = None,
    *,
    without: str = "",
    secret: Any = SECRET,
    algorithm: str | None = "HS256",
    headers: dict[str, Any] | None = None,
) -> str:
    """A token of ours, but for what is changed."""
    now = int(time.time())
    ours = {"iss": "tidegate", "aud": "tidegate", "iat": now, "exp": now + 36_000, "jti": "x"}
    body = ours | {"tenant": "acme", "key_id": "k"} | (claims or {})
    body.pop(without, None)
    return jwt.encode(body, secret, algorithm=algorithm, headers=headers)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def refusal(token: str, tokens: Tokens = TOKENS) -> str:
    with pytest.raises(Unauthenticated) as refused:
        tokens.read(token)
    assert len(token) < 20 or token not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("job_id", [None, JOB])
def test_a_token_says_whose_it_is_and_what_for(job_id: str | None) -> None:
    before = int(time.time())
    token, end = TOKENS.make("acme", "k", job_id=job_id, seconds=60)
    bearer = TOKENS.read(token)
    assert (bearer.tenant, bearer.key_id) == ("acme", "k")
    assert bearer.scope == Scope(job_id, end)
    assert before + 60 <= end <= time.time() + 60
    assert is_token(token)


def test_two_tokens_are_never_the_same() -> None:
    made = [TOKENS.make("acme", "k", job_id=None, seconds=60)[0] for _ in range(2)]
    assert made[0] != made[1]


def test_what_this_module_forges_is_taken_unless_something_is_wrong_with_it() -> None:
    assert TOKENS.read(forged()).tenant == "acme"
    assert TOKENS.read(forged({"job": JOB})).scope.job_id == JOB


def test_a_token_ends_when_it_says_but_for_what_clocks_differ() -> None:
    now = int(time.time())
    assert TOKENS.read(forged({"exp": now + 30 - LEEWAY_SECONDS})).tenant == "acme"
    assert "expired" in refusal(forged({"exp": now - LEEWAY_SECONDS - 1}))
    assert "expired" in refusal(TOKENS.make("acme", "k", job_id=None, seconds=-60)[0])


def test_a_scope_is_over_when_its_token_would_be_refused() -> None:
    scope = Scope(None, 1000)
    assert not scope.is_over(1000 + LEEWAY_SECONDS - 0.1)
    assert scope.is_over(1000 + LEEWAY_SECONDS)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forged(secret=OTHER), id="a secret of others"),
        pytest.param(forged(secret=None, algorithm="none"), id="no signature"),
        pytest.param(forged(secret=SECRET * 2, algorithm="HS512"), id="another algorithm"),
        pytest.param(forged({"aud": "other"}), id="for others"),
        pytest.param(forged({"iss": "other"}), id="by others"),
        pytest.param(forged({"iat": int(time.time()) + 90_000}), id="of tomorrow"),
        pytest.param(forged({"nbf": int(time.time()) + 90_000}), id="not yet"),
        *(
            pytest.param(forged(without=name), id=f"without {name}")
            for name in ("exp", "iat", "iss", "aud", "jti", "tenant", "key_id")
        ),
        pytest.param(forged({"tenant": "a.b"}), id="a tenant that would break a subject"),
        pytest.param(forged({"tenant": 7}), id="a tenant that is none"),
        pytest.param(forged({"job": 7}), id="a job that is none"),
        pytest.param(forged({"exp": "tomorrow"}), id="an end that is none"),
        pytest.param(forged({"exp": 1e300}), id="an end beyond all"),
        pytest.param(forged(headers={"crit": ["x"]}), id="a demand that nobody knows"),
        pytest.param(forged() + "x", id="a longer signature"),
        pytest.param(forged()[:-6], id="a shorter signature"),
        pytest.param(f"{part({'alg': ['HS256']})}.{part({})}.x", id="a list of algorithms"),
        pytest.param(f"{part([])}.{part({})}.x", id="a header that is none"),
        pytest.param(base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e.x", id="a deep header"),
        pytest.param("..", id="nothing"),
        pytest.param("a.b.c\udcff", id="no text"),
        pytest.param("é.b.c", id="not ascii"),
        pytest.param("a" * 10_000 + ".b.c", id="long"),
    ],
)
def test_whatever_is_no_token_of_ours_is_refused(token: str) -> None:
    assert "token is not valid" in refusal(token)


def test_who_changes_what_a_token_says_breaks_it() -> None:
    head, _, signature = forged({"job": JOB}).split(".")
    body = part({"tenant": "other", "key_id": "k", "exp": 9_999_999_999})
    assert "token is not valid" in refusal(f"{head}.{body}.{signature}")


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_any_text_is_refused_in_words(text: str) -> None:
    refusal(text)


def test_a_secret_is_replaced_without_a_token_lost() -> None:
    """Old first, then both, then new first, then new alone: each step knows the one before it."""
    old, joined = Tokens((SECRET,)), Tokens((SECRET, OTHER))
    turned, new = Tokens((OTHER, SECRET)), Tokens((OTHER,))
    for reader, makers in [
        (joined, [old, joined, turned]),
        (turned, [joined, turned, new]),
    ]:
        for maker in makers:
            token, _ = maker.make("acme", "k", job_id=None, seconds=60)
            assert reader.read(token).tenant == "acme"
    assert "not valid" in refusal(old.make("acme", "k", job_id=None, seconds=60)[0], new)
    # Expired under the second secret is expired, and not unknown.
    late, _ = Tokens((OTHER,)).make("acme", "k", job_id=None, seconds=-60)
    assert "expired" in refusal(late, joined)


def test_a_secret_file_holds_one_secret_per_line() -> None:
    assert parse_secrets(Path("f"), b"\n  " + SECRET + b"  \r\n\n" + OTHER) == (SECRET, OTHER)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no secret"),
        (b"\n \n", "no secret"),
        (b"short-secret", "line 1: .* 32 bytes"),
        (SECRET + b"\nshort-secret\n", "line 2: .* 32 bytes"),
        ((SECRET + b"\n") * 9, "more than 8"),
    ],
)
def test_a_secret_that_could_be_guessed_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(TokenSecretError, match=says) as refused:
        Tokens.of_file(file, TaskGuard())
    assert str(file) in str(refused.value)
    assert "short-secret" not in str(refused.value)


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenSecretError, match=r"nowhere: No such file"):
        Tokens.of_file(tmp_path / "nowhere", TaskGuard())


async def test_a_secret_that_is_replaced_comes_into_force_while_the_service_runs(
    tmp_path: Path,
) -> None:
    file, guard = tmp_path / "secret", TaskGuard()
    file.write_bytes(SECRET)
    tokens, other = Tokens.of_file(file, guard), Tokens((OTHER,))
    await tokens.start()
    new, _ = other.make("acme", "k", job_id=None, seconds=600)
    assert "not valid" in refusal(new, tokens)
    file.write_bytes(SECRET + b"\n" + OTHER + b"\n")
    while True:
        try:
            assert tokens.read(new).tenant == "acme"
            break
        except Unauthenticated:
            await asyncio.sleep(0.02)
    assert tokens.read(forged()).tenant == "acme"
    await tokens.stop(Deadline(1))
