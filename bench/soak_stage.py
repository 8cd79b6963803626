"""What a soak is played on: the exchange simulator and a real server as processes of their own, and a look at them."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from beast.accounts.service import Accounts
from beast.base.clock import SystemClock
from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.feeds.rows.files import Exchange
from beast.feeds.simulator import catalogue
from beast.feeds.simulator.faults import FaultRequest
from beast.feeds.store import FeedStore
from beast.storage.opening import open_database

SERVER_CPU, CLIENT_CPU = 0, 1
BEAST = Path(sys.executable).with_name("beast")
SOURCES = 3
"""Exchanges that an asset needs to be asked for: one may fail while another is coming back."""
START_S = 60.0
STOP_S = 30.0


class StageError(Exception):
    """The soak can't go on, and why."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a home was made ready with."""

    keys: dict[int, str]
    """Those of the load, by id."""
    probe: str
    """A key that the load doesn't use."""
    exchanges: list[str]
    assets: list[str]


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can get through: started by root, the embedded PostgreSQL runs as one of them."""
    with tempfile.TemporaryDirectory(prefix="beast-soak-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextlib.contextmanager
def process(command: list[str], cpu: int, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Runs it on one processor, out of Ctrl-C's reach; it is told to stop at the end, if it has not been."""
    with log.open("w") as errors:
        running = subprocess.Popen(
            ["taskset", "-c", str(cpu), *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()


class Simulated:
    """A running `beast sim`."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise StageError("the simulator does not start")
        told = json.loads(line)
        self.pid = running.pid
        self.ports: dict[str, int] = told["ports"]
        self.exchanges: list[str] = list(told["exchanges"])

    def address(self, exchange: str, original: str) -> str:
        """Where to connect in place of an exchange's own address."""
        parts = urlsplit(original)
        query = f"?{parts.query}" if parts.query else ""
        return f"ws://127.0.0.1:{self.ports['ws']}/{exchange}{parts.path or '/'}{query}"

    def fault(self, fault: FaultRequest) -> None:
        """Makes something go wrong."""
        get_json(self.ports["rest"], "/_sim/fault", body=msgspec.json.encode(fault))


class Served:
    """A running `beast serve`."""

    def __init__(self, running: subprocess.Popen[str], ready_file: Path, home: Path, admin_key: str) -> None:
        until = time.monotonic() + START_S
        while not ready_file.exists():
            if running.poll() is not None or time.monotonic() > until:
                raise StageError("the server does not get ready")
            time.sleep(0.05)
        ready = json.loads(ready_file.read_bytes())
        self.running = running
        self.pid: int = ready["pid"]
        self.ports: dict[str, int] = ready["ports"]
        self.postmaster = int((home / "postgres/data/postmaster.pid").read_text().split("\n", 1)[0])
        self._admin = {"X-Admin-Key": admin_key}

    def take(self) -> dict[str, Any]:
        """What was counted since the last time, as /admin/stress-stats has it."""
        taken: dict[str, Any] = get_json(self.ports["http"], "/admin/stress-reset", self._admin)
        return taken

    def priced(self, assets: list[str], key: str) -> set[str]:
        """Those that have a price now."""
        body = get_json(self.ports["http"], f"/prices?assets={','.join(assets)}", {"X-API-Key": key})
        return {each["asset"] for each in body["prices"] if "price" in each}

    def rss_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def cpu_s(self) -> float:
        """Processor time so far, of all threads."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def database_s(self) -> float:
        """Processor time so far of its database, all sessions."""
        return family_ticks(self.postmaster) / os.sysconf("SC_CLK_TCK")

    def pending(self) -> int:
        """Answers that are not booked yet."""
        return int(get_json(self.ports["http"], "/admin/usage?days=1", self._admin)["pending"])

    def stop(self) -> int:
        """Drains it; returns its exit code."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(STOP_S)


@contextlib.contextmanager
def simulator(folder: Path, seed: int) -> Iterator[Simulated]:
    """`beast sim`, on the clients' processor."""
    command = [str(BEAST), "sim", "--json", "--seed", str(seed)]
    with process(command, CLIENT_CPU, folder / "sim.log", environment()) as running:
        yield Simulated(running)


@contextlib.contextmanager
def server(folder: Path, sample: int) -> Iterator[Served]:
    """`beast serve` with its embedded database, on a processor of their own."""
    admin_key = secrets.token_urlsafe(24)
    settings = {
        "SERVER_TYPE": "APP_SERVER",
        "BEAST_HOME": str(folder / "home"),
        "BEAST_ADMIN_KEY": admin_key,
        "BEAST_WORKERS": "1",
        "BEAST_LATENCY_SAMPLE": str(sample),
        "BEAST_LOG_FORMAT": "json",
    }
    ready = folder / "ready.json"
    ports = [f"--{kind}-port=0" for kind in ("http", "health", "udp")]
    command = [str(BEAST), "serve", f"--ready-file={ready}", *ports]
    with process(command, SERVER_CPU, folder / "server.log", environment() | settings) as running:
        yield Served(running, ready, folder / "home", admin_key)


def environment() -> dict[str, str]:
    """This process's environment without any setting of Beast's."""
    foreign = ("DATABASE_URL", "REDIS_URL", "SERVER_TYPE")
    return {name: text for name, text in os.environ.items() if not name.startswith("BEAST_") and name not in foreign}


async def prepare(folder: Path, simulated: Simulated, keys: int) -> Prepared:
    """Points every exchange of a new home to the simulator and makes the keys."""
    async with open_database(_config(folder)) as database:
        store, accounts = FeedStore(database), Accounts(database, SystemClock())
        feeds, _ = await store.list_feeds()
        known = [feed for feed in feeds if feed.enabled and feed.name in simulated.exchanges]
        sources = Counter[str]()
        for feed in known:
            rows = await store.exchange(feed.name)
            moved = msgspec.structs.replace(feed, ws_url=simulated.address(feed.name, feed.ws_url))
            await store.save(Exchange(moved, rows.assets))
            sources.update(row.asset for row in rows.assets if row.enabled and row.prewarm)
        probe, *made = [await accounts.create_key("partner", label="soak") for _ in range(keys + 1)]
    listed = catalogue.load().assets
    assets = [asset for asset, count in sources.items() if count >= SOURCES and asset in listed]
    names = [feed.name for feed in known]
    return Prepared(keys={key.id: key.api_key for key in made}, probe=probe.api_key, exchanges=names, assets=assets)


async def billed(folder: Path, prepared: Prepared) -> int:
    """Answers that the accounts have for the load's keys."""
    async with open_database(_config(folder)) as database:
        keys = await Accounts(database, SystemClock()).list_keys()
    return sum(key.current_usage for key in keys if key.id in prepared.keys)


def _config(folder: Path) -> Config:
    return load_config({"home": folder / "home"}, environ={}).config


def get_json(port: int, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
    """The answer to a GET, or to a POST of `body`; StageError unless it is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
    except OSError as error:
        raise StageError(f"{path}: {error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise StageError(f"{path}: {answer.status} {content.decode(errors='replace')}")
    return json.loads(content)


class Processors:
    """How busy the machine was since the last look.

    Args:
        ours: Processes whose time is told apart from that of `others`.
        database: The postmaster, whose time and its sessions' is `database`.
    """

    def __init__(self, ours: Sequence[int], database: int) -> None:
        self._ours, self._postmaster = ours, database
        self._look()

    def busy(self) -> dict[str, float]:
        """Percent of each processor's time; `steal`, `database` and `others` in percent of all together."""
        before, own, database = self._before, self._own, self._database
        self._look()
        told, stolen, whole, worked = dict[str, float](), 0, 0, 0
        for name, ticks in self._before.items():
            spent = [after - since for after, since in zip(ticks, before[name], strict=True)]
            total, busy = max(1, sum(spent)), sum(spent) - spent[3] - spent[4] - spent[7]
            told[name] = round(100 * busy / total, 1)
            stolen, whole, worked = stolen + spent[7], whole + total, worked + busy
        parts = {"steal": stolen, "database": self._database - database}
        parts["others"] = max(0, worked - (self._own - own) - parts["database"])
        return told | {name: round(100 * ticks / whole, 2) for name, ticks in parts.items()}

    def _look(self) -> None:
        self._before = self._read()
        self._own = sum(ticks_of(pid) for pid in self._ours)
        self._database = family_ticks(self._postmaster)

    @staticmethod
    def _read() -> dict[str, list[int]]:
        """Ticks by processor: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        return {name: list(map(int, ticks[:8])) for name, *ticks in lines if name.startswith("cpu") and name != "cpu"}


def _stat(pid: int) -> list[str]:
    """What proc(5) calls fields 3 and on of /proc/PID/stat; OSError when it has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def ticks_of(pid: int) -> int:
    """A process's time in user and kernel mode."""
    told = _stat(pid)
    return int(told[11]) + int(told[12])


def family_ticks(pid: int) -> int:
    """The same of a process, its children, and those of its children that have ended."""
    total = sum(map(int, _stat(pid)[11:15]))
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            told = _stat(int(entry.name))
            total += sum(map(int, told[11:13])) if int(told[1]) == pid else 0
    return total


def warnings(log: Path) -> Counter[str]:
    """How often the server logged what, from level warning up."""
    counted = Counter[str]()
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"level": "error", "event": line[:100]}
        if entry.get("level") not in ("debug", "info"):
            counted[str(entry.get("event"))] += 1
    return counted
