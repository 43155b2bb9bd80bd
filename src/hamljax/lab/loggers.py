"""Where metrics go besides the run directory."""

import os

from ..errors import ConfigError, lookup, one_line


class Nowhere:
    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One interval's means over seeds."""

    def close(self) -> None:
        pass


class Wandb(Nowhere):
    def __init__(self, settings, path, resolved):
        import wandb

        mode = os.environ.get("WANDB_MODE", settings.get("mode", "offline"))
        self.run = wandb.init(project=settings.get("project", "hamljax"), dir=str(path), mode=mode, config=resolved)

    def log(self, step, metrics):
        self.run.log(metrics, step=step)

    def close(self):
        self.run.finish()


class Tensorboard(Nowhere):
    def __init__(self, settings, path, resolved):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ConfigError(
                "logger=tensorboard needs tensorboardX; run: pip install 'hamljax[tensorboard]'"
            ) from None
        self.writer = SummaryWriter(str(path / "tensorboard"))

    def log(self, step, metrics):
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self):
        self.writer.close()


LOGGERS = {"files": lambda *_: Nowhere(), "wandb": Wandb, "tensorboard": Tensorboard}


def make_logger(settings: dict, path, resolved: dict):
    kind = settings.get("kind", "files")
    start = lookup("logger", kind, LOGGERS)
    try:
        return start(settings, path, resolved)
    except ConfigError:
        raise
    except Exception as error:  # of its library: about an account, a variable of its own, a folder that it wants
        raise ConfigError(
            f"logger={kind} does not start: {one_line(error)[:200]}; logger=files needs nothing"
        ) from error
