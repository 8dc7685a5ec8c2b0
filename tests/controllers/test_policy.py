"""The LSTM policy: NumPy and MindSpore agree on it, and PPO trains it as it should."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops
from scipy.stats import chisquare

from controllers import PPOSampler
from controllers.policy import Policy, split
from controllers.proximal import Learned, PPOSettings, improve, loss_gradient
from controllers.samplers import Record
from synthetic import SPACE, reward

POLICY = Policy((2, 3, 5), hidden=8)


def some_choices(policy: Policy, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=samples) for size in policy.sizes], axis=1)


def graph_logs(policy: Policy, parts: list[Any], inputs: Any, mask: Any) -> Any:
    """Compute ``Policy.log_probabilities`` by MindSpore's LSTM, differentiably."""
    *recurrent, heads, head_bias = parts
    lstm = ops.LSTM(policy.inputs, policy.hidden, 1, True, False, 0.0)
    start = ops.zeros((1, inputs.shape[1], policy.hidden), ms.float32)
    flat = ops.concat([part.reshape(-1, 1, 1) for part in recurrent])
    hidden, *_ = lstm(inputs, start, start, flat)
    return ops.log_softmax(ops.bmm(hidden, heads) + head_bias + mask, axis=-1)


def graph_loss(
    policy: Policy,
    settings: PPOSettings,
    choices: np.ndarray,
    old: np.ndarray,
    advantages: np.ndarray,
    *parts: Any,
) -> Any:
    """Compute the loss of PPO by MindSpore from the parts of the weights."""
    inputs = np.eye(policy.inputs, dtype=np.float32)[policy.tokens(choices)]
    logs = graph_logs(policy, list(parts), ms.Tensor(inputs), ms.Tensor(policy.mask))
    ratio = ops.exp((logs * ms.Tensor(policy.one_hot(choices))).sum(-1) - ms.Tensor(old))
    given = ms.Tensor(advantages.astype(np.float32))
    clipped = ops.clamp(ratio, 1 - settings.clip, 1 + settings.clip)
    gain = ops.minimum(ratio * given, clipped * given)
    entropy = -(ops.exp(logs) * ops.maximum(logs, ms.Tensor(-100.0))).sum(-1)
    return -(gain + settings.entropy * entropy).sum(0).mean()


def test_numpy_and_mindspore_agree() -> None:
    """The weights are large, so that gates saturate and two swapped gates would be noticed."""
    weights = POLICY.initial(np.random.default_rng(1), 1.0)
    choices = some_choices(POLICY, 7)
    inputs = np.eye(POLICY.inputs, dtype=np.float32)[POLICY.tokens(choices)]
    parts = [ms.Tensor(part) for part in split(weights, POLICY.shapes)]
    graph = graph_logs(POLICY, parts, ms.Tensor(inputs), ms.Tensor(POLICY.mask)).asnumpy()
    np.testing.assert_allclose(
        graph, POLICY.log_probabilities(weights, choices), atol=1e-5, rtol=1e-5
    )


def test_the_gradient_is_that_of_mindspore() -> None:
    """The old policy is another one, so some ratios are beyond the clip on either side."""
    rng, settings = np.random.default_rng(4), PPOSettings(1e-3, entropy=0.3, clip=0.2, epochs=1)
    weights, others = (POLICY.initial(rng, 1.0) for _ in range(2))
    choices, advantages = some_choices(POLICY, 9), rng.normal(size=9)
    onehot = POLICY.one_hot(choices)
    old, new = ((POLICY.log_probabilities(w, choices) * onehot).sum(-1) for w in (others, weights))
    for sign in (-1, 1):
        assert (sign * (new - old) * np.sign(advantages) > 0.2).any()
    found = loss_gradient(POLICY, settings, weights, choices, old, advantages)
    parts = tuple(ms.Tensor(part) for part in split(weights, POLICY.shapes))
    gradients = ms.grad(
        lambda *parts: graph_loss(POLICY, settings, choices, old, advantages, *parts),
        grad_position=tuple(range(len(parts))),
    )(*parts)
    expected = np.concatenate([gradient.asnumpy().reshape(-1) for gradient in gradients])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_central_differences() -> None:
    """In float64, of the loss without clip: the negative of gain and entropy."""
    policy, settings = Policy((2, 4, 3), 3), PPOSettings(1e-3, entropy=0.1, clip=1e9, epochs=1)
    rng = np.random.default_rng(0)
    weights = policy.initial(rng, 0.7).astype(np.float64)
    choices, advantages = some_choices(policy, 5), rng.normal(size=5)
    onehot = policy.one_hot(choices)
    old = rng.normal(scale=0.1, size=(3, 5)) - 1

    def loss(values: np.ndarray) -> float:
        logs = policy.log_probabilities(values, choices)
        ratio = np.exp((logs * onehot).sum(-1) - old)
        entropy = -(np.exp(logs) * np.maximum(logs, -100)).sum(-1)
        return float(-(ratio * advantages + 0.1 * entropy).sum(0).mean())

    steps = 1e-5 * np.eye(weights.size)
    expected = [(loss(weights + step) - loss(weights - step)) / 2e-5 for step in steps]
    found = loss_gradient(policy, settings, weights, choices, old, advantages)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_probabilities_of_the_open_choices_sum_to_one() -> None:
    weights = POLICY.initial(np.random.default_rng(1), 1.0)
    p = np.exp(POLICY.log_probabilities(weights, some_choices(POLICY, 4)))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    assert (p[0, :, 2:] == 0).all()
    assert (p[1, :, 3:] == 0).all()


def test_inputs_are_the_previous_choices() -> None:
    """The start is 0, the choices of size 2 are 1, 2, of size 3 are 3, 4, 5; the last is unused."""
    assert POLICY.tokens(np.asarray([[1, 0, 4], [0, 2, 1]])).T.tolist() == [[0, 2, 3], [0, 1, 5]]


def test_samples_follow_the_probabilities() -> None:
    """Chi-square test over the 30 outcomes; a correct sampler fails with probability 1e-6."""
    weights = POLICY.initial(np.random.default_rng(2), 0.5)
    every = np.stack(np.meshgrid(*map(np.arange, POLICY.sizes), indexing="ij"), -1).reshape(-1, 3)
    logs = POLICY.log_probabilities(weights, every)
    p = np.exp((logs * POLICY.one_hot(every)).sum((0, 2)).astype(np.float64))
    rng, count = np.random.default_rng(3), 6000
    drawn = [POLICY.sample(weights, rng) for _ in range(count)]
    seen = [drawn.count(tuple(row)) for row in every.tolist()]
    assert chisquare(seen, p / p.sum() * count).pvalue > 1e-6


@pytest.mark.slow
def test_first_step_of_adam_goes_along_the_gradient_of_the_objective() -> None:
    """At ratio 1 the objective is sum_t log p * advantage, averaged over the batch.

    Adam's first step is rate * g / (|g| + 1e-8). So each weight whose gradient, by central
    differences in float64, is clearly not zero must move by the rate in its direction.
    """
    policy, rate = Policy((2, 3), hidden=2), 1e-3
    weights = policy.initial(np.random.default_rng(0), 0.5)
    choices, advantages = some_choices(policy, 5), np.asarray([1.0, -2.0, 0.5, 3.0, -1.0])

    def objective(values: np.ndarray) -> float:
        logs = policy.log_probabilities(values, choices)
        chosen = (logs * policy.one_hot(choices)).sum(-1)
        entropy = -(np.exp(logs) * np.maximum(logs, -100)).sum(-1)
        return float((chosen * advantages + 0.1 * entropy).sum(0).mean())

    exact = weights.astype(np.float64)
    gradient = np.asarray(
        [(objective(exact + e) - objective(exact - e)) / 2e-4 for e in 1e-4 * np.eye(exact.size)]
    )
    settings = PPOSettings(learning_rate=rate, entropy=0.1, clip=0.2, epochs=1)
    moved = improve(policy, settings, Learned.start(weights), choices, advantages).weights - exact
    clear = np.abs(gradient) > 1e-3
    assert clear.sum() > weights.size / 3
    np.testing.assert_allclose(moved[clear], rate * np.sign(gradient[clear]), rtol=2e-2)


@pytest.mark.slow
def test_the_clip_ends_the_gain() -> None:
    """No entropy, one sample: once the ratio is beyond 1.2, only momentum moves the weights."""
    policy = Policy((4,), hidden=4)
    weights = policy.initial(np.random.default_rng(0), 0.1)
    choices = np.asarray([[2]])

    def ratio(clip: float) -> float:
        settings = PPOSettings(learning_rate=1e-2, entropy=0.0, clip=clip, epochs=60)
        learned = improve(policy, settings, Learned.start(weights), choices, np.ones(1))
        logs = [policy.log_probabilities(w, choices)[0, 0, 2] for w in (learned.weights, weights)]
        return float(np.exp(logs[0] - logs[1]))

    # p starts near 1/4, so without the clip the ratio runs towards 4.
    assert ratio(0.2) < 1.8
    assert ratio(1e9) > 3.0


@pytest.mark.slow
def test_with_entropy_alone_the_policy_becomes_uniform() -> None:
    weights = POLICY.initial(np.random.default_rng(1), 1.0)
    settings = PPOSettings(learning_rate=1e-2, entropy=1.0, clip=0.2, epochs=80)
    choices = some_choices(POLICY, 8)
    learned = improve(POLICY, settings, Learned.start(weights), choices, np.zeros(8))

    def entropy(values: np.ndarray) -> float:
        logs = POLICY.log_probabilities(values, choices)
        return float(-(np.exp(logs) * np.maximum(logs, -100)).sum(-1).mean())

    most = float(np.log(POLICY.sizes).mean())
    assert entropy(weights) < 0.97 * most
    assert entropy(learned.weights) > 0.99 * most


def records(count: int, scale: float = 1.0, shift: float = 0.0) -> list[Record]:
    rng = np.random.default_rng(0)
    genomes = [SPACE.sample(rng) for _ in range(count)]
    return [Record(tuple(SPACE.encode(g).values()), scale * reward(g) + shift) for g in genomes]


@pytest.mark.slow
def test_learning_ignores_the_scale_of_rewards() -> None:
    # With this weight of entropy, rewards eight times smaller would hardly count.
    def next_choices(log: list[Record]) -> list[tuple[int, ...]]:
        sampler = PPOSampler(SPACE, learning_rate=0.02, entropy=1.0)
        return [sampler.propose(log, sampler.generator(index)) for index in range(30, 40)]

    assert next_choices(records(30)) == next_choices(records(30, scale=0.125, shift=-4.0))


@pytest.mark.slow
def test_equal_first_rewards_do_not_end_learning() -> None:
    """As when the first pyramids all have an AP of 0. Then one op of the first cell is good.

    For ten trials it is the other one, so what the first different rewards teach is not enough.
    """
    sampler = PPOSampler(SPACE, learning_rate=0.02, entropy=0.0)
    op = [decision.name for decision in SPACE.decisions()].index("cell0.op")
    log = [Record(record.choices, 0.0) for record in records(10)]
    for index in range(10, 130):
        choices = sampler.propose(log, sampler.generator(index))
        log.append(Record(choices, float(choices[op] == (index < 20))))
    # Without learning, 24 of 30 once in 1,400.
    assert sum(record.choices[op] == 0 for record in log[-30:]) >= 24


@pytest.mark.slow
def test_a_late_result_is_learned_at_its_index() -> None:
    """States remembered from before the result must not be used."""
    log = records(60)
    old, new = (PPOSampler(SPACE, learning_rate=0.05, entropy=0.0) for _ in range(2))
    for late in (13, 55):
        old.propose([*log[:late], *log[late + 1 :]], old.generator(0))
        for index in range(20):
            assert old.propose(log, old.generator(index)) == new.propose(log, new.generator(index))


def test_failed_trials_are_ignored() -> None:
    log = records(20)
    failed = Record(log[0].choices, None)
    sampler, other = PPOSampler(SPACE), PPOSampler(SPACE)
    assert sampler.propose(log, sampler.generator(7)) == other.propose(
        [failed, *log[:9], failed, *log[9:], failed], other.generator(7)
    )


def test_a_policy_that_is_certain_of_known_genomes_still_finds_new_ones() -> None:
    """A search ends after 200 known genomes in a row, and known ones have their old values."""

    def longest(heat: float) -> int:
        sampler = PPOSampler(SPACE, learning_rate=0.05, entropy=0.0, batch=5, heat=heat)
        log: list[Record] = []
        seen: set[tuple[int, ...]] = set()
        most = row = 0
        for index in range(300):
            choices = sampler.propose(log, sampler.generator(index))
            row = row + 1 if choices in seen else 0
            most = max(most, row)
            seen.add(choices)
            log.append(Record(choices, reward(sampler.decode(choices))))
        return most

    assert longest(0.0) >= 100
    assert longest(0.1) <= 50


def test_the_temperature_rises_only_with_known_genomes_in_a_row() -> None:
    """Equal choices with another value were tried again, so they are no known ones."""
    log = records(21)
    given: dict[str, Any] = {"hidden": 8, "bound": 3.0, "batch": 1000}
    cold, hot = (PPOSampler(SPACE, **given, heat=heat) for heat in (0.0, 50.0))

    def same(more: list[Record]) -> bool:
        full = [*log, *more]
        rngs = [sampler.generator(99) for sampler in (cold, hot)]
        return cold.propose(full, rngs[0]) == hot.propose(full, rngs[1])

    again, other = log[3], Record(log[3].choices, -1.0)
    new = Record((0,) * len(again.choices), 0.5)
    assert same([])
    assert same([other])
    assert same([again, new])
    assert same([again, again, other])
    assert not same([again])
    assert not same([new, again])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden": 0}, "^hidden .*1 or more.*got 0"),
        ({"batch": 0}, "^batch .*1 or more.*got 0"),
        ({"epochs": -1}, "^epochs .*1 or more.*got -1"),
        ({"bound": -0.1}, r"^bound .*0 or more, got -0\.1"),
        ({"entropy": -1.0}, r"^entropy .*0 or more, got -1\.0"),
        ({"heat": -1.0}, r"^heat .*0 or more, got -1\.0"),
        ({"learning_rate": 0.0}, r"^learning_rate .*above 0, got 0\.0"),
        ({"clip": 0.0}, r"^clip .*above 0, got 0\.0"),
        ({"decay": 1.0}, r"^decay .*from 0 to below 1, got 1\.0"),
    ],
)
def test_settings_are_checked(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOSampler(SPACE, **setting)  # type: ignore[arg-type]
