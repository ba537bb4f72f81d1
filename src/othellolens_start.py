"""Where the command `othellolens` starts: what must be settled before torch is loaded.

This is no part of the package, because importing a part of the package loads torch.
"""

import os


def main() -> None:
    """Run `othellolens.cli.main` with OpenMP threads that stop spinning soon.

    GNU OpenMP lets a thread that waits at a barrier spin some 300,000 rounds before it sleeps.
    Where another process wants the core, that is time taken from the very thread that is waited
    for: the judge took 39 to 49 s instead of 4 s beside one busy process, and 6 s with 20,000
    rounds, which cost nothing on idle cores. A choice of the user's own is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from othellolens.cli import main as run

    run()
