"""A sweep under torchrun: every process takes its share of the grid."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from reference.tiny import tiny_model

from othellolens.artifact import read_tensors
from othellolens.cli import main
from othellolens.gpt.runs import save_gpt

GRID = ["--architectures", "topk", "gated", "jumprelu", "--width", "24", "--l0", "3"]
GRID += ["--seeds", "0", "--games", "40", "--held", "4", "--rows", "4000", "--batch", "500"]


def shared_out(command: list[str], job: Path, processes: int) -> "subprocess.CompletedProcess[str]":
    job.write_text("from othellolens.cli import main; main()\n")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*run, "--nproc-per-node", str(processes), str(job), *command],
        check=False, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_processes_share_the_grid_and_end_in_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "gpt").mkdir()
    save_gpt(tiny_model(), tmp_path / "gpt")
    there = ["--model", str(tmp_path / "gpt"), "--site", "resid_post.1", "--device", "cpu"]
    main(["sweep", "--out", str(tmp_path / "one"), *there, *GRID])
    command = ["sweep", "--out", str(tmp_path / "two"), *there, *GRID]
    done = shared_out(command, tmp_path / "job.py", 2)
    assert done.returncode == 0, done.stderr
    shares = [
        {path.name for path in (tmp_path / "two" / f"process-{rank}").iterdir() if path.is_dir()}
        for rank in range(2)
    ]
    assert sorted(map(len, shares)) == [1, 2] and not shares[0] & shares[1]
    results = [
        json.loads((tmp_path / out / "results.json").read_text())["saes"] for out in ("one", "two")
    ]
    assert [row["name"] for row in results[0]] == [row["name"] for row in results[1]]
    for row in results[0]:
        one, other = (
            read_tensors(tmp_path / out / row["name"] / "sae_weights.safetensors")
            for out in ("one", "two")
        )
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items()), row["name"]
    assert done.stdout.count("SAEs in") == 1
    again = shared_out([*command, "--resume"], tmp_path / "job.py", 2)
    assert again.returncode == 0, again.stderr
