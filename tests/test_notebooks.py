"""The notebooks run from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


# A battle takes long to compile; games of like shapes, and what they have to report, stand in for it, or what there is already.
# One epoch is enough.
CHEAP = {
    "config('happo', env,": "config('happo', env, update_epochs=1, critic_epochs=1, hidden_sizes=(8,),",
    "'experiment=smax',": "'experiment=smax', 'algo.update_epochs=1', 'algo.critic_epochs=1', 'network.hidden_sizes=[8]',",
    "final('smax/2m_vs_1z', 'eval/return', DRIFTS[:2], 2, 60_000, total_timesteps=60_000, num_envs=32, num_steps=32, "
    "num_eval_episodes=16)": "penalty",
    "smax/3m": "game/climbing",
    "smax/3s_vs_3z": "game/penalty",
    "['won']": "['return']",
}


def cheaper(text: str) -> str:
    for name, other in CHEAP.items():
        assert name in text
        text = text.replace(name, other)
    return text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, large, monkeypatch):
    monkeypatch.setenv("HAMLJAX_NOTEBOOK_SCALE", "0.01")
    notebook = nbformat.reads(path.read_text() if large else cheaper(path.read_text()), as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    pictures = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) == 3
