"""Minutes and what follows from them: hours pass in no time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.feeds.link.tally import Tally
from beast.feeds.shadow.minute import AHEAD_NS, Facts, Minute, Others
from beast.feeds.shadow.ripening import Outlook, Progress, Terms, failure, outlook, ripen
from beast.feeds.shadow.types import Kind, Verdict

START = datetime(2026, 5, 3, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WANTED = {"BTC": "USD", "ETH": "USD"}
PRICED = {"BTC": Others(100.0, 3), "ETH": Others(10.0, 2)}


def facts(**members: Any) -> Facts:
    base: dict[str, Any] = {
        "at": START, "trouble": "", "refused": (), "tally": Tally(frames=50, trades=40), "wanted": WANTED,
        "priced": PRICED,
    }  # fmt: skip
    return Facts(**base | members)


def minute(*prices: tuple[str, str], **members: Any) -> Verdict:
    made = Minute()
    for asset, price in prices:
        made.compare(asset, price, PRICED[asset])
    return made.verdict(facts(**members), bps=50)


def test_prices_within_the_limit_agree() -> None:
    told = minute(("BTC", "100.4"), ("BTC", "99.6"), ("ETH", "10.01"))
    assert (told.kind, told.compared, told.beyond) == ("agreeing", 2, 0)
    assert told.worst_bps == pytest.approx(40)
    bitcoin = told.assets[0]
    assert (bitcoin.asset, bitcoin.price, bitcoin.others, bitcoin.sources) == ("BTC", "99.6", 100.0, 3)
    assert (bitcoin.compared, bitcoin.standing) == (2, "agrees")


def test_one_asset_that_is_too_far_off_is_a_disagreement_and_is_named() -> None:
    told = minute(("BTC", "100.6"), ("ETH", "10"))
    assert (told.kind, told.beyond) == ("disagreeing", 1)
    assert told.why == "BTC 60.0 bps (100.6 against 100 of 3) off the others"
    assert [each.standing for each in told.assets] == ["disagrees", "agrees"]


def test_one_comparison_in_ten_may_be_off_and_two_may_not() -> None:
    assert minute(*[("BTC", "100")] * 9, ("BTC", "200")).kind == "agreeing"
    assert minute(*[("BTC", "100")] * 8, *[("BTC", "200")] * 2).kind == "disagreeing"


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.integers(1, 10_000))
def test_what_agrees_has_nine_of_ten_within_the_limit(prices: list[float], bps: int) -> None:
    made = Minute()
    for price in prices:
        made.compare("BTC", repr(price), PRICED["BTC"])
    told = made.verdict(facts(wanted={"BTC": "USD"}), bps)
    within = sum(abs(price / 100 - 1) * 1e4 <= bps for price in prices)
    assert (told.kind == "agreeing") == (within >= 0.9 * len(prices))


def test_what_nobody_could_compare_is_silent_or_alone() -> None:
    assert minute().kind == "silent"
    assert minute(tally=Tally(frames=9)).why == "no trade came of an asset that others price"
    alone = minute(priced={})
    assert (alone.kind, [each.standing for each in alone.assets]) == ("alone", ["alone", "alone"])
    assert minute(priced={}, tally=Tally(frames=9)).kind == "silent"
    made = Minute()
    made.note_time(3600 * 10**9, fresh=False)
    assert "is timestamp_path what it should be?" in made.verdict(facts(), 50).why


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"trouble": "not connected: refused"}, "not connected: refused"),
    ({"refused": ("A", "B", "C", "D")}, "the exchange refuses A, B, C and 1 more"),
    ({"tally": Tally(frames=50, trades=40, bad_prices=5)}, "beside 40 trades there came 5 trades without a price"),
    ({"tally": Tally(frames=50, trades=0, unmapped=9)}, "9 trades of symbols that no row maps"),
    ({"tally": Tally(frames=50, trades=9, ignored=3, errors=4, malformed=1)}, "3 frames that no filter fits, 4 errors"),
]


@pytest.mark.parametrize(("members", "why"), BROKEN)
def test_what_can_not_be_read_is_broken_however_well_the_rest_agrees(members: dict[str, Any], why: str) -> None:
    told = minute(("BTC", "100"), **members)
    assert told.kind == "broken"
    assert why in told.why


def test_what_rows_leave_out_and_a_little_that_is_wrong_are_no_fault() -> None:
    assert minute(("BTC", "100"), tally=Tally(frames=99, trades=2, ignored=97)).kind == "agreeing"
    assert minute(("BTC", "100"), tally=Tally(frames=9, trades=2, errors=4)).kind == "agreeing"
    assert minute(("BTC", "100"), tally=Tally(frames=99, trades=90, unmapped=10)).kind == "agreeing"
    assert minute(tally=Tally(frames=60, ignored=60)).why.endswith("; 60 frames fit no filter")


def test_what_rest_says_is_compared_too() -> None:
    made = Minute()
    made.compare("BTC", "100", PRICED["BTC"])
    made.ask("ETH")
    made.answer("11", PRICED["ETH"])
    told = made.verdict(facts(), bps=50)
    assert (told.kind, told.why) == ("disagreeing", "ETH by REST 1000.0 bps (11 against 10 of 2) off the others")
    assert [(each.name, each.standing) for each in told.assets] == [
        *(("ETH by REST", "disagrees"), ("BTC", "agrees"), ("ETH", "unproven")),
    ]


def test_where_rest_is_asked_it_must_have_answered_once() -> None:
    progress, terms = Progress(), Terms(2, auto=True)

    def passes(asset: str, price: str | None) -> str:
        nonlocal progress
        made = Minute()
        made.compare("BTC", "100", PRICED["BTC"])
        made.compare("ETH", "10", PRICED["ETH"])
        made.ask(asset)
        if price is not None:
            made.answer(price, PRICED[asset])
        told = made.verdict(facts(), bps=50)
        progress = ripen(progress, told)
        return outlook(progress, told, terms).waits_for

    passes("BTC", None)
    assert passes("ETH", None) == "an answer by REST, or a person"
    assert passes("BTC", "100.1") == ""
    assert passes("ETH", None) == ""
    assert passes("ETH", "12").startswith("ETH by REST 2000.0 bps")


def test_trades_from_the_future_are_broken() -> None:
    made = Minute()
    made.compare("BTC", "100", PRICED["BTC"])
    made.note_time(-AHEAD_NS - 1, fresh=True)
    told = made.verdict(facts(), 50)
    assert (told.kind, told.why) == ("broken", "its trades are dated up to 60 s after they were received")


# Minutes in a row


class Draft:
    """A draft's life, told by the verdicts of its minutes."""

    def __init__(self, minutes: int = 3, *, auto: bool = True) -> None:
        self.terms = Terms(minutes, auto)
        self.progress = Progress()
        self.now = START

    def passes(self, kind: Kind, *compared: str, after: timedelta = MINUTE) -> Outlook:
        self.now += after
        prices = [(asset, "100" if asset == "BTC" else "10") for asset in compared]
        told = {
            "agreeing": lambda: minute(*prices, at=self.now),
            "disagreeing": lambda: minute(("BTC", "200"), at=self.now),
            "broken": lambda: minute(trouble="not connected", at=self.now),
            "silent": lambda: minute(at=self.now),
            "alone": lambda: minute(priced={}, at=self.now),
        }[kind]()
        assert told.kind == kind
        self.progress = ripen(self.progress, told)
        return outlook(self.progress, told, self.terms)


def test_it_goes_live_after_so_many_agreeing_minutes_in_a_row() -> None:
    draft = Draft(3)
    assert draft.passes("agreeing", "BTC", "ETH") == Outlook(ripe=False, waits_for="2 more agreeing minutes")
    assert draft.passes("agreeing", "BTC") == Outlook(ripe=False, waits_for="1 more agreeing minutes")
    assert draft.passes("agreeing", "BTC") == Outlook(ripe=True, waits_for="")


@pytest.mark.parametrize("kind", ["disagreeing", "broken"])
def test_one_bad_minute_begins_anew_even_when_it_was_ripe(kind: Kind) -> None:
    draft = Draft(2, auto=False)
    draft.passes("agreeing", "BTC", "ETH")
    assert draft.passes("agreeing", "BTC") == Outlook(ripe=True, waits_for="a person")
    bad = draft.passes(kind)
    assert not bad.ripe
    assert bad.waits_for
    assert draft.progress.agreed == 0
    assert draft.passes("agreeing", "BTC").waits_for == "1 more agreeing minutes"
    assert not draft.passes("agreeing", "BTC").waits_for.startswith("1")


def test_silence_speaks_neither_for_nor_against() -> None:
    draft = Draft(2)
    draft.passes("agreeing", "BTC", "ETH")
    for _ in range(10):
        assert draft.passes("silent") == Outlook(ripe=False, waits_for="1 more agreeing minutes")
    assert draft.passes("agreeing", "BTC").waits_for == ""


def test_every_asset_that_others_price_must_have_been_compared() -> None:
    draft = Draft(2)
    draft.passes("agreeing", "BTC")
    assert draft.passes("agreeing", "BTC") == Outlook(ripe=True, waits_for="a trade of ETH, or a person")
    assert draft.passes("agreeing", "ETH") == Outlook(ripe=True, waits_for="")


def test_an_exchange_that_nobody_can_be_compared_with_needs_a_person() -> None:
    draft = Draft(2)
    assert draft.passes("alone") == Outlook(ripe=False, waits_for="1 more minutes of trades")
    assert draft.passes("alone") == Outlook(ripe=True, waits_for="a person: no other exchange prices its assets")
    # Once there are others, only minutes beside them count.
    assert draft.passes("agreeing", "BTC", "ETH") == Outlook(ripe=False, waits_for="1 more agreeing minutes")
    assert draft.passes("alone") == Outlook(ripe=False, waits_for="1 more minutes of trades")
    assert draft.passes("agreeing", "BTC") == Outlook(ripe=True, waits_for="")


def test_minutes_that_nobody_watched_break_the_row_unless_they_are_few() -> None:
    draft = Draft(3)
    draft.passes("agreeing", "BTC", "ETH")
    draft.passes("agreeing", "BTC", after=3 * MINUTE)
    assert draft.progress.agreed == 2
    draft.passes("agreeing", "BTC", after=3 * MINUTE + timedelta(seconds=1))
    assert draft.progress == Progress(1, frozenset({"BTC"}), draft.now)


@given(st.lists(st.sampled_from(["agreeing", "disagreeing", "broken", "silent", "alone"]), max_size=40))
def test_it_never_goes_live_without_its_row_of_agreeing_minutes(kinds: list[Kind]) -> None:
    draft = Draft(3)
    row = 0
    for kind in kinds:
        ahead = draft.passes(kind, "BTC", "ETH")
        row = row + 1 if kind == "agreeing" else 0 if kind in {"disagreeing", "broken"} else row
        assert (ahead == Outlook(ripe=True, waits_for="")) == (row >= 3)


# What is live


def fails(*prices: tuple[str, str], **members: Any) -> str:
    return failure(minute(*prices, **members), usual=100)


def test_a_live_version_fails_when_most_of_what_comes_is_wrong() -> None:
    assert fails(tally=Tally(frames=50, trades=0, bad_prices=40)).startswith("beside 0 trades there came 40")
    assert fails(tally=Tally(frames=90, trades=30, bad_prices=40))
    assert fails(tally=Tally(frames=90, trades=40, bad_prices=40)) == ""
    assert fails(tally=Tally(frames=9, trades=0, bad_prices=9)) == ""


def test_it_fails_when_trades_stop_and_frames_come_that_fit_no_filter() -> None:
    tally = Tally(frames=50, ignored=50)
    assert failure(minute(tally=tally), usual=10).startswith("beside 0 trades there came 50 frames that no filter fits")
    assert failure(minute(tally=tally), usual=9.9) == ""  # it may have been a quiet minute
    assert failure(minute(tally=Tally(frames=50, trades=1, ignored=49)), usual=10) == ""


def test_it_fails_when_most_of_its_assets_are_off_and_not_for_one_of_many() -> None:
    assert fails(("BTC", "200"), ("ETH", "20")).startswith("2 of 2 assets are off the others, the worst")
    assert fails(("BTC", "200"), ("ETH", "10")) == ""
    assert fails(("BTC", "200")) != ""


def test_silence_and_lost_connections_are_no_failure_of_the_rows() -> None:
    assert fails(tally=Tally()) == ""
    assert fails(trouble="not connected: timed out", tally=Tally()) == ""
    assert fails(("BTC", "100"), ("ETH", "10")) == ""


def test_a_tally_begins_anew_when_links_do() -> None:
    assert Tally(frames=9, trades=7).since(Tally(frames=4, trades=3)) == Tally(frames=5, trades=4)
    assert Tally(frames=2, trades=1).since(Tally(frames=4, trades=3)) == Tally(frames=2, trades=1)
    assert Tally(1, 2, 3, 4, 5, 6, 7).wrong == 20
    assert Tally(frames=1).plus(Tally(frames=2, errors=1)) == Tally(frames=3, errors=1)
