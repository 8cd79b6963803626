"""What is in force at a place of a recording: the events that a file which begins there has to tell first."""

from collections.abc import Iterator

import msgspec

from beast.feeds.recording.file import (
    Backfill,
    Epoch,
    Event,
    Frame,
    Instruments,
    LinkDoubted,
    LinkDown,
    LinkProven,
    LinkUp,
    Opened,
    Parameters,
    Rows,
    Symbols,
)


class Standing:
    """The sum of the events taken so far, without prices."""

    def __init__(self) -> None:
        self._parameters: Parameters | None = None
        self._rows: Rows | None = None
        self._instruments: Instruments | None = None
        self._readers: dict[int, Opened] = {}
        self._symbols: dict[int, Symbols] = {}
        self._epochs: dict[int, Epoch] = {}
        self._links: dict[int, LinkUp] = {}

    def take(self, event: Event) -> None:
        """One more event."""
        match event:
            case Frame(at_ns, reader):
                if reader in self._readers:
                    self._prove(self._readers[reader].link, at_ns)
            case LinkProven(at_ns, link):
                self._prove(link, at_ns)
            case LinkUp(_, link):
                self._links[link] = event
            case LinkDoubted(_, link, epoch) if link in self._links:
                self._links[link] = msgspec.structs.replace(self._links[link], epoch=epoch)
            case LinkDown(_, link):
                self._links.pop(link, None)
            case Parameters():
                self._parameters = event
            case Rows():
                self._rows = event
            case Instruments():
                self._instruments = event
                self._drop_readers(event)
            case _:
                self._take_of_reader(event)

    def events(self) -> Iterator[Event]:
        """The same in as few events as possible."""
        for each in (self._parameters, self._rows, self._instruments):
            if each is not None:
                yield each
        yield from self._links.values()
        for number, opened in self._readers.items():
            yield opened
            if number in self._symbols:
                yield self._symbols[number]
            epoch = self._epochs.get(number)
            link = self._links.get(opened.link)
            if epoch and link and epoch.epoch == link.epoch:
                yield epoch

    def _take_of_reader(self, event: Event) -> None:
        match event:
            case Opened():
                self._open(event)
            case Symbols(_, reader):
                self._symbols[reader] = event
            case Epoch(_, reader):
                self._epochs[reader] = event
            case Backfill(_, reader, backfill_ns) if reader in self._readers:
                self._readers[reader] = msgspec.structs.replace(self._readers[reader], backfill_ns=backfill_ns)

    def _prove(self, link: int, at_ns: int) -> None:
        """The link is as good as if it had been opened now."""
        up = self._links.get(link)
        if up is not None:
            self._links[link] = msgspec.structs.replace(up, at_ns=at_ns)

    def _open(self, opened: Opened) -> None:
        """A link has one reader; the one before it brings nothing any more."""
        self._keep({number for number, each in self._readers.items() if each.link != opened.link})
        self._readers[opened.reader] = opened

    def _drop_readers(self, loaded: Instruments) -> None:
        """Before places are loaded anew, the connections that are not wanted any more have been let go."""
        links = {(row[2], row[5]) for row in loaded.instruments}
        self._keep({number for number, each in self._readers.items() if (each.exchange, each.link) in links})

    def _keep(self, readers: set[int]) -> None:
        for number in self._readers.keys() - readers:
            del self._readers[number]
            self._symbols.pop(number, None)
            self._epochs.pop(number, None)
