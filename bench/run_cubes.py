"""Measure builds of cubes beside what plain engines do with the same files. Writes cubes.json and cubes.md.

Each part works on generated samples (bench/cubes_lake.py) in a folder of its own. A ratio compares two things of one
run: most often the build of a cube (scan, base, every cuboid, Delta commit) and DuckDB's bare GROUP BY of its base.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cubes_full import full, large, worst
from cubes_history import incremental, late
from cubes_peers import spark
from figures import figure, machine, write_report

PARTS = {"full": full, "worst": worst, "incremental": incremental, "late": late, "spark": spark, "large": large}
# Each but the last, which takes ten times the rows; ask for it by name.
_USUAL = [name for name in PARTS if name != "large"]


def main() -> None:
    """Run every part (or those asked for) and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000_000, help="samples of the largest part (whole days)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="the engine's memory limit")
    parser.add_argument("--parts", default=",".join(_USUAL), help=f"which parts, by comma, of {', '.join(PARTS)}")
    parser.add_argument("--report", default="cubes", help="name of the report's files")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no report")
    parser.add_argument("--folder", help="where the lakes are made (default: the system's temporary folder)")
    asked = parser.parse_args()
    facts, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="bench-cubes-", dir=asked.folder) as name:
        for part in asked.parts.split(","):
            folder = Path(name) / part
            for one in PARTS[part](folder, asked.memory_mib, asked.rows):
                print(f"{one.name}: {one.value:,.4g} {one.unit}", flush=True)
                found.append(one)
            shutil.rmtree(folder)
            # Of this process so far; chDB and Spark's workers have processes of their own.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found.append(figure(f"peak resident memory up to the end of '{part}'", peak, "MiB", 3072))
            print(f"{found[-1].name}: {found[-1].value:,.4g} MiB", flush=True)
    if not asked.dry:
        arguments = " ".join(sys.argv[1:])
        write_report(found, facts, name=asked.report, command=f'make bench-cubes ARGS="{arguments}"')


if __name__ == "__main__":
    main()
