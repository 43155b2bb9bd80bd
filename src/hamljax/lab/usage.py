"""What ``hamljax --help`` prints."""

USAGE = """usage: hamljax COMMAND [ARGUMENT...]

commands
  train [-m] key=value...    train; -m trains every combination of comma-separated values; Hydra's flags and launchers too
  resume RUN... [key=value]  go on with runs that were stopped, or make finished ones longer
  info RUN|FOLDER [--watch]  a run on one screen, or all of a folder: what, how far, how well, how to go on; --watch: live
  evaluate RUN [key=value]   play episodes of a trained team; a table with 95 % intervals
  watch RUN [key=value]      play one episode and write a picture that moves
  export RUN [key=value]     the trained actors as safetensors, with a JSON file that explains them; format=marl_eval: scores
  certify drift=NAME [...]   whether a drift meets the theorem's premises: proved, not refuted, or refuted by a game
  theory [NAME...] [...]     check the theorem on finite games: identities, monotone, nash, orders, prop1, prop2, controls
  plot RUN... [--out FILE]   curves with intervals over seeds, of runs or of a folder of runs; FOLDER/curves.png
  compare RUN... [key=value] groups of runs against each other, with intervals: a paper's table, as .md, .tex or .csv too
  report FOLDER [out=FILE]   all of it as one page of HTML: FOLDER/report.html
  study NAME budget=...      arms tuned alike, measured on fresh seeds, compared as was said before: figure1, sharing, ...
  list                       algorithms, drifts, environments, networks, presets
  doctor [python=PATH]       what this machine can run, and for what is missing the next step
  bench [KIND] [--quick]     measure the speed of this machine; KIND mamujoco, off_policy, bridge, recurrent, devices

settings of train (all of them: conf/config.yaml and hamljax list)
  algo=happo  env=smax/3m  network=mlp|gru  logger=files|wandb|tensorboard  experiment=PRESET
  seed=0  num_seeds=4  num_envs=64  num_steps=128  total_timesteps=1e6  run_dir=PATH
  algo.clip_eps=0.1  env.max_steps=50  plugin=my_drift.py  certify=false  dry_run=true  resume=auto|never|must

  off-policy rows (haddpg, hasac, ...) have num_envs=16 num_steps=16 unless something else is said

settings of evaluate, watch and export
  checkpoint=last|best|UPDATE  out=FILE  plugin=FILE (where it is now)
  evaluate: num_episodes=1000  greedy=true  env=smax/2s3z  env.max_steps=50
  watch: seed=0  episode=0  greedy=true  max_frames=120

settings of plot, compare, report and study
  plot: band=ci|minmax|std
  compare: by=algo.coordination (or any setting; arm: of a study)  metric=eval/won  statistic=iqm|improvement
           against=mappo_ns  paired=true  stage=preset  out=FILE.md
  study: budget=smoke|cpu|gpu|paper  run_dir=FOLDER  dry_run=true  tasks=NAME,NAME  arms=NAME,NAME  seeds=20
         hydra/launcher=joblib

settings of certify
  plugin=FILE  out=FILE.json|FOLDER (with a picture beside it)  budget=SECONDS of proof  seed=0
  drift=all  out=FOLDER|FILE.png (one picture of all)
  strict=true (exit code 1 where it fails on the boundary too)  clip_eps=0.1 or any other number of the drift

settings of theory
  games=1000  drift=all|NAME,NAME  coordination=sequential  order=uniform  neighbourhood=everywhere  clip_eps=0.2
  seed=0  sweeps=30  states=4  actions=2,3,4  deep=4 (seeds of networks beside prop1; 0: none)  plugin=FILE  out=FOLDER

examples
  hamljax train algo=happo env=smax/3m num_seeds=4 total_timesteps=1e6
  hamljax train -m algo=happo,mappo_s env=smax/3m,smax/2s3z run_dir=runs/sweep
  hamljax plot runs/sweep
  hamljax certify drift=clip clip_eps=0.1
  hamljax theory identities monotone drift=clip games=1000
"""
