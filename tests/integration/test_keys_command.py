import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beast.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.integration


def beast(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    variables = {**kept, "PATH": "/usr/bin:/bin", "BEAST_HOME": str(home), **environment}
    command = [sys.executable, "-m", "beast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=60)


def test_keys_live_from_creation_to_revocation_without_a_server(new_home: Path) -> None:
    made = beast(new_home, "keys", "create", "--tier", "partner", "--label", "ours", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert key["api_key"].startswith("tb_")
    listed = beast(new_home, "keys", "list", "--json")
    row = json.loads(listed.stdout)
    assert (row["id"], row["tier"], row["label"], row["enabled"]) == (key["id"], "partner", "ours", True)
    assert key["api_key"] not in listed.stdout
    revoked = beast(new_home, "keys", "revoke", key["api_key"][:11])
    assert revoked.returncode == 0, revoked.stderr
    assert not json.loads(beast(new_home, "keys", "list", "--json").stdout)["enabled"]
    assert not (new_home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_running_embedded_server_is_used_and_left_running(new_home: Path) -> None:
    server = EmbeddedPostgres(new_home)
    server.start()
    pid = server.pid()
    assert beast(new_home, "keys", "create", "--tier", "free").returncode == 0
    assert server.pid() == pid
    server.stop()


def test_database_url_wins(new_home: Path, database_url: str) -> None:
    made = beast(new_home, "keys", "create", "--tier", "free", "--json", DATABASE_URL=database_url)
    assert made.returncode == 0, made.stderr
    assert not (new_home / "postgres").exists()
    assert beast(new_home, "db", "url", DATABASE_URL=database_url).stdout.strip() == database_url
    asked = beast(new_home, "db", "psql", "-Atc", "SELECT tier FROM api_keys", DATABASE_URL=database_url)
    assert (asked.returncode, asked.stdout) == (0, "free\n")
    failed = beast(new_home, "db", "psql", "-c", "SELECT nothing", DATABASE_URL=database_url)
    assert failed.returncode == 1
    assert beast(new_home, "db", "migrate", DATABASE_URL=database_url).stdout == "the tables are up to date\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["keys", "create", "--tier", "gold"], 2, "one of free, pro"),
        (["keys", "create"], 2, "--tier"),
        (["keys", "revoke", "12345"], 2, "there is no key 12345"),
        (["profile", "show", "nonsense"], 2, "there is no profile"),
        (["config", "--config", "/nonexistent.toml"], 2, "/nonexistent.toml: can't be read"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    new_home: Path, database_url: str, arguments: list[str], code: int, told: str
) -> None:
    done = beast(new_home, *arguments, DATABASE_URL=database_url)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unreachable_database_is_one_line(new_home: Path) -> None:
    url = "postgresql://u:hidden-password@127.0.0.1:9/x"
    done = beast(new_home, "keys", "list", DATABASE_URL=url)
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "hidden-password" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_config_shows_values_and_origins(new_home: Path) -> None:
    done = beast(new_home, "config", "--json", BEAST_HTTP_PORT="0", STRIPE_API_KEY="sk_live_secret")
    told = json.loads(done.stdout)
    assert told["http_port"] == {"value": 0, "origin": "environment BEAST_HTTP_PORT"}
    assert told["stripe_api_key"]["value"] == "***"
    assert told["udp_port"] == {"value": 2679, "origin": "default"}
    table = beast(new_home, "config", BEAST_PIN="1", STRIPE_API_KEY="sk_live_secret")
    assert "environment BEAST_PIN" in " ".join(table.stdout.split())
    assert "sk_live_secret" not in table.stdout


def test_profiles_are_shown_and_applied(new_home: Path, database_url: str) -> None:
    shown = beast(new_home, "profile", "show", DATABASE_URL=database_url)
    assert len(shown.stdout.splitlines()) == 16
    applied = beast(new_home, "profile", "apply", "stress", "--json", DATABASE_URL=database_url)
    assert {"name": "cache_ttl_ms", "old": 13_000, "new": 300_000} in [
        json.loads(x) for x in applied.stdout.splitlines()
    ]
    assert beast(new_home, "profile", "show", "stress", DATABASE_URL=database_url).stdout == "nothing differs\n"
