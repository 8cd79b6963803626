import asyncio
from contextlib import suppress

import msgspec
import pytest

from beast.base.clock import ManualClock
from beast.base.errors import UsageError
from beast.cluster.modes import Profiles, shipped_profiles
from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Change, Parameters
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def parameters(database: Database) -> ParameterSync:
    return ParameterSync(database, ManualClock())


@pytest.fixture
async def profiles(database: Database) -> Profiles:
    profiles = Profiles(database, ManualClock())
    await profiles.seed()
    return profiles


async def test_without_rows_the_built_in_values_hold(parameters: ParameterSync) -> None:
    assert await parameters.load() == Parameters()


async def test_a_change_reaches_every_node_within_a_second(parameters: ParameterSync, database: Database) -> None:
    changed = asyncio.Event()
    heard: list[int] = []

    def hear(now: Parameters) -> None:
        heard.append(now.cache_ttl_ms)
        changed.set()

    other = ParameterSync(database, ManualClock())
    other.on_change(hear)
    assert heard == [13_000]
    task = asyncio.create_task(other.run())
    changed.clear()
    assert await parameters.change({"cache_ttl_ms": 5_000}) == [Change("cache_ttl_ms", old=13_000, new=5_000)]
    await asyncio.wait_for(changed.wait(), 1)
    assert heard == [13_000, 5_000]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "values",
    [
        {"cache_ttl_ms": 1},
        {"x'; DROP TABLE users; --": 1},
        {"db_max_open": 50},
        {"cache_ttl_ms": 500, "log_level": "loud"},
    ],
)
async def test_a_bad_change_changes_nothing(parameters: ParameterSync, values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        await parameters.change(values)
    assert await parameters.load() == Parameters()


async def test_a_bad_row_in_the_table_does_not_stop_a_node(parameters: ParameterSync, database: Database) -> None:
    await database.execute(
        b"INSERT INTO application_parameters (name, value) VALUES ('cache_ttl_ms', '\"soon\"'), ('park_wait_ms', '77')"
    )
    assert await parameters.load() == Parameters(park_wait_ms=77)


async def test_a_profile_is_applied_whole_and_back(profiles: Profiles, parameters: ParameterSync) -> None:
    planned = await profiles.diff("stress")
    assert Change("cache_ttl_ms", old=13_000, new=300_000) in planned
    assert await profiles.apply("stress") == planned
    assert await parameters.load() == shipped_profiles()["stress"]
    assert await profiles.diff("stress") == []
    await profiles.apply("demo")
    assert await parameters.load() == Parameters()


async def test_a_profile_leaves_the_networks_of_the_place_alone(
    profiles: Profiles, parameters: ParameterSync, database: Database
) -> None:
    await parameters.change({"source_exceptions": "10.0.0.0/8"})
    assert "source_exceptions" not in {change.name for change in await profiles.diff("stress")}
    await profiles.apply("stress")
    assert (await parameters.load()).source_exceptions == "10.0.0.0/8"
    await database.execute(
        b"UPDATE application_parameter_profiles SET value = '\"192.0.2.0/24\"'"
        b" WHERE profile = 'demo' AND name = 'source_exceptions'"
    )
    assert Change("source_exceptions", old="10.0.0.0/8", new="192.0.2.0/24") in await profiles.apply("demo")


async def test_all_shipped_profiles_can_be_read_back(profiles: Profiles) -> None:
    assert await profiles.names() == sorted(shipped_profiles())
    for name in await profiles.names():
        await profiles.diff(name)


async def test_seeding_again_keeps_what_the_operator_changed(profiles: Profiles, database: Database) -> None:
    await database.execute(
        b"UPDATE application_parameter_profiles SET value = '20000' WHERE profile = 'demo' AND name = 'cache_ttl_ms'"
    )
    await profiles.seed()
    assert await profiles.diff("demo") == [Change("cache_ttl_ms", old=13_000, new=20_000)]


async def test_an_unknown_profile_is_refused(profiles: Profiles) -> None:
    with pytest.raises(UsageError, match="fresh-price"):
        await profiles.apply("fast'; --")


@pytest.mark.usefixtures("profiles")
async def test_the_shipped_profiles_are_what_the_table_holds(database: Database) -> None:
    class Count(msgspec.Struct):
        n: int

    count = await database.fetch_one(b"SELECT count(*) AS n FROM application_parameter_profiles", row=Count)
    assert count == Count(16 * len(msgspec.structs.fields(Parameters)))
