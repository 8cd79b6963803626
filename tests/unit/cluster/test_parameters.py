from pathlib import Path

import msgspec
import pytest

from beast.base.errors import BeastError, UsageError
from beast.cluster.modes import read_profile, shipped_profiles
from beast.cluster.parameters import changes, checked_value, effective
from beast.cluster.store import Row
from beast.cluster.types import PARAMETERS, Change, Parameters

ROOT = Path(__file__).parents[3]
NAMES = [
    "demo",
    "debug",
    "fresh-price",
    "stress",
    "tcp-direct",
    "tcp-alb",
    "udp-direct",
    "udp-nlb",
    "lrs-direct",
    "lrs-alb",
    "lrs-udp-direct",
    "lrs-udp-nlb",
    "combined-direct",
    "combined-alb",
    "combined-udp-direct",
    "combined-udp-nlb",
]


def test_there_are_sixteen_profiles() -> None:
    assert sorted(shipped_profiles()) == sorted(NAMES)
    assert sorted(path.stem for path in (ROOT / "profiles").glob("*.toml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_keeps_the_rules(name: str) -> None:
    profile = shipped_profiles()[name]
    live = name in {"demo", "debug", "fresh-price"}
    assert profile.cache_ttl_ms == (13_000 if live else 300_000)
    assert (profile.sqs_flush_ms, profile.sqs_buffer_size) == ((100, 50_000) if live else (50, 100_000))
    assert profile.db_max_idle == profile.db_max_open
    assert profile.http_connections_per_source == (256 if live else 0)
    if name.startswith(("lrs", "combined")):
        assert profile.db_max_open == 180
    assert (profile.log_level == "debug") == (name == "debug")


def test_a_profile_must_be_complete_and_good() -> None:
    text = (ROOT / "profiles" / "demo.toml").read_text()
    with pytest.raises(BeastError, match=r"x\.toml: misses log_level"):
        read_profile("x.toml", text.replace('log_level = "configured"', ""))
    with pytest.raises(BeastError, match="db_max_idle must equal db_max_open"):
        read_profile("x.toml", text.replace("db_max_idle = 12", "db_max_idle = 13"))
    with pytest.raises(BeastError, match="unknown parameter turbo"):
        read_profile("x.toml", text + "turbo = true\n")
    with pytest.raises(BeastError, match="sqs_flush_ms = 9"):
        read_profile("x.toml", text.replace("sqs_flush_ms = 100", "sqs_flush_ms = 9"))


def test_bad_rows_are_left_out_and_the_rest_holds() -> None:
    rows = [
        Row("cache_ttl_ms", 5_000),
        Row("key_reread_s", "soon"),
        Row("of_a_newer_node", 1),
        Row("sqs_flush_ms", 50),
    ]
    assert effective(rows) == Parameters(cache_ttl_ms=5_000, sqs_flush_ms=50)
    assert effective([Row("db_max_open", 5)]) == Parameters()


@pytest.mark.parametrize(("name", "value"), [("cache_ttl_ms", 99), ("cache_ttl_ms", True), ("log_level", 1), ("x", 1)])
def test_values_are_checked(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        checked_value(name, value)


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "10.0.0.0/8,10.1.0.0/16", " ".join(["10.0.0.0/8"] * 33)])
def test_networks_are_checked(wrong: str) -> None:
    assert Parameters(source_exceptions=" 10.0.0.0/8  2001:db8::/32 ").source_exceptions.split()[1] == "2001:db8::/32"
    with pytest.raises(ValueError, match="source_exceptions"):
        Parameters(source_exceptions=wrong)


def test_changes_tell_old_and_new() -> None:
    old = Parameters()
    assert changes(old, msgspec.structs.replace(old, sqs_flush_ms=50)) == [Change("sqs_flush_ms", old=100, new=50)]


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=lambda parameter: parameter.name)
def test_every_parameter_is_documented_as_it_is(parameter: object) -> None:
    name = parameter.name  # type: ignore[attr-defined]
    value = getattr(Parameters(), name)
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    row = f"| `{name}` | `{shown}` | {parameter.allowed} | {parameter.description} |"  # type: ignore[attr-defined]
    assert row in (ROOT / "docs" / "configuration.md").read_text().splitlines()
