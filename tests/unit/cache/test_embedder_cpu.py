"""Which CPUs would give a text another vector than the rest of the fleet."""

import pytest

from tidegate.cache.embedders.cpu import multiplies_exactly, this_cpu_multiplies_exactly


def cpuinfo(flags: str) -> str:
    return f"processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {flags} nx\nbogomips\t: 1\n"


@pytest.mark.parametrize(
    ("machine", "text", "exact"),
    [
        pytest.param("x86_64", cpuinfo("avx2 avx512f avx512_vnni"), True, id="servers"),
        pytest.param("x86_64", cpuinfo("avx2 avx_vnni"), True, id="desktops"),
        pytest.param("AMD64", cpuinfo("avx2 avx512f"), False, id="older servers"),
        pytest.param("x86_64", cpuinfo("avx2"), False, id="older ones"),
        pytest.param("x86_64", cpuinfo("not_avx_vnni_at_all"), False, id="another flag"),
        pytest.param("x86_64", None, False, id="x86 without Linux"),
        pytest.param("x86_64", "", False, id="nothing told"),
        pytest.param("aarch64", "Features\t: fp asimd", True, id="arm"),
        pytest.param("arm64", None, True, id="arm without Linux"),
    ],
)
def test_who_needs_the_slower_way(machine: str, text: str | None, exact: bool) -> None:
    assert multiplies_exactly(machine, text) is exact


def test_it_can_be_said_of_this_machine() -> None:
    assert this_cpu_multiplies_exactly() in (True, False)
