"""What is installed: a wheel, of a source distribution, of a clean copy, works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tiny_runs import ONCE, TINY

ROOT = Path(__file__).parents[1]
NOT_IN_A_CLONE = shutil.ignore_patterns(".venv*", ".git", "__pycache__", "dist", "*.egg-info", ".*_cache")
WORDS = [*TINY, *ONCE, "num_evals=0"]  # a program that other tests compile too


def build(kind: str, source: Path, out: Path) -> Path:
    """The one file that ``kind`` (sdist or wheel) of the sources becomes."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out], cwd=source, check=True)
    (built,) = out.iterdir()
    return built


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}


def test_a_wheel_trains_outside_the_checkout(tmp_path):
    def ignored(folder: str, there: list[str]) -> set[str]:
        return NOT_IN_A_CLONE(folder, there) | ({"runs"} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, tmp_path / "clone", ignore=ignored)
    with tarfile.open(build("sdist", tmp_path / "clone", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    assert names(ROOT / "tests") <= names(sources / "tests") and names(ROOT / "docs") == names(sources / "docs")

    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    wheel = build("wheel", sources, tmp_path / "wheel")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*install, "--target", site, wheel], check=True)
    assert names(site / "hamljax") == names(ROOT / "src/hamljax") | {f"conf/{name}" for name in names(ROOT / "conf")}

    elsewhere.mkdir()
    code = (
        "import sys, hamljax; print(hamljax.__file__); from hamljax.lab.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train", *WORDS, "run_dir=run"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    said = subprocess.run(command, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True).stdout
    assert said.startswith(str(site)) and (elsewhere / "run/summary.json").is_file()
