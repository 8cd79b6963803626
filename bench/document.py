"""Writes the last whole run of the load benches into docs/benchmarks.md, between its marks, and draws its charts.

python -m bench.document
"""

import re
import sys
from pathlib import Path

from bench.charts import draw
from bench.load.report import RESULTS, lines, markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures of the last run: make bench ARGS=--document -->", "<!-- end of figures -->"


def main() -> int:
    runs = [run for run in lines(RESULTS / "load.jsonl") if not run["flags"]["only"]]
    if not runs:
        print("document: there is no whole run yet: make bench", file=sys.stderr)
        return 2
    text = DOCUMENT.read_text()
    between = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    written, times = between.subn(lambda _: f"\n{markdown(runs[-1])}\n\n", text)
    if times != 1:
        print(f"document: {DOCUMENT.name} has lost its marks", file=sys.stderr)
        return 2
    DOCUMENT.write_text(written)
    draw(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
