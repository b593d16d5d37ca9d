from .actor import PolicyActor as PolicyActor
from .collect import Rollout as Rollout
from .collect import TrainingState as TrainingState
from .collect import collect as collect
from .imitation import ImitationOptions as ImitationOptions
from .ppo import PPOOptions as PPOOptions
from .ppo import update as update
from .supervised import SupervisedOptions as SupervisedOptions
from .supervised import fit as fit

__all__: list[str]
