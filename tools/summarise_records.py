"""Summarise the JSON lines of `protect --json`: how far the posterior moved beside noise, per mode.

protect photos/*.png -o out --vae pocket --json > records.jsonl
python tools/summarise_records.py records.jsonl [more.jsonl ...]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} / {statistics.median(values):.3g} / {max(values):.3g}"


def main(paths: Sequence[str]) -> None:
    by_mode = defaultdict(list)
    failed = 0
    for path in paths:
        for line in Path(path).read_text().splitlines():
            record = json.loads(line)
            if "error" in record:
                failed += 1
            else:
                by_mode[record["config"]["mode"]].append(record)
    if not by_mode:
        sys.exit("no records of protected pictures; give files with the output of protect --json")
    print("minimum / median / maximum over pictures")
    for mode, records in by_mode.items():
        vae = records[0]["vae"]
        print(f"\n{mode}: {len(records)} pictures, {vae['name']} {vae['weights_sha256'][:12]}, {records[0]['device']}")
        print(f"  largest change, levels       {spread([r['max_change_levels'] for r in records])}")
        print(f"  PSNR, dB                     {spread([r['psnr_db'] for r in records])}")
        print(f"  loss, times as far as noise  {spread([r['gain_over_noise'] for r in records])}")
        print(f"  latent moved, of its norm    {spread([r['protected']['latent'] for r in records])}")
        print(f"    by noise                   {spread([r['noise']['latent'] for r in records])}")
        print(f"  norm left                    {spread([r['protected']['norm'] for r in records])}")
        print(f"  seconds                      {spread([r['seconds'] for r in records])}")
    if failed:
        print(f"\n{failed} pictures failed")


if __name__ == "__main__":
    main(sys.argv[1:])
