from datetime import UTC, date, datetime

import pytest

from beast.accounts.months import month_of, utc


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 4, 1, tzinfo=UTC), date(2026, 4, 1)),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), date(2026, 12, 1)),
        (datetime(2028, 2, 29, tzinfo=UTC), date(2028, 2, 1)),
    ],
)
def test_months_are_those_of_utc(moment: datetime, month: date) -> None:
    wall_ns = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    assert utc(wall_ns) == moment
    assert month_of(wall_ns) == month
