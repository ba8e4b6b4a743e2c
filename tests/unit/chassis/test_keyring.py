"""Keys: who loses them lets strangers in, or locks everybody out."""

import json
import os
from pathlib import Path

import pytest

from tidegate.chassis.keyring import (
    Caller,
    KeyFileError,
    Keyring,
    KeySettings,
    make_keyring,
    new_key,
)
from tidegate.chassis.settings import ListenAddress, SettingsError
from tidegate.chassis.tasks import ServiceFault, TaskGuard
from tidegate.chassis.tokens import Scope, Tokens
from tidegate.contracts.errors import (
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
)

LOOPBACK = ListenAddress("127.0.0.1:8080")
TOKENS = Tokens((b"s" * 32,))
JOB = "job_" + "a" * 26


def keyring(
    path: Path | None, *, development: bool = False, tokens: Tokens | None = None
) -> Keyring:
    ring = Keyring(path, TaskGuard(), development=development, tokens=tokens)
    ring.refresh()
    return ring


def is_known(ring: Keyring, key: str) -> bool:
    try:
        ring.authenticate(f"Bearer {key}")
    except Unauthenticated:
        return False
    return True


def test_a_key_tells_its_tenant_and_which_key_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = new_key(path, "acme"), new_key(path, "acme")
    other = new_key(path, "other")
    ring = keyring(path)
    callers = [ring.authenticate(f"Bearer {key}") for key in (first, second, other)]
    assert [caller.tenant for caller in callers] == ["acme", "acme", "other"]
    assert len({caller.key_id for caller in callers}) == 3


def test_a_stolen_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = new_key(path, "acme")
    assert key.startswith("tg_")
    assert len(key) == 3 + 52
    assert key not in path.read_text(encoding="utf-8")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert set(record) == {"key_id", "tenant", "sha256", "created_at"}
    assert not is_known(keyring(path), record["sha256"])
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer tg_unknown",
        "Basic dGc6dGc=",
        "tg_unknown",
        "Bearer \udcff\udcfe",
        "Bearer tidegate-dev",
    ],
)
def test_whoever_has_no_key_is_not_let_in(tmp_path: Path, header: str | None) -> None:
    new_key(tmp_path / "keys", "acme")
    with pytest.raises(Unauthenticated) as refused:
        keyring(tmp_path / "keys").authenticate(header)
    assert refused.value.reason is Reason.UNAUTHENTICATED


def test_the_scheme_is_read_as_http_says_in_any_case(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys", "acme")
    assert keyring(tmp_path / "keys").authenticate(f"bearer {key}").tenant == "acme"


def test_a_new_key_is_known_after_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    new_key(path, "acme")
    ring = keyring(path)
    key = new_key(path, "acme")
    assert not is_known(ring, key)
    assert ring.refresh()
    assert is_known(ring, key)
    assert not ring.refresh()


def test_a_revoked_key_is_out_after_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    kept, revoked = new_key(path, "acme"), new_key(path, "acme")
    ring = keyring(path)
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    path.write_text(first_line, encoding="utf-8")
    ring.refresh()
    assert is_known(ring, kept)
    assert not is_known(ring, revoked)


def test_a_file_without_a_last_line_end_takes_one_more_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = new_key(path, "acme")
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    second = new_key(path, "acme")
    assert all(is_known(keyring(path), key) for key in (first, second))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "not json",
        '{"key_id": "k", "tenant": "acme", "sha256": "00", "created_at": ""}',
        '{"key_id": "k", "tenant": "acme", "sha256": "zz", "created_at": ""}',
        '{"key_id": "k", "tenant": "a.b", "sha256": "' + "0" * 64 + '", "created_at": ""}',
        '{"tenant": "acme"}',
    ],
)
def test_a_bad_line_locks_nobody_out(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    key = new_key(path, "acme")
    ring = keyring(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(KeyFileError, match="line 2") as error:
        ring.refresh()
    assert "acme" not in str(error.value)
    assert is_known(ring, key)
    assert not ring.refresh(), "the same fault is told once"
    path.write_text("", encoding="utf-8")
    ring.refresh()
    assert not is_known(ring, key)


def test_a_file_that_vanishes_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = new_key(path, "acme")
    ring = keyring(path)
    path.unlink()
    with pytest.raises(KeyFileError):
        ring.refresh()
    assert is_known(ring, key)


def test_a_replaced_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old = new_key(path, "acme")
    ring = keyring(path)
    before = path.stat()
    fresh = tmp_path / "fresh"
    new = new_key(fresh, "acme")
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.replace(path)
    ring.refresh()
    assert is_known(ring, new)
    assert not is_known(ring, old)


def test_a_key_revoked_in_place_is_out_though_size_and_time_stayed(tmp_path: Path) -> None:
    """A copy that keeps times, of a file whose lines are all of one length."""
    path, other = tmp_path / "keys", tmp_path / "other"
    revoked, kept = new_key(path, "acme"), new_key(other, "acme")
    ring = keyring(path)
    before = path.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ring.refresh()
    assert is_known(ring, kept)
    assert not is_known(ring, revoked)


def test_a_file_that_could_not_be_read_is_read_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode is mended, and nothing else: a key revoked by then must not stay valid."""
    path = tmp_path / "keys"
    revoked = new_key(path, "acme")
    ring = keyring(path)
    path.write_text("", encoding="utf-8")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    # The tests may run as root, whom no mode keeps out.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        for _ in range(2):
            with pytest.raises(KeyFileError, match="Permission denied"):
                ring.refresh()
        assert is_known(ring, revoked)
    assert ring.refresh()
    assert not is_known(ring, revoked)


async def test_a_file_that_cannot_be_used_keeps_a_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match="keys"):
        await Keyring(tmp_path / "keys", TaskGuard()).start()


def test_the_development_key_is_known_in_development_only(tmp_path: Path) -> None:
    ring = keyring(None, development=True)
    caller = ring.authenticate("Bearer tidegate-dev")
    assert caller == Caller("dev", "development", operator=True)


def test_development_beside_a_key_file_knows_both(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys", "acme")
    ring = keyring(tmp_path / "keys", development=True)
    assert is_known(ring, key)
    assert is_known(ring, "tidegate-dev")


@pytest.mark.parametrize("public", ["0.0.0.0:8080", "[::]:8080", "example.com:1", ":9101"])
def test_the_well_known_key_is_never_reachable_from_outside(public: str) -> None:
    settings = KeySettings(development=True)
    with pytest.raises(SettingsError, match="TIDEGATE_DEVELOPMENT"):
        make_keyring(settings, TaskGuard(), [LOOPBACK, ListenAddress(public)])


@pytest.mark.parametrize("local", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:8080", "localhost:8080"])
def test_loopback_may_be_a_development_machine(local: str) -> None:
    listens = [ListenAddress(local)]
    ring = make_keyring(KeySettings(development=True), TaskGuard(), listens)
    ring.refresh()
    assert is_known(ring, "tidegate-dev")


def test_a_service_that_could_let_nobody_in_says_so_at_its_start() -> None:
    with pytest.raises(SettingsError, match="TIDEGATE_KEYS_FILE"):
        make_keyring(KeySettings(), TaskGuard(), [LOOPBACK])


@pytest.mark.parametrize("tenant", ["", "a.b", "A", "a*", "a b", "x" * 64])
def test_a_tenant_that_would_break_a_subject_gets_no_key(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(InvalidRequest):
        new_key(tmp_path / "keys", tenant)
    assert not (tmp_path / "keys").exists()


def test_only_an_operators_key_sees_what_is_of_all_tenants(tmp_path: Path) -> None:
    """Else a tenant would read from the figures what another one does."""
    path = tmp_path / "keys"
    plain, operator = new_key(path, "acme"), new_key(path, "acme", operator=True)
    ring = keyring(path, development=True, tokens=TOKENS)
    with pytest.raises(PermissionDenied, match="tidegate keys new TENANT --operator"):
        ring.authenticate(f"Bearer {plain}").check_operator()
    for key in (operator, "tidegate-dev"):
        ring.authenticate(f"Bearer {key}").check_operator()
        # A page's token may do less than its key, and is known as long as that is.
        header = bearer(ring, key)
        reader = ring.authenticate_reader(header)
        assert ring.still_knows(reader, header)
        with pytest.raises(PermissionDenied):
            reader.check_operator()


def bearer(ring: Keyring, key: str, job_id: str | None = None, seconds: int = 60) -> str:
    """The header of a page that holds a token of this key."""
    caller = ring.authenticate(f"Bearer {key}")
    return f"Bearer {ring.new_token(caller, job_id=job_id, seconds=seconds)[0]}"


def test_a_token_is_known_for_less_than_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = new_key(path, "acme")
    ring = keyring(path, tokens=TOKENS)
    caller = ring.authenticate(f"Bearer {key}")
    header = bearer(ring, key, JOB)
    reader = ring.authenticate_reader(header)
    assert (reader.tenant, reader.key_id) == (caller.tenant, caller.key_id)
    with pytest.raises(PermissionDenied, match="API key"):
        ring.authenticate(header)
    reader.check_job(JOB)
    with pytest.raises(NotFound, match="no such job"):
        reader.check_job("job_" + "b" * 26)
    ring.authenticate_reader(bearer(ring, key)).check_job(JOB)
    ring.authenticate_reader(f"Bearer {key}").check_job(JOB)


def test_a_token_goes_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, kept = new_key(path, "acme"), new_key(path, "acme")
    ring = keyring(path, tokens=TOKENS)
    header, other = bearer(ring, key), bearer(ring, kept)
    reader = ring.authenticate_reader(header)
    assert ring.still_knows(reader, header)
    path.write_text(path.read_text(encoding="utf-8").splitlines()[1], encoding="utf-8")
    ring.refresh()
    assert not ring.still_knows(reader, header)
    with pytest.raises(Unauthenticated, match="made with"):
        ring.authenticate_reader(header)
    assert ring.authenticate_reader(other).tenant == "acme"


def test_a_token_of_another_tenant_with_the_same_key_id_is_not_known(tmp_path: Path) -> None:
    ring = keyring(None, development=True, tokens=TOKENS)
    token, _ = TOKENS.make("acme", "development", job_id=None, seconds=60)
    with pytest.raises(Unauthenticated):
        ring.authenticate_reader(f"Bearer {token}")


def test_what_began_before_a_tokens_end_goes_on() -> None:
    ring = keyring(None, development=True, tokens=TOKENS)
    late = bearer(ring, "tidegate-dev", seconds=-60)
    with pytest.raises(Unauthenticated, match="expired"):
        ring.authenticate_reader(late)
    assert ring.still_knows(Caller("dev", "development", Scope(None, 1)), late)


def test_a_key_that_was_taken_away_is_not_known_still(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = new_key(path, "acme")
    ring = keyring(path)
    caller = ring.authenticate(f"Bearer {key}")
    assert ring.still_knows(caller, f"Bearer {key}")
    path.write_text("", encoding="utf-8")
    ring.refresh()
    assert not ring.still_knows(caller, f"Bearer {key}")


def test_without_a_secret_tokens_are_off_and_say_so() -> None:
    ring = keyring(None, development=True)
    with pytest.raises(FailedPrecondition, match="TIDEGATE_TOKEN_SECRET_FILE") as refused:
        bearer(ring, "tidegate-dev")
    assert refused.value.reason is Reason.TOKENS_OFF
    token, _ = TOKENS.make("dev", "development", job_id=None, seconds=60)
    with pytest.raises(Unauthenticated, match="TIDEGATE_TOKEN_SECRET_FILE"):
        ring.authenticate_reader(f"Bearer {token}")


def test_a_token_secret_that_cannot_be_used_keeps_a_service_from_starting(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    settings = KeySettings(development=True, token_secret_file=secret)
    with pytest.raises(SettingsError, match=r"TIDEGATE_TOKEN_SECRET_FILE.*No such file"):
        make_keyring(settings, TaskGuard(), [LOOPBACK])
    secret.write_text("short", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"TIDEGATE_TOKEN_SECRET_FILE.*32 bytes"):
        make_keyring(settings, TaskGuard(), [LOOPBACK])
    secret.write_text("x" * 32, encoding="utf-8")
    ring = make_keyring(settings, TaskGuard(), [LOOPBACK])
    assert ring.authenticate_reader(bearer(ring, "tidegate-dev")).tenant == "dev"
