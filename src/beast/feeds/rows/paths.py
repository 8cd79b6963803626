"""Paths into the JSON of a frame: `events.[first].trades.[first].price`.

Steps stand between dots. A number is an index into an array, from the end when negative; `*` is the only member of
an object, whatever its name; `[first]` and `[last]` walk a whole array and say at which end its newest element stands;
`[each]` walks all members of an object; `[name]`, at the end and behind `*` or `[each]`, is that member's name;
anything else is the name of a member. The empty path is the whole frame. In an answer to a REST request names may hold
`{BASE}`, `{QUOTE}` and `{SYMBOL}`.
"""

import re
from collections.abc import Mapping
from typing import Final

Step = str | int
Path = tuple[Step, ...]

ONLY: Final = "*"
FIRST: Final = "[first]"
LAST: Final = "[last]"
EACH: Final = "[each]"
NAMED: Final = "[name]"
WALKS: Final = frozenset({FIRST, LAST, EACH})
MARKET_NAMES: Final = ("BASE", "QUOTE", "SYMBOL", "base", "quote")
"""What of a market a REST address and the paths into its answer may name."""

STEPS_MAX: Final = 12
WALKS_MAX: Final = 3
NAME_MAX: Final = 40
"""Bytes of one member's name."""
INDEX_MIN: Final = -8
INDEX_MAX: Final = 32_767

_MARKET = re.compile(r"\{(" + "|".join(MARKET_NAMES) + r")\}")
_MARK = re.compile(r"\x00(\d)")
_NUMBER = re.compile(r"-?\d+", re.ASCII)
_INDEX = re.compile(r"0|-?[1-9]\d*", re.ASCII)


def parse_path(text: str) -> Path:
    """The steps of a path. Raises ValueError saying which step is wrong, and why."""
    path = tuple(_parse_step(step, text) for step in text.split(".")) if text else ()
    if NAMED in path and (path.index(NAMED) < len(path) - 1 or path[-2:-1] not in {(ONLY,), (EACH,)}):
        raise ValueError(f"{text!r}: {NAMED} stands at the end only, behind {ONLY} or {EACH}")
    if len(path) > STEPS_MAX:
        raise ValueError(f"{text!r} has {len(path)} steps; at most {STEPS_MAX} are possible")
    if len(walks_of(path)) > WALKS_MAX:
        raise ValueError(f"{text!r} walks more than {WALKS_MAX} arrays and objects")
    return path


def parse_market_path(text: str, names: Mapping[str, str]) -> Path:
    """The steps of a path without walks; `{BASE}` and the like stand for a market's names. Raises ValueError."""
    path = parse_path(_MARKET.sub(lambda found: f"\0{MARKET_NAMES.index(found[1])}", text))
    if WALKS & set(path):
        raise ValueError(f"{text!r} walks an array; an index can stand there")

    def filled(step: Step) -> Step:
        return _MARK.sub(lambda mark: names[MARKET_NAMES[int(mark[1])]], step) if isinstance(step, str) else step

    return tuple(filled(step) for step in path)


def walks_of(path: Path) -> tuple[Path, ...]:
    """What a path walks, outermost first: each as the path to it, without saying which end of an array is newest."""
    plain = tuple(FIRST if step == LAST else step for step in path)
    return tuple(plain[: i + 1] for i, step in enumerate(path) if step in WALKS)


def _parse_step(step: str, text: str) -> Step:
    if not step:
        raise ValueError(f"{text!r} has an empty step: two dots in a row, or one at an end")
    if step in WALKS or step in (ONLY, NAMED):
        return step
    if _NUMBER.fullmatch(step):
        if not _INDEX.fullmatch(step) or not INDEX_MIN <= int(step) <= INDEX_MAX:
            raise ValueError(f"{step!r} in {text!r} is no index from {INDEX_MIN} to {INDEX_MAX}")
        return int(step)
    if step[0] in "[{":
        raise ValueError(
            f"{step!r} in {text!r} is no step; there are names, numbers, *, [first], [last], [each] and [name]"
        )
    if len(step.encode()) > NAME_MAX:
        raise ValueError(f"{step!r} in {text!r} is longer than {NAME_MAX} bytes")
    return step
