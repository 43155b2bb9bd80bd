"""Robots as rods and balls, coloured by the agent that drives them: a GIF of our own, or a page for Brax's viewer.

Shapes: F frames, R rods (a ball is a rod without length), N agents.
"""

import html
import itertools
import json
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.colors import to_hex

from ...envs.mamujoco.environment import MultiAgentMujoco, RobotState
from ...training.episode import Episode
from ..storage.files import as_json
from .paint import NOBODY, palette, rgb

TARGET = "#000000"  # a body that moves but that no agent can move, such as the place to reach
SECONDS_PER_FRAME = 0.04
_CAPSULE, _SPHERE = int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_SPHERE)


def keep(env_state: RobotState) -> dict[str, Array]:
    """What a picture needs of a robot's state: joint positions q, and where Brax has its links."""
    pipeline = env_state.brax.pipeline_state
    return {"q": pipeline.q, "pos": pipeline.x.pos, "rot": pipeline.x.rot}


def owners(env: MultiAgentMujoco) -> list[tuple[int, ...]]:
    """Per body of the robot's model the agents that drive its joints, in the order of its joints.

    Nobody drives the torso; a body without joints is part of the one that it hangs on.
    """
    model = env.brax.sys.mj_model
    driver = {joint: agent for agent, own in enumerate(env.partition) for joint in own}
    found: list[tuple[int, ...]] = []
    for body in range(model.nbody):
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        names = [model.joint(first + i).name for i in range(count)]
        agents = tuple(dict.fromkeys(driver[name] for name in names if name in driver))
        found.append(agents if count or not body else found[model.body_parentid[body]])
    return found


def is_target(model: mujoco.MjModel, body: int, found: list[tuple[int, ...]]) -> bool:
    """Whether a body moves by itself: no agent drives anything of the tree that it belongs to.

    Args:
        model: the robot's.
        body: its number there.
        found: ``owners``.
    """
    tree = model.body_rootid == model.body_rootid[body]
    return body > 0 and not any(found[other] for other in np.flatnonzero(tree))


class Rod(NamedTuple):
    """A piece of a geom: from ``begin`` to ``end`` along the geom's axis, measured from its middle, in metres."""

    geom: int
    begin: float
    end: float
    radius: float
    colour: Any


def rods(env: MultiAgentMujoco) -> list[Rod]:
    """The robot's capsules and spheres. A capsule that several agents drive is cut into a piece for each."""
    model, found, colours = env.brax.sys.mj_model, owners(env), palette(len(env.partition))
    pieces = []
    for geom in range(model.ngeom):
        kind, (radius, half, _), body = int(model.geom_type[geom]), model.geom_size[geom], int(model.geom_bodyid[geom])
        if kind not in (_CAPSULE, _SPHERE):
            continue
        nobody = TARGET if is_target(model, body, found) else NOBODY
        shades: list[Any] = [colours[agent] for agent in found[body]] or [nobody]
        shades, half = (shades, half) if kind == _CAPSULE else (shades[:1], 0.0)
        cuts = np.linspace(-half, half, len(shades) + 1)
        pieces += [Rod(geom, *ends, radius, c) for ends, c in zip(itertools.pairwise(cuts), shades, strict=True)]
    return pieces


def places(env: MultiAgentMujoco, pieces: list[Rod], q: Float[Any, "F Q"]) -> Float[np.ndarray, "F R 2 3"]:
    """Ends of rods in the world: MuJoCo's kinematics, on the host.

    Args:
        env: the robot's.
        pieces: the rods.
        q: joint positions.
    """
    model = env.brax.sys.mj_model
    data = mujoco.MjData(model)
    geoms = [rod.geom for rod in pieces]
    along = np.array([[rod.begin, rod.end] for rod in pieces])[..., None]
    ends = []
    for positions in np.asarray(q):
        data.qpos = positions
        mujoco.mj_kinematics(model, data)
        axis = data.geom_xmat[geoms].reshape(-1, 3, 3)[:, None, :, 2]
        ends.append(data.geom_xpos[geoms][:, None] + along * axis)
    return np.array(ends)


def frames(steps: int, dt: float, max_frames: int) -> Int[np.ndarray, " F"]:
    """Which of the states 0, ..., ``steps``, every ``dt`` seconds, to show: about 25 a second, ``max_frames`` at most."""
    skip = max(1, round(SECONDS_PER_FRAME / dt))
    return np.unique(np.append(np.arange(0, steps + 1, skip), steps))[:max_frames]


def finite(episode: Episode) -> int:
    """How many states to show: all, without a last one that stopped being finite."""
    return len(episode.kept["q"]) - (not np.isfinite(episode.kept["q"][-1]).all())


def legend(env: MultiAgentMujoco) -> list[tuple[Any, str]]:
    """(colour, words) for every agent and its joints, for the torso, and for the target where there is one."""
    model, found = env.brax.sys.mj_model, owners(env)
    named: list[tuple[Any, str]] = [
        (colour, f"agent {i}: {', '.join(own)}")
        for i, (colour, own) in enumerate(zip(palette(len(env.partition)), env.partition, strict=True))
    ]
    named += [(TARGET, "target")] if any(is_target(model, b, found) for b in range(model.nbody)) else []
    return [*named, (NOBODY, "no agent")]


def draw(env: MultiAgentMujoco, name: str, episode: Episode, out: Path, max_frames: int) -> str:
    """Write a GIF of an episode, or of its beginning, in real time.

    Args:
        env: where it was played.
        name: the environment's, for the title.
        episode: with ``keep`` of its states.
        out: the file.
        max_frames: pictures at most.

    Returns:
        What it shows, in words.
    """
    from .robot_painter import paint

    last, dt = finite(episode) - 1, float(env.brax.dt)
    chosen = frames(last, dt, max_frames)
    pieces = rods(env)
    returns = np.append(0.0, np.cumsum(episode.reward))[chosen]
    entries = [(colour, textwrap.fill(words, 34, subsequent_indent="   ")) for colour, words in legend(env)]
    ends = places(env, pieces, episode.kept["q"][chosen])
    paint(env, name, pieces, ends, chosen * dt, returns, entries, out)
    whole = len(episode.reward) * dt
    return f"all {whole:.1f} s" if chosen[-1] == last else f"the first {chosen[-1] * dt:.1f} s of {whole:.1f} s"


def write_page(env: MultiAgentMujoco, name: str, episode: Episode, out: Path, max_frames: int) -> str:
    """Write a page that shows all of an episode in Brax's viewer; arguments and result as of ``draw``.

    The page holds the episode, but loads the viewer's scripts from the network when it is opened. ``max_frames`` is no limit
    of it.
    """
    from brax.io import html as viewer
    from brax.io import json as exporter

    last, dt = finite(episode), float(env.brax.dt)
    pos, rot = (np.asarray(episode.kept[part][:last]) for part in ("pos", "rot"))
    states = [SimpleNamespace(x=SimpleNamespace(pos=p, rot=r)) for p, r in zip(pos, rot, strict=True)]
    scene = json.loads(exporter.dumps(env.brax.sys, states))
    scene["opt"]["timestep"] = dt  # of the states; the simulator's own is shorter
    _repaint(env, scene)
    page = viewer.render_from_json(as_json(scene), height=640, colab=True, base_url=None)
    rows = [
        f'<span style="color:{to_hex(colour)}">&#9632;</span> {html.escape(words)}<br>' for colour, words in legend(env)
    ]
    total = float(np.sum(episode.reward))
    caption = f"<b>{html.escape(name)}</b>, {len(episode.reward)} steps, return {total:.2f}<br>"
    box = f'<div style="font:14px sans-serif;padding:8px">{caption}{"".join(rows)}</div>'
    out.write_text(page.replace("<body>", f"<body>{box}", 1), encoding="utf-8")
    return f"all {len(episode.reward) * dt:.1f} s"


def _repaint(env: MultiAgentMujoco, scene: dict[str, Any]) -> None:
    """Replace the capsules and spheres of Brax's scene by our coloured rods, as its exporter lists them: by link."""
    model = env.brax.sys.mj_model
    ours: dict[int, list[dict]] = {}
    for rod in rods(env):
        axis = np.zeros(9)
        mujoco.mju_quat2Mat(axis, model.geom_quat[rod.geom])
        middle = model.geom_pos[rod.geom] + (rod.begin + rod.end) / 2 * axis.reshape(3, 3)[:, 2]
        link = int(model.geom_bodyid[rod.geom]) - 1
        shape = {"name": "Capsule" if rod.end > rod.begin else "Sphere", "link_idx": link, "pos": middle.tolist()}
        size = [float(rod.radius), (rod.end - rod.begin) / 2, 0.0]
        rot, rgba = model.geom_quat[rod.geom].tolist(), [*rgb(rod.colour), 1.0]
        ours.setdefault(link, []).append(shape | {"size": size, "rot": rot, "rgba": rgba})
    for geoms in scene["geoms"].values():
        link = geoms[0]["link_idx"]
        geoms[:] = [g for g in geoms if g["name"] not in ("Capsule", "Sphere")] + ours.get(link, [])
