"""The notebooks run from top to bottom, and what they show is what their code gives."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EXECUTED = [path for path in NOTEBOOKS if path.stem != "ablation"]
PICTURES = {"ablation": 3, "one_theorem": 4, "sharing": 3, "sequential": 3, "your_drift": 3}
LARGEST = 400_000  # bytes of a notebook with its pictures


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def run(text: str) -> nbformat.NotebookNode:
    notebook = nbformat.reads(text, as_version=4)
    resources = {"metadata": {"path": str(FOLDER)}}
    return NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """All outputs of a kind, such as image/png."""
    shown = [out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", [])]
    return [data[kind] for data in shown if kind in data]


def test_every_notebook_is_known():
    assert {path.stem for path in NOTEBOOKS} == set(PICTURES)


def runs(path: Path):
    """Most of them train what other tests train too: they run in ``make test-long`` alone."""
    return pytest.param(path, marks=[] if path.stem == "one_theorem" else [pytest.mark.long], id=path.stem)


@pytest.mark.parametrize("path", [runs(path) for path in NOTEBOOKS])
def test_notebook_runs(path, monkeypatch):
    monkeypatch.setenv("HAMLJAX_NOTEBOOK_SCALE", "0.01")
    assert len(outputs(run(path.read_text()), "image/png")) == PICTURES[path.stem]


@pytest.mark.parametrize("path", EXECUTED, ids=lambda p: p.stem)
def test_outputs_are_those_of_a_whole_run_and_small(path):
    """Every cell in its turn, without an error or a warning."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {out.output_type for cell in code for out in cell.outputs}
    assert kinds <= {"display_data", "execute_result"}
    assert len(outputs(notebook, "image/png")) == PICTURES[path.stem] and len(outputs(notebook, "text/markdown")) > 1
    assert path.stat().st_size < LARGEST


@pytest.mark.long
@pytest.mark.parametrize(
    "body, said",
    [
        ("-weight * (ratio - 1) ** 2", "| mine | refuted | refuted |"),
        ("weight * (ratio - 1) ** 2", "| mine | proved | refuted | barrier |"),
    ],
)
def test_another_drift_goes_through_all_of_the_notebook(body, said, monkeypatch):
    monkeypatch.setenv("HAMLJAX_NOTEBOOK_SCALE", "0.2")
    text = replaced((FOLDER / "your_drift.ipynb").read_text(), {"weight * old_prob * (ratio - 1) ** 2 / 2": body})
    certified, exact, trained = outputs(run(text), "text/markdown")
    assert said in certified
    assert ("| mine | 0 of 40 |" in exact) == (body[0] != "-") and "Difference: " in trained
