"""The routes file: a mistake in it is found at the start, by place, and without showing keys."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tidegate.providers.price import Price
from tidegate.providers.routes import RoutesError, Timeouts
from tidegate.providers.routes_parse import load_routes, parse_routes

HERE = Path("/etc/tidegate/routes.yaml")

FULL = """\
providers:
  openai:
    base_url: https://api.openai.com/v1/
    api_key_env: SIM_KEY
    timeouts: {connect: 1, first_token: 2.5}
  local:
    base_url: http://127.0.0.1:8090/v1
    api_key_file: keys/local
models:
  small:
    queue: default
    targets:
      - provider: openai
        model: gpt-4o-mini
        weight: 3
        timeouts: {first_token: 7}
        price: {input: 0.15, cached_input: 0.075, output: 0.6, reasoning: 0.60}
      - {provider: local}
    fallbacks: [large]
    extra_body: [top_k]
  large:
    queue: slow
    targets: [{provider: local}]
  vectors:
    kind: embeddings
    targets: [{provider: openai, price: {input: 0.02}}]
"""


def refusal(text: str | bytes) -> str:
    with pytest.raises(RoutesError) as caught:
        parse_routes(text, HERE)
    return str(caught.value)


def test_a_full_file_is_taken_as_it_says() -> None:
    routes = parse_routes(FULL, HERE)
    assert list(routes) == ["small", "large", "vectors"]
    assert routes.queues == ("default", "slow")
    small = routes["small"]
    assert (small.kind, small.queue, small.fallbacks) == ("chat", "default", ("large",))
    assert small.extra_body == {"top_k"}
    first, second = small.targets
    assert first.key == ("openai", "gpt-4o-mini")
    assert first.base_url == "https://api.openai.com/v1"
    assert first.timeouts == Timeouts(connect=1, first_token=7, between_tokens=30, total=600)
    assert first.price == Price(Decimal("0.15"), Decimal("0.6"), Decimal("0.075"), Decimal("0.6"))
    assert (first.weight, second.weight, second.price) == (3, None, None)
    assert second.key == ("local", "small"), "the public name, where no other is given"
    assert second.api_key_file == HERE.parent / "keys/local"
    vectors = routes["vectors"]
    assert (vectors.kind, vectors.queue) == ("embeddings", "")
    assert len(routes.targets) == 4


@pytest.mark.parametrize(
    ("change", "line", "place", "hint"),
    [
        (("https://api", "api"), 3, "providers.openai.base_url", "https://"),
        (("https://api", "https://me:pw@api"), 3, "providers.openai.base_url", "api_key_env"),
        (("/v1/", "/v1?key=hunter2"), 3, "providers.openai.base_url", "without `?`"),
        (("SIM_KEY", "A\n    api_key_file: b"), 5, "providers.openai.api_key_file", "not both"),
        (("SIM_KEY", "sk-hunter2"), 4, "providers.openai.api_key_env", "never stands in this file"),
        (("connect: 1", "connect: 0"), 5, "providers.openai.timeouts.connect", "> 0"),
        (("connect: 1", "conect: 1"), 5, "providers.openai.timeouts", "first_token"),
        (("  local:", "  lo cal:"), 6, "providers.lo cal", "A-Z"),
        (("queue: default", "queue: Default!"), 11, "models.small.queue", "a-z"),
        (("    queue: default\n", ""), 10, "models.small", "add `queue: default`"),
        (("queue: slow", "queue: 7"), 22, "models.large.queue", "quotes"),
        (("queue: slow", "quue: slow"), 22, "models.large", "there are: targets, kind, queue"),
        (("provider: openai\n", "provider: opnai\n"), 13, "models.small.targets[0].provider",
         "defined there: openai, local"),
        (("      - {provider: local}", "      - {provider: local, mdl: a}"), 18,
         "models.small.targets[1]", "`mdl`; there are: provider, model"),
        (("{provider: local}\n    f", "{provider: openai, model: gpt-4o-mini}\n    f"), 18,
         "models.small.targets[1]", "take one of them out"),
        (("weight: 3", "weight: 0"), 15, "models.small.targets[0].weight", "> 0"),
        (("weight: 3", "weight: -1"), 15, "models.small.targets[0].weight", "> 0"),
        (("weight: 3", "weight: 1e999"), 15, "models.small.targets[0].weight", "1000000"),
        (("input: 0.15", "input: -0.15"), 17, "models.small.targets[0].price.input", "from 0"),
        (("input: 0.15", "input: NaN"), 17, "models.small.targets[0].price.input", "from 0"),
        (("input: 0.15, ", ""), 17, "models.small.targets[0].price", "`input`"),
        (("output: 0.6, ", ""), 17, "models.small.targets[0].price", "needs `output`"),
        (("outp", "out"), 17, "models.small.targets[0].price", "there are: input, output"),
        (("[large]", "[lage]"), 19, "models.small.fallbacks[0]", "there are: small, large"),
        (("[large]", "[large, large]"), 19, "models.small.fallbacks[1]", "twice"),
        (("[large]", "[vectors]"), 19, "models.small.fallbacks[0]", "same kind"),
        (("[large]", "[small]"), 19, "models.small.fallbacks[0]", "small -> small"),
        (("slow\n", "slow\n    fallbacks: [small]\n"), 19, "models.small.fallbacks[0]",
         "small -> large -> small"),
        (("[top_k]", "[top_k, top_p]"), 20, "models.small.extra_body[1]", "`top_p` is a standard"),
        (("[top_k]", "[stream_options]"), 20, "models.small.extra_body[0]", "standard"),
        (("[top_k]", "['a b']"), 20, "models.small.extra_body[0]", "Za-z"),
        (("kind: embeddings", "kind: vectors"), 25, "models.vectors.kind", "`chat`"),
        (("kind: embeddings", "kind: embeddings\n    queue: a"), 26, "models.vectors.queue",
         "take it out"),
        (("targets: [{provider: local}]", "targets: []"), 23, "models.large.targets", ">= 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_its_place_and_the_way_out(
    change: tuple[str, str], line: int, place: str, hint: str
) -> None:
    assert change[0] in FULL
    message = refusal(FULL.replace(*change, 1))
    assert message.startswith(f"{HERE}, line {line}: {place}: ")
    assert hint in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("", None, "the file must hold"),
        ("[]", 1, "the file must hold"),
        ("models: {}", 1, "`providers:` must hold"),
        ("providers: {a: {base_url: 'http://a'}}", 1, "`models:` must hold"),
        (f"{FULL}queues: []\n", 27, "take it out"),
        (FULL.replace("  large:", "  small:"), 21, "given twice"),
        (FULL.replace("  large:", "  7:"), 21, "quotes"),
        (FULL.replace("  large:", "  [a]:"), 21, "a name is text"),
        (FULL.replace("queue: slow", "queue: !vault slow"), 22, "a tag"),
        (FULL.replace("queue: slow", "queue: *slow"), 22, "undefined alias"),
        (FULL.replace("queue: slow", "queue: slow\n   - x"), 23, "mind the indentation"),
        (FULL.replace("slow", "s\0low"), 22, "character"),
        ("---\na: 1\n---\nb: 2\n", 3, "another document"),
        ("a: &a [*a]\nproviders: {}", 1, "nested too deep"),
        ("[" * 100_000, None, "nested too deep"),
        ("[" * 30 + "]" * 30, 1, "nested too deep"),
        (b"\xff\xfe", None, "UTF-8"),
        (b"#" * 600_000, None, "larger than 512 KiB"),
    ],
)
def test_what_is_no_routes_file_is_refused_with_its_line(
    text: str | bytes, line: int | None, hint: str
) -> None:
    message = refusal(text)
    assert message.startswith(f"{HERE}, line {line}: " if line else f"{HERE}: ")
    assert hint in message


def test_a_short_text_that_unfolds_without_end_is_refused_quickly() -> None:
    laughs = "\n".join(
        f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)
    )
    assert "holds too much" in refusal(f"models:\n  a0: &a0 [x]\n{laughs}\n")


def test_what_is_said_twice_may_be_said_once() -> None:
    routes = parse_routes(
        "providers: {p: {base_url: 'http://p/v1'}}\n"
        "models:\n"
        "  a: {queue: default, targets: &there [{provider: p, model: m}]}\n"
        "  b: {queue: default, targets: *there}\n",
        HERE,
    )
    assert routes["a"].targets == routes["b"].targets


def test_names_that_yaml_takes_for_something_else_are_texts() -> None:
    """`on` and dates are, in the YAML of most tools; a number stays one, and is named."""
    text = FULL.replace("large", "on").replace("small", "2026-01-01")
    assert list(parse_routes(text, HERE))[:2] == ["2026-01-01", "on"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RoutesError, match=r"missing\.yaml: cannot be read"):
        load_routes(tmp_path / "missing.yaml")


def test_a_key_is_read_when_it_is_needed(tmp_path: Path) -> None:
    """So that a rotated key is picked up, and who only looks routes up needs none."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "routes.yaml").write_text(FULL, encoding="utf-8")
    remote, local = load_routes(tmp_path / "routes.yaml")["small"].targets
    assert remote.read_api_key({"SIM_KEY": " k1\n"}) == "k1"
    where = r"routes\.yaml, line 4: providers\.openai\.api_key_env: SIM_KEY is not set; export it"
    with pytest.raises(RoutesError, match=where):
        remote.read_api_key({})
    pasted = replace(remote, api_key_env="skhunter2")
    with pytest.raises(RoutesError, match="the variable is not set") as refused:
        pasted.read_api_key({})
    assert "hunter2" not in str(refused.value)
    where = r"line 8: providers\.local\.api_key_file: .*keys/local cannot be read .*put the key"
    with pytest.raises(RoutesError, match=where):
        local.read_api_key()
    (tmp_path / "keys" / "local").write_text("k2\n", encoding="utf-8")
    assert local.read_api_key() == "k2"


@pytest.mark.parametrize("key", ["", "\n", "two\nlines", "sch\xf6n", "\x7f"])
def test_what_cannot_be_sent_as_a_key_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "local").write_text(key, encoding="utf-8")
    (tmp_path / "routes.yaml").write_text(FULL, encoding="utf-8")
    routes = load_routes(tmp_path / "routes.yaml")
    with pytest.raises(RoutesError) as caught:
        routes["large"].targets[0].read_api_key()
    assert not key.strip() or key not in str(caught.value)


def test_the_keys_of_fallbacks_are_needed_too(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(FULL, encoding="utf-8")
    routes = load_routes(tmp_path / "routes.yaml")
    environ = {"SIM_KEY": "k"}
    routes.require_keys(["vectors"], environ)
    with pytest.raises(RoutesError, match="api_key_file"):
        routes.require_keys(["vectors", "small"], environ)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "local").write_text("k", encoding="utf-8")
    routes.require_keys(routes, environ)
