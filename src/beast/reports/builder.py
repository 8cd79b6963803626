"""Has a spreadsheet or a PDF built by a process of its own: that takes seconds, and the loop has none."""

import asyncio
import os
import sys
from pathlib import Path

from beast.base.errors import BeastError

MODULE = "beast.reports.formats.build"
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "HOME")
"""What of the environment the process sees: no secret is among it."""
TOLD = 2000
"""Characters of its complaints that are told."""


class BuildError(BeastError):
    """The process failed, or took too long."""


async def build(form: str, source: Path, target: Path, *, timeout_s: float) -> None:
    """Makes the file `target` of the lines in `source`; the process does not outlive the call.

    Args:
        form: `xlsx` or `pdf`.
        source: Lines as beast.reports.formats.spool writes them.
        target: Made anew.
        timeout_s: Seconds it may take.

    Raises:
        BuildError: there is no such file afterwards.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", MODULE, form, str(source), str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name in KEPT},
    )
    try:
        async with asyncio.timeout(timeout_s):
            _, complaint = await process.communicate()
    except TimeoutError:
        raise BuildError(f"the {form} took longer than {timeout_s:g} s", todo="ask for less, or for CSV") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        reason = complaint.decode(errors="replace").strip()[-TOLD:]
        raise BuildError(f"the {form} was not built: {reason or f'exit code {process.returncode}'}")
