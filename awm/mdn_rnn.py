"""M: the LSTM with a mixture-density head that models p(z', reward, end | z, a, h).

Ha & Schmidhuber 2018, appendix A.2; Bishop 1994 for mixture density networks; Graves 2013 for
their use with an LSTM. Everything about M is here: the network, its likelihood, its training and
how it is loaded. What it may attend to is in `awm.attention`.
"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from awm import config, dataset, provenance, weights
from awm.attention import (
    CONTEXT_SIZE,
    MEMORY,
    AdditiveAttention,
    FeatureAttention,
    Items,
    empty_memory,
    remember,
)
from awm.attentive_lstm import AttentiveLSTM
from awm.config import ATTENTIONS, Profile, get_profile
from awm.errors import AwmError
from awm.names import Name, evolved
from awm.vae import VAE

ACTION_SIZE = 3

#: Leaving the field costs 100 at once and ends the episode: the end is the done head's to
#: predict, so the reward head learns rewards no smaller than this.
SMALLEST_REWARD = -1.0

#: What decides which weights a training ends with, beside its data.
_SETTINGS = (
    "hidden_size", "mixtures", "mdn_updates", "mdn_batch", "sequence_length", "mdn_learning_rate",
    "seed",
)  # fmt: skip

# A multiple of 10: the history averages over ten updates, and a checkpoint keeps none half done.
_CHECKPOINT_EVERY = 200
_VALIDATE_EVERY = 40
_GRADIENT_NORM = 1.0
_LOG_SIGMA = (-7.0, 3.0)


@dataclass(frozen=True)
class State:
    """M's recurrent state: `h` and `c` `[batch, hidden]`; `memory` is temporal attention's.

    C sees `h`.
    """

    h: Tensor
    c: Tensor
    memory: Items | None = None


@dataclass(frozen=True)
class Prediction:
    """What M expects next: per latent a mixture of Gaussians `[..., z, mixtures]`, and more.

    `reward` `[...]` in CarRacing's units, `done_logit` `[...]` for the episode's end.
    """

    log_pi: Tensor
    mu: Tensor
    log_sigma: Tensor
    reward: Tensor
    done_logit: Tensor

    def nll(self, z: Tensor) -> Tensor:
        """Exact negative log-likelihood of z `[..., z]` in nats, for each latent `[..., z]`."""
        standard = (z[..., None] - self.mu) * torch.exp(-self.log_sigma)
        log_normal = -0.5 * (standard.square() + math.log(2 * math.pi)) - self.log_sigma
        return -torch.logsumexp(self.log_pi + log_normal, dim=-1)

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """z' `[..., z]`. Mixture logits are divided by the temperature, variances multiplied.

        (Ha & Schmidhuber 2018, section 4.) Raises AwmError unless the temperature is positive.
        """
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        shape = self.log_pi.shape[:-1]
        choice = torch.rand(shape, generator=generator)
        noise = torch.empty(shape).normal_(generator=generator)
        return self.pick(choice, noise, temperature)

    def pick(self, choice: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """z' `[..., z]` for given randomness `[..., z]`: uniform `choice` and normal `noise`.

        A latent's component is the first whose cumulated share exceeds its choice.
        """
        shares = torch.softmax(self.log_pi / temperature, dim=-1).cumsum(-1)
        passed = (shares[..., :-1] <= choice[..., None]).sum(-1, keepdim=True)
        mu = self.mu.gather(-1, passed).squeeze(-1)
        sigma = self.log_sigma.gather(-1, passed).squeeze(-1).exp()
        return mu + sigma * math.sqrt(temperature) * noise

    def mean(self) -> Tensor:
        """The mixture's mean `[..., z]`."""
        return (self.log_pi.exp() * self.mu).sum(-1)


class MDNRNN(nn.Module):
    """LSTM over [z, a] (and a context, if attentive) with a mixture-density head.

    Args:
        attention: `"none"`, `"feature"`, `"spatial"` or `"temporal"`.
    """

    def __init__(
        self, attention: str = "none", z_size: int = 32, hidden_size: int = 256, mixtures: int = 5
    ):
        super().__init__()
        if attention not in ATTENTIONS:
            raise AwmError(
                f"There is no attention {attention!r}. Choose one of: {', '.join(ATTENTIONS)}."
            )
        self.kind = attention
        self.z_size, self.hidden_size, self.mixtures = z_size, hidden_size, mixtures
        self.manifest: dict = {}
        entries = z_size + ACTION_SIZE
        match attention:
            case "none":
                self.attention = None
            case "feature":
                self.attention = FeatureAttention(entries, hidden_size)
            case "spatial":
                self.attention = AdditiveAttention(VAE.map_shape[1], hidden_size)
            case "temporal":
                self.attention = AdditiveAttention(hidden_size, hidden_size)
        context = CONTEXT_SIZE if self.attention else 0
        self.lstm = nn.LSTM(entries + context, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 3 * mixtures * z_size + 2)
        # Ends are rare: where the data say nothing, such as in the first steps from an empty
        # state, the end head must not begin at one in two, or dreams end before they start.
        nn.init.constant_(self.head.bias[-1:], -8.0)

    @property
    def needs_map(self) -> bool:
        """Whether a step needs V's map of the frame beside z."""
        return self.kind == "spatial"

    def initial_state(self, batch: int) -> State:
        """The state before the first step of an episode."""
        zeros = torch.zeros(batch, self.hidden_size)
        memory = empty_memory(batch) if self.kind == "temporal" else None
        return State(zeros, zeros, memory)

    def step(
        self, z: Tensor, action: Tensor, state: State, frame_map: Tensor | None = None
    ) -> tuple[State, Tensor | None]:
        """One step: z `[batch, z]`, action `[batch, 3]`, V's map `[batch, 36, 128]` if spatial.

        Returns the new state and the attention weights `[batch, items]` (None if not attentive).
        """
        entries = torch.cat([z, action], dim=-1)
        return self._step(entries, state, self._items(entries, frame_map))

    def forward(self, z: Tensor, action: Tensor, maps: Tensor | None = None):
        """Whole sequences from the initial state, `[batch, time, ...]`.

        Returns the hidden states after each step `[batch, time, hidden]` and the attention
        weights `[batch, time, items]` (None if not attentive).
        """
        entries = torch.cat([z, action], dim=-1)
        if self.attention is None:
            return self.lstm(entries)[0], None
        # The gates are linear in [z, a], context and h: the first part needs no loop.
        lstm, known, attention = self.lstm, entries.shape[-1], self.attention
        bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
        gates = F.linear(entries.transpose(0, 1), lstm.weight_ih_l0[:, :known], bias)
        weight = torch.cat([lstm.weight_ih_l0[:, known:], lstm.weight_hh_l0], dim=1)
        query, score = attention.query.weight, attention.score.weight[0]
        if self.kind == "temporal":
            key, value = attention.key, attention.value
            own = (key.weight, key.bias, value.weight, value.bias, MEMORY)
            hidden, found = AttentiveLSTM.apply(gates, None, None, query, score, weight, *own)
        else:
            items = self._items(entries, maps)
            keys, values = (x.permute(1, 2, 0, 3).contiguous() for x in (items.keys, items.values))
            hidden, found = AttentiveLSTM.apply(gates, keys, values, query, score, weight)
        return hidden.transpose(0, 1), found.permute(2, 0, 1)

    def predict(self, h: Tensor) -> Prediction:
        """What hidden states `[..., hidden]` say comes next."""
        out = self.head(h)
        reward, done_logit = out[..., -2], out[..., -1]
        shape = (*h.shape[:-1], 3, self.z_size, self.mixtures)
        logits, mu, log_sigma = out[..., :-2].reshape(shape).unbind(-3)
        log_pi = torch.log_softmax(logits, dim=-1)
        return Prediction(log_pi, mu, log_sigma.clamp(*_LOG_SIGMA), reward, done_logit)

    def _items(self, entries: Tensor, maps: Tensor | None) -> Items | None:
        match self.kind:
            case "feature":
                return self.attention.items(entries)
            case "spatial":
                if maps is None:
                    raise AwmError("Spatial attention needs V's maps: encode with `with_map=True`.")
                return self.attention.items(maps)
        return None

    def _step(self, entries: Tensor, state: State, items: Items | None):
        context_weights = None
        if self.attention is not None:
            # The query is the state *before* the step; the context then takes part in the step.
            context, context_weights = self.attention(items or state.memory, state.h)
            entries = torch.cat([entries, context], dim=-1)
        lstm = self.lstm
        h, c = torch.lstm_cell(
            entries,
            (state.h, state.c),
            lstm.weight_ih_l0,
            lstm.weight_hh_l0,
            lstm.bias_ih_l0,
            lstm.bias_hh_l0,
        )
        memory = state.memory and remember(self.attention, state.memory, h)
        return replace(state, h=h, c=c, memory=memory), context_weights


@dataclass(frozen=True)
class Sequences:
    """A batch for training: z has one entry more than the rest, which is z' of the last step.

    `z` `[batch, time + 1, z]`, `action` `[batch, time, 3]`, `reward` and `done` `[batch, time]`,
    `maps` `[batch, time, 36, 128]` or None, `mask` `[batch, time]`: 1 where there is a step.
    """

    z: Tensor
    action: Tensor
    reward: Tensor
    done: Tensor
    maps: Tensor | None
    mask: Tensor


class SequenceData:
    """Cuts sequences out of a profile's latents; z is sampled anew from V's posterior each time."""

    def __init__(self, profile: Profile, rollouts: dataset.Rollouts, latents: dataset.Latents):
        self.length = profile.sequence_length
        self.rollouts, self.latents = rollouts, latents
        self.actions = rollouts.column("actions")
        self.rewards = rollouts.column("rewards")
        self.terminated = rollouts.column("terminated")

    def cut(self, windows, with_maps: bool, rng: np.random.Generator) -> Sequences:
        """Sequences that start at `windows`, pairs of (episode, first step)."""
        count, length, z_size = len(windows), self.length, self.latents.mu.shape[-1]
        z = np.zeros((count, length + 1, z_size), np.float32)
        action = np.zeros((count, length, ACTION_SIZE), np.float32)
        reward, done, mask = np.zeros((3, count, length), np.float32)
        shape = (count, length, *VAE.map_shape)
        maps = np.zeros(shape, np.float16) if with_maps else None
        for i, (episode, start) in enumerate(windows):
            total = int(self.rollouts.lengths[episode])
            n = min(length, total - start)
            span = slice(start, start + n + 1)
            mu, logvar = self.latents.mu[episode, span], self.latents.logvar[episode, span]
            noise = rng.standard_normal(mu.shape, dtype=np.float32)
            z[i, : n + 1] = mu + np.exp(0.5 * logvar) * noise
            action[i, :n] = self.actions[episode][start : start + n]
            reward[i, :n] = self.rewards[episode][start : start + n]
            mask[i, :n] = 1
            done[i, :n] = self.terminated[episode][start : start + n]
            if with_maps:
                maps[i, :n] = self.latents.maps[episode, start : start + n]
        return Sequences(
            torch.from_numpy(z),
            torch.from_numpy(action),
            torch.from_numpy(reward).clamp(min=SMALLEST_REWARD),
            torch.from_numpy(done),
            None if maps is None else torch.from_numpy(maps).float(),
            torch.from_numpy(mask),
        )

    def training_batch(self, batch: int, with_maps: bool, seed: int, update: int) -> Sequences:
        """Batch number `update`: random windows of random training episodes."""
        rng = np.random.default_rng((seed, update))
        episodes = rng.choice(self.rollouts.indices("train"), size=batch)
        windows = [
            (e, rng.integers(max(1, self.rollouts.lengths[e] - self.length + 1))) for e in episodes
        ]
        return self.cut(windows, with_maps, rng)

    def held_out(self, split: str, with_maps: bool, batch: int = 32):
        """Batches that cover every episode of a split once, the same z every time."""
        rng = np.random.default_rng(0)
        windows = [
            (e, start)
            for e in self.rollouts.indices(split)
            for start in range(0, int(self.rollouts.lengths[e]), self.length)
        ]
        for i in range(0, len(windows), batch):
            yield self.cut(windows[i : i + batch], with_maps, rng)


def losses(model: MDNRNN, data: Sequences) -> dict[str, Tensor]:
    """Sums over the batch: `nll` nats `[z]`, `reward` squared error, `done` nats, `steps`."""
    hidden, _ = model(data.z[:, :-1], data.action, data.maps)
    expected = model.predict(hidden)
    done = F.binary_cross_entropy_with_logits(expected.done_logit, data.done, reduction="none")
    return {
        "nll": (expected.nll(data.z[:, 1:]) * data.mask[..., None]).sum((0, 1)),
        "reward": ((expected.reward - data.reward).square() * data.mask).sum(),
        "done": (done * data.mask).sum(),
        "steps": data.mask.sum(),
    }


@torch.inference_mode()
def validate(model: MDNRNN, data: SequenceData, split: str = "validation") -> dict:
    """Losses on held-out episodes without a step of training, averages over steps.

    `nll` nats over all latents, `nll_per_latent`, `reward_r2` (1 is perfect, 0 is the mean),
    `done` nats.
    """
    sums, rewards = None, []
    for batch in data.held_out(split, model.needs_map):
        terms = losses(model, batch)
        sums = terms if sums is None else {name: sums[name] + terms[name] for name in sums}
        rewards.append(batch.reward[batch.mask > 0])
    steps = float(sums["steps"])
    per_latent = (sums["nll"] / steps).tolist()
    variance = float(torch.cat(rewards).var(unbiased=False))
    return {
        "nll": sum(per_latent),
        "nll_per_latent": per_latent,
        "reward_r2": 1 - float(sums["reward"]) / steps / max(variance, 1e-9),
        "done": float(sums["done"]) / steps,
    }


def path_of(profile: Profile, model: str, seed: int = 0) -> Path:
    """Where a profile's M lies; `model` as in `load`."""
    return config.artefact(profile, f"mdn_rnn-{evolved(model, seed)}.safetensors")


def build(profile: Profile, model: str, seed: int = 0) -> MDNRNN:
    """M with fresh weights from the profile's seed and its own.

    `"untrained"` and `"wide"` are plain. The wide one has the fewest hidden units with which it has
    no fewer parameters than any attentive M, to tell what attention is worth from what size is.
    """
    name = Name.parse(evolved(model, seed))
    kind = "none" if name.model in ("untrained", "wide") else name.model
    hidden_size = profile.hidden_size
    if name.model == "wide":
        largest = max(_parameters(profile, attention, hidden_size) for attention in ATTENTIONS)
        while _parameters(profile, "none", hidden_size) < largest:
            hidden_size += 1
    torch.manual_seed(profile.seed + name.seed)
    return MDNRNN(kind, profile.z_size, hidden_size, profile.mixtures)


def _parameters(profile: Profile, attention: str, hidden_size: int) -> int:
    with torch.device("meta"):
        m = MDNRNN(attention, profile.z_size, hidden_size, profile.mixtures)
    return sum(p.numel() for p in m.parameters())


def load(profile: Profile | str, model: str = "none", seed: int = 0) -> MDNRNN:
    """A trained M of a profile, ready to step. AwmError if there is none or it is damaged.

    Args:
        model: as in `train`, or its name with its seed: `"spatial-seed1"`.
    """
    profile = get_profile(profile)
    m = build(profile, model, seed)
    name = Name.parse(evolved(model, seed))
    again = f" --seed {name.seed}" if name.seed else ""
    remedy = (
        f"Run `awm train mdn-rnn --model {name.model}{again} --profile {profile.name}` or "
        "notebooks 03 and 04."
    )
    path = path_of(profile, model, seed)
    m.manifest = weights.load_into(m, path, remedy)
    v = config.artefact(profile, "vae.json")
    known = m.manifest.get("sources", {}).get("vae")
    if known and v.exists() and provenance.read_json(v).get("hash") != known:
        raise AwmError(f"{path} was trained on the codes of another V. Move it away. {remedy}")
    return m.eval().requires_grad_(False)


def train(profile: Profile | str, model: str = "none", seed: int = 0) -> MDNRNN:
    """Train M on a profile's latents; returns at once if trained, goes on if interrupted.

    Args:
        model: `"none"`, `"feature"`, `"spatial"`, `"temporal"`; or a control: `"untrained"`, a
            plain LSTM that keeps its random weights while the head alone is trained, and `"wide"`,
            a plain one with as many parameters as the attentive ones.
        seed: of its weights and batches, to tell what a model is worth from what luck is. C drives
            with seed 0, but for the searches of which `Profile.searched_on` says otherwise.

    In a round of iterative training it begins with the weights of the round before, and makes
    `round_updates`. The weights of the best validation likelihood are kept.
    """
    from awm import vae as v

    profile = get_profile(profile)
    name = Name.parse(evolved(model, seed))
    model, seed = name.model, name.seed
    path = path_of(profile, model, seed)
    m = build(profile, model, seed)
    if path.exists():
        m = load(profile, model, seed)
        provenance.check_config(m.manifest, profile, _SETTINGS, path)
        return m
    rollouts = dataset.open_rollouts(profile)
    vae = v.load(profile)
    data = SequenceData(profile, rollouts, dataset.encode_latents(profile, vae))
    drawn = profile.seed + seed
    source = {"rollouts": rollouts.hash, "vae": vae.manifest["hash"], "seed": drawn}
    updates = profile.mdn_updates
    if profile.round:
        before = load(replace(profile, round=profile.round - 1), model, seed)
        m.load_state_dict(before.state_dict())
        source["mdn_rnn"] = before.manifest["hash"]
        updates = profile.round_updates
    m.lstm.requires_grad_(model != "untrained")
    trained = [p for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=profile.mdn_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, profile.mdn_learning_rate, total_steps=updates + 1
    )
    run = weights.Checkpoint(path, source)
    update = run.resume(m, optimizer, schedule)
    started, recent = time.perf_counter(), []
    bar = tqdm(total=updates, initial=update, unit="update", desc=f"M {evolved(model, seed)}")
    while update < updates:
        batch = data.training_batch(profile.mdn_batch, m.needs_map, drawn, update)
        sums = losses(m, batch)
        loss = (sums["nll"].sum() + sums["reward"] + sums["done"]) / sums["steps"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, _GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        update += 1
        terms = (sums["nll"].sum(), sums["reward"], sums["done"])
        recent.append([term.item() / sums["steps"].item() for term in terms])
        bar.update()
        last = update == updates
        if update % 10 == 0 or last:
            nll, reward, done = np.mean(recent, axis=0).tolist()
            recent = []
            entry = {
                "update": update,
                "train_nll": nll,
                "train_reward_error": reward,
                "train_done": done,
                "seconds": round(run.seconds + time.perf_counter() - started, 1),
            }
            if update % _VALIDATE_EVERY == 0 or last:
                found = validate(m, data)
                entry |= {
                    f"validation_{name}": found[name] for name in ("nll", "reward_r2", "done")
                }
                run.keep_if_best(m, found["nll"])
            run.history.append(entry)
            bar.set_postfix(nll=f"{nll:.2f}", validation=f"{run.best_score or math.nan:.2f}")
        if update % _CHECKPOINT_EVERY == 0 and not last:
            run.save(m, optimizer, schedule, update, time.perf_counter() - started)
    bar.close()
    m.load_state_dict(run.best)
    test = validate(m, data, "test")
    # V's unused latents are pure noise: their entropy is most of the likelihood, and tells nothing.
    used = np.array(vae.manifest["kl_per_latent"]) > v.INFORMATIVE_NATS
    test["nll_informative"] = float(np.array(test["nll_per_latent"])[used].sum())
    run.finish(
        provenance.record(
            profile,
            model=model,
            parameters=sum(p.numel() for p in m.parameters()),
            wall_time_s=run.seconds + time.perf_counter() - started,
            seeds={"weights": drawn},
            sources=source,
            test=test,
            history=run.history,
        )
    )
    return load(profile, model, seed)


@torch.inference_mode()
def reward_quality(
    m: MDNRNN, rollouts: dataset.Rollouts, latents: dataset.Latents, windows=(1, 5, 20, 50)
) -> dict:
    """How well M expects the reward along test episodes, shown the real codes.

    `r2` has the explained variance of sums over so many steps: a tile's border cannot be seen in
    z, so that the step at which it is reached is chance, and the pace is not. `tiles` are the
    steps that reached one; `found` is the share of them among as many steps of the highest
    expected reward (precision and recall at once), and `chance` what drawing steps would find.
    `ends` counts episodes that the simulator ended.
    """
    expected, earned, ends = [], [], 0
    actions, rewards = rollouts.column("actions"), rollouts.column("rewards")
    terminated = rollouts.column("terminated")
    for i in rollouts.indices("test"):
        n = int(rollouts.lengths[i])
        z, action = torch.from_numpy(latents.mu[i, :n])[None], torch.from_numpy(actions[i])[None]
        maps = torch.from_numpy(latents.maps[i, :n]).float()[None] if m.needs_map else None
        expected.append(m.predict(m(z, action, maps)[0]).reward[0].numpy())
        earned.append(np.maximum(rewards[i], SMALLEST_REWARD))
        ends += int(terminated[i].any())
    r2 = {}
    for window in windows:
        guess, truth = (
            np.concatenate([_sums(episode, window) for episode in side])
            for side in (expected, earned)
        )
        r2[window] = float(1 - np.square(truth - guess).mean() / max(truth.var(), 1e-9))
    guess, reached = np.concatenate(expected), np.concatenate(earned) > 0
    count = int(reached.sum())
    top = np.argsort(-guess, kind="stable")[:count]
    return {
        "r2": r2,
        "tiles": count,
        "found": float(reached[top].mean()) if count else None,
        "chance": float(reached.mean()),
        "ends": ends,
    }


def _sums(values: np.ndarray, window: int) -> np.ndarray:
    """Sums over whole, adjacent windows."""
    whole = len(values) // window
    return values[: whole * window].reshape(whole, window).sum(axis=1)


@torch.inference_mode()
def attention_weights(m: MDNRNN, vae: VAE, episode: dataset.Episode) -> np.ndarray:
    """Where an attentive M looks at each step of an episode, `[time, items]`."""
    mu, _, maps = vae.encode_frames(episode.frames[:-1])
    _, found = m(
        torch.from_numpy(mu)[None],
        torch.from_numpy(episode.actions)[None],
        torch.from_numpy(maps)[None] if m.needs_map else None,
    )
    if found is None:
        raise AwmError("This M has no attention. Train one with, or choose another.")
    return found[0].numpy()
