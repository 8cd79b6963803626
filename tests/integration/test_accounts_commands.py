"""Accounts on the command line, as a script uses them."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from beast.cli.main import run

pytestmark = pytest.mark.integration


class Shell:
    """Runs `beast` on one database: in processes of its own, or in this one, which spares starting them."""

    def __init__(self, home: Path, url: str, *, here: bool) -> None:
        self._here = here
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        self._environment = {"PATH": "/usr/bin:/bin", "BEAST_HOME": str(home), "DATABASE_URL": url, **kept}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "beast", *arguments]
        if self._here:
            out, err = io.StringIO(), io.StringIO()
            with patch.dict(os.environ, self._environment, clear=True), redirect_stdout(out), redirect_stderr(err):
                code = run([*arguments])
            return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment, timeout=60)

    def rows(self, *arguments: str) -> list[Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def row(self, *arguments: str) -> Any:
        (row,) = self.rows(*arguments)
        return row


@pytest.fixture
def shell(new_home: Path, database_url: str) -> Shell:
    return Shell(new_home, database_url, here=True)


@pytest.fixture
def outer_shell(new_home: Path, database_url: str) -> Shell:
    return Shell(new_home, database_url, here=False)


def test_a_user_and_their_keys(shell: Shell) -> None:
    user = shell.row("users", "create", "Ada@example.org", "--name", "Ada", "--lang", "pt-BR")
    assert (user["email"], user["preferred_lang"]) == ("ada@example.org", "pt-BR")
    assert shell.row("users", "set", "ada@example.org", "--lang", "en")["preferred_lang"] == "en"
    key = shell.row(
        *("keys", "create", "--tier", "pro", "--user", "ada@example.org", "--label", "ours"),
        *("--scope", "price", "--network", "192.0.2.0/24,2001:db8::/32", "--network", "10.0.0.0/8"),
    )
    assert key["scopes"] == ["price"]
    assert key["networks"] == ["192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8"]
    assert shell.row("users", "show", str(user["id"]))["keys"] == 1
    assert [each["id"] for each in shell.rows("keys", "list", "--user", "ada@example.org")] == [key["id"]]
    changed = shell.row("keys", "set", str(key["id"]), "--network", "any", "--user", "none", "--scope", "price,push")
    assert (changed["networks"], changed["user_id"], changed["scopes"]) == ([], None, ["price", "push"])
    assert shell.row("keys", "set", str(key["id"]), "--expires", "2100-01-01T00:00:00+00:00")["expires_at"]
    assert shell.row("keys", "set", str(key["id"]), "--expires", "never")["expires_at"] is None
    assert "Ada" in shell.run("users", "list").stdout


def test_the_life_of_a_key(shell: Shell) -> None:
    old = shell.row("keys", "create", "--tier", "partner")
    which = old["api_key"][:11]
    assert shell.row("keys", "pause", which)["state"] == "paused"
    assert [each["id"] for each in shell.rows("keys", "list", "--state", "paused")] == [old["id"]]
    assert shell.row("keys", "resume", which)["state"] == "active"
    rotated = shell.run("keys", "rotate", which, "--grace-hours", "0.5")
    assert rotated.stdout.startswith("tb_")
    assert "it is shown only now" in rotated.stderr
    shown = shell.row("keys", "show", which)
    assert (shown["state"], shown["successor_id"]) == ("rotated", old["id"] + 1)
    assert old["api_key"] not in shell.run("keys", "show", old["api_key"]).stdout
    used = shell.row("keys", "usage", which)
    assert (used["used"], used["left"], used["days"], used["alerts"]) == (0, None, [], [])
    assert "0 used, no cap" in shell.run("keys", "usage", which).stdout
    assert shell.row("keys", "revoke", which)["state"] == "revoked"
    failed = shell.run("keys", "resume", which)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "for ever" in failed.stderr


def test_tiers(outer_shell: Shell) -> None:
    shell = outer_shell
    gold = shell.row("tiers", "set", "gold", "--monthly-queries", "70_000", "--per-second", "5", "--burst", "9")
    assert (gold["monthly_queries"], gold["per_second"], gold["burst"], gold["partner"]) == (70_000, 5, 9, False)
    assert shell.row("tiers", "set", "gold", "--monthly-queries", "none")["monthly_queries"] is None
    assert shell.row("tiers", "show", "gold") in shell.rows("tiers", "list")
    assert "70,000" not in shell.run("tiers", "list").stdout


def test_the_audit_log(shell: Shell) -> None:
    key = shell.row("keys", "create", "--tier", "free")
    shell.row("keys", "pause", str(key["id"]))
    newest, oldest = shell.rows("audit", "--subject", f"key {key['id']}")
    assert (newest["action"], oldest["action"]) == ("key.pause", "key.create")
    assert newest["actor"].startswith("cli")
    shown = shell.run("audit", "--limit", "1").stdout
    assert len(shown.splitlines()) == 1
    assert "key.pause" in shown
    assert key["api_key"] not in shell.run("audit", "--limit", "0").stdout


def test_a_profile_that_is_applied_is_in_the_audit_log(shell: Shell) -> None:
    assert shell.rows("profile", "apply", "stress")
    entry = shell.row("audit", "--action", "profile.")
    assert (entry["action"], entry["after"]["profile"], entry["after"]["cache_ttl_ms"]) == (
        "profile.apply",
        "stress",
        300_000,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["keys", "create", "--tier", "pro", "--scope", "all"], 2, "price, report, push, admin"),
        (["keys", "create", "--tier", "pro", "--network", "x"], 2, "is no network"),
        (["keys", "create", "--tier", "pro", "--user", "ada@example.org"], 2, "there is no user"),
        (["keys", "show", "7"], 2, "there is no key 7"),
        (["keys", "set", "7", "--expires", "soon"], 2, "is no time"),
        (["keys", "rotate", "7", "--grace-hours", "inf"], 2, "is no number of hours"),
        (["keys", "list", "--state", "odd"], 2, "state"),
        (["users", "create", "nobody"], 2, "is no email address"),
        (["users", "show", "5"], 2, "there is no user 5"),
        (["tiers", "set", "gold", "--burst", "many"], 2, "--burst"),
        (["tiers", "set", "gold", "--burst", "5"], 2, "together"),
        (["tiers", "show", "gold"], 2, "there is no tier"),
        (["audit", "--limit", "-1"], 2, "--limit"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(shell: Shell, arguments: list[str], code: int, told: str) -> None:
    done = shell.run(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["keys", "users", "tiers", "audit"])
def test_help_shows_examples(shell: Shell, command: str) -> None:
    shown = shell.run(command, "--help")
    assert shown.returncode == 0
    assert f"beast {command}" in shown.stdout
    assert "Examples:" in shown.stdout
