"""Random command lines: no traceback whatever is typed, and what is valid is never refused."""

import random

import pytest

from hamljax.lab import run as host_loop
from hamljax.lab.cli import main
from hamljax.learning.train import make_learner

# (values that are right, values that are wrong); a setting of the wrong kind is wrong whatever its value.
RUBBISH = [
    "",
    "null",
    "[]",
    "[1,2]",
    "{a:1}",
    "nan",
    "-inf",
    "abc",
    "ключ",
    "0x",
    "1e400",
    "'",
    '"',
    "${x}",
    "a=b",
    "\\",
    "😀",
    "true,false",
]
WHOLE = (["1", "2", "4"], ["-1", "0.5", "1e30.", *RUBBISH])
RATE = (["1e-4", "0.5", "0.001"], ["-1", "0", "inf", *RUBBISH])
SETTINGS = {
    "algo": (["happo", "hatrpo", "mappo_s", "maa2c_ns"], ["hapo", "HAPPO", "1", "happo,haa2c", *RUBBISH]),
    "env": (["game/climbing", "game/penalty", "game/tracking", "game/prop1"], ["game", "game/climb", "smax/33m", *RUBBISH]),
    "network": (["mlp", "gru"], ["cnn", "mlp gru", *RUBBISH]),
    "logger": (["files"], ["file", *RUBBISH]),
    "seed": (["0", "7", "2147483000"], ["-1", "4294967296", "1e99", "1.5", *RUBBISH]),
    "num_seeds": WHOLE,
    "total_timesteps": (["1e6", "20000", "8192", "1_000_000"], ["-5", "1", "0", "8191", *RUBBISH]),
    "gamma": (["0", "1", "0.9", "1e-3"], ["-0.1", "1.1", "1e9", "inf", *RUBBISH]),
    "gae_lambda": (["0", "1.0", "0.5"], ["2", "-1", *RUBBISH]),
    "truncation": (["bootstrap", "drop", "terminal"], ["boot", "1", *RUBBISH]),
    "obs_norm": (["auto", "always", "never"], ["yes", "2", *RUBBISH]),
    "num_evals": (["0", "2", "11"], ["1", "-2", "2.5", *RUBBISH]),
    "eval_sampled": (["true", "false"], ["2.5", *RUBBISH]),
    "checkpoint_every": (["0", "3"], ["-1", "0.1", *RUBBISH]),
    "on_nan": (["stop", "skip", "raise"], ["halt", "0", *RUBBISH]),
    "nan_patience": (["1", "3"], ["0", *RUBBISH]),
    "resume": (["auto", "never"], ["always", *RUBBISH]),
    "algo.clip_eps": (["0.1", "1e-2", "3"], ["0", "-1", "inf", *RUBBISH]),
    "algo.actor_lr": RATE,
    "algo.critic_lr": RATE,
    "algo.ent_coef": (["0", "0.1"], ["-1", "inf", *RUBBISH]),
    "algo.update_epochs": WHOLE,
    "algo.num_minibatches": (["1", "2", "4"], ["3", "-1", "1e9", *RUBBISH]),
    "algo.critic": (["ep", "fp"], ["EP", *RUBBISH]),
    "algo.drift": (["clip", "spo", "none", "kl", ""], ["clp", *RUBBISH[1:]]),
    "algo.coordination": (["sequential", "simultaneous", "shared", ""], ["parallel", *RUBBISH[1:]]),
    "algo.anneal_lr": (["true", "False"], ["2.5", *RUBBISH]),
    "network.hidden_sizes": (["[8]", "[16,16]"],
        ["[0]", "[-4]", "[a]", "8", "[8.5]", "[[8]]", *(r for r in RUBBISH if r != "[1,2]")]),
    "network.activation": (["relu", "tanh"], ["gelu", *RUBBISH]),
    "gama": ([], ["0.9"]),
    "algo.clp_eps": ([], ["0.1"]),
    "+algo.clp_eps": ([], ["0.1"]),
    "env.horizn": ([], ["3"]),
    "": ([], ["1", ""]),
    "🙂": ([], ["1"]),
    "~algo": ([], [""]),
    "algo.clip_eps.x": ([], ["1"]),
    "experiment/mamujoco": ([], ["1", "ant_4x2_ppo"]),
    "hydra.run.dir": ([], ["x"]),
    "+experiment": ([], ["nothing"]),
    "algo.tau": ([], ["0.1"]),
}  # fmt: skip
OFF_POLICY = {
    **{name: values for name, values in SETTINGS.items() if not name.startswith("algo.") or not values[0]},
    "algo": (["hasac", "masac", "masac_s"], ["hasax", "SAC", "hasac,haddpg", *RUBBISH]),
    "network": (["mlp"], ["gru", "cnn", *RUBBISH]),
    "total_timesteps": (["1e6", "20000", "8192"], ["-5", "1", "5000", *RUBBISH]),
    "truncation": (["bootstrap", "terminal"], ["drop", "1", *RUBBISH]),
    "checkpoint_replay": (["true", "false"], ["2.5", *RUBBISH]),
    "algo.coordination": (["sequential", "simultaneous", "shared", ""], ["parallel", *RUBBISH[1:]]),
    "algo.actor_lr": RATE,
    "algo.critic_lr": RATE,
    "algo.alpha": (["0.1", "1"], ["0", "-1", "inf", *RUBBISH]),
    "algo.tau": (["1", "0.005"], ["0", "1.1", "-1", *RUBBISH]),
    "algo.target_every": (["0", "3"], ["-1", "0.5", *RUBBISH]),
    "algo.policy_delay": (["0", "2"], ["-1", "0.5", *RUBBISH]),
    "algo.critics": (["0", "1", "3"], ["-1", "0.5", *RUBBISH]),
    "algo.gradient_steps": WHOLE,
    "algo.n_step": WHOLE,
    "algo.batch_size": (["8", "256"], ["0", "-1", "1e6", *RUBBISH]),
    "algo.buffer_size": (["4096", "1e5"], ["0", "10", "-1", *RUBBISH]),
    "algo.learning_starts": (["0", "1000"], ["-1", "1e7", *RUBBISH]),
    "algo.others": (["buffer", "policy"], ["nobody", *RUBBISH]),
    "algo.auto_alpha": (["true", "false"], ["2.5", *RUBBISH]),
    "algo.target_entropy_scale": (["0", "0.98", "1"], ["-0.1", "1.5", *RUBBISH]),
    "algo.clip_eps": ([], ["0.1"]),
}  # fmt: skip


def command_line(chance: random.Random, settings: dict) -> tuple[list[str], bool]:
    """A random one, and whether it is valid."""
    valid = chance.random() < 0.5
    names = [name for name, (right, _) in settings.items() if right]
    wrong = None if valid else chance.choice(list(settings))
    words = [f"{n}={chance.choice(settings[n][0])}" for n in chance.sample(names, chance.randint(1, 5)) if n != wrong]
    if wrong is not None:
        words.append(f"{wrong}={chance.choice(settings[wrong][1])}")
    chance.shuffle(words)
    return words, valid


@pytest.mark.parametrize("part, settings", list(enumerate((SETTINGS, OFF_POLICY))), ids=("on-policy", "off-policy"))
def test_no_command_line_ends_in_a_traceback_and_no_valid_one_is_refused(
    part, settings, large, monkeypatch, tmp_path, capsys
):
    """Everything but the training itself, through the real entry."""
    monkeypatch.setattr(host_loop, "train", lambda job, longer=False: make_learner(job.config))
    monkeypatch.chdir(tmp_path)
    chance, found, count = random.Random(part), {0: 0, 2: 0}, 2500 if large else 60
    for _ in range(count):
        words, valid = command_line(chance, settings)
        if not any(w.startswith("env=") for w in words):
            words.insert(0, "env=game/climbing")
        if settings is OFF_POLICY and not any(w.startswith("algo=") for w in words):
            words.insert(0, "algo=hasac")
        code = main(["train", *words])
        err = capsys.readouterr().err
        assert code == (0 if valid else 2), (words, err)
        assert valid or (err.startswith("hamljax: error: ") and err.count("\n") == 1 and len(err) < 400), (words, err)
        found[code] += 1
    assert min(found.values()) > count // 4
    assert list(tmp_path.iterdir()) == []
