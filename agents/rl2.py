"""RL² with a memory core: an algorithm of stable-baselines3 from outside, trained by this package's own loop."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from metarl import parallel, tree
from metarl.agents import rl2_checkpoint, rl2_expert, rl2_learn, rl2_room
from metarl.agents.rl2_env import check_split, describe, longest_trial, needs_episodes, sizes
from metarl.agents.rl2_options import given_options, ppo_options
from metarl.limits import keep_freed_memory
from metarl.memory.contract import State
from metarl.memory.options import MemoryOptions
from metarl.nets.encoders import Normalise, OwnEncoder
from metarl.nets.policy import MemoryPolicy
from metarl.seeding import rank_seed, torch_rng
from metarl.tasks.family.checks import whole_number
from metarl.tasks.vector.foreign import seen_episode_ends
from metarl.tasks.vector.sb3 import as_vec_env, stepping
from metarl.training.actor import PolicyActor
from metarl.training.collect import TrainingState, check_finite, check_masks, collect, no_valid_action
from metarl.training.imitation import ImitationOptions
from metarl.training.ppo import update
from metarl.types import PREV_DONE, Array, Bools, Boundary, TrialObservation, boundaries


class RL2PPO(BaseAlgorithm):
    """RL² (Duan et al. 2016): PPO over whole trials, with a memory that lives exactly as long as a trial.

    To stable-baselines3 a trial is the episode. Unless ``n_steps`` says otherwise, a rollout is one whole trial of
    each environment where their length is known, so that every sequence starts from the empty memory.

    The CPU's threads are torch's: ``torch.set_num_threads(1)`` trains small nets as fast, and beside other work faster.

    Args:
        policy: "MemoryPolicy".
        env: an environment id, a task distribution, a vector environment of trials (Gymnasium's in any autoreset
            mode, or SB3's), or a single trial environment; None only when loading.
        memory: :class:`metarl.memory.options.MemoryOptions` or a dict of its fields.
        n_envs: environments made for an id or a distribution; None: 64 for one of :func:`metarl.from_env`, else 256.
        n_steps: steps of each environment per rollout; None: a whole trial, and for a distribution of
            :func:`metarl.from_env` at most 250 steps. Both are what the preset ``general`` has.
        schedule_steps: environment steps over which learning rate and entropy weight run to their ends; None: all
            steps up to the end of each call of :meth:`learn`, as in SB3.
        seed: of parameters, actions, minibatches and environments; None: one from the operating system, which
            :attr:`seed` tells. No global generator is touched.
        normalise: which numbers of the observation are scaled by a running mean and variance, frozen outside training:
            "auto" (those with bounds beyond -10 to 10), True (all but one-hot ones) or False.
        encoder: of observations, your own: see :class:`metarl.nets.encoders.TrialEncoder`.
        imitation: whom training imitates: :class:`metarl.training.imitation.ImitationOptions` or a dict.
        tensorboard_log: folder for SB3's tensorboard output.
        verbose: 1 prints a table per rollout.
        device: torch device.
        ppo: fields of :class:`metarl.training.ppo.PPOOptions`, such as ``learning_rate`` or ``gamma``. As in SB3 there
            may be ``batch_size`` (environment steps, a whole number of sequences) instead of ``n_minibatches``, and
            ``learning_rate``, ``clip_range`` and ``ent_coef`` may be linear functions of the progress remaining.

    Raises:
        ValueError: an environment without trial observations, one that draws test tasks, an unsupported space,
            options that do not fit.
    """

    policy_aliases: ClassVar[dict[str, Any]] = {"MemoryPolicy": MemoryPolicy}
    policy: MemoryPolicy  # type: ignore[assignment]
    seed: int

    def __init__(
        self,
        policy: str = "MemoryPolicy",
        env: Any = None,
        *,
        memory: MemoryOptions | dict[str, Any] | None = None,
        n_envs: int | None = None,
        n_steps: int | None = None,
        schedule_steps: int | None = None,
        seed: int | None = 0,
        normalise: Normalise = "auto",
        encoder: OwnEncoder | None = None,
        imitation: ImitationOptions | dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        **ppo: Any,
    ) -> None:
        self.memory = given_options(MemoryOptions, memory, "memory")
        self.imitation = given_options(ImitationOptions, imitation, "imitation")
        self.normalise, self.encoder = normalise, encoder
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        whole_number("seed", seed, at_least=0)
        for name, number in (("n_steps", n_steps), ("schedule_steps", schedule_steps)):
            if number is not None:
                whole_number(name, number, at_least=1)
        n_envs, n_steps = sizes(env, n_envs, n_steps)
        schedule_steps = schedule_steps and int(schedule_steps)
        vectors = None if env is None else as_vec_env(env, n_envs)
        trial_steps = None if vectors is None else longest_trial(vectors)
        self.options = ppo_options(ppo, None if vectors is None else vectors.num_envs, n_steps or trial_steps)
        super().__init__(
            policy,
            None,  # given below: SB3 would transpose pictures and refuse actions without bounds
            learning_rate=self.options.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=int(seed),
        )
        self.n_steps, self.schedule_steps = n_steps, schedule_steps
        self.trial_steps: int | None = trial_steps
        self._training_state: TrainingState | None = None
        self._warned = self._interrupted = self._inside_rollout = self._told_of_lost_rollout = False
        if vectors is not None:
            self.observation_space, self.action_space = vectors.observation_space, vectors.action_space
            self.n_envs = vectors.num_envs
            self.set_env(vectors)
            if _init_setup_model:
                self._setup_model()

    def __repr__(self) -> str:
        policy = vars(self).get("policy")
        size = f"{sum(p.numel() for p in policy.parameters()):,}" if policy is not None else "no"
        parts = (self.memory.controller, self.memory.store, self.memory.access)
        return (
            f"RL2PPO(env={describe(self.env) if self.env else None!r}, n_envs={self.n_envs}, "
            f"memory={'+'.join(part for part in parts if part != 'none')!r}, {size} parameters, "
            f"{self.num_timesteps:,} steps trained)"
        )

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        return as_vec_env(env)  # SB3 asks this of us; its own would refuse Gymnasium's vectors

    def _setup_model(self) -> None:
        self._build()
        own = rank_seed(self.seed, parallel.rank())
        self.generators = {
            "policy": torch_rng(own, "policy", device=self.device),
            "minibatch": torch_rng(self.seed, "minibatch"),
            "evaluation": torch_rng(self.seed, "evaluation", device=self.device),
        }
        if self.env is not None:
            self.env.seed(own)

    def _build(self) -> None:
        """Make policy and optimiser for trials of :attr:`trial_steps`."""
        self.policy = rl2_room.build_policy(self, self.trial_steps)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.options.learning_rate, eps=1e-5, fused=True)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the environment's next reset; unlike SB3's, no global generator is touched."""
        if seed is not None and self.env is not None:
            self.env.seed(seed)

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int | None = 1,
        tb_log_name: str = "RL2PPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train in the environment.

        Args:
            total_timesteps: environment steps, counted over all rows of all processes; rounded up to whole rollouts.
            callback: one of SB3's callbacks, a list of them, or a function.
            log_interval: rollouts between two rows of the log; None: no log.
            tb_log_name: folder of this training in SB3's tensorboard log.
            reset_num_timesteps: count steps from 0 and begin new trials, instead of continuing.
            progress_bar: show SB3's progress bar.

        Raises:
            ValueError: there is no environment, it draws test tasks, or it does not say how long a trial is.
            NonFiniteError: an observation, reward, loss or gradient is not finite.
        """
        if self.env is None:
            raise ValueError("there is no environment to learn in; call set_env(env) first or load with env=...")
        check_split(self.env)
        steps = self.n_steps or self.trial_steps
        if steps is None:
            raise ValueError("the environment does not say how long a trial is; give n_steps")
        total_timesteps = int(total_timesteps)
        rl2_learn.check_rollout(self, total_timesteps, steps)
        keep_freed_memory()
        parallel.copy_first(self.policy)
        again = reset_num_timesteps or self._last_obs is None
        total_timesteps, callback = self._setup_learn(  # SB3's callbacks read this name
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        schedule = self.schedule_steps or total_timesteps
        rl2_learn.warn_of_schedule(self, schedule)
        if again or self._training_state is None:
            self._training_state = TrainingState.start(self.policy, self._last_obs)  # type: ignore[arg-type]  # SB3 types it as an array
        trials, infos = stepping(self.env)
        if not trials.knows_episodes and (needs_episodes(self.memory) or self.options.gae_horizon == "episode"):
            raise ValueError(
                f"the agent must know where episodes end, but {describe(self.env)} has neither info['episode_end'] nor "
                "prev_done: make its environments as metarl.TrialEnv(family)"
            )
        callback.on_training_start(locals(), globals())
        iteration, imitations = 0, rl2_expert.imitations(self, schedule)
        while not parallel.any_of(self._interrupted) and self.num_timesteps < total_timesteps:
            self.policy.train(False)
            callback.on_rollout_start()  # what is saved or validated there takes no part of the speed that is logged
            if parallel.any_of(self._interrupted):
                break
            began, before = time.perf_counter(), self.num_timesteps
            rollout = collect(
                self.policy,
                trials,
                self._training_state,
                steps,
                generator=self.generators["policy"],
                gamma=self.options.gamma_at(self.num_timesteps / schedule),
                lam=self.options.gae_lambda,
                reward_scale=self.options.reward_scale,
                gae_horizon=self.options.gae_horizon,
                name=describe(self.env),
                first_step=self.num_timesteps // (self.n_envs * parallel.size()),
                on_step=lambda result, taken: rl2_learn.on_step(self, callback, result, taken, infos(result)),
                imitation=imitations(),
            )
            self._last_obs = self._training_state.obs
            self._last_episode_starts = self._training_state.boundary == Boundary.TRIAL
            if rollout is None:
                break
            rl2_learn.warn_of_symbols(self, rollout.obs)
            callback.update_locals(locals())
            callback.on_rollout_end()
            self.policy.train(True)
            collected = time.perf_counter()
            try:
                report = update(
                    self.policy,
                    self.optimizer,
                    rollout,
                    self.options,
                    progress=before / schedule,
                    generator=self.generators["minibatch"],
                    name=describe(self.env),
                    step=self.num_timesteps,
                    go_on=lambda: rl2_learn.goes_on(self),
                )
            finally:  # whoever plays with it, or reads it from a file, wants no dropout
                self.policy.train(False)
            self._n_updates += 1
            iteration += 1
            rl2_learn.record(self, report, rollout.boundary.numel(), began, collected)
            if log_interval and iteration % log_interval == 0:
                self.logger.dump(self.num_timesteps)
        self._interrupted = False
        callback.on_training_end()
        return self

    def interrupt(self) -> None:
        """End :meth:`learn` soon, within a step or a minibatch; for signal handlers and other threads."""
        self._interrupted = True

    def predict(  # type: ignore[override]
        self,
        observation: TrialObservation,
        state: State | None = None,
        episode_start: Bools | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, State]:
        """Choose actions, and return the memory to pass in with the next observation.

        Args:
            observation: one trial observation ``{key: [d]}`` (pictures ``[H, W, C]``) or a batch ``{key: [n, d]}``.
            state: what the last call returned; None where trials begin.
            episode_start: ``[n]`` True where a TRIAL begins (never at inner episodes); None: nowhere, or everywhere if
                ``state`` is None.
            deterministic: take the most probable action instead of sampling.

        Raises:
            ValueError, TypeError: an observation of other parts or shapes, a mask that forbids every action, a state
                of another core or batch size; or the memory needs the ends of episodes, which observations without
                ``prev_done`` do not show.
        """
        if needs_episodes(self.memory) and PREV_DONE not in self.policy.encoder.feedback_keys:
            raise ValueError(
                "predict sees observations alone, and without prev_done they do not show where episodes end, which "
                "this memory must know: play trials with agent.actor(), or train with prev_done=True"
            )
        leading = self.policy.encoder.check(observation)
        if len(leading) > 1:
            raise ValueError(
                f"the observation has the leading axes {leading}; expected one trial's [d] or a batch [n, d]"
            )
        single = not leading
        obs = {k: np.asarray(v)[None] if single else np.asarray(v) for k, v in observation.items()}
        rows = 1 if single else leading[0]
        check_finite(obs, None, "the caller", 0)
        check_masks(no_valid_action(self.policy, obs), "the caller", 0)
        if state is None:
            rl2_learn.warn_if_inside(self, obs, episode_start)
        if episode_start is None:
            episode_start = np.full(rows, state is None)
        start = np.asarray(episode_start, bool).reshape(-1)
        if len(start) != rows:
            raise ValueError(f"episode_start has {len(start)} entries for {rows} observations; give one for each")
        with torch.no_grad():
            template = self.policy.initial_state(rows)
            if state is None:
                state = template
            else:
                tree.check_like(state, template, type(self.policy.core).__name__)
            step, state = self.policy(
                self.policy.prepare(obs),
                state,
                torch.as_tensor(boundaries(start, seen_episode_ends(obs, rows)), device=self.device),
                generator=self.generators["evaluation"],
                deterministic=deterministic,
            )
        actions = self.policy.head.to_env(step.action.cpu().numpy())
        return (actions[0] if single else actions), state

    def actor(self, deterministic: bool = False) -> PolicyActor:
        """The trained agent as an actor for :func:`metarl.evaluation.play.rollout_trials`."""
        return PolicyActor(self.policy, deterministic)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "optimizer"], []

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Write everything that is needed to use the agent or to continue training, without pickle.

        The environment's state is kept too where it has one, so that training goes on as if it was never interrupted;
        inside a rollout, where SB3's ``CheckpointCallback`` saves, that rollout is lost, which a warning says.
        Processes that train together must all save at the same step; the first writes the state of all.

        Args:
            path: of the file; ``.zip`` is added where it has no suffix.
            exclude: SB3's; not used.
            include: SB3's; not used.

        Raises:
            ValueError: ``exclude`` or ``include`` is given.
        """
        if exclude or include:
            raise ValueError("a checkpoint is always whole; leave out exclude and include")
        rl2_checkpoint.save(self, path)

    @classmethod
    def load(  # type: ignore[override]
        cls,
        path: Any,
        env: Any = None,
        device: torch.device | str = "auto",
        force_reset: bool = False,
        encoder: OwnEncoder | None = None,
    ) -> Self:
        """The agent that :meth:`save` wrote.

        Args:
            path: of the checkpoint.
            env: to continue training in; must have the spaces of the saved one. Anything the constructor takes.
            device: torch device.
            force_reset: begin new trials in ``env`` instead of continuing where training stopped.
            encoder: the one that the agent was made with, if it has one of its own: a file holds no code.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind; nothing in it is ever unpickled.
            ValueError: ``env`` has other spaces.
        """
        return rl2_checkpoint.load(cls, path, env, device, force_reset, encoder)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Train in another environment of the same spaces: anything that the constructor takes.

        Where its trials have another length, the memory gets room for them, and a rollout is one of them.
        """
        wrapped = as_vec_env(env, self.n_envs)
        check_split(wrapped)
        if wrapped.num_envs != self.n_envs:
            raise ValueError(
                f"the environment has {wrapped.num_envs} rows, the agent {self.n_envs}; "
                "load(path, env) changes that number"
            )
        rl2_expert.prepare(self.imitation, wrapped)
        super().set_env(wrapped, force_reset)
        steps = longest_trial(wrapped)
        if "policy" in vars(self) and steps not in (None, self.trial_steps):
            self.trial_steps, self._training_state, self._last_obs = steps, None, None
            learned = self.policy.state_dict(), self.optimizer.state_dict()
            self._build()
            self.policy.load_state_dict(learned[0])
            self.optimizer.load_state_dict(learned[1])
