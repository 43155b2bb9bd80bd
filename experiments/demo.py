"""`make demo`: HAPPO against MAPPO with shared parameters on a small battle; a table and a picture in runs/demo."""

import shutil
import sys
from pathlib import Path

from hamljax.lab.cli import main

OUT = Path("runs/demo")
RUNS = {
    "happo": "algo=happo",
    "mappo_s": "algo=mappo_s",
}


def demo(arguments: list[str]) -> int:
    """Train both, four seeds each at once; ``arguments`` are further overrides."""
    shutil.rmtree(OUT, ignore_errors=True)
    for name, choice in RUNS.items():
        words = [choice, "experiment=demo", f"run_dir={OUT / name}", *arguments]
        if code := main(["train", *words]):
            return code
    return main(["plot", str(OUT), "--out", str(OUT / "comparison.png")])


if __name__ == "__main__":
    sys.exit(demo(sys.argv[1:]))
