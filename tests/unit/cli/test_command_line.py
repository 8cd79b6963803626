"""The frame of the command line: help, exit codes, one clear line for a mistake."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beast.__main__ import run
from beast.cli.common import Target, find_target
from beast.engine.presence import Presence, presence_path

COMMANDS = ["serve", "price", "status", "sim", "feeds", "keys", "db", "config"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BEAST_SERVER", "BEAST_API_KEY", "BEAST_ADMIN_KEY", "BEAST_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEAST_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"beast {command}" in shown.split("xamples", 1)[-1]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nothing"], 2, "nothing"),
        (["price"], 2, "ASSET"),
        (["feeds", "show"], 2, "parameter NAME "),
        (["feeds", "import"], 2, "parameter FILE "),
        (["profile", "apply"], 2, "parameter NAME "),
        (["keys", "revoke"], 2, "parameter KEY "),
        (["price", "BTC", "--what"], 2, "--what"),
        (["price", "BTC", "--interval", "0"], 2, "interval"),
        (["price", "BTC", "--server", "http://:x"], 2, "no address"),
        (["price", "BTC", "--server", "http://a b"], 2, "no address"),
        (["price", "BTC", "--server", "a..b"], 2, "no address"),
        (["price", "BTC", "--server", "a" * 300], 2, "no address"),
        (["price", "BTC", "--key", "tb_€"], 2, "--key"),
        (["price", "BTC", "--key", "tb_\nx: y"], 2, "--key"),
        (["price", "\udcff", "--server", "127.0.0.1"], 2, "UTF-8"),
        (["status", "--admin-key", "€", "--server", "127.0.0.1"], 2, "--admin-key"),
        (["price", "BTC"], 1, "no server runs on this home"),
        (["status"], 1, "no server runs on this home"),
        (["price", "BTC", "--server", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1"),
        (["price", "BTC", "--udp", "--server", "udp://127.0.0.1:1"], 1, "udp://127.0.0.1:1"),
        (["serve", "--http-port", "70000"], 2, "70000"),
        (["serve", "--config", "/nowhere/beast.toml"], 2, "/nowhere/beast.toml"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("beast: ")
    assert shown.out == ""


def test_output_that_finds_no_room_is_one_line_on_stderr() -> None:
    command = [sys.executable, "-m", "beast", "config"]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (told.returncode, told.stderr) == (1, "beast: can't write: No space left on device\n")


@pytest.mark.parametrize(("mode", "demo"), [("WEBHOOK_SERVER", False), ("REPORT_SERVER", True)])
def test_modes_that_can_t_be_served_say_so(
    mode: str,
    demo: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SERVER_TYPE", mode)
    assert run(["serve", *(["--demo"] if demo else [])]) == 2
    assert "SERVER_TYPE" in capsys.readouterr().err


def test_ctrl_c_while_it_is_imported_shows_no_traceback() -> None:
    program = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "cyclopts":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
import beast.__main__
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_is_pythons_again_once_it_is_imported() -> None:
    ours = "signal.default_int_handler"
    program = f"import signal; signal.signal(2, {ours}); import beast.__main__; assert signal.getsignal(2) is {ours}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_light_command_imports_nothing_heavy() -> None:
    program = "import sys; from beast.__main__ import run; run(['price', '--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for heavy in ("boto3", "litestar", "picows", "psycopg", "uvicorn"):
        assert f"'{heavy}'" not in done.stdout, heavy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example", Target("example", 8080, 2679)),
        ("example:1", Target("example", 1, 1)),
        ("http://example:1", Target("example", 1, 2679)),
        ("udp://example:1", Target("example", 8080, 1)),
        ("http://[::1]:1", Target("::1", 1, 2679)),
    ],
)
def test_where_a_server_is(text: str, expected: Target) -> None:
    assert find_target(text, None) == expected


def test_the_order_of_the_sources(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Presence(
        pid=1, ports={"http": 5, "udp": 6}, node="n", version="0", home="h", host="::1", demo_api_key="c", admin_key="d"
    )
    left.write(presence_path(home))
    assert find_target(None, None) == Target("::1", 5, 6, "c", "d")
    monkeypatch.setenv("BEAST_API_KEY", "b")
    assert find_target(None, None).api_key == "b"
    monkeypatch.setenv("BEAST_SERVER", "http://there:7")
    assert find_target(None, None) == Target("there", 7, 2679, "b")
    assert find_target("udp://here:8", "a") == Target("here", 8080, 8, "a")


@pytest.fixture
def udp_server() -> Iterator[tuple[int, list[dict[str, object]]]]:
    """Answers every request with two parts in the wrong order, after a stray datagram and a late answer."""
    asked: list[dict[str, object]] = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def answer() -> None:
            datagram, peer = sock.recvfrom(2000)
            request = json.loads(datagram)
            asked.append(request)
            sock.sendto(b"noise", peer)
            for part, price, id_ in ((1, "9", "late"), (2, "0.10", request["id"]), (1, "1.000", request["id"])):
                entry = f'{{"asset":"A{part}","price":{price}}}'
                sock.sendto(f'{{"prices":[{entry}],"part":{part},"parts":2,"id":"{id_}"}}'.encode(), peer)

        thread = threading.Thread(target=answer)
        thread.start()
        yield sock.getsockname()[1], asked
        thread.join()


def test_an_answer_in_parts_is_put_together_with_every_digit(
    udp_server: tuple[int, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    port, asked = udp_server
    assert run(["price", "A1", "A2", "--udp", "--json", "--server", f"udp://127.0.0.1:{port}", "--key", "k"]) == 0
    assert capsys.readouterr().out == '{"prices":[{"asset":"A1","price":1.000},{"asset":"A2","price":0.10}]}\n'
    assert asked[0]["assets"] == ["A1", "A2"]
    assert asked[0]["api_key"] == "k"
