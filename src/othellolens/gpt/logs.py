"""The log of a training: a line of JSON for each entry, and the same for Weights & Biases."""

import json
import math
from pathlib import Path
from typing import Any

from ..artifact import read_json, write_file, write_json
from ..errors import InputError

LOG = "log.jsonl"
BEGUN = "training.json"
"""What was asked for, written when a training begins."""
_WANDB = "wandb.json"


class RunLog:
    """Appends to `log.jsonl` in a run folder; where a project is named, wandb gets the same."""

    def __init__(self, out: Path, *, wandb: str | None = None, begun: str = BEGUN) -> None:
        self.path = out / LOG
        self._run = _wandb_run(out, wandb, begun) if wandb is not None else None

    def write(self, line: dict[str, Any]) -> None:
        """One entry; it has a "step"."""
        with self.path.open("a") as file:
            file.write(json.dumps({key: _sayable(x) for key, x in line.items()}) + "\n")
        if self._run is not None:
            rest = {key: value for key, value in line.items() if key != "step"}
            self._run.log(rest, step=line["step"])

    def cut(self, step: int) -> float:
        """Forget what came after `step`; the seconds that the training had taken until then.

        Raises:
            InputError: a whole line is no entry.
        """
        text = self.path.read_text() if self.path.exists() else ""
        # A process that is killed while it writes leaves half a line.
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        lines = [self._entry(number, line) for number, line in enumerate(whole, 1)]
        kept = [line for line in lines if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_file(self.path, lambda work: work.write_text(text))
        return max((float(line.get("seconds", 0)) for line in kept), default=0.0)

    def _entry(self, number: int, text: str) -> dict[str, Any]:
        try:
            entry = json.loads(text)
        except json.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            raise InputError(f"{self.path}, line {number} is no entry of a log: mend or delete it")
        return entry

    def close(self) -> None:
        """Nothing more will be written."""
        if self._run is not None:
            self._run.finish()


def _sayable(x: Any) -> Any:
    return None if isinstance(x, float) and not math.isfinite(x) else x


def check_wandb() -> None:
    """Refuse a training that could not log where it was asked to.

    Raises:
        InputError: wandb is not installed.
    """
    try:
        import wandb  # noqa: F401 # pyright: ignore
    except ImportError:
        raise InputError(
            "wandb is not installed: pip install wandb, or leave --wandb out"
        ) from None


def _wandb_run(out: Path, project: str, begun: str) -> Any:
    import wandb  # pyright: ignore

    known = read_json(out / _WANDB) if (out / _WANDB).exists() else {}
    try:
        run: Any = wandb.init(  # pyright: ignore
            project=project,
            name=out.name,
            id=known.get("id"),
            resume="allow",
            config=read_json(out / begun),
        )
    except Exception as error:  # not logged in, no such project, no network
        first = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise InputError(
            f"wandb does not take the log ({first}): is wandb login done? Then go on with --resume"
        ) from None
    write_json(out / _WANDB, {"project": project, "id": run.id})
    return run
