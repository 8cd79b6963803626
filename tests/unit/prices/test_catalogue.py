from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.prices.catalogue import Catalogue, Row
from beast.prices.types import Asset, AssetMarket, Exchange, Market


class Batch(list[Row]):
    """Rows as they come."""

    def add(self, rows: Sequence[Row]) -> None:
        self.extend(rows)

    def finish(self) -> None:
        pass


class Table:
    """A price table that remembers what it was given."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.consensus: list[Row] = []

    def batch(self) -> "Batch":
        return Batch()

    def load_instruments(self, rows: Sequence[Row]) -> None:
        self.rows = [row for row in rows if row[2] != "consensus"]
        self.consensus = [row for row in rows if row[2] == "consensus"]


def market(exchange: str, asset: str, *, connection: int = 0, currency: str = "USD", priority: int = 100) -> Market:
    return Market(exchange=exchange, asset=asset, currency=currency, priority=priority, connection=connection)


def test_what_is_loaded_reaches_the_table() -> None:
    table = Table()
    catalogue = Catalogue(table)
    catalogue.load([market("kraken", "BTC"), market("okx", "BTC", currency="USDT", priority=5)])
    assert table.rows == [(0, "BTC", "kraken", "USD", 100, 0, 1, None), (1, "BTC", "okx", "USDT", 5, 1, 1, None)]
    assert catalogue.link("okx", 0) == 1
    found = catalogue.find("okx", "BTC")
    assert found is not None
    assert catalogue.instrument(found.id) == found
    assert [each.market.asset for each in catalogue.of_exchange("okx")] == ["BTC"]


def test_ids_stay_with_their_market() -> None:
    table = Table()
    catalogue = Catalogue(table)
    catalogue.load([market("a", "BTC"), market("a", "ETH")])
    catalogue.load([market("b", "BTC"), market("a", "ETH")])
    assert [row[:3] for row in table.rows] == [(2, "BTC", "b"), (1, "ETH", "a")]
    assert catalogue.find("a", "BTC") is None
    gone = catalogue.instrument(0)
    assert gone is not None
    assert gone.market.exchange == "a"
    catalogue.load([market("a", "BTC")])
    assert table.rows[0][0] == 0


def test_ids_are_given_again_only_when_none_are_left() -> None:
    table = Table()
    catalogue = Catalogue(table, max_instruments=2)
    catalogue.load([market("a", "BTC"), market("a", "ETH")])
    catalogue.load([market("a", "ETH"), market("a", "SOL")])
    assert [row[:2] for row in table.rows] == [(1, "ETH"), (0, "SOL")]
    with pytest.raises(ValueError, match="3 markets and"):
        catalogue.load([market("a", "BTC"), market("a", "ETH"), market("a", "SOL")])
    assert [row[:2] for row in table.rows] == [(1, "ETH"), (0, "SOL")]


def test_one_market_an_exchange_and_asset() -> None:
    catalogue = Catalogue(Table())
    with pytest.raises(ValueError, match="a maps BTC twice"):
        catalogue.load([market("a", "BTC"), market("a", "BTC", currency="USDT")])


def test_what_does_not_fit_is_told_beforehand() -> None:
    catalogue = Catalogue(Table())
    with pytest.raises(ValueError, match="65 exchanges"):
        catalogue.check(market(f"x{n}", "BTC") for n in range(65))
    with pytest.raises(ValueError, match="1025 connections"):
        catalogue.check(market("a", f"S{n}", connection=n) for n in range(1025))


def test_links_are_free_again_when_nobody_needs_them() -> None:
    table = Table()
    catalogue = Catalogue(table)
    catalogue.load([market("a", "BTC"), market("a", "ETH", connection=1), market("b", "BTC")])
    assert [row[5] for row in table.rows] == [0, 1, 2]
    catalogue.load([market("a", "BTC"), market("b", "BTC"), market("c", "BTC")])
    assert [row[5] for row in table.rows] == [0, 2, 1]
    with pytest.raises(KeyError):
        catalogue.link("a", 1)


def test_public_lists() -> None:
    catalogue = Catalogue(Table())
    catalogue.load(
        [
            Market(exchange="okx", asset="BTC", currency="USDT", priority=20),
            Market(exchange="kraken", asset="BTC", currency="USD", priority=10, category="layer-1"),
            Market(exchange="kraken", asset="AAVE", currency="USD", priority=10),
        ],
        {"kraken": "Kraken"},
    )
    assert catalogue.exchanges() == [
        Exchange(name="kraken", display_name="Kraken", priority=10, assets=2),
        Exchange(name="okx", display_name="okx", priority=20, assets=1),
    ]
    assert catalogue.assets() == [
        Asset(asset="AAVE", category="", markets=(AssetMarket("kraken", "USD"),)),
        Asset(asset="BTC", category="layer-1", markets=(AssetMarket("kraken", "USD"), AssetMarket("okx", "USDT"))),
    ]


_PAIRS = st.sets(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["BTC", "ETH", "SOL"]), st.integers(0, 1)), max_size=9
)


@given(st.lists(_PAIRS, max_size=8), st.integers(12, 15))
def test_ids_and_links_never_collide(loads: list[set[tuple[str, str, int]]], room: int) -> None:
    table = Table()
    catalogue = Catalogue(table, max_instruments=room)
    before: dict[tuple[str, str], int] = {}
    for load in loads:
        markets = {(exchange, asset): connection for exchange, asset, connection in load}
        catalogue.load(market(*pair, connection=connection) for pair, connection in markets.items())
        ids = {(row[2], row[1]): row[0] for row in table.rows}
        assert set(ids) == set(markets)
        assert len(set(ids.values())) == len(ids)
        everybody = [row[0] for row in (*table.rows, *table.consensus)]
        assert len(set(everybody)) == len(everybody)
        assert all(0 <= number < room for number in everybody)
        assert all(ids[pair] == number for pair, number in before.items() if pair in ids)
        links = {(row[2], markets[row[2], row[1]]): row[5] for row in table.rows}
        assert len(set(links.values())) == len(links)
        before = ids


def test_a_consensus_is_of_the_currency_that_most_exchanges_quote() -> None:
    table = Table()
    catalogue = Catalogue(table)
    markets = [
        market("a", "BTC", currency="USDT", priority=1),
        market("b", "BTC", priority=3),
        market("c", "BTC", priority=2),
        market("a", "ETH", priority=1),
        market("b", "ETH", currency="USDT", priority=3),
        market("c", "ETH", currency="USDT", priority=4),
        market("d", "ETH", priority=9),
        market("a", "SOL", priority=1),
        market("b", "SOL", currency="EUR", priority=1),
        Market(exchange="c", asset="SOL", currency="EUR", weight=0),
    ]
    catalogue.load(markets)
    assert [row[1:] for row in table.consensus] == [
        ("BTC", "consensus", "USD", 100, 0, 1, None),
        ("ETH", "consensus", "USD", 100, 0, 1, None),
    ]
    assert {each.asset: each.consensus for each in catalogue.assets()} == {"BTC": "USD", "ETH": "USD", "SOL": ""}
    assert "consensus" not in {each.name for each in catalogue.exchanges()}
    assert len(catalogue.instruments()) == len(markets)
    computed = catalogue.find("consensus", "ETH")
    assert computed is not None
    assert catalogue.instrument(computed.id) == computed
    assert catalogue.find("consensus", "SOL") is None


def test_no_exchange_may_be_called_consensus() -> None:
    with pytest.raises(ValueError, match="no exchange may be called consensus"):
        Catalogue(Table()).load([market("consensus", "BTC")])


def test_every_consensus_needs_room() -> None:
    catalogue = Catalogue(Table(), max_instruments=2)
    with pytest.raises(ValueError, match="3 markets and consensus"):
        catalogue.load([market("a", "BTC"), market("b", "BTC")])
