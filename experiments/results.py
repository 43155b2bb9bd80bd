"""RESULTS.md below its marker, and its pictures, from the leaderboards in experiments/studies/.

python experiments/results.py
"""

import base64
from pathlib import Path

from hamljax.errors import ConfigError
from hamljax.lab.commands.report import study_at
from hamljax.lab.drawing import report as pictures
from hamljax.lab.studies import leaderboard
from hamljax.lab.studies.comparison import compared, groups_of
from hamljax.lab.studies.leaderboard import Line
from hamljax.lab.studies.report import answer, curves_of, primary_of
from hamljax.lab.studies.tables import COLUMNS, as_markdown, rows_of

HERE = Path(__file__).parent
FILE = HERE / "RESULTS.md"
OTHERS = ("boundary", "chunks")
MARKER = "<!-- What follows is written by experiments/results.py from the leaderboards. -->"


def sections() -> str:
    """What every study that has a leaderboard says, those of other questions than the page's last."""
    files = (HERE / "studies").glob(f"*/{leaderboard.FILE}")
    folders = sorted((file.parent for file in files), key=lambda folder: (folder.name.startswith(OTHERS), folder))
    return "\n".join(map(section, folders))


def section(folder: Path) -> str:
    """A study's question, how far it is, its answer and its table."""
    study, budget = study_at([folder])
    assert study is not None
    lines = leaderboard.read_lines(folder / leaderboard.FILE)
    tuned = [line for line in lines if line.stage == "tuned"]
    asked = study.budget(budget)
    wanted, there = len(asked.arms) * len(asked.tasks), len(tuned)
    seconds = sum(sum(line.seconds.values()) for line in lines)
    parts = [
        f"## {study.title} (`{study.name}`, budget `{budget}`)\n",
        f"{study.question} {study.scope}\n",
        f"```bash\nhamljax study {study.name} budget={budget} run_dir=experiments/studies/{folder.name}\n```\n",
        f"{there} of {wanted} arms on tasks are measured, {len(lines)} runs, {seconds / 3600:.1f} hours of computing "
        f"({', '.join(sorted({line.device for line in lines}))}).\n",
    ]
    if not tuned:
        return "\n".join(parts)
    metric, groups = groups_of(tuned, study.metric)
    found = primary_of(groups, metric, study)
    parts.append(
        f"**{answer(found, study, asked.tasks)}**\n" if found else f"{study.primary.question} Not measured yet.\n"
    )
    draw(tuned, metric, folder / "curves.png")
    parts.append(f"![curves](studies/{folder.name}/curves.png)\n")
    try:
        table = as_markdown(COLUMNS, rows_of(compared(groups, metric, study.primary.statistic)))
        parts.append(f"{metric}; every comparison but the one above is exploratory.\n\n{table}")
    except ConfigError:  # there is one arm so far
        pass
    return "\n".join(parts)


def draw(lines: list[Line], metric: str, file: Path) -> None:
    """The curves of a study as a file."""
    picture = pictures.curves(curves_of(lines, metric), metric)
    file.write_bytes(base64.b64decode(picture.partition(",")[2]))


if __name__ == "__main__":
    before = FILE.read_text(encoding="utf-8").partition(MARKER)[0]
    FILE.write_text(f"{before}{MARKER}\n\n{sections()}", encoding="utf-8")
    print(f"written: {FILE}")
