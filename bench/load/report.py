"""Results: one line of JSON a run, and the table that documents show."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


def machine() -> dict[str, object]:
    """Where and of what a run was."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if "model name" in line), "?")
    git = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "busy": round(os.getloadavg()[0], 2),
    }


def keep(name: str, flags: dict[str, object], results: list[dict[str, Any]], about: dict[str, object]) -> None:
    """Adds a run to results/NAME.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({"machine": about, "flags": flags, "results": results}) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """Every run in a file, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def show(row: dict[str, Any]) -> None:
    """One row of figures, on one line."""
    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def markdown(run: dict[str, Any]) -> str:
    """A run of the load benches as tables."""
    about = run["machine"]
    rows = [row for row in run["results"] if "ratio" in row]
    where = f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}"
    text = [
        f"{where}, commit {about['commit']}, {about['time']}; flags {_flags(run['flags'])}",
        "",
        "| scenario | per core | ns an answer | against | its ns | ratio (lowest, highest) | aim | others, per core |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        others = ", ".join(f"{name} {1e6 / ns:,.0f}k" for name, ns in row["beside_ns"].items())
        text.append(
            f"| {row['scenario']} | {row['per_core']:,} | {row['beast_ns']:,.0f} | {row['against']} "
            f"| {row['against_ns']:,.0f} | **{row['ratio']:.2f}** ({row['ratio_min']:.2f}, {row['ratio_max']:.2f}) "
            f"| {row['aim']} | {others} |"
        )
    for row in run["results"]:
        if row["scenario"] == "udp-ladder":
            text += _levels(row, "in_flight", "in flight")
        if row["scenario"] == "udp-latency":
            text += _levels(row, "rate", "requests a second")
    return "\n".join(text)


def _flags(flags: dict[str, Any]) -> str:
    shown = {key: value for key, value in flags.items() if value and key != "markdown"}
    return " ".join(f"--{key} {value}" for key, value in shown.items())


def _levels(row: dict[str, Any], key: str, title: str) -> list[str]:
    head = f"| {title} | answers a second | p50 µs | p99 µs | p99.9 µs | lost, wrong, refused |"
    return ["", head, "| --- " * 6 + "|"] + [
        f"| {level[key]:,} | {level['per_second']:,} | {level['p50_us']:,.0f} | {level['p99_us']:,.0f} "
        f"| {level['p999_us']:,.0f} | {level['bad']:,.0f} |"
        for level in row["levels"]
    ]
