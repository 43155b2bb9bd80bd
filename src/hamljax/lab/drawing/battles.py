"""SMAX battles as a GIF: units with their health, shots, and where units fell.

JaxMARL's own visualiser replays a battle with other random numbers than it was fought with, and shows no health.
Shapes: F frames, U units, allies first.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ...envs.smax import Smax
from ...training.episode import Episode
from . import paint

ALLY, ENEMY, SHOT = "#1f77b4", "#d6453d", "#f2a900"
MARGIN = 2.5  # around the field that is shown
SPEED = 2.0  # simulated seconds in a second


class Ticks(NamedTuple):
    """A battle at the simulator's own pace. Its steps are longer: 8 ticks each."""

    position: Float[np.ndarray, "F U 2"]
    health: Float[np.ndarray, "F U"]  # as a share of what a unit begins with
    alive: Bool[np.ndarray, "F U"]
    target: Int[np.ndarray, "F U"]  # whom a unit has shot at since the frame before, -1 for nobody
    step: Int[np.ndarray, " F"]  # that a frame belongs to


def keep(env_state: Any) -> Any:
    """A battle can be followed tick by tick from the whole state at each step."""
    return env_state


def ticks(env: Smax, episode: Episode) -> Ticks:
    """Play the steps of an episode again, each from its own state and key, and look at every tick.

    Args:
        env: where it was played.
        episode: T steps, with the whole state (T + 1,) ``kept``.
    """
    smax = env.smax

    def inside(key: jax.Array, state: Any, action: jax.Array) -> Any:
        actions = {agent: action[i] for i, agent in enumerate(smax.agents)}
        return smax.step_env(key, state, actions, True)

    before = jax.tree.map(lambda x: x[:-1], episode.kept)
    seen = jax.tree.map(np.asarray, jax.jit(jax.vmap(inside))(episode.keys, before, episode.action))  # (T, ticks, ...)
    count = seen.unit_alive.shape[1]
    start = jax.tree.map(np.asarray, episode.kept.state)

    def whole(name: str) -> np.ndarray:
        later = getattr(seen, name)
        return np.concatenate([getattr(start, name)[:1], later.reshape(-1, *later.shape[2:])])

    units = start.unit_types[0]
    reloaded = np.diff(whole("unit_weapon_cooldowns"), axis=0) > 0  # a clock only jumps up when its weapon fires
    target = np.where(reloaded, _attacked(smax, whole("prev_attack_actions")[1:].astype(int)), -1)
    return Ticks(
        whole("unit_positions"),
        whole("unit_health") / np.asarray(smax.unit_type_health)[units],
        whole("unit_alive"),
        np.concatenate([np.full((1, len(units)), -1), target]),
        np.append(0, np.repeat(np.arange(1, len(episode.reward) + 1), count)),
    )


def _attacked(smax: Any, action: Int[np.ndarray, "... U"]) -> Int[np.ndarray, "... U"]:
    """Which unit an attack is meant for: allies count the enemies upwards, enemies the allies downwards."""
    ally = np.arange(action.shape[-1]) < smax.num_allies
    number = action - smax.num_movement_actions
    return np.where(ally, smax.num_allies + number, smax.num_allies - 1 - number)


def subsample(battle: Ticks, max_frames: int, per_step: int) -> tuple[Ticks, int]:
    """Every k-th tick of a battle, k a divisor of a step's ticks and at least 2 where it can be; shots between are kept.

    Args:
        battle: all ticks.
        max_frames: which show all of it; if they cannot, the first of them with one frame a step.
        per_step: ticks in a step.

    Returns:
        The frames, and k.
    """
    strides = [k for k in range(1, per_step + 1) if per_step % k == 0]
    fits = [k for k in strides[1:] if (len(battle.step) - 1) // k + 1 <= max_frames]
    stride = min(fits, default=strides[-1])
    last = battle.target[1:].reshape(-1, stride, battle.target.shape[1]).max(1)  # one target a step: the highest is it
    target = np.concatenate([battle.target[:1], last])
    every = [x[::stride] for x in battle]
    every[Ticks._fields.index("target")] = target
    return Ticks(*(x[:max_frames] for x in every)), stride


def draw(env: Smax, name: str, episode: Episode, out: Path, max_frames: int) -> str:
    """Write a GIF of a battle, or of its beginning.

    Args:
        env: where it was fought.
        name: the environment's, for the title.
        episode: the battle, with the whole state ``kept``.
        out: the file.
        max_frames: pictures at most.

    Returns:
        What it shows, in words.
    """
    smax, steps = env.smax, len(episode.reward)
    battle, stride = subsample(ticks(env, episode), max_frames, smax.world_steps_per_env_step)
    types = np.asarray(episode.kept.state.unit_types[0])
    scene = _Scene(smax, types, battle)
    returns = np.append(0.0, np.cumsum(episode.reward))
    per_step = smax.world_steps_per_env_step // stride

    def show(frame: int) -> None:
        total = returns[frame // per_step]  # a step is paid for when it is over
        scene.move(frame, f"{name}    step {battle.step[frame]}    return {total:.2f}")

    seconds = float(np.clip(smax.time_per_step * stride / SPEED, 0.05, 0.12))
    paint.write_gif(out, scene.figure, show, len(battle.step), seconds)
    shown = int(battle.step[-1])
    return f"all {steps} steps" if shown == steps else f"the first {shown} of {steps} steps"


class _Scene:
    """Everything that is drawn once and then moved."""

    def __init__(self, smax: Any, types: Int[np.ndarray, " U"], battle: Ticks):
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D
        from matplotlib.patches import Circle, Rectangle

        self.battle, self.radius = battle, np.asarray(smax.unit_type_radiuses)[types]
        colours = [ALLY if unit < smax.num_allies else ENEMY for unit in range(len(types))]
        self.figure, axes = paint.figure(5.6, 5.9)
        self.axes = axes
        low, high = battle.position.min((0, 1)) - MARGIN, battle.position.max((0, 1)) + MARGIN
        middle, half = (low + high) / 2, (high - low).max() / 2
        axes.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half], aspect="equal")
        axes.set_facecolor("#8c8c8c")
        axes.add_patch(Rectangle((0, 0), smax.map_width, smax.map_height, color="#f4f1ea", zorder=0))
        axes.tick_params(labelsize=7)
        self.fallen = axes.scatter([], [], marker="x", s=25, zorder=1)
        self.shots = LineCollection([], colors=SHOT, linewidths=2, zorder=2)
        self.empty = LineCollection([], colors="#555555", linewidths=3.5, zorder=4)
        self.full = LineCollection([], colors="#3fae49", linewidths=2.5, zorder=5)
        for lines in (self.shots, self.empty, self.full):
            axes.add_collection(lines)
        self.discs = [
            axes.add_patch(Circle((0, 0), r, color=c, zorder=3)) for r, c in zip(self.radius, colours, strict=True)
        ]
        self.letters = [
            axes.text(0, 0, smax.unit_type_shorthands[kind], size=7, color="white", ha="center", va="center", zorder=6)
            for kind in types
        ]
        self.colours = np.array(colours)
        marks: dict[str, Any] = {"marker": "o", "ls": "", "ms": 8}
        handles = [Line2D([], [], color=c, label=words, **marks) for c, words in ((ALLY, "agents"), (ENEMY, "enemies"))]
        handles += [
            Line2D([], [], color=SHOT, lw=2, label="shot"),
            Line2D([], [], color="#555555", marker="x", ls="", label="fallen"),
        ]
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=4, fontsize=8, frameon=False
        )

    def move(self, frame: int, title: str) -> None:
        """Show one frame of the battle."""
        position, health, alive, target, _ = (x[frame] for x in self.battle)
        for unit, (disc, letter) in enumerate(zip(self.discs, self.letters, strict=True)):
            disc.set(center=position[unit], visible=alive[unit])
            letter.set(position=position[unit], visible=alive[unit])
        self.fallen.set_offsets(position[~alive])
        self.fallen.set_color(self.colours[~alive])
        self.shots.set_segments([position[[unit, target[unit]]] for unit in np.flatnonzero(target >= 0)])
        left = position - np.stack([self.radius, -1.5 * self.radius], -1)
        right = left + np.stack([2 * self.radius, 0 * self.radius], -1)
        self.empty.set_segments(np.stack([left, right], 1)[alive])
        self.full.set_segments(np.stack([left, left + (right - left) * health[:, None]], 1)[alive])
        self.axes.set_title(title, fontsize=9)
