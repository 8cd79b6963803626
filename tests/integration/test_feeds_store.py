"""The rows in a real database: the seed, import, notification, and the command line over it."""

import asyncio
import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.fixtures.rows import FRAMES, ROOT, example_exchange, seeded_feeds

from beast.__main__ import run
from beast.base.errors import BeastError
from beast.feeds.rows.files import Exchange, RowsError, validate
from beast.feeds.store import CHANNEL, FeedStore
from beast.feeds.types import Feed
from beast.storage.database import Database

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

EXAMPLE = str(ROOT / "docs" / "examples" / "binance.toml")


def sorted_example() -> Exchange:
    example = example_exchange()
    return Exchange(example.feed, tuple(sorted(example.assets, key=lambda mapping: mapping.asset)))


async def test_six_exchanges_are_seeded_with_valid_rows(database: Database) -> None:
    store = FeedStore(database)
    feeds = {feed.name: feed for feed in (await store.list_feeds())[0]}
    assert feeds == seeded_feeds()
    mappings = await store.list_mappings()
    assert sum(mapping.enabled and mapping.prewarm for mapping in mappings) >= 150
    assert Counter(mapping.asset for mapping in mappings)["BTC"] == 6
    for name in feeds:
        exchange = await store.exchange(name)
        assert validate(exchange) == []
        assert len(exchange.assets) >= 24


async def test_a_row_changed_into_nonsense_is_told_and_hides_no_other(database: Database) -> None:
    store = FeedStore(database)
    await database.execute(b"UPDATE exchange_feeds SET trade_filter = '[1]' WHERE name = 'okx'")
    feeds, unreadable = await store.list_feeds()
    assert len(feeds) == 5
    assert [(each.name, each.enabled) for each in unreadable] == [("okx", True)]
    assert "trade_filter[0]" in unreadable[0].reason
    with pytest.raises(BeastError, match=r"okx: the row can't be read: .*trade_filter\[0\]"):
        await store.exchange("okx")


async def test_an_import_can_be_repeated_and_is_read_back_the_same(database: Database) -> None:
    store, example = FeedStore(database), sorted_example()
    for _ in range(2):
        assert await store.save(example_exchange()) == example
    assert await store.exchange("binance") == example


async def test_an_import_leaves_no_column_as_it_was(database: Database) -> None:
    store, example = FeedStore(database), example_exchange()
    await store.save(example)
    plain = replace(example.feed, max_connection_age_s=0, symbol_fold="none", other_shapes=(), notice_filter=())
    await store.save(Exchange(plain, example.assets))
    assert (await store.exchange("binance")).feed == plain


async def test_assets_stay_unless_they_are_replaced(database: Database) -> None:
    store, example = FeedStore(database), example_exchange()
    await store.save(example)
    btc, eth = example.assets[:2]
    assert len((await store.save(Exchange(example.feed, (btc,)))).assets) == 6
    swapped = (replace(btc, symbol=eth.symbol), replace(eth, symbol=btc.symbol, category="brand new", band_bps=250))
    assert (await store.save(Exchange(example.feed, swapped), replace=True)).assets == swapped


async def test_rows_that_clash_with_those_that_stay_change_nothing(database: Database) -> None:
    store, example = FeedStore(database), sorted_example()
    await store.save(example)
    clash = replace(example.assets[0], asset="NEW")
    with pytest.raises(RowsError, match="stands in"):
        await store.save(Exchange(replace(example.feed, priority=1), (clash,)))
    assert await store.exchange("binance") == example


async def test_an_exchange_is_switched_off_and_on(database: Database) -> None:
    store = FeedStore(database)
    await store.enable("kraken", enabled=False)
    assert not (await store.exchange("kraken")).feed.enabled
    await store.enable("kraken", enabled=True)
    assert (await store.exchange("kraken")).feed.enabled
    for attempt in (store.enable("nope", enabled=True), store.exchange("nope")):
        with pytest.raises(BeastError, match="no exchange 'nope'"):
            await attempt


async def test_changed_rows_are_notified_once_a_transaction(database: Database) -> None:
    store = FeedStore(database)
    listener = database.listen(CHANNEL)
    assert await anext(listener) is None
    await store.save(example_exchange())
    await store.enable("kraken", enabled=False)
    notices = [await asyncio.wait_for(anext(listener), 10) for _ in range(2)]
    assert [notice.payload for notice in notices if notice] == ["binance", "kraken"]
    await listener.aclose()


async def test_the_table_has_a_column_for_each_field(database: Database) -> None:
    class Column(msgspec.Struct):
        name: str

    query = b"SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'exchange_feeds'"
    columns = {column.name for column in await database.fetch(query, row=Column)}
    assert columns - {"created_at", "updated_at"} == set(Feed.__struct_fields__)


@pytest.fixture
def beast(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on a fresh database; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["feeds", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_commands_work_on_the_table(beast: Any, tmp_path: Any) -> None:
    frames = str(FRAMES / "binance" / "frames.jsonl")
    assert beast("check", "binance", "--frames", frames)[0] == 1
    assert beast("import", EXAMPLE)[:2] == (0, "binance: 6 assets, 6 prewarmed\n")
    code, out, _ = beast("check", "binance", "--frames", frames, "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["trades"][0]["asset"] == "BTC"
    assert [json.loads(line)["name"] for line in beast("list", "--json")[1].splitlines()][-1] == "binance"
    copy = tmp_path / "copy.toml"
    assert beast("export", "binance", "--output", str(copy))[0] == 0
    assert beast("import", str(copy), "--json")[0] == 0
    assert beast("disable", "binance")[:2] == (0, "binance is off\n")
    assert '"enabled": false' in beast("show", "binance", "--json")[1]
    code, out, err = beast("enable", "nope")
    assert (code, out) == (1, "")
    assert "no exchange 'nope'" in err
    assert "\n" not in err.strip()
