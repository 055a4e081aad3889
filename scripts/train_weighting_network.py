# SPDX-License-Identifier: MIT OR Apache-2.0
"""The network of weighting.rs: its training, and the Rust file of its numbers.

A network is a dictionary of arrays that are called and shaped like the constants in
src/watermark/weighting_network.rs.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import train_weighting_cells as cells

WEIGHT = 6.0
"""Bound of the logarithm (base e) of a weight."""
FOUND = 7.7
"""Score at which the detector tells that the mark is there."""
AIM = 8.0
"""Training gains most by segments whose score is about this."""
EDGE = 2.5
"""Width of "about"."""
BATCH = 6
"""Segments in a step."""
FASTEST = 0.01
"""Length of the first steps; it falls to 0 along a cosine."""
DECAY = 1e-4
"""What the squares of all numbers cost: keeps them small where the data do not care."""
PLACES = 4
"""Decimal places in the Rust file."""

CHIP_OF_BIN = np.eye(cells.CHIPS, dtype=np.float32)[cells.CHIP_OF_BIN]

RUST = """\
// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trained numbers of [`super::weighting`], as `scripts/train_weighting.py` writes them: change nothing here by hand.

/// What the network is told about a cell; `Network::features` says in which order.
pub const FEATURES: usize = {features};
/// Its hidden units, each the positive part of a weighted sum.
pub const HIDDEN: usize = {hidden};

#[rustfmt::skip]
pub const HIDDEN_WEIGHTS: [[f32; FEATURES]; HIDDEN] = [
{HIDDEN_WEIGHTS}
];
#[rustfmt::skip]
pub const HIDDEN_BIAS: [f32; HIDDEN] = {HIDDEN_BIAS};
#[rustfmt::skip]
pub const OUTPUT_WEIGHTS: [f32; HIDDEN] = {OUTPUT_WEIGHTS};
/// Weights of the features themselves.
#[rustfmt::skip]
pub const OUTPUT_DIRECT: [f32; FEATURES] = {OUTPUT_DIRECT};
"""


def phase_alone():
    """A network that gives every cell the weight 1."""
    return {
        "HIDDEN_WEIGHTS": np.zeros((1, cells.FEATURES), np.float32),
        "HIDDEN_BIAS": np.zeros(1, np.float32),
        "OUTPUT_WEIGHTS": np.zeros(1, np.float32),
        "OUTPUT_DIRECT": np.zeros(cells.FEATURES, np.float32),
    }


def first_guess(hidden, random):
    """Random hidden units that are hardly listened to: about phase alone."""
    shape = (hidden, cells.FEATURES)
    numbers = {
        "HIDDEN_WEIGHTS": random.normal(0, 0.5 / np.sqrt(cells.FEATURES), shape),
        "HIDDEN_BIAS": random.normal(0, 0.3, hidden),
        "OUTPUT_WEIGHTS": random.normal(0, 0.02, hidden),
        "OUTPUT_DIRECT": np.zeros(cells.FEATURES),
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()}


def log_weights(network, features):
    """Logarithms (base e) of the weights of cells."""
    hidden = jax.nn.relu(features @ network["HIDDEN_WEIGHTS"].T + network["HIDDEN_BIAS"])
    weights = hidden @ network["OUTPUT_WEIGHTS"] + features @ network["OUTPUT_DIRECT"]
    return jnp.clip(weights, -WEIGHT, WEIGHT)


def score_of(network, features, phase, row, signs):
    """The detector's score of a segment: sum of sign times chip over the root of its variance.

    A wrong key has random signs, so that its score has a deviation of 1.
    """
    weights = jnp.exp(log_weights(network, features))
    products = weights[cells.LAG :] * weights[: -cells.LAG] * phase.astype(jnp.float32)
    rows = jax.nn.one_hot(row, cells.ROWS_OF_SEGMENT).T @ products
    chips = rows @ CHIP_OF_BIN
    return (chips * signs).sum() / jnp.sqrt((chips**2).sum() + 1e-9)


def arrays_of(segments):
    """The fields of segments that scores are made of, each in one array."""
    return [np.stack(field) for field in zip(*(segment[:4] for segment in segments))]


@jax.jit
def scores_of(network, features, phase, row, signs):
    """Scores of several segments."""
    score = jax.vmap(score_of, in_axes=(None, 0, 0, 0, 0))
    return score(network, features.astype(jnp.float32), phase, row, signs.astype(jnp.float32))


def evaluate(network, segments):
    """Scores of segments, however many."""
    return np.array([scores_of(network, *arrays_of([segment]))[0] for segment in segments])


def loss_of(network, features, phase, row, signs):
    """What training makes small.

    The first term counts segments that are found, with a soft edge. The second rewards the
    logarithm of the score, so that a segment beyond reach or long since found counts, too.
    """
    scores = scores_of(network, features, phase, row, signs)
    gain = 5 * jax.nn.sigmoid((scores - AIM) / EDGE) + jnp.log(jax.nn.softplus(scores))
    return DECAY * sum((value**2).sum() for value in network.values()) - gain.mean()


def spread_of(segments):
    """Mean and standard deviation of each feature, over the bins that exist."""
    used = [s.features[:, : s.bins].reshape(-1, cells.FEATURES).astype(float) for s in segments]
    count = sum(len(values) for values in used)
    mean = sum(values.sum(axis=0) for values in used) / count
    variance = sum(((values - mean) ** 2).sum(axis=0) for values in used) / count
    return mean.astype(np.float32), (np.sqrt(variance) + 1e-3).astype(np.float32)


def fold(network, mean, deviation):
    """The network for features as they are, from that for features of mean 0 and deviation 1."""
    plain = {name: np.asarray(value, float) for name, value in network.items()}
    plain["HIDDEN_WEIGHTS"] = plain["HIDDEN_WEIGHTS"] / deviation
    plain["HIDDEN_BIAS"] = plain["HIDDEN_BIAS"] - plain["HIDDEN_WEIGHTS"] @ mean
    # What the mean adds to the logarithm of all weights changes no score: it may go.
    plain["OUTPUT_DIRECT"] = plain["OUTPUT_DIRECT"] / deviation
    return {name: np.round(value, PLACES).astype(np.float32) for name, value in plain.items()}


def train(segments, hidden, steps, random, tell=None):
    """A network trained with these segments, rounded as in the Rust file.

    `tell` is called with the number of the step and its loss after each step.
    """
    mean, deviation = spread_of(segments[:: max(1, len(segments) // 100)])
    optimiser = optax.adam(optax.cosine_decay_schedule(FASTEST, steps))
    network = first_guess(hidden, random)
    state = optimiser.init(network)

    @jax.jit
    def step(network, state, features, *rest):
        features = (features.astype(jnp.float32) - mean) / deviation
        loss, slope = jax.value_and_grad(loss_of)(network, features, *rest)
        change, state = optimiser.update(slope, state)
        return optax.apply_updates(network, change), state, loss

    for number in range(1, steps + 1):
        batch = [segments[i] for i in random.integers(0, len(segments), BATCH)]
        network, state, loss = step(network, state, *arrays_of(batch))
        if tell:
            tell(number, float(loss))
    return fold(network, mean, deviation)


def rust_row(values):
    """An array of one dimension in Rust."""
    return "[" + ", ".join(f"{value:.{PLACES}f}" for value in values) + "]"


def to_rust(network):
    """The text of the Rust file."""
    texts = {name: rust_row(v) for name, v in network.items() if v.ndim == 1}
    rows = [f"    {rust_row(row)}," for row in network["HIDDEN_WEIGHTS"]]
    texts["HIDDEN_WEIGHTS"] = "\n".join(rows)
    hidden, features = network["HIDDEN_WEIGHTS"].shape
    return RUST.format(features=features, hidden=hidden, **texts)


def from_rust(text):
    """The network in the text of a Rust file."""
    network = {}
    for name, value in phase_alone().items():
        body = re.search(rf"const {name}: .*? = (\[.*?\]);", text, re.DOTALL).group(1)
        numbers = np.array(re.findall(r"-?\d+\.\d+", body), np.float32)
        network[name] = numbers.reshape(-1, cells.FEATURES) if value.ndim == 2 else numbers
    return network
