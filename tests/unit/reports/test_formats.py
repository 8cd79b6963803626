"""What is written: negotiated, whole, safe in a spreadsheet, and readable by other programs."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import openpyxl
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.reports import NOW, record

from beast.reports.asking import read_report
from beast.reports.formats import MEDIA_TYPES, NotAcceptableError, choose
from beast.reports.formats.charts import ceiling, latin, short
from beast.reports.formats.csv_text import DANGEROUS, CsvRecords, CsvReport, harmless
from beast.reports.formats.json_text import JsonRecords, JsonReport
from beast.reports.formats.pdf import write_pdf
from beast.reports.formats.spool import SpoolReport, read_about, read_lines
from beast.reports.formats.xlsx import write_xlsx
from beast.reports.lines import About, Line, LineMaker, about
from beast.reports.types import GroupRow, ReportQuery

XLSX = MEDIA_TYPES["xlsx"]
ODD = "=1+cmd|' /C calc'!A0 \u4e2d\u6587 \U0001f40b"


def row(grouping: int = 0, first: str | None = None, second: str | None = None, answers: int = 10) -> GroupRow:
    return GroupRow(
        grouping=grouping,
        first=first,
        second=second,
        answers=answers,
        prices=answers,
        tier_1=answers - 1,
        tier_2=0,
        tier_3=1,
        timed=answers,
        p50_us=20.5,
        p95_us=99.125,
        p99_us=1200.0,
        assets=1,
        keys=1,
        first_at=NOW - timedelta(hours=2),
        last_at=NOW - timedelta(hours=1),
    )


def asked(group: str) -> ReportQuery:
    return read_report({"period": "30d", "group": group, "asset": "BTC"}, now=NOW, visible=(5, 7))


def made(group: str, *rows: GroupRow) -> tuple[About, list[Line]]:
    query = asked(group)
    told = about(query, now=NOW, node="BeastMain", origin="http://127.0.0.1:9090")
    return told, LineMaker(query, "/report/records").make([row(), *rows])


@pytest.mark.parametrize(
    ("wanted", "accept", "form"),
    [
        (None, None, "json"),
        (None, "*/*", "json"),
        (None, "text/html, */*;q=0.1", "json"),
        (None, "text/csv", "csv"),
        (None, "text/*", "csv"),
        (None, f"application/json;q=0.5, {XLSX}", "xlsx"),
        (None, "application/*;q=0.2, application/pdf", "pdf"),
        (None, "application/json;q=0, */*", "csv"),
        (None, "TEXT/CSV ; q=1.0", "csv"),
        ("PDF", "text/csv", "pdf"),
    ],
)
def test_a_format_is_chosen_by_name_then_by_accept(wanted: str | None, accept: str | None, form: str) -> None:
    assert choose(wanted, accept) == form


@pytest.mark.parametrize(("wanted", "accept"), [("xml", None), (None, "text/html"), (None, "*/*;q=0"), ("", None)])
def test_what_there_is_not_is_not_acceptable(wanted: str | None, accept: str | None) -> None:
    with pytest.raises(NotAcceptableError, match="json, csv, xlsx, pdf"):
        choose(wanted, accept)
    with pytest.raises(NotAcceptableError):
        choose("pdf", None, ("json", "csv"))


def test_json_is_whole_also_where_a_grouping_is_empty() -> None:
    told, lines = made("day,asset,tier", row(2, "BTC", answers=4), row(2, "ETH", answers=6))
    writer = JsonReport()
    text = writer.begin(told) + writer.lines(lines[:2]) + writer.lines(lines[2:]) + writer.end()
    report = json.loads(text)
    assert [group["by"] for group in report["groups"]] == [["day"], ["asset"], ["tier"]]
    assert [len(group["rows"]) for group in report["groups"]] == [0, 2, 0]
    assert [each["share"] for each in report["groups"][1]["rows"]] == [0.4, 0.6]
    assert report["report"] == {
        "generated_at": "2026-11-26T17:30:00Z",
        "node": "BeastMain",
        "period": "30d",
        "from": "2026-10-27T17:30:00Z",
        "to": "2026-11-26T17:30:00Z",
        "keys": [5, 7],
        "filters": {"asset": "BTC"},
        "groupings": [["day"], ["asset"], ["tier"]],
    }


def test_the_members_of_json_are_these() -> None:
    """The shape that programs rely on: names, order, types."""
    told, lines = made("tier,day/asset", row(1, "3"), row(2, "2026-11-26", "BTC"))
    writer = JsonReport()
    report = json.loads(writer.begin(told) + writer.lines(lines) + writer.end())
    figures = [
        *("answers", "share", "prices", "p50_us", "p95_us", "p99_us", "tier_1", "tier_2", "tier_3", "hit_rate"),
        *("timed", "assets", "keys", "first_at", "last_at", "records"),
    ]
    assert list(report) == ["report", "totals", "groups"]
    assert list(report["totals"]) == figures
    tier, pair = (group["rows"][0] for group in report["groups"])
    assert list(tier) == ["tier", *figures]
    assert list(pair) == ["day", "asset", *figures]
    assert (tier["tier"], tier["hit_rate"], tier["p95_us"]) == (3, 0.9, 99.125)
    assert tier["first_at"] == "2026-11-26T15:30:00Z"
    assert pair["records"] == "/report/records?from=2026-11-26T00:00:00Z&to=2026-11-26T17:30:00Z&asset=BTC"


def test_a_report_of_nothing() -> None:
    query = asked("asset")
    nothing = msgspec.structs.replace(
        row(answers=0), prices=0, tier_1=0, tier_3=0, assets=0, keys=0, p50_us=None, p95_us=None, p99_us=None
    )
    writer = JsonReport()
    lines = LineMaker(query, "/r").make([nothing])
    report = json.loads(writer.begin(about(query, now=NOW, node="n")) + writer.lines(lines) + writer.end())
    assert report["totals"]["share"] is None
    assert report["totals"]["hit_rate"] is None
    assert report["groups"] == [{"by": ["asset"], "rows": []}]


def test_csv_has_a_column_for_each_dimension() -> None:
    told, lines = made("asset,day/asset", row(1, "BTC"), row(2, "2026-11-26", "BTC"))
    writer = CsvReport()
    text = (writer.begin(told) + writer.lines(lines) + writer.end()).decode()
    head, total, asset, pair = csv.reader(io.StringIO(text, newline=""))
    assert head[:4] == ["by", "asset", "day", "answers"]
    assert total[:4] == ["total", "", "", "10"]
    assert asset[:4] == ["asset", "BTC", "", "10"]
    assert pair[:4] == ["day/asset", "BTC", "2026-11-26", "10"]
    assert text.count("\r\n") == 4


@given(st.text() | st.sampled_from(DANGEROUS).flatmap(lambda mark: st.text().map(lambda rest: mark + rest)))
def test_no_cell_is_a_formula(text: str) -> None:
    safe = str(harmless(text))
    assert not safe.startswith(DANGEROUS)
    assert safe in {text, "'" + text}


@given(asset=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_csv_says_any_text_exactly(asset: str) -> None:
    writer = CsvRecords()
    text = (writer.begin() + writer.records([record(asset=asset)])).decode()
    _, found = csv.reader(io.StringIO(text, newline=""))
    assert found[2].removeprefix("'") == asset.removeprefix("'")


def test_records_say_where_the_next_page_begins() -> None:
    writer = JsonRecords()
    page = json.loads(writer.begin() + writer.records([]) + writer.records([record(1), record(2)]) + writer.end("/x"))
    assert (len(page["records"]), page["next"]) == (2, "/x")
    assert json.loads(JsonRecords().begin() + JsonRecords().end(None)) == {"records": [], "next": None}


@pytest.fixture
def spooled(tmp_path: Path) -> Iterator[tuple[About, Iterator[Line]]]:
    """A report of every kind of grouping, with names that no font and no formula should see, from a file."""
    days = [row(1, f"2026-11-{day:02}", answers=day) for day in range(1, 27)]
    nodes = [row(2, ODD, answers=3), row(2, "n" * 64)]
    assets = [row(3, f"2026-11-{1 + n // 40:02}", f"A{n % 40:02}") for n in range(600)]
    told, lines = made("day,node,day/asset,hour,tier", *days, *nodes, *assets, row(5, "2", answers=1))
    writer = SpoolReport()
    (tmp_path / "lines").write_bytes(writer.begin(told) + writer.lines(lines[:20]) + writer.lines(lines[20:]))
    with (tmp_path / "lines").open("rb") as file:
        yield read_about(file), read_lines(file)


def test_a_spreadsheet_opens_and_holds_every_line(spooled: tuple[About, Iterator[Line]], tmp_path: Path) -> None:
    write_xlsx(*spooled, tmp_path / "x.xlsx")
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["Summary", "By day", "By node", "By day and asset", "By tier", "By hour"]
    assert len(book["Summary"]._charts) == 3
    day = book["By day"]
    assert day.max_row == 27
    assert [cell.value for cell in day[27]][:3] == [datetime(2026, 11, 26), 26, 2.6]  # noqa: DTZ001
    odd = book["By node"]["A2"]
    assert (odd.value, odd.data_type) == (ODD, "s")
    assert book["By day and asset"].max_row == 601
    assert book["By day and asset"]["R2"].value.startswith("http://127.0.0.1:9090/report/records?")
    assert book["By hour"].max_row == 1
    formulas = [cell for sheet in book for line in sheet.iter_rows() for cell in line if cell.data_type == "f"]
    assert formulas == []


def test_a_long_grouping_goes_on_the_next_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beast.reports.formats.xlsx.ROWS_MAX", 10)
    told, lines = made("asset", *(row(1, f"A{n}") for n in range(25)))
    write_xlsx(told, iter(lines), tmp_path / "x.xlsx")
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["Summary", "By asset", "By asset (2)", "By asset (3)"]
    assert [book[name].max_row for name in book.sheetnames[1:]] == [11, 11, 6]


def test_a_pdf_opens_and_says_what_it_holds(spooled: tuple[About, Iterator[Line]], tmp_path: Path) -> None:
    write_pdf(*spooled, tmp_path / "x.pdf")
    pdf = pypdf.PdfReader(tmp_path / "x.pdf")
    pages = [page.extract_text() for page in pdf.pages]
    assert "Usage report" in pages[0]
    assert "30d: 2026-10-27" in pages[0]
    assert all(f"page {number} of {len(pages)}" in text for number, text in enumerate(pages, 1))
    whole = "\n".join(pages)
    assert "\\u4e2d" in whole
    assert "and 100 more" in whole
    assert whole.count("API keys 5, 7") == 1
    links = [note["/A"]["/URI"] for page in pdf.pages for note in page.get("/Annots", [])]
    assert links[0].startswith("http://127.0.0.1:9090/report/records?")


@given(st.text())
def test_any_text_can_be_shown(text: str) -> None:
    assert latin(text).encode("latin-1").isascii() or any(ord(letter) > 127 for letter in text)
    assert latin(text).isprintable()


@given(st.floats(1e-3, 1e15), st.integers(0, 8))
def test_an_axis_is_round_and_high_enough(highest: float, parts: int) -> None:
    top, divided = ceiling(highest, parts)
    assert top >= highest * (1 - 1e-6)
    assert divided == parts or not parts
    assert 1 <= divided <= 8
    assert top <= highest * 2 + 1 or parts


def test_numbers_on_an_axis_are_short() -> None:
    assert [short(number) for number in (0, 12, 1200, 24_000, 3e6, 2e9)] == ["0", "12", "1.2k", "24k", "3M", "2G"]
    assert ceiling(0) == (1.0, 1)
