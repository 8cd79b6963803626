"""The load client against a running engine."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from beast._fast import Engine, Load, monotonic_ns, udp_segment
from beast.engine.load import Figures, drive, figures_of

MS = 1_000_000
KEY = b"tb_test"
ASSETS = [b"BTC", b"ETH"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(node="Load", max_keys=64, max_instruments=8)
    engine.load_instruments([(0, "BTC", "coinbase", "USD", 1, 0), (1, "ETH", "kraken", "USD", 1, 0)])
    engine.put_key(hashlib.sha256(KEY).digest(), 1, per_second=0, burst=1, partner=True)
    for number in range(2):
        engine.publish(number, b"83421.57", 1_775_000_000_123_456_000, monotonic_ns())
    engine.start()
    yield engine
    engine.stop()


def make(engine: Engine, protocol: str = "udp", **changes: object) -> Load:
    arguments: dict[str, object] = {
        "protocol": protocol,
        "host": "127.0.0.1",
        "port": engine.http_port if protocol == "http" else engine.udp_port,
        "keys": [KEY],
        "assets": ASSETS,
        "sockets": 3,
        "in_flight": 10,
        "duration_ns": 30 * MS,
    }
    return Load(**{**arguments, **changes})  # type: ignore[arg-type]


def run(load: Load) -> Figures:
    load.run()
    return figures_of(load)


@pytest.mark.parametrize("protocol", ["udp", "http", "udp-segment"])
@pytest.mark.parametrize("loop", [{"in_flight": 10}, {"in_flight": 0, "rate": 2000}, {"in_flight": 190}])
def test_every_request_is_answered_rightly(engine: Engine, protocol: str, loop: dict[str, int]) -> None:
    if protocol == "udp-segment" and not udp_segment():
        pytest.skip("this kernel has no UDP_SEGMENT")
    figures = run(make(engine, protocol, **loop))
    assert figures.sent == figures.answered == sum(figures.latency) > 30
    assert (figures.lost, figures.wrong, figures.refused, figures.unsent) == (0, {}, {}, 0)
    assert 30 * MS <= figures.elapsed_ns < 5000 * MS
    if "rate" in loop:
        assert figures.sent == 60


@pytest.mark.parametrize("protocol", ["udp", "http"])
def test_refusals_are_counted_by_their_code(engine: Engine, protocol: str) -> None:
    figures = run(make(engine, protocol, keys=[b"tb_nobody_knows_this_key_but_it_is_long"], assets=[b"A_LONG_ASSET"]))
    assert figures.answered == 0
    assert set(figures.refused) == {"unauthorized"}
    assert figures.sent == figures.refused_total + figures.lost
    figures = run(make(engine, protocol, assets=[b"NOPE"]))
    assert figures.refused == {"unknown_asset": figures.sent}


@pytest.mark.parametrize("protocol", ["udp", "http"])
def test_an_old_price_is_wrong_if_it_may_not_be(engine: Engine, protocol: str) -> None:
    engine.publish(1, b"2.5", 1_775_000_000_123_456_000, monotonic_ns() - 5000 * MS)
    engine.publish(0, b"83421.57", 1_775_000_000_123_456_001, monotonic_ns())
    figures = run(make(engine, protocol, max_age_ms=4000))
    assert figures.answered > 0
    assert set(figures.wrong) == {"AGE"}
    assert b'"asset":"ETH"' in figures.sample


def test_one_exchange_may_be_asked_for(engine: Engine) -> None:
    figures = run(make(engine, assets=[b"BTC"], exchange=b"coinbase"))
    assert figures.sent == figures.answered > 0


BODY = (
    b'{"asset":"BTC","price":1.5,"currency":"USD","exchange":"okx","source":"okx-ws",'
    b'"timestamp":"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"N"}'
)


def serve_http(answer: Callable[[socket.socket, int], None], stop: threading.Event) -> int:
    """A server of one connection at a time; `answer` is told how many requests it has had. Returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)

    def serve() -> None:
        seen = 0
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
                with connection:
                    while requests := connection.recv(4096).count(b"GET "):
                        for _ in range(requests):
                            seen += 1
                            answer(connection, seen)
            except OSError:
                continue
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_an_answer_in_pieces_is_put_together(engine: Engine, stop: threading.Event) -> None:
    def in_pieces(connection: socket.socket, _seen: int) -> None:
        whole = b"HTTP/1.1 200 OK\r\ncontent-LENGTH:%d\r\n\r\n%b" % (len(BODY), BODY)
        for at in range(0, len(whole), 50):
            connection.sendall(whole[at : at + 50])

    port = serve_http(in_pieces, stop)
    figures = run(make(engine, "http", port=port, sockets=1, in_flight=4, assets=[b"BTC"]))
    assert figures.sent == figures.answered > 0
    assert not figures.wrong


def test_a_connection_that_breaks_is_opened_anew_and_its_requests_are_lost(
    engine: Engine, stop: threading.Event
) -> None:
    def break_off(connection: socket.socket, seen: int) -> None:
        if seen % 3:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        else:
            connection.shutdown(socket.SHUT_RDWR)

    port = serve_http(break_off, stop)
    figures = run(make(engine, "http", port=port, sockets=1, in_flight=1, assets=[b"BTC"]))
    assert figures.lost > 0
    assert figures.answered > 0
    assert figures.reconnects == figures.lost
    assert figures.sent == figures.answered + figures.lost


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 No\r\n"])
def test_a_body_that_is_no_answer_is_wrong(engine: Engine, stop: threading.Event, head: bytes) -> None:
    port = serve_http(lambda connection, _: connection.sendall(head + b"Content-Length: 2\r\n\r\n{}"), stop)
    figures = run(make(engine, "http", port=port, sockets=1, in_flight=1, assets=[b"BTC"]))
    assert figures.wrong == {"MALFORMED": figures.sent}
    assert figures.sample == b"{}"


def test_ctrl_c_ends_a_run_with_its_figures(engine: Engine) -> None:
    def press(_figures: Figures) -> None:
        raise KeyboardInterrupt

    outcome = drive(make(engine, duration_ns=3_600_000 * MS), press)
    assert outcome.interrupted
    assert outcome.figures.sent == outcome.figures.answered > 0


def test_a_run_that_fails_says_why(engine: Engine) -> None:
    outcome = drive(make(engine, "http", port=1), lambda _: None)
    assert outcome.failure == "Connection refused"

    def fail(_figures: Figures) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(make(engine, duration_ns=3_600_000 * MS), fail)


def test_a_load_runs_once(engine: Engine) -> None:
    load = make(engine)
    load.run()
    with pytest.raises(RuntimeError, match="load"):
        load.run()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": "tcp"}, "protocol"),
        ({"host": "localhost"}, "host"),
        ({"port": 0}, "port"),
        ({"keys": []}, "key"),
        ({"assets": [b'B"C']}, "asset"),
        ({"keys": [b"a b"]}, "key"),
        ({"in_flight": 0}, "either"),
        ({"rate": 5}, "either"),
        ({"in_flight": 2}, "in_flight"),
        ({"in_flight": 193}, "in_flight"),
        ({"exchange": b"&"}, "exchange"),
        ({"check": "some"}, "check"),
    ],
)
def test_nonsense_is_told(engine: Engine, changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(engine, **{"protocol": "udp", **changes})  # type: ignore[arg-type]
