"""Works out what the whole market takes, at 1, 10 and 100 machines, from rates that were measured.

    python benchmarks/sizing.py
    python benchmarks/sizing.py --years 20 --cores 32 --link-mb 100 --machines 1 4 16

Nothing is timed here. `MEASURED` are rates of our own runs (docs/explanation/decisions.md),
`VENDOR` what a session of the market has, and `PRICES` list prices; put your own in their place.
Trades and quotes, in the layout `market`, where a unit of work is a session of a data type. The
guide "Scaling out" has the output.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

SESSIONS_A_YEAR = 251.6


@dataclass(frozen=True)
class Tape:
    """A data type: a session of the market, and what it costs.

    Attributes:
        rows: of a session.
        gz_bytes: a row in the vendor's csv.gz.
        parquet_bytes: a row in a partition.
        rows_a_file: of a partition.
        cpu_seconds: of a million rows, from csv.gz to finished files.
    """

    rows: float
    gz_bytes: float
    parquet_bytes: float
    rows_a_file: float
    cpu_seconds: float


VENDOR = {"trades": 60e6, "quotes": 260e6}
"""Rows of a session in 2024 to 2026: 1.9 and 7.5 GB of csv.gz."""
MEASURED = {
    # A day of 60 million trades in 11,000 symbols.
    "trades": Tape(VENDOR["trades"], 31.0, 18.3, 1_180_000, 3.0),
    # A day of 20 million quotes in 3,000 symbols; cut as it is, with 13 times the rows.
    "quotes": Tape(VENDOR["quotes"], 28.6, 13.0, 590_000, 2.5),
}
BUSY = 0.85
"""Of its processors a unit keeps busy so much."""
CHECK_SECONDS = 6.8
"""Of CPU in the driver, for a GB that is downloaded: MD5, and inflating it."""
PUBLISH_SECONDS = 2.0
"""Of the driver, for a unit, where ten years of 11,000 symbols are published already."""
MANIFEST_BYTES = 33
"""Of a symbol in a session."""
SYMBOLS = 11_000
OF_DOWNLOAD = ("link", "checks of the download")
PRICES = {"core hour": 0.041, "GB month": 0.023, "1,000 PUT": 0.005}
"""Dollars: EC2 m7g and S3 Standard in us-east-1, list prices of 2026."""


@dataclass(frozen=True)
class Plan:
    """What a user has.

    Attributes:
        cores: of a machine.
        link: bytes a second from the vendor, of all connections together.
        disk: bytes a second that the shared folder gives to all machines together.
    """

    years: float
    cores: int
    link: float
    disk: float


def total(plan: Plan) -> dict[str, float]:
    """What there is to do, whatever does it."""
    sessions = plan.years * SESSIONS_A_YEAR
    tapes = MEASURED.values()
    return {
        "sessions": sessions,
        "units": sessions * len(MEASURED),
        "rows": sessions * sum(tape.rows for tape in tapes),
        "raw": sessions * sum(tape.rows * tape.gz_bytes for tape in tapes),
        "cache": sessions * sum(tape.rows * tape.parquet_bytes for tape in tapes),
        "files": sessions * sum(tape.rows / tape.rows_a_file for tape in tapes),
        "manifests": sessions * len(MEASURED) * SYMBOLS * MANIFEST_BYTES,
        "cpu": sessions * sum(tape.rows / 1e6 * tape.cpu_seconds for tape in tapes),
    }


def hours(plan: Plan, machines: int) -> dict[str, float]:
    """How long each step takes; all of them run at once, so the longest decides."""
    all_of = total(plan)
    return {
        "link": all_of["raw"] / plan.link / 3600,
        "checks of the download": all_of["raw"] / 1e9 * CHECK_SECONDS / (plan.cores * BUSY) / 3600,
        "cores": all_of["cpu"] / (machines * plan.cores * BUSY) / 3600,
        "shared folder": (all_of["raw"] + all_of["cache"]) / plan.disk / 3600,
        "publish": all_of["units"] * PUBLISH_SECONDS / 3600,
    }


def table_of_totals(plan: Plan) -> list[str]:
    """A table in Markdown: what there is."""
    all_of = total(plan)
    a_month = (all_of["raw"] + all_of["cache"]) / 1e9 * PRICES["GB month"]
    core_hours = all_of["cpu"] / 3600
    lines = [
        f"| sessions; units of work | {all_of['sessions']:,.0f}; {all_of['units']:,.0f} |",
        f"| rows | {all_of['rows'] / 1e9:,.0f} billion |",
        f"| raw files, csv.gz | {all_of['raw'] / 1e12:,.1f} TB |",
        f"| partitions, Parquet | {all_of['cache'] / 1e12:,.1f} TB"
        f" in {all_of['files'] / 1e6:,.1f} million files |",
        f"| manifests | {all_of['manifests'] / 1e9:,.1f} GB |",
        f"| processors | {core_hours:,.0f} core hours, ${core_hours * PRICES['core hour']:,.0f} |",
        f"| both tiers on object storage | ${a_month:,.0f} a month;"
        f" ${all_of['files'] / 1000 * PRICES['1,000 PUT']:,.0f} to put the partitions there |",
    ]
    return [f"| trades and quotes of {plan.years:g} years | |", "|---|---:|", *lines]


def table_of_hours(plan: Plan, machines: list[int]) -> list[str]:
    """A table in Markdown: how long it takes, and what is the limit."""
    head = ["step, hours", *(f"{count:,} × {plan.cores} cores" for count in machines)]
    columns = [hours(plan, count) for count in machines]
    rows = [[step, *(f"{column[step]:,.1f}" for column in columns)] for step in columns[0]]
    for job, without in (("first load", ()), ("rebuild from the raw tier", OF_DOWNLOAD)):
        longest = [
            max((one for one in column if one not in without), key=column.__getitem__)
            for column in columns
        ]
        limits = zip(columns, longest, strict=True)
        rows.append([job, *(f"**{column[step]:,.1f}**: {step}" for column, step in limits)])
    lines = [f"| {' | '.join(row)} |" for row in [head, *rows]]
    return [lines[0], "|---|" + "---:|" * len(machines), *lines[1:]]


def main(arguments: list[str] | None = None) -> str:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--link-mb", type=float, default=14, help="MB a second from the vendor")
    parser.add_argument("--disk-mb", type=float, default=2_000, help="MB a second, shared folder")
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 100])
    options = parser.parse_args(arguments)
    plan = Plan(options.years, options.cores, options.link_mb * 1e6, options.disk_mb * 1e6)
    return "\n".join([*table_of_totals(plan), "", *table_of_hours(plan, options.machines)])


if __name__ == "__main__":
    print(main())
