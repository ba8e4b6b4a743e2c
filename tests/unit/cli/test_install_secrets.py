"""The secrets that an installation makes for itself: complete, new each time, never changed."""

import json
from hashlib import sha256
from pathlib import Path

from tidegate.chassis.tokens import parse_secrets
from tidegate.cli.install.secrets import missing
from tidegate.cli.nats_config import ADMIN, ROUTES, USERS


def test_a_first_installation_gets_everything() -> None:
    made = missing({})
    assert set(made) == {
        *(f"nats-{user}" for user in (*USERS, ADMIN, ROUTES)),
        *("token-secret", "cache-key", "api-key", "keys.jsonl"),
    }
    assert len(set(made.values())) == len(made)
    assert missing(made) == {}


def test_the_key_is_let_in_by_the_file_beside_it() -> None:
    made = missing({})
    record = json.loads(made["keys.jsonl"])
    assert record["sha256"] == sha256(made["api-key"]).hexdigest()
    assert record["operator"] is True
    assert made["api-key"] not in made["keys.jsonl"]


def test_signing_secrets_are_long_enough_for_those_who_read_them() -> None:
    made = missing({})
    for name in ("token-secret", "cache-key"):
        assert parse_secrets(Path(name), made[name])


def test_an_upgrade_adds_what_is_new_and_touches_nothing_else() -> None:
    before = missing({})
    del before["cache-key"]
    assert set(missing(before)) == {"cache-key"}


def test_a_plain_key_that_was_taken_away_stays_away() -> None:
    """Whoever has noted the key deletes it here; a new one would open a second door."""
    before = missing({})
    del before["api-key"]
    assert missing(before) == {}


def test_without_the_hashes_the_plain_key_is_worth_nothing_and_both_are_made_anew() -> None:
    before = missing({})
    old = before.pop("keys.jsonl"), before["api-key"]
    made = missing(before)
    assert set(made) == {"keys.jsonl", "api-key"}
    assert (made["keys.jsonl"], made["api-key"]) != old
