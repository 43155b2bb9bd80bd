"""The experiment on the size of a step: what it counts as a fall, and that it trains what it says."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import steps  # noqa: E402


def test_a_fall_is_more_than_a_hundredth_of_what_there_is():
    returns = np.array([[0.5, 0.495, 0.48, 0.6]])
    np.testing.assert_array_equal(steps.more_than_a_hundredth({"returns": returns}), [[False, True, False]])


def test_a_fall_of_estimates_is_beyond_their_noise():
    """Standard errors of 0.03 and 0.04 are 0.05 of the difference, of which 2.326 are 0.1163."""
    found = {"returns": np.array([[1.0, 0.884, 0.767]]), "errors": np.array([[0.03, 0.04, 0.03]])}
    np.testing.assert_array_equal(steps.beyond_noise(found), [[False, True]])


def test_the_grid_has_every_pair_once():
    assert steps.grid((1, 2), (3, 4)).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]


@pytest.mark.long
def test_a_small_one_is_trained_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "OUT", tmp_path / "steps")
    monkeypatch.setattr(steps, "GAMES", {"prop2": {}})
    monkeypatch.setattr(steps, "GAME_SEEDS", 2)
    monkeypatch.setattr(steps, "GAME_SIZES", steps.GAME_SIZES | {"total_timesteps": 256 * 4})
    monkeypatch.setattr(steps, "BATTLE_SEEDS", 2)
    monkeypatch.setattr(steps, "STRETCH", 1)
    monkeypatch.setattr(steps, "BATTLE_SIZES", steps.BATTLE_SIZES | {"num_envs": 4, "num_steps": 8})
    text = steps.tables(("games", "battle"))
    assert text.count("| happo |") == len(steps.grid(steps.GAME_RATES, steps.GAME_CLIPS)) + len(
        steps.grid(steps.BATTLE_RATES, steps.BATTLE_CLIPS)
    )
    monkeypatch.setattr(steps, "over_grid", None)  # nothing is trained twice
    assert steps.tables(("games", "battle")) == text
