"""The hot path in plain Python: what every datagram is answered, written to be read.

This is `docs/protocol.md` as a program. The compiled engine must give the same bytes for the same requests; where
the two differ, one of them is wrong, and tests say which request shows it. Times are integers in ns.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from beast._fast import RESULTS
from beast.engine.reference_request import FAULT_MESSAGES, Name, Request, parse

ANSWER_MAX = 1400
"""Bytes of the longest answer datagram."""
PAD, PAD_STEP = 256, 64
CONSENSUS = "consensus"
SECOND = 1_000_000_000
MESSAGES = {code: message for _, code, _, message in reversed(RESULTS)}
"""By wire code. Why a good key is refused has words of its own."""
REASONS = {name: message for name, _, _, message in RESULTS}
PREFIXES = {4: ((32, 1), (24, 32), (20, 256), (18, 768)), 6: ((128, 1), (64, 2), (56, 3), (48, 4), (32, 64))}
"""Of a source address: prefix length and how many times the address's own rate it may take."""
UNPROVEN_PER_SECOND, UNPROVEN_BURST = 2_000, 1_000
"""Answers of one worker to all sources that proved no key, while they are limited."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One market of one exchange."""

    number: int
    asset: str
    exchange: str
    currency: str
    priority: int
    link: int


@dataclass(frozen=True, slots=True)
class Price:
    """The latest trade of an instrument."""

    text: bytes
    time_ns: int
    received_ns: int
    fresh_ns: int
    epoch: int
    tier: int
    tail: bytes = b""
    """Of a consensus: the members that name its sources."""


@dataclass(slots=True)
class Link:
    """A connection to an exchange."""

    up: bool = False
    epoch: int = 0
    first: int = 0
    """The epoch with which its connection began; a doubt about what came over it begins another."""
    before: int = 0
    """With which the one before began."""
    proven_ns: int = 0
    lost_ns: int = 0
    """When the one before was last proven."""
    patience_ns: int = 0


@dataclass(slots=True)
class Rate:
    """Generic cell rate algorithm, virtual scheduling (ITU-T I.371)."""

    per_second: int
    burst: int
    arrival_ns: int = 0

    @property
    def interval_ns(self) -> int:
        """Between requests at the sustained rate."""
        return -(-SECOND // self.per_second)

    def early(self, now_ns: int) -> int:
        """How many ns too early a request would be now; 0 or less: it conforms."""
        return self.arrival_ns - (self.burst - 1) * self.interval_ns - now_ns

    def admit(self, now_ns: int) -> int:
        """0: admitted; else ns until a request would conform."""
        if self.per_second == 0:
            return 0
        early = self.early(now_ns)
        if early <= 0:
            self.arrival_ns = max(self.arrival_ns, now_ns) + self.interval_ns
        return max(0, early)


@dataclass(slots=True)
class Key:
    """The limits of an API key. No allowance: no cap."""

    rate: Rate
    partner: bool = False
    allowance: int | None = None
    priced: bool = True
    """Its scopes open prices."""
    networks: tuple[str, ...] | None = None
    """From where alone it may be used; None: from anywhere."""
    lease: int | None = None
    """Admissions that may be unsettled; None: they need no settling."""
    unsettled: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instrument's price as it looks at the moment of asking."""

    instrument: Instrument
    price: Price
    age_ms: int
    state: str


class Refusal(Exception):
    """The request, or one of its assets, gets an error: `code`, and members between message and id."""

    def __init__(self, code: str, extra: bytes = b"", message: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.extra = extra
        self.message = MESSAGES[code] if message is None else message

    def body(self, head: bytes = b"", *, told: bool = True) -> bytes:
        """The members of the error object, without braces; `told`: with its message."""
        message = f',"message":"{self.message}"'.encode() if told else b""
        return head + f'"error":"{self.code}"'.encode() + message + self.extra


@dataclass(slots=True)
class Reference:
    """Tables and rules of one server. Fill the tables, then ask."""

    node: str
    ttl_ns: int = 13 * SECOND
    linkless_ns: int = 0
    """How long a price is live after its connection was last proven."""
    source_per_second: int = 50
    retry_ns: int = SECOND // 20
    """When a key that has used up its lease may hope to be settled."""
    instruments: list[Instrument] = field(default_factory=list)
    prices: dict[int, Price] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    """Of each consensus without a price: why."""
    links: dict[int, Link] = field(default_factory=dict)
    keys: dict[bytes, Key] = field(default_factory=dict)
    sources: dict[str, Rate] = field(default_factory=dict)
    unproven: Rate = field(default_factory=lambda: Rate(UNPROVEN_PER_SECOND, UNPROVEN_BURST))

    def ask(self, datagram: bytes, *, now_ns: int, source: tuple[str, int] = ("127.0.0.1", 9)) -> list[bytes]:
        """The datagrams that answer this one."""
        request = parse(datagram)
        identity = b"" if request.id is None else b',"id":' + request.id
        key, reason = self._key(request, source[0])
        try:
            if request.fault != "NONE":
                raise Refusal("bad_request", message=FAULT_MESSAGES[request.fault])
            if key is None:
                raise Refusal("unauthorized", message=REASONS[reason])
            self._admit(key, now_ns)
            return self._answer(request, key, identity, now_ns)
        except Refusal as refusal:
            answer = b"{" + refusal.body() + identity + b"}"
            if key is not None:
                return [answer]
            if len(answer) > len(datagram):
                answer = b"{" + refusal.body(told=False) + identity + b"}"
            if len(answer) > len(datagram) or not self._source_allowed(source[0], now_ns):
                return []
            return [answer]

    def _key(self, request: Request, host: str) -> tuple[Key | None, str]:
        """The key that the request proves, or why it proves none."""
        if request.fault != "NONE" or request.api_key is None:
            return None, "UNAUTHORIZED"
        key = self.keys.get(sha256(request.api_key).digest())
        if key is None:
            return None, "UNAUTHORIZED"
        if key.networks is not None and not is_inside(host, key.networks):
            return None, "NO_NETWORK"
        return (key, "") if key.priced else (None, "NO_SCOPE")

    def _admit(self, key: Key, now_ns: int) -> None:
        if key.partner:
            return
        retry_ns = max(self.retry_ns, key.rate.early(now_ns)) if key.unsettled == key.lease else key.rate.admit(now_ns)
        if retry_ns:
            raise Refusal("rate_limited", f',"retry_after_ms":{-(-retry_ns // 1_000_000)}'.encode())
        if key.allowance == 0:
            raise Refusal("quota_exceeded")
        key.unsettled += key.lease is not None

    def _answer(self, request: Request, key: Key, identity: bytes, now_ns: int) -> list[bytes]:
        exchange = self._exchange(request)
        entries: list[bytes] = []
        answered = False
        for name in request.assets:
            try:
                chosen = self._choose(name, exchange, request, now_ns)
                entries.append(b"{" + self._price_members(chosen))
                answered = True
            except Refusal as refusal:
                if not request.many:
                    raise
                entries.append(b"{" + refusal.body(b'"asset":"' + name.echo() + b'",'))
        if answered and not key.partner and key.allowance is not None:
            key.allowance -= 1
        if request.many:
            return list(_parts([entry + b"}" for entry in entries], identity))
        return [_padded(entries[0] + identity + b"}")]

    def _exchange(self, request: Request) -> str | None:
        if request.exchange is None:
            return None
        name = request.exchange.text.decode()
        if name != CONSENSUS and all(instrument.exchange != name for instrument in self.instruments):
            raise Refusal("unknown_exchange")
        return name

    def _choose(self, name: Name, exchange: str | None, request: Request, now_ns: int) -> Candidate:
        asset = name.text.decode()
        listed = [i for i in self.instruments if i.asset == asset and _answers(i, exchange)]
        if not listed:
            raise Refusal("unknown_asset")
        if listed[0].number in self.refusals:
            raise Refusal("unavailable", message=self.refusals[listed[0].number])
        listed.sort(key=lambda i: (i.priority, i.exchange))
        held = [self._candidate(i, self.prices[i.number], now_ns) for i in listed if i.number in self.prices]
        young = [c for c in held if request.max_age_ms is None or c.age_ms <= request.max_age_ms]
        for state in ("live", "quiet"):
            for candidate in young:
                if candidate.state == state:
                    return candidate
        if request.allow_stale and young:
            return max(young, key=lambda c: c.price.received_ns)
        last = max(held, key=lambda c: c.price.received_ns, default=None)
        if last is None:
            raise Refusal("stale")
        time = write_time(last.price.time_ns)
        raise Refusal(
            "stale",
            b',"last":{"price":' + last.price.text + f',"timestamp":"{time}","age_ms":{last.age_ms}}}'.encode(),
        )

    def state(self, instrument: Instrument, price: Price, now_ns: int) -> str:
        """`live`, `quiet` or `stale`."""
        fresh = now_ns - price.fresh_ns <= self.ttl_ns
        if price.epoch == 0:  # No link brought it, none can take it back.
            return "live" if fresh else "stale"
        link = self.links.get(instrument.link, Link())
        heard_ns = max(link.proven_ns, price.received_ns if fresh else 0)
        proven = link.up and price.epoch >= link.first and now_ns - heard_ns <= link.patience_ns
        if fresh:
            return "live" if proven or self._is_spared(price, link, now_ns) else "stale"
        return "quiet" if proven and price.tier == 1 and price.epoch == link.epoch else "stale"

    def _is_spared(self, price: Price, link: Link, now_ns: int) -> bool:
        if not self.linkless_ns or price.epoch < link.before:
            return False
        heard_ns = link.proven_ns if price.epoch >= link.first else link.lost_ns
        return now_ns - heard_ns <= self.linkless_ns

    def _candidate(self, instrument: Instrument, price: Price, now_ns: int) -> Candidate:
        age_ms = max(0, now_ns - price.received_ns) // 1_000_000
        return Candidate(instrument, price, age_ms, self.state(instrument, price, now_ns))

    def _price_members(self, chosen: Candidate) -> bytes:
        instrument, price = chosen.instrument, chosen.price
        way = "rest" if price.tier == 3 else "ws"  # noqa: PLR2004 - the tier that asks the exchange itself
        if instrument.exchange == CONSENSUS:
            way = "median"
        return (
            f'"asset":"{instrument.asset}","price":{price.text.decode()},"currency":"{instrument.currency}",'
            f'"exchange":"{instrument.exchange}","source":"{instrument.exchange}-{way}",'
            f'"timestamp":"{write_time(price.time_ns)}"{price.tail.decode()},'
            f'"age_ms":{chosen.age_ms:6d},"state":"{chosen.state}",'
            f'"tier":{price.tier},"node":"{self.node}"'
        ).encode()

    def _source_allowed(self, host: str, now_ns: int) -> bool:
        if self.source_per_second == 0:
            return True
        rates = [self.unproven]
        for network, multiple in source_networks(host):
            per_second = self.source_per_second * multiple
            rates.append(self.sources.setdefault(network, Rate(per_second, per_second)))
        if any(rate.early(now_ns) > 0 for rate in rates):
            return False
        for rate in rates:
            rate.admit(now_ns)
        return True


def _answers(instrument: Instrument, exchange: str | None) -> bool:
    """A consensus answers only who asks for it."""
    return instrument.exchange == exchange or (exchange is None and instrument.exchange != CONSENSUS)


def is_inside(host: str, networks: Iterable[str]) -> bool:
    """Whether the address lies in one of the networks. An IPv4 address mapped into IPv6 is one of IPv4."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in networks)


def source_networks(host: str) -> Iterator[tuple[str, int]]:
    """The address and the prefixes around it, each with its multiple of the address's rate."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    for bits, multiple in PREFIXES[address.version]:
        yield str(ipaddress.ip_network((address, bits), strict=False)), multiple


def write_time(time_ns: int) -> str:
    """RFC 3339 in UTC with 6 digits of fraction, or 9 where the last three are not zero."""
    seconds, fraction = divmod(time_ns, SECOND)
    days, second = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    digits = f"{fraction // 1000:06d}" if fraction % 1000 == 0 else f"{fraction:09d}"
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}.{digits}Z"


def _civil(days: int) -> tuple[int, int, int]:
    """Date of a day number since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms")."""
    days += 719_468
    era, of_era = divmod(days, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004 - the algorithm's year begins in March
    return year + era * 400 + (month <= 2), month, day  # noqa: PLR2004


def _padded(answer: bytes) -> bytes:
    size = PAD if len(answer) <= PAD else -(-len(answer) // PAD_STEP) * PAD_STEP
    return answer.ljust(size)


def _parts(entries: list[bytes], identity: bytes) -> Iterator[bytes]:
    """Fills entries into datagrams; two digits are allowed for each part number, whatever it becomes."""
    room = ANSWER_MAX - len(b'{"prices":[') - len(b'],"part":10,"parts":10') - len(identity) - len(b"}")
    parts: list[list[bytes]] = [[]]
    used = 0
    for entry in entries:
        if parts[-1] and used + 1 + len(entry) > room:
            parts.append([])
            used = 0
        used += len(entry) + (1 if parts[-1] else 0)
        parts[-1].append(entry)
    for number, part in enumerate(parts, 1):
        tail = f'],"part":{number},"parts":{len(parts)}'.encode()
        yield b'{"prices":[' + b",".join(part) + tail + identity + b"}"
