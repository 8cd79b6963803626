"""The exchanges the simulator can speak as: one row each."""

from typing import Final

from beast.feeds.simulator import bitfinex, frames, kucoin, requests
from beast.feeds.simulator.session import Dialect, KeepAlive
from beast.feeds.simulator.types import PriceStyle

DIALECTS: Final[dict[str, Dialect]] = {
    "coinbase": Dialect(
        paths=("/",),
        style=PriceStyle(),
        request=requests.CoinbaseRequest,
        answer=requests.coinbase,
        trades=frames.coinbase_trades,
        beat=frames.coinbase_heartbeat,
        keep_alive=KeepAlive(beat_s=1, subscribe_s=5, idle_s=75),
    ),
    "gemini": Dialect(
        paths=("/",),
        style=PriceStyle(zeros=3),
        request=requests.GeminiRequest,
        answer=requests.gemini,
        trades=frames.one_by_one(frames.gemini_trade),
        keep_alive=KeepAlive(ping_s=20, pong_s=60),
    ),
    "kraken": Dialect(
        paths=("/v2",),
        style=PriceStyle(least=1),
        request=requests.KrakenRequest,
        answer=requests.kraken,
        trades=frames.kraken_trades,
        greet=frames.kraken_status,
        beat=frames.kraken_heartbeat,
        keep_alive=KeepAlive(beat_s=1, subscribe_s=60),
    ),
    "gateio": Dialect(
        paths=("/ws/v4",),
        style=PriceStyle(least=1, strip=True),
        request=requests.GateioRequest,
        answer=requests.gateio,
        trades=frames.one_by_one(frames.gateio_trade),
        keep_alive=KeepAlive(subscribe_s=30, client_s=60),
    ),
    "cryptocom": Dialect(
        paths=("/exchange/v1/market",),
        style=PriceStyle(),
        request=requests.CryptocomRequest,
        answer=requests.cryptocom,
        trades=frames.cryptocom_trades,
        beat=frames.cryptocom_heartbeat,
        keep_alive=KeepAlive(first_beat_s=10, beat_s=30, unanswered_beats=3, answer_s=5, ping_s=5, pong_s=30),
    ),
    "okx": Dialect(
        paths=("/ws/v5/public",),
        style=PriceStyle(least=1, strip=True),
        request=requests.OkxRequest,
        answer=requests.okx,
        trades=frames.one_by_one(frames.okx_trade),
        keep_alive=KeepAlive(idle_s=30, close_code=4004, close_reason="No data received in 30s."),
        text_replies={b"ping": b"pong"},
    ),
    "binance": Dialect(
        paths=("/ws", "/ws/*", "/stream"),
        style=PriceStyle(most=8, width=8),
        request=requests.BinanceRequest,
        answer=requests.binance,
        trades=frames.one_by_one(frames.binance_trade),
        greet=requests.binance_url,
        keep_alive=KeepAlive(ping_s=20, pong_s=60),
    ),
    "kucoin": Dialect(
        paths=("/endpoint",),
        style=PriceStyle(strip=True),
        request=kucoin.Request,
        answer=kucoin.answer,
        trades=frames.one_by_one(kucoin.trade),
        greet=kucoin.greet,
        keep_alive=KeepAlive(client_s=(kucoin.PING_INTERVAL_MS + 10_000) / 1000),
    ),
    "bitfinex": Dialect(
        paths=("/ws/2",),
        style=PriceStyle(significant=5, least=0, strip=True),
        request=bitfinex.Request,
        answer=bitfinex.answer,
        trades=bitfinex.trades,
        greet=bitfinex.greet,
        beat=bitfinex.beat,
        keep_alive=KeepAlive(beat_s=15),
    ),
}
