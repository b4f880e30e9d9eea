#!/usr/bin/env python
"""Text embeddings of a large vocabulary: a first start of a model against a second one, which reads them from disk.

    python benchmarks/text_cache.py                     # LVIS' 1,203 names, the text tower of ViT-B/32, random weights
    python benchmarks/text_cache.py --templates vild_14
    python benchmarks/text_cache.py --architecture shapes-tiny --vocabulary coco_panoptic/openseg --templates single

A start is the first call of a new `TextClassifier` whose text tower is in memory. The first start embeds the prompts
and writes them to an empty cache; the second one computes a digest of the weights and reads the embeddings. Prints the
seconds of both, of the digest, and the ratio.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from masqclip_d2.clip import ClipArchitecture, ClipTextTransformer
from masqclip_d2.vocabulary import TextClassifier, Vocabulary, load_vocabulary, text_cache
from masqclip_d2.vocabulary.prompts import TEMPLATES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="ViT-B/32", help="OpenAI's name of a CLIP, or an architecture file")
    parser.add_argument("--vocabulary", default="lvis_v1/maskclip", help="name of a shipped vocabulary, or a file")
    parser.add_argument("--templates", default="name", choices=TEMPLATES)
    parser.add_argument("--starts", type=int, default=3, help="number of second starts, for the median")
    args = parser.parse_args()
    there = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if there else torch.device("cpu")
    torch.manual_seed(0)
    tower = text_encoder(ClipArchitecture.from_name(args.architecture)).to(device)
    vocabulary = dataclasses.replace(load_vocabulary(args.vocabulary), templates=args.templates)
    tower.encode(["a text for warm-up"])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MASQCLIP_TEXT_CACHE"] = folder
        first, embedded = start(tower, vocabulary, device)
        seconds, found = zip(*(start(tower, vocabulary, device) for _ in range(args.starts)), strict=True)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    if size == 0:
        raise ValueError(f"{len(embedded)} texts are too few to be cached (minimum: {text_cache.LEAST_TEXTS}).")
    if not all(torch.equal(embedded, again) for again in found):
        raise ValueError("The embeddings of the second start differ from those of the first.")
    second = sorted(seconds)[len(seconds) // 2]
    digest, _ = timed(tower.content_digest, device)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tower.state_dict().values())
    print(f"text tower of {args.architecture}, {args.vocabulary} ({len(vocabulary)} categories), templates "
          f"{args.templates}, {device}, torch {torch.__version__}, {torch.get_num_threads()} threads")  # fmt: skip
    print(f"first start   {first:9.3f} s   embeds, and writes {size / 2**20:.1f} MiB")
    print(f"second start  {second:9.3f} s   of which {digest:.3f} s digest {weights / 2**20:.0f} MiB of weights")
    print(f"the second start is {first / second:.1f} times faster")


def text_encoder(sizes: ClipArchitecture) -> ClipTextTransformer:
    """Return a frozen text tower with random weights."""
    return ClipTextTransformer(
        context_length=sizes.context_length,
        vocab_size=sizes.vocab_size,
        width=sizes.text_width,
        heads=sizes.text_heads,
        layers=sizes.text_layers,
        output_dim=sizes.embed_dim,
        activation=sizes.activation,
    ).requires_grad_(False)


def start(tower: ClipTextTransformer, vocabulary: Vocabulary, device: torch.device) -> tuple[float, torch.Tensor]:
    """Return the seconds until a new classifier has its text embeddings, and these."""
    classifier = TextClassifier(tower, 100.0)
    return timed(lambda: classifier.text_embeddings(vocabulary), device)


def timed(run, device: torch.device):
    begin = time.perf_counter()
    result = run()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
