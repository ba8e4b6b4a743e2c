"""How a build learns where packages come from: without it nothing is built behind a proxy."""

from tests.bed.pip_settings import configuration, parsed

LISTED = """\
:env:.index-url='https://mirror.test/simple'
:env:.find-links='/opt/wheels https://mirror.test/wheels'
global.cert='/etc/ssl/company.pem'
global.index-url='https://old.test/simple'
global.timeout='60'
install.no-binary='x'
"""


def test_the_environment_rules_over_files() -> None:
    assert parsed(LISTED)["index-url"] == "https://mirror.test/simple"


def test_only_what_says_where_from_is_handed_on() -> None:
    assert configuration(parsed(LISTED), authority=True).split("\n") == [
        *("[global]", "index-url = https://mirror.test/simple"),
        *("find-links = https://mirror.test/wheels", "timeout = 60", "cert = /run/secrets/ca"),
        *("", ""),
    ]


def test_a_machine_without_settings_hands_on_none() -> None:
    assert configuration(parsed(""), authority=False) == ""
    assert configuration({"find-links": "/opt/wheels"}, authority=False) == ""
