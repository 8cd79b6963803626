"""Paths into the JSON of a frame: `events.[first].trades.[first].price`.

Steps stand between dots. A number is an index into an array, from the end when negative; `*` is the only member of
an object, whatever its name; `[first]` and `[last]` walk a whole array and say at which end its newest element
stands; anything else is the name of a member. The empty path is the whole frame. In an answer to a REST request
`{BASE}` is the member named like the asset.
"""

import re
from typing import Final

Step = str | int
Path = tuple[Step, ...]

ONLY: Final = "*"
FIRST: Final = "[first]"
LAST: Final = "[last]"
WALKS: Final = frozenset({FIRST, LAST})
BASE: Final = "{BASE}"
_BASE_NAME: Final = "\0"
"""No member of anything."""

STEPS_MAX: Final = 12
WALKS_MAX: Final = 3
NAME_MAX: Final = 40
"""Bytes of one member's name."""
INDEX_MIN: Final = -8
INDEX_MAX: Final = 32_767

_NUMBER = re.compile(r"-?\d+", re.ASCII)
_INDEX = re.compile(r"0|-?[1-9]\d*", re.ASCII)


def parse_path(text: str) -> Path:
    """The steps of a path. Raises ValueError saying which step is wrong, and why."""
    path = tuple(_parse_step(step, text) for step in text.split(".")) if text else ()
    if len(path) > STEPS_MAX:
        raise ValueError(f"{text!r} has {len(path)} steps; at most {STEPS_MAX} are possible")
    if len(walks_of(path)) > WALKS_MAX:
        raise ValueError(f"{text!r} walks more than {WALKS_MAX} arrays")
    return path


def parse_based_path(text: str, asset: str) -> Path:
    """The steps of a path without walks, in which `{BASE}` stands for the asset. Raises ValueError."""
    path = parse_path(text.replace(BASE, _BASE_NAME))
    if WALKS & set(path):
        raise ValueError(f"{text!r} walks an array; an index can stand there")
    return tuple(asset if step == _BASE_NAME else step for step in path)


def walks_of(path: Path) -> tuple[Path, ...]:
    """The arrays that a path walks, outermost first: each as the path to it, without saying which end is newest."""
    plain = tuple(FIRST if step in WALKS else step for step in path)
    return tuple(plain[:i] for i, step in enumerate(path) if step in WALKS)


def _parse_step(step: str, text: str) -> Step:
    if not step:
        raise ValueError(f"{text!r} has an empty step: two dots in a row, or one at an end")
    if step in WALKS or step == ONLY:
        return step
    if _NUMBER.fullmatch(step):
        if not _INDEX.fullmatch(step) or not INDEX_MIN <= int(step) <= INDEX_MAX:
            raise ValueError(f"{step!r} in {text!r} is no index from {INDEX_MIN} to {INDEX_MAX}")
        return int(step)
    if step[0] in "[{":
        raise ValueError(f"{step!r} in {text!r} is no step; there are names, numbers, *, [first] and [last]")
    if len(step.encode()) > NAME_MAX:
        raise ValueError(f"{step!r} in {text!r} is longer than {NAME_MAX} bytes")
    return step
