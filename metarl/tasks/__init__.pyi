from .check.check_env import check_env as check_env
from .family.distribution import BatchedEnv as BatchedEnv
from .family.distribution import TaskDistribution as TaskDistribution
from .family.ranges import Choice as Choice
from .family.ranges import Integers as Integers
from .family.ranges import LogUniform as LogUniform
from .family.ranges import Normal as Normal
from .family.ranges import Uniform as Uniform
from .family.samplers import Sampler as Sampler
from .family.split_family import from_env as from_env
from .trial.env import TrialEnv as TrialEnv
from .trial.layout import TrialInputs as TrialInputs
from .vector.env import TrialVectorEnv as TrialVectorEnv
from .vector.sb3 import as_vec_env as as_vec_env

__all__: list[str]
