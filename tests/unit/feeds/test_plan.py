"""Rows to plans: the path language, and what is refused."""

import json
from typing import Any

import pytest
from tests.fixtures.rows import all_feeds

from beast._fast import Plan
from beast.feeds.rows.paths import parse_path
from beast.feeds.rows.plan import ColumnError, compile_plan
from beast.feeds.types import Condition, Feed, Shape

GOOD: dict[str, Any] = {
    "name": "made",
    "ws_url": "ws://x",
    "trade_filter": (Condition("c", value="t"),),
    "price_path": "d.[first].p",
    "symbol_path": "d.[first].s",
}
SHAPE = Shape(filter=(Condition("c", value="u"),), price_path="p", symbol_path="s")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("price", ("price",)),
        ("events.[first].trades.0.price", ("events", "[first]", "trades", 0, "price")),
        ("data.-1.*.c", ("data", -1, "*", "c")),
        ("[last].é", ("[last]", "é")),
        ("a b.c-d_e", ("a b", "c-d_e")),
        ("update.[each].[name]", ("update", "[each]", "[name]")),
        ("*.[name]", ("*", "[name]")),
    ],
)
def test_a_path_is_read_into_its_steps(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a..b", "empty step"),
        (".a", "empty step"),
        ("a.", "empty step"),
        ("a.[middle]", "no step"),
        ("a.[0]", "no step"),
        ("{ASSET}", "no step"),
        ("a.-9", "no index"),
        ("a.007", "no index"),
        ("a.-0", "no index"),
        ("a.99999", "no index"),
        ("a" * 41, "longer than 40 bytes"),
        (".".join("a" * 13), "at most 12"),
        ("[first].[last].[first].[last]", "more than 3 arrays"),
        ("*.[name].p", "at the end only"),
        ("update.[name]", "behind"),
        ("[name]", "behind"),
        ("[each].[last].[first].[each]", "more than 3 arrays and objects"),
    ],
)
def test_a_path_that_can_not_be_meant_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_path(text)


@pytest.mark.parametrize("name", sorted(all_feeds()))
def test_every_row_compiles(name: str) -> None:
    Plan(compile_plan(all_feeds()[name]))


@pytest.mark.parametrize(
    ("changes", "column", "reason"),
    [
        ({"trade_filter": ()}, "trade_filter", "empty"),
        ({"price_path": ""}, "price_path", "empty"),
        ({"symbol_path": ""}, "symbol_path", "empty"),
        ({"price_path": "a..b"}, "price_path", "empty step"),
        ({"symbol_path": "e.[first].s"}, "symbol_path", "another array"),
        ({"timestamp_path": "d.[first].[last].t"}, "timestamp_path", "another array"),
        ({"fallback_timestamp_path": "[first].t"}, "fallback_timestamp_path", "another array"),
        ({"symbol_path": "d.[each].s"}, "symbol_path", "another array or object"),
        ({"trade_filter": (Condition("d.[first].c", value="t"),)}, "trade_filter", "can't walk"),
        ({"trade_filter": (Condition("", value="t"),)}, "trade_filter", "path is empty"),
        ({"trade_filter": (Condition("c"),)}, "trade_filter", "needs a value"),
        ({"trade_filter": (Condition("c", op="present", value=1),)}, "trade_filter", "takes no value"),
        ({"trade_filter": (Condition("c", op="prefix", value=1),)}, "trade_filter", "must be a string"),
        ({"trade_filter": (Condition("c", op="suffix", value=1),)}, "trade_filter", "must be a string"),
        ({"trade_filter": (Condition("c", op="suffix"),)}, "trade_filter", "needs a value"),
        ({"trade_filter": (Condition("c", value="x" * 65),)}, "trade_filter", "longer than 64"),
        ({"price_scale": 31}, "price_scale", "not from 0 to 30"),
        ({"price_scale": -1}, "price_scale", "not from 0 to 30"),
        ({"symbol_strip_suffix": "x" * 65}, "symbol_strip_suffix", "longer than 64"),
        ({"symbol_strip_prefix": "x" * 65}, "symbol_strip_prefix", "longer than 64"),
        ({"sequence_path": "n"}, "sequence_path", "needs a sequence_scope"),
        ({"sequence_scope": "symbol"}, "sequence_path", "empty"),
        ({"sequence_scope": "symbol", "sequence_path": "a..n"}, "sequence_path", "empty step"),
        ({"sequence_scope": "symbol", "sequence_path": "e.[first].n"}, "sequence_path", "another array"),
        ({"sequence_scope": "connection", "sequence_path": "d.[first].n"}, "sequence_path", "can't walk"),
        ({"other_shapes": (SHAPE,) * 4}, "other_shapes", "at most 3"),
        ({"trade_filter": (Condition("c", value="t"),) * 33}, "other_shapes", "more than 32"),
        (
            {"other_shapes": (SHAPE, Shape(filter=SHAPE.filter, price_path="", symbol_path="s"))},
            "other_shapes.1.price_path",
            "empty",
        ),
    ],
)
def test_a_row_that_can_not_be_meant_names_the_column(changes: dict[str, Any], column: str, reason: str) -> None:
    with pytest.raises(ColumnError, match=reason) as caught:
        compile_plan(Feed(**{**GOOD, **changes}))
    assert caught.value.column == column


def spec(*, frames: Any = None, **changes: Any) -> bytes:
    shape = {"filter": [{"path": ["c"], "op": "eq", "value": "t"}], "price": ["p"], "symbol": ["s"]}
    return json.dumps(
        {"fold": "none", "strip_prefix": "", "strip_suffix": "", "sequence": frames, "shapes": [{**shape, **changes}]}
    ).encode()


@pytest.mark.parametrize(
    ("source", "member"),
    [
        (spec(price=["p", 1.5]), "shapes.0.price"),
        (spec(price="p"), "shapes.0.price"),
        (spec(price=["p"] * 13), "shapes.0.price"),
        (spec(price=["p" * 41]), "shapes.0.price"),
        (spec(price=[-9]), "shapes.0.price"),
        (spec(symbol=["*", "[name]", "b"]), "shapes.0.symbol"),
        (spec(symbol=["a", "[name]"]), "shapes.0.symbol"),
        (spec(price=["[each]"], symbol=["[first]"]), "shapes"),
        (spec(filter=[{"path": ["[each]"], "op": "present"}]), "shapes.0.filter.0"),
        (spec(scale=31), "shapes.0.scale"),
        (spec(time=["t"], time_format="sundial"), "shapes.0.time_format"),
        (spec(filter=[{"path": ["a", "[first]"], "op": "present"}]), "shapes.0.filter.0"),
        (spec(filter=[{"path": ["a"], "op": "like"}]), "shapes.0.filter.0.op"),
        (spec(symbol=["a", "[first]"]), "shapes"),
        (spec(sequence=["a", "[first]"]), "shapes"),
        (spec(sequence=["a"], frames=["b"]), "shapes"),
        (spec(frames=["a", "[first]"]), "sequence"),
        (spec(frames="a"), "sequence"),
        (spec(filter=[]), "shapes"),
        (json.dumps({"fold": "none", "strip_prefix": "", "strip_suffix": "", "shapes": []}).encode(), "shapes"),
        (
            json.dumps({**json.loads(spec()), "shapes": json.loads(spec())["shapes"] * 5}).encode(),
            "shapes.4",
        ),
        (b'{"fold":"sideways","strip_prefix":"","strip_suffix":"","shapes":[]}', "fold"),
        (b"{", "Expecting"),
    ],
)
def test_the_compiled_plan_refuses_a_bad_source_by_its_member(source: bytes, member: str) -> None:
    with pytest.raises(ValueError, match=f"^{member}"):
        Plan(source)
