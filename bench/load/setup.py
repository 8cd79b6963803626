"""What a Beast under load holds and does: a set-up of the bench server, as its command line has it."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One way to run the bench server."""

    keys: int = 1
    """API keys, drawn at random by the load client."""
    assets: int = 150
    updates: int = 1000
    """Price updates a second, as an exchange's trade frames."""
    usage: bool = True
    """False: the usage ring has two places and is never emptied, so that no answer leaves a record."""
    sample: int = 0
    """Of so many receives one is timed."""
    spin_us: int = 0

    def text(self) -> str:
        """The server's only argument."""
        return json.dumps(asdict(self))

    def names(self) -> str:
        """What the load client reads: API keys, an empty line, assets."""
        return "\n".join([*keys(self.keys), "", *assets(self.assets)])


def keys(count: int) -> list[str]:
    """The first `count` API keys of the bench."""
    return [f"tb_{hashlib.sha256(str(number).encode()).hexdigest()}" for number in range(count)]


def assets(count: int) -> list[str]:
    """The first `count` assets of the bench."""
    return ["BTC", *(f"C{number:05d}" for number in range(1, count))]
