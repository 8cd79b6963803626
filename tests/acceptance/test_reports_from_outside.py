"""Reports as their users get them: from whole servers, by HTTP, by UDP and on the command line."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import pypdf
import pytest

pytestmark = pytest.mark.acceptance

BEAST = Path(sys.executable).with_name("beast")
ASKED = 60
WITHIN_S = 15
Server = Any
"""`Running` of conftest.py."""


def fetch(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def datagram(port: int, members: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(json.dumps(members).encode(), ("127.0.0.1", port))
        return dict(json.loads(sock.recv(4096)))


def environment(home: Path, mode: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEAST_")}
    for name in ("DATABASE_URL", "REDIS_URL"):
        kept.pop(name, None)
    return {**kept, "BEAST_HOME": str(home), "SERVER_TYPE": mode}


class Alone:
    """A server of one mode, without the demo."""

    def __init__(self, home: Path, mode: str) -> None:
        self.home = home
        ready = home.parent / f"ready-{time.monotonic_ns()}.json"
        names = ("http", "health", "udp", "report-http", "report-health", "report-udp")
        ports = [part for name in names for part in (f"--{name}-port", "0")]
        self.process = subprocess.Popen(
            [BEAST, "serve", "--feeds", "sim", "--ready-file", ready, *ports],
            env=environment(home, mode),
            stderr=subprocess.PIPE,
            text=True,
        )
        begun = time.monotonic()
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - begun > 60:
                raise AssertionError(self.stop())
            time.sleep(0.02)
        self.ports: dict[str, int] = json.loads(ready.read_bytes())["ports"]

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)[1]


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="beast-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "home"


@pytest.fixture(scope="module")
def used(server: Server) -> dict[str, Any]:
    """A key that was answered ASKED times by UDP and once by HTTP, all of it booked."""
    made: dict[str, Any] = json.loads(server.beast("keys", "create", "--tier", "enterprise", "--json").stdout)
    begun = time.monotonic()
    answered = 0
    while answered < ASKED:
        assert time.monotonic() - begun < 60
        answers = server.udp({"asset": "BTC"}, key=made["api_key"])
        answered += sum("price" in json.loads(each) for each in answers)
        time.sleep(0.02 if answers else 0.1)
    assert server.http("GET", "/price?asset=ETH", key=made["api_key"])[0] == 200
    made["answered"] = answered + 1
    return made


def booked(server: Server, key: dict[str, Any]) -> dict[str, Any]:
    """The operator's report of this key, once it says all."""
    begun = time.monotonic()
    while True:
        path = f"/admin/report?key={key['id']}&group=asset,protocol&period=today"
        report: dict[str, Any] = json.loads(
            fetch(server.ports["report_http"], path, X_Admin_Key=server.ready["admin_key"])[1]
        )
        if report["totals"]["answers"] == key["answered"] or time.monotonic() - begun > WITHIN_S:
            return report
        time.sleep(0.1)


def test_reports_tell_what_was_answered(server: Server, used: dict[str, Any]) -> None:
    report = booked(server, used)
    assert report["totals"]["answers"] == used["answered"]
    assert [(each["asset"], each["answers"]) for each in report["groups"][0]["rows"]] == [
        ("BTC", used["answered"] - 1),
        ("ETH", 1),
    ]
    assert {each["protocol"]: each["answers"] for each in report["groups"][1]["rows"]}["http"] == 1
    records = json.loads(
        fetch(
            server.ports["report_http"],
            report["totals"]["records"] + "&limit=1000",
            X_Admin_Key=server.ready["admin_key"],
        )[1]
    )["records"]
    assert len(records) == used["answered"]


def test_the_four_formats_and_the_datagram(server: Server, used: dict[str, Any]) -> None:
    booked(server, used)
    port, key = server.ports["report_http"], used["api_key"]
    bodies = {
        form: fetch(port, f"/report?period=today&format={form}", X_API_Key=key)
        for form in ("json", "csv", "xlsx", "pdf")
    }
    assert {status for status, _ in bodies.values()} == {200}
    assert json.loads(bodies["json"][1])["totals"]["answers"] == used["answered"]
    assert f"\r\ntotal,,,,,,,,,{used['answered']}," in bodies["csv"][1].decode()
    book = openpyxl.load_workbook(io.BytesIO(bodies["xlsx"][1]))
    assert book["Summary"]["A7"].value == used["answered"]
    assert f"{used['answered']}" in pypdf.PdfReader(io.BytesIO(bodies["pdf"][1])).pages[0].extract_text()
    told = datagram(server.ports["report_udp"], {"api_key": key, "period": "today", "id": "u"})
    assert (told["answers"], told["id"]) == (used["answered"], "u")
    assert json.loads(fetch(port, "/report/limit", X_API_Key=key)[1])["made"] == 5


def test_the_command_line(server: Server, used: dict[str, Any], tmp_path: Path) -> None:
    booked(server, used)
    shown = server.beast("report", "--period", "today", "--group", "asset", "--key-id", str(used["id"]))
    assert shown.returncode == 0, shown.stderr
    assert f"{used['answered']} " in shown.stdout
    written = server.beast("report", "--period", "today", "--format", "pdf", "--out", str(tmp_path / "r.pdf"))
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF-")
    lines = server.beast("report", "records", "--key-id", str(used["id"]), "--limit", "3").stdout.splitlines()
    assert len(lines) == 4
    assert json.loads(server.beast("report", "limit", "--key", used["api_key"]).stdout)["allowed"] == 10
    assert "operator" in server.beast("report", "made").stdout
    assert "unlimited" in server.beast("report", "addon", str(used["id"]), "--on").stdout
    assert json.loads(server.beast("report", "limit", "--key", used["api_key"]).stdout)["allowed"] is None
    wrong = server.beast("report", "--period", "soon")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


def test_lrs_requests_are_counted(server: Server, used: dict[str, Any]) -> None:
    def counted() -> int:
        stats = json.loads(server.http("GET", "/admin/stress-stats", X_Admin_Key=server.ready["admin_key"])[2])
        return int(stats["lrs_requests"])

    before = counted()
    fetch(server.ports["report_http"], "/report/limit", X_API_Key=used["api_key"])
    datagram(server.ports["report_udp"], {"api_key": used["api_key"], "period": "1d"})
    assert counted() == before + 2
    metrics = fetch(server.ports["report_health"], "/metrics")[1].decode()
    assert "beast_lrs_requests_total" in metrics


def test_a_report_server_runs_alone(home: Path) -> None:
    server = Alone(home, "REPORT_SERVER")
    assert set(server.ports) == {"report_http", "report_health", "report_udp"}
    made = json.loads(
        subprocess.run(
            [BEAST, "keys", "create", "--tier", "pro", "--json"],
            env=environment(home, "REPORT_SERVER"),
            capture_output=True,
            check=True,
        ).stdout
    )
    status, body = fetch(server.ports["report_http"], "/report?format=xlsx", X_API_Key=made["api_key"])
    assert (status, body[:2]) == (200, b"PK")
    assert datagram(server.ports["report_udp"], {"api_key": made["api_key"]})["answers"] == 0
    assert json.loads(fetch(server.ports["report_health"], "/health/ready")[1])["ready"] is True
    told = subprocess.run(
        [BEAST, "price", "BTC"], env=environment(home, "REPORT_SERVER"), capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "serves no prices" in told.stderr
    shown = subprocess.run(
        [BEAST, "status"], env=environment(home, "REPORT_SERVER"), capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert f"report_http {server.ports['report_http']}" in shown.stdout
    assert "ready: yes" in shown.stdout
    assert "reports: 0 under way, 2 requests" in shown.stdout
    [pid_file] = home.glob("postgres/**/postmaster.pid")
    begun = time.monotonic()
    reasons: dict[str, str] = {}
    killed: set[int] = set()
    while "database" not in reasons and time.monotonic() - begun < 20:
        # Each of them: it is started anew, perhaps before anybody has looked.
        with suppress(OSError, IndexError):
            pid = int(pid_file.read_text().split()[0])
            if pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGQUIT)
        reasons = json.loads(fetch(server.ports["report_health"], "/health/ready")[1])["reasons"]
        time.sleep(0.02)
    assert "database" in reasons
    log = server.stop()
    assert server.process.returncode == 0, log
    assert "Traceback" not in log


def test_a_price_server_has_no_report_ports(home: Path) -> None:
    server = Alone(home, "APP_SERVER")
    assert set(server.ports) == {"http", "health", "udp"}
    server.stop()
    assert server.process.returncode == 0
