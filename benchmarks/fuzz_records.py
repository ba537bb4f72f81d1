"""Mutated game files into every reader: python benchmarks/fuzz_records.py --count 100000

Prints a table; status 1 where anything but success or an InputError came. Memory is limited, so
that a file that asks for too much shows as a MemoryError.
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from reference.mutations import READERS, Outcome, fuzz

from othellolens.terminal import table

MEMORY = 8 << 30


def row(found: Outcome) -> dict[str, object]:
    return {
        "reader": found.reader,
        "mutations": found.mutations,
        "accepted": found.accepted,
        "refused": found.refused,
        "seconds": found.seconds,
        "slowest": found.slowest,
        "other errors": len(found.errors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--count", type=int, default=1000, help="mutated files a reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", choices=READERS, nargs="*", default=READERS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows: list[dict[str, object]] = []
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for reader in args.reader:
            found = fuzz(reader, args.count, args.seed, Path(folder))
            rows.append(row(found))
            errors += [f"{reader}: {error}" for error in found.errors[:20]]
            print(table(rows[-1:]), flush=True)
    print(table(rows))
    print("\n".join(errors))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
