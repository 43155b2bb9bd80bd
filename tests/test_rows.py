"""Three updates of every row as numbers, so that a move of code that changes one is seen."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from sizes import is_off_policy, long

import hamljax
from hamljax.algorithms.table import family_of

# (mean, standard deviation) of every array that is learnt, recorded before the kernel's second edition.
ROWS = json.loads((Path(__file__).parent / "fixtures" / "rows.json").read_text())
OFF_POLICY = {"batch_size": 16, "buffer_size": 256, "learning_starts": 32, "gradient_steps": 3}
ON_POLICY = {"num_minibatches": 2, "critic_minibatches": 2}
SOME = ("happo", "masac_s")


@pytest.mark.parametrize("row", [*SOME, *long(*(row for row in ROWS if row not in SOME))])
def test_a_row_learns_what_it_learnt(row):
    env = "game/tracking" if row.startswith(("haddpg", "hatd3", "maddpg", "matd3")) else "game/climbing"
    sizes = {"num_envs": 4, "num_steps": 8, "total_timesteps": 96, "num_evals": 0, "hidden_sizes": (16,)}
    more = OFF_POLICY if is_off_policy(row) else ON_POLICY
    made = hamljax.config(row, env, **sizes, **more)
    state = jax.jit(hamljax.make_train(made))(jax.random.key(3))["runner_state"]
    parts = family_of(row).learner(made, hamljax.make_env(made.env)).parameters(state)
    learnt = {"agents.params": parts["actors"]["params"], "critic.params": parts["critic"]["params"]}
    found = {
        f"{part}.{jax.tree_util.keystr(path, simple=True, separator='.')}": [x.mean(), x.std()]
        for part, tree in learnt.items()
        for path, x in jax.tree.leaves_with_path(tree)
    }
    assert found.keys() == ROWS[row].keys()
    for name, numbers in ROWS[row].items():
        np.testing.assert_allclose(found[name], numbers, atol=1e-5, err_msg=name)
