"""Random command lines: no traceback whatever is typed, and what is valid is never refused."""

import random

import pytest

from hamljax.lab.cli import main
from hamljax.lab.runs import run as host_loop
from hamljax.training.train import make_learner

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
SAID = RUBBISH[2:]  # wrong also for a setting that may be left to its row
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
    "algo.clip_eps": (["0.1", "1e-2", "3"], ["0", "-1", "inf", *(r for r in RUBBISH if r != "[1,2]")]),
    "algo.actor_lr": RATE,
    "algo.critic_lr": RATE,
    "algo.ent_coef": (["0", "0.1"], ["-1", "inf", *RUBBISH]),
    "algo.update_epochs": WHOLE,
    "algo.num_minibatches": (["1", "2", "4"], ["3", "-1", "1e9", *RUBBISH]),
    "algo.critic": (["ep", "fp"], ["EP", *RUBBISH]),
    "algo.drift": (["clip", "spo", "none", "kl", "", "null"], ["clp", *SAID]),
    "algo.coordination": (["sequential", "simultaneous", ""], ["parallel", "shared", *SAID]),
    "algo.sharing": (["own", "kinds", "all", ""], ["some", *SAID]),
    "algo.order": (["uniform", "fixed", "semi_greedy"], ["random", *RUBBISH]),
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
    "algo.coordination": (["sequential", "simultaneous", ""], ["parallel", "shared", *SAID]),
    "algo.sharing": (["own", "kinds", "all", ""], ["some", *SAID]),
    "algo.order": (["uniform", "fixed", "semi_greedy"], ["random", *RUBBISH]),
    "algo.actor_lr": RATE,
    "algo.critic_lr": RATE,
    "algo.alpha": (["0.1", "1"], ["0", "-1", "inf", *RUBBISH]),
    "algo.tau": (["1", "0.005"], ["0", "1.1", "-1", *RUBBISH]),
    "algo.target_every": (["", "3"], ["0", "-1", "0.5", *SAID]),
    "algo.policy_delay": (["null", "2"], ["0", "-1", "0.5", *SAID]),
    "algo.critics": (["null", "1", "3"], ["0", "-1", "0.5", *SAID]),
    "algo.gradient_steps": WHOLE,
    "algo.n_step": WHOLE,
    "algo.update_epochs": WHOLE,
    "algo.batch_size": (["8", "256"], ["0", "-1", "1e6", *RUBBISH]),
    "algo.buffer_size": (["4096", "1e5"], ["0", "10", "-1", *RUBBISH]),
    "algo.learning_starts": (["0", "1000"], ["-1", "1e7", *RUBBISH]),
    "algo.others": (["buffer", "policy"], ["nobody", *RUBBISH]),
    "algo.auto_alpha": (["true", "false"], ["2.5", *RUBBISH]),
    "algo.target_entropy_scale": (["0", "0.98", "1"], ["-0.1", "1.5", *RUBBISH]),
    "algo.clip_eps": ([], ["0.1"]),
}  # fmt: skip


# Around a run: names of folders and files (of plugins in the working directory), loggers, and, after a $, the environment.
NAMES = [
    "runs/a",
    "été",
    "my runs/a (1)",
    "[/x]",
    "2024_01_02",
    "1e3",
    "'in, quotes'",
    "a=b#c&d",
    "runs/${algo.name}",
    "😀",
]
NO_NAMES = ["null", "a,b", "é,ü", "\0", "x" * 300, "${nowhere}", "${", "a file/x"]
PLUGINS = {
    "fine.py": "import hamljax",
    "ü (1).py": "import hamljax",
    "broken.py": "def (",
    "raises.py": "1 / 0",
    "leaves.py": "exit(3)",
    "a file": "no Python",
}
RESUMABLE = {
    "run_dir": (NAMES, NO_NAMES),
    "plugin": (["fine.py", "ü (1).py", "'fine.py'", ""],
        ["broken.py", "raises.py", "leaves.py", "a file", ".", "nothing.py", "fine.py,broken.py", *NO_NAMES]),
    "logger.project": (["hamljax", "été", "7"], ["a/b", "x" * 129, *NO_NAMES[:3]]),
    "logger.mode": (["offline", "online", "disabled"], ["onlin", "1", *RUBBISH]),
    "logger.entity": (["", "me", "1e3"], ["x" * 129, "${x}"]),
    "logger.group": (["", "a b", "é"], ["x" * 129, "${x}"]),
    "logger.name": (["", "1e-4", "a (b)"], ["x" * 129, "null"]),
    "logger.tags": (["[]", "[a,é]", "[1e3,'x, y']"], ["a", "{a:1}", "null", "[[a]]", "['']", "[" + "x" * 65 + "]", "[a"]),
    "logger.knd": ([], ["wandb"]),
    "log_every": (["0", "5"], ["-1", *RUBBISH]),
    "$WANDB_MODE": (["", "offline", "dryrun"], ["ofline", "1", "é"]),
    "$XDG_CACHE_HOME": (["", "nowhere", "a file", "/dev/null"], []),
    "$HOME": (["", "/", "/dev/null"], []),
    "$COLUMNS": (["abc", "0"], []),
    "$MPLBACKEND": (["nonsense"], []),
}  # fmt: skip
PARTS = {
    "on-policy": (SETTINGS, ["env=game/climbing"]),
    "off-policy": (OFF_POLICY, ["env=game/climbing", "algo=hasac"]),
    "around": (RESUMABLE, ["env=game/climbing", "logger=wandb"]),
}
NO_SWEEPS = ["glob(*)", "interval(0,1)", "range(0,1,0)", "range(1,0)", "choice()", "choice(", "1,"]
ONE = (
    "run_dir",
    "network.hidden_sizes",
    "logger.tags",
)  # settings whose values a sweep does not have several of, or not so


def command_line(chance: random.Random, settings: dict) -> tuple[list[str], bool]:
    """A random one, and whether it is valid. With -m one setting may have two values."""
    valid, sweeps = chance.random() < 0.5, chance.random() < 0.2
    names = [name for name, (right, _) in settings.items() if right]
    wrong = None if valid else chance.choice([name for name, (_, wrong) in settings.items() if wrong])
    chosen = [name for name in chance.sample(names, chance.randint(1, 5)) if name != wrong]
    words = [f"{name}={chance.choice(settings[name][0])}" for name in chosen]
    if sweeps and chosen and chosen[0] not in ONE and "$" not in chosen[0]:
        words[0] += "," + chance.choice([x for x in settings[chosen[0]][0] if x] or ["1"])
        words[0] = words[0].replace("=,", "=")
    if wrong is not None:
        values = [x for x in settings[wrong][1] if not (sweeps and "," in x and wrong != "run_dir")]
        sweeping = sweeps and chance.random() < 0.3 and "$" not in wrong
        words.append(f"{wrong}={chance.choice(NO_SWEEPS if sweeping else values or settings[wrong][1])}")
    chance.shuffle(words)
    return ["-m"] * sweeps + words, valid


@pytest.mark.parametrize("part", PARTS)
def test_no_command_line_ends_in_a_traceback_and_no_valid_one_is_refused(part, large, monkeypatch, tmp_path, capsys):
    """Everything but the training itself, through the real entry."""
    settings, base = PARTS[part]
    monkeypatch.setattr(host_loop, "train", lambda job, longer=False, **_: make_learner(job.config))
    monkeypatch.chdir(tmp_path)
    for name, text in PLUGINS.items():
        (tmp_path / name).write_text(text)
    chance, found, count = random.Random(part), {True: 0, False: 0}, 200 if large else 20
    for _ in range(count):
        words, valid = command_line(chance, settings)
        given = dict(w[1:].split("=", 1) for w in words if w.startswith("$"))
        words = [w for w in words if not w.startswith("$")]
        words += [b for b in base if not any(w.startswith(b.partition("=")[0] + "=") for w in words)]
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            code = main(["train", *words])
        err = capsys.readouterr().err
        assert (code == 0) == valid, (words, given, err)
        lines = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert valid or (code == 2 and len(lines) == 1 and lines[0].startswith("hamljax: error: ")), (words, given, err)
        assert len(err) < 600, (words, given, err)
        found[valid] += 1
    assert min(found.values()) > count // 4
    assert {p.name for p in tmp_path.iterdir()} <= {*PLUGINS, "__pycache__"}
