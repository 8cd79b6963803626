"""The process that builds a spreadsheet or a PDF: `python -m beast.reports.formats.build xlsx SOURCE TARGET`."""

import os
import resource
import sys
from pathlib import Path

from beast.reports.formats.pdf import write_pdf
from beast.reports.formats.spool import read_about, read_lines
from beast.reports.formats.xlsx import write_xlsx

MEMORY = 1 << 30
"""Bytes of address space: more would be a mistake of ours, and is not to harm the server."""
NICE = 10
WRITERS = {"xlsx": write_xlsx, "pdf": write_pdf}


def main(form: str, source: str, target: str) -> None:
    """Builds one file, after everything that serves."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with Path(source).open("rb") as spool:
        WRITERS[form](read_about(spool), read_lines(spool), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
