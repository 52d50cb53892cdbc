"""RMFN's packed recurrence beside a padded loop, and beside the matrix products alone.

    python -m benchmarks.rmfn_speed

One thread, one process; what is compared runs in turn, so that a busy machine slows all alike, and
processor time is counted: trust the ratios, not the milliseconds. The batch has 128 sequences of
the lengths of CMU-MOSI's opinion segments, 300 language, 47 visual and 74 acoustic features a word,
88, 48 and 32 units, three stages, FUSE of 128 and z of 64. A training step is forward, backward and
Adam.

* padded: every sequence runs to the length of the longest, masked; one linear layer for the gates
  of each cell, as one would first write it, with automatic differentiation.
* products: the matrix products that the packed model needs, of the same sizes in the same order,
  and nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor

from rmfn.model import RMFN, RMFNConfig

# {words: how many of the 1513 segments of CMU-MOSI's train and dev splits have so many}
# fmt: off
SEGMENTS = {
    0: 1, 1: 3, 2: 17, 3: 30, 4: 85, 5: 115, 6: 122, 7: 118, 8: 139, 9: 108, 10: 89, 11: 87, 12:
    66, 13: 65, 14: 57, 15: 55, 16: 46, 17: 33, 18: 36, 19: 29, 20: 28, 21: 22, 22: 12, 23: 17,
    24: 18, 25: 19, 26: 14, 27: 8, 28: 12, 29: 9, 30: 7, 31: 3, 32: 6, 33: 5, 34: 1, 35: 6, 36:
    1, 37: 2, 38: 3, 39: 1, 40: 2, 41: 4, 42: 2, 43: 1, 45: 2, 47: 2, 50: 1, 54: 1, 59: 1, 68:
    1, 104: 1,
}
# fmt: on
CONFIG = RMFNConfig(
    inputs={"language": 300, "visual": 47, "acoustic": 74},
    hidden={"language": 88, "visual": 48, "acoustic": 32},
    stages=3,
    fuse=128,
    summary=64,
    head=64,
)
BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="medians are over so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    lengths = draw_lengths(generator)
    features = {m: torch.randn(BATCH, int(lengths.max()), d) for m, d in CONFIG.inputs.items()}
    print(f"{BATCH} sequences, {int(lengths.sum())} words, the longest {int(lengths.max())}")
    model = RMFN(CONFIG)
    check(model, features, lengths)

    products = Products(sizes_of(lengths))
    report(
        "training step, ms",
        {
            "padded": training(model, lambda: run_padded(model, features, lengths)),
            "packed": training(model, lambda: model(features, lengths)),
            "products": products.train,
        },
        options.rounds,
    )
    report(
        "prediction, ms",
        {
            "padded": predicting(lambda: run_padded(model, features, lengths)),
            "packed": predicting(lambda: model(features, lengths)),
            "products": products.predict,
        },
        options.rounds,
    )
    one = {m: x[:1, :1].expand(1, 20, -1).contiguous() for m, x in features.items()}
    twenty = torch.tensor([20])
    report(
        "one sequence of 20 words, ms",
        {
            "padded": predicting(lambda: run_padded(model, one, twenty)),
            "packed": predicting(lambda: model(one, twenty)),
        },
        10 * options.rounds,
    )


def draw_lengths(generator: torch.Generator) -> Tensor:
    """Of a random batch."""
    pool = torch.tensor(list(chain.from_iterable([n] * count for n, count in SEGMENTS.items())))
    return pool[torch.randperm(len(pool), generator=generator)[:BATCH]]


def sizes_of(lengths: Tensor) -> list[int]:
    """Sequences that still run at each step."""
    return [int((lengths > t).sum()) for t in range(int(lengths.max()))]


def run_padded(model: RMFN, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
    """The same predictions, word by word over the whole padded batch."""
    B = len(lengths)
    some = next(iter(features.values()))
    h = {m: some.new_zeros(B, n) for m, n in CONFIG.hidden.items()}
    c = dict(h)
    z = some.new_zeros(B, CONFIG.summary)
    for t in range(some.shape[1]):
        runs = (t < lengths)[:, None]
        for m in h:
            gates = model.W[m](features[m][:, t]) + h[m] @ model.U[m].T + z @ model.V[m].T
            new_h, new_c = cell(gates, c[m])
            h[m], c[m] = torch.where(runs, new_h, h[m]), torch.where(runs, new_c, c[m])
        z = torch.where(runs, fuse_padded(model, torch.cat(list(h.values()), dim=1)), z)
    return model.head(torch.cat([*h.values(), z], dim=1))


def fuse_padded(model: RMFN, h: Tensor) -> Tensor:
    """z of h, stage by stage."""
    fusion = model.fusion
    attention, state = torch.zeros_like(h), torch.zeros_like(h)
    memory = fusion.map(h)
    s = h.new_zeros(len(h), CONFIG.fuse)
    cells = fusion.c0.expand(len(h), -1)
    stages = []
    for _ in range(CONFIG.stages):
        gates = fusion.highlight(torch.cat([attention, state], dim=1))
        state, memory = cell(gates, memory)
        attention = torch.softmax(state, dim=1)
        s, cells = cell(fusion.fuse(attention * h) + s @ fusion.fuse_U.T, cells)
        stages.append(s)
    return fusion.summarize(torch.cat(stages, dim=1))


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    f, i, o, g = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Products:
    """The matrix products of a packed run on random numbers of the same shapes."""

    def __init__(self, sizes: list[int]):
        H, S, Z, K = sum(CONFIG.hidden.values()), CONFIG.fuse, CONFIG.summary, CONFIG.stages
        self.sizes, self.words = sizes, sum(sizes)
        self.inputs = [(d, 4 * CONFIG.hidden[m]) for m, d in CONFIG.inputs.items()]
        # (in, out, times a word, rows a sequence) of every product inside the loop
        self.inside = [
            (H + Z, 4 * H, 1, 1),
            (H, H, 1, 1),
            (2 * H, 4 * H, K - 1, 1),
            (H, 4 * S, 1, K),
            (S, 4 * S, K - 1, 1),
            (K * S, Z, 1, 1),
        ]
        self.weights = {shape: torch.randn(shape[:2]) for shape in self.inside}
        self.outside = {shape: torch.randn(shape) for shape in self.inputs}
        widths = {n for shape in (*self.inside, *self.inputs) for n in shape[:2]}
        self.rows = {n: torch.randn(K * self.words, n) for n in widths}

    def predict(self) -> None:
        for n_in, n_out in self.inputs:
            torch.mm(self.rows[n_in][: self.words], self.outside[n_in, n_out])
        for b in self.sizes:
            for shape in self.inside:
                n_in, _, times, rows = shape
                for _ in range(times):
                    torch.mm(self.rows[n_in][: rows * b], self.weights[shape])

    def train(self) -> None:
        self.predict()
        for b in self.sizes:
            for shape in self.inside:
                _, n_out, times, rows = shape
                for _ in range(times):
                    torch.mm(self.rows[n_out][: rows * b], self.weights[shape].T)
        for n_in, n_out, times, rows in [*self.inside, *((i, o, 1, 1) for i, o in self.inputs)]:
            n = times * rows * self.words
            torch.mm(self.rows[n_in][:n].T, self.rows[n_out][:n])


def check(model: RMFN, features: dict[str, Tensor], lengths: Tensor) -> None:
    """The padded loop and the packed run say the same."""
    with torch.no_grad():
        difference = (run_padded(model, features, lengths) - model(features, lengths)).abs().max()
    print(f"padded and packed differ by {float(difference):.1e} at most")
    assert difference < 1e-5


def training(model: RMFN, run: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-6)

    def step() -> None:
        optimiser.zero_grad()
        run().abs().mean().backward()
        optimiser.step()

    return step


def predicting(run: Callable[[], Tensor]) -> Callable[[], None]:
    @torch.inference_mode()
    def step() -> None:
        run()

    return step


def report(title: str, ways: dict[str, Callable[[], None]], rounds: int) -> None:
    """Median processor time of each way, and its ratio to the packed one: median and quartiles."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # warm
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            spent[name].append(1e3 * (time.process_time() - start))
    print(f"\n{title:32}median   x packed (quartiles)")
    for name, values in spent.items():
        ratios = [a / b for a, b in zip(values, spent["packed"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {name:28}{statistics.median(values):8.1f}   {middle:.2f} ({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()
