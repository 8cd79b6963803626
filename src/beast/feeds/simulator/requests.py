"""What clients ask of each exchange, and how it answers: acknowledgements, refusals, pongs, past trades.

Each exchange has one struct for all it may be sent and one function that answers it; None is a text it can't read.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from beast.feeds.simulator import frames
from beast.feeds.simulator.market import SECOND_NS
from beast.feeds.simulator.session import Session
from beast.feeds.simulator.wording import milliseconds, rfc3339

Id = int | str | None


def add_or_remove(session: Session, symbols: list[str], *, add: bool) -> None:
    """Subscribes the symbols or takes them off."""
    for symbol in symbols:
        session.exchange.note(symbol, subscribed=add)
        if add:
            session.symbols[symbol] = None
        else:
            session.symbols.pop(symbol, None)


class CoinbaseRequest(msgspec.Struct):
    """`subscribe` or `unsubscribe`; one channel a message."""

    type: str
    channel: str = ""
    product_ids: list[str] = []


def coinbase(session: Session, request: CoinbaseRequest | None) -> None:
    """Sends each product's past trades, then one acknowledgement of all that is subscribed by now.

    One unknown product refuses the whole message.
    """
    channels = ("market_trades", "heartbeats")
    if request is None or request.type not in ("subscribe", "unsubscribe") or request.channel not in channels:
        session.send({"type": "error", "message": "failed to subscribe: no such type or channel"})
        return
    subscribe = request.type == "subscribe"
    if request.channel == "heartbeats":
        session.heartbeats = subscribe
    else:
        products = [coinbase_product(session, product) for product in request.product_ids]
        unknown = [product for product in products if product not in session.exchange.instruments]
        if unknown:
            session.send({"type": "error", "message": f"Failed to subscribe: {unknown[0]} is not a valid product"})
            return
        for product in products if subscribe else ():
            event = frames.coinbase_event("snapshot", list(session.exchange.instruments[product].history))
            session.send(frames.coinbase_frame(session, "market_trades", event))
        add_or_remove(session, products, add=subscribe)
    subscribed = {
        **({"market_trades": list(session.symbols)} if session.symbols else {}),
        **({"heartbeats": ["heartbeats"]} if session.heartbeats else {}),
    }
    session.send(frames.coinbase_frame(session, "subscriptions", {"subscriptions": subscribed}))


def coinbase_product(session: Session, product: str) -> str:
    """Public channels answer for a USDC market by its USD twin."""
    twin = product.removesuffix("C")
    return twin if product.endswith("-USDC") and twin in session.exchange.instruments else product


class GeminiRequest(msgspec.Struct):
    """Also `SUBSCRIBE`; `ping` has no params."""

    method: str
    id: Id = None
    params: list[str] = []


def gemini(session: Session, request: GeminiRequest | None) -> None:
    """Answers by id and status alone. One bad stream refuses the whole message."""
    if request is None:
        session.send({"id": None, "status": 400, "error": {"code": -1100, "msg": "Invalid request"}})
        return
    method = request.method.lower()
    streams = {stream: stream.removesuffix("@trade") for stream in request.params}
    bad = [name for name, symbol in streams.items() if name == symbol or symbol not in session.exchange.instruments]
    if method not in ("subscribe", "unsubscribe", "ping"):
        error = {"code": -1020, "msg": f"Unsupported method: {request.method}"}
    elif bad:
        error = {"code": -1013, "msg": f"Invalid stream name: {bad[0]}"}
    else:
        if method != "ping":
            add_or_remove(session, list(streams.values()), add=method == "subscribe")
        session.send({"id": request.id, "status": 200})
        return
    session.send({"id": request.id, "status": 400, "error": error})


class KrakenParams(msgspec.Struct):
    """Of a subscription."""

    channel: str = ""
    symbol: list[str] = []
    snapshot: bool = False


class KrakenRequest(msgspec.Struct):
    """`subscribe`, `unsubscribe` or `ping`."""

    method: str
    params: KrakenParams = msgspec.field(default_factory=KrakenParams)
    req_id: int | None = None


def kraken(session: Session, request: KrakenRequest | None) -> None:
    """Answers each symbol by itself; past trades come after its acknowledgement, and only when asked for."""
    stamp = rfc3339(session.exchange.wall_ns())
    method = request.method if request else ""
    tail: dict[str, Any] = {"time_in": stamp, "time_out": stamp}
    if request and request.req_id is not None:
        tail = {"req_id": request.req_id, **tail}
    if request is None or method not in ("subscribe", "unsubscribe", "ping"):
        session.send({"error": "Malformed request", "method": method, "success": False, **tail})
        return
    if method == "ping":
        session.send({"method": "pong", **tail})
        return
    params = request.params
    for symbol in params.symbol:
        if params.channel != "trade" or symbol not in session.exchange.instruments:
            error = f"Currency pair not supported {symbol}" if params.channel == "trade" else "Channel not supported"
            session.send({"error": error, "method": method, "success": False, "symbol": symbol, **tail})
            continue
        result: dict[str, Any] = {"channel": "trade", "snapshot": params.snapshot, "symbol": symbol}
        session.send({"method": method, "result": result, "success": True, **tail})
        add_or_remove(session, [symbol], add=method == "subscribe")
        if params.snapshot and method == "subscribe":
            session.send(frames.kraken_frame("snapshot", list(session.exchange.instruments[symbol].history)))


class GateioRequest(msgspec.Struct):
    """`subscribe` or `unsubscribe` on spot.trades, or spot.ping."""

    channel: str
    time: int | None = None
    id: int | None = None
    event: str = ""
    payload: list[str] = []


def gateio(session: Session, request: GateioRequest | None) -> None:
    """One answer a request, which one unknown pair refuses as a whole."""
    now_ns = session.exchange.wall_ns()
    times = {"time": now_ns // SECOND_NS, "time_ms": milliseconds(now_ns)}
    if request is None:
        error: dict[str, Any] | None = {"code": 1, "message": "request payload does not follow json schema"}
        session.send({**times, "channel": "", "event": "", "error": error, "result": None})
        return
    if request.channel == "spot.ping":
        session.send({**times, "channel": "spot.pong", "event": "", "error": None, "result": None})
        return
    unknown = [pair for pair in request.payload if pair not in session.exchange.instruments]
    error = None
    if request.channel != "spot.trades" or request.event not in ("subscribe", "unsubscribe"):
        error = {"code": 2, "message": f"unknown channel or event: {request.channel} {request.event}"}
    elif unknown:
        error = {"code": 2, "message": f"unknown currency pair: {unknown[0]}"}
    else:
        add_or_remove(session, request.payload, add=request.event == "subscribe")
    trace = f"{session.id}{now_ns:016x}"
    session.send(
        {
            **times,
            **({} if request.id is None else {"id": request.id}),
            "conn_id": session.id,
            "trace_id": trace,
            "channel": request.channel,
            "event": request.event,
            "payload": request.payload,
            **({"error": error} if error else {}),
            "result": {"status": "fail" if error else "success"},
            "requestId": trace,
        }
    )


class CryptocomParams(msgspec.Struct):
    """Of a subscription."""

    channels: list[str] = []


class CryptocomRequest(msgspec.Struct):
    """`subscribe`, `unsubscribe` or the answer to a heartbeat."""

    method: str
    id: int = -1
    params: CryptocomParams = msgspec.field(default_factory=CryptocomParams)


MOST_CRYPTOCOM_CHANNELS = 400


def cryptocom(session: Session, request: CryptocomRequest | None) -> None:
    """Answers each channel by itself, its past trades first."""
    if request is None:
        session.send({"id": -1, "method": "", "code": 40006, "message": "Bad request"})
    elif request.method == "public/respond-heartbeat":
        if request.id in session.unanswered:
            session.unanswered.clear()
    elif request.method not in ("subscribe", "unsubscribe"):
        session.send({"id": request.id, "method": request.method, "code": 40003, "message": "Unknown method"})
    else:
        for channel in request.params.channels:
            cryptocom_channel(session, request, channel)


def cryptocom_channel(session: Session, request: CryptocomRequest, channel: str) -> None:
    """Subscribes one channel, or takes it off."""
    answer = {"id": request.id, "method": request.method}
    symbol = channel.removeprefix("trade.")
    subscribe = request.method == "subscribe"
    instrument = session.exchange.instruments.get(symbol)
    if instrument is None or symbol == channel:
        session.send({**answer, "code": 40003, "channel": channel, "message": "Unknown symbol"})
    elif subscribe and len(session.symbols) >= MOST_CRYPTOCOM_CHANNELS:
        session.send({**answer, "code": 40107, "channel": channel, "message": "Exceed maximum channels"})
    else:
        if subscribe:
            session.send(frames.cryptocom_frame(symbol, list(instrument.history)))
        add_or_remove(session, [symbol], add=subscribe)
        session.send({**answer, "code": 0, "channel": channel})


class OkxArg(msgspec.Struct, rename="camel"):
    """One channel of one instrument."""

    channel: str
    inst_id: str


class OkxRequest(msgspec.Struct):
    """`subscribe` or `unsubscribe`."""

    op: str
    args: list[OkxArg]
    id: str | None = None


def okx(session: Session, request: OkxRequest | None) -> None:
    """Answers each argument by itself."""
    if request is None or request.op not in ("subscribe", "unsubscribe"):
        message = "Invalid request: the text can't be read"
        session.send({"event": "error", "msg": message, "code": "60012", "connId": session.id})
        return
    echo = {} if request.id is None else {"id": request.id}
    for arg in request.args:
        if arg.channel == "trades" and arg.inst_id in session.exchange.instruments:
            add_or_remove(session, [arg.inst_id], add=request.op == "subscribe")
            session.send({**echo, "event": request.op, "arg": arg, "connId": session.id})
        else:
            message = (
                f"Wrong URL or channel:{arg.channel},instId:{arg.inst_id} doesn't exist. "
                "Please use the correct URL, channel and parameters referring to API document."
            )
            session.send({**echo, "event": "error", "msg": message, "code": "60018", "connId": session.id})


class BinanceRequest(msgspec.Struct):
    """`SUBSCRIBE`, `UNSUBSCRIBE` or `LIST_SUBSCRIPTIONS`."""

    method: str
    id: Id = None
    params: list[str] = []


def binance(session: Session, request: BinanceRequest | None) -> None:
    """Accepts any name of the right form: an unknown symbol is acknowledged and never heard of again."""
    if request is None:
        session.send({"error": {"code": 3, "msg": "Invalid JSON"}, "id": None})
    elif request.method == "LIST_SUBSCRIPTIONS":
        session.send({"result": [f"{symbol.lower()}@trade" for symbol in session.symbols], "id": request.id})
    elif request.method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
        session.send({"error": {"code": 2, "msg": "Invalid request: unknown method"}, "id": request.id})
    elif any("@" not in name for name in request.params):
        session.send({"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": request.id})
    else:
        binance_streams(session, request.params, add=request.method == "SUBSCRIBE")
        session.send({"result": None, "id": request.id})


def binance_streams(session: Session, names: list[str], *, add: bool) -> None:
    """Stream names are in lower case; other than trade streams stay silent here."""
    symbols = [name.removesuffix("@trade").upper() for name in names if name.endswith("@trade") and name.islower()]
    add_or_remove(session, symbols, add=add)


def binance_url(session: Session) -> None:
    """Streams may stand in the URL: /ws/a@trade/b@trade or /stream?streams=a@trade/b@trade."""
    url = urlsplit(session.target)
    listed = parse_qs(url.query).get("streams", [""])[0]
    binance_streams(session, [*url.path.removeprefix("/ws").split("/"), *listed.split("/")], add=True)
