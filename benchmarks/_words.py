"""Embeddings of class names from a text model that a package ships, for machines that no hub reaches.

python benchmarks/_words.py    prints how close they are to each other
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from boxless.data.catalog import SAMPLE, read_catalog
from boxless.text.names import name_classes
from boxless.text.prompts import templates
from boxless.text.towers import FileText, write_text_file

TEMPLATE = "photo"


def words_file(folder: Path) -> Path:
    """A file with an embedding of each class of the sample: the mean of the vectors of a prompt's tokens.

    They are those of wordllama 0.4 (MIT; 256 dimensions), which learnt from texts alone. They stand for CLIP's, whose
    weights are on the hub: prompts that differ in one word are close to each other in both, "shirt" and "t-shirt" most.
    """
    path = folder / "words.safetensors"
    if path.exists():
        return path
    found = find_spec("wordllama")
    if found is None or found.origin is None:
        raise SystemExit("wordllama is missing; install it with: pip install -r benchmarks/requirements.txt")
    root = Path(found.origin).parent
    # Its own loader looks for these in other folders than they are installed in.
    tokenizer = Tokenizer.from_file(str(root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    (table,) = load_file(root / "weights" / "l2_supercat_256.safetensors").values()
    classes = read_catalog(SAMPLE).classes
    (template,) = templates(TEMPLATE)
    prompts = [template.format(each.names[0]) for each in name_classes(classes, None, lambda _: None)]
    rows = [table[tokenizer.encode(prompt, add_special_tokens=False).ids].float().mean(0) for prompt in prompts]
    write_text_file(path, classes, torch.stack(rows))
    return path


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = FileText(words_file(Path(folder)))
    rows = words.rows(words.classes)
    cosines = (rows @ rows.T).fill_diagonal_(0)
    count = len(rows)
    first, second = divmod(int(cosines.argmax()), count)
    print(f"cosines: mean {cosines.sum() / (count * (count - 1)):.2f}")
    print(f"highest {cosines.max():.2f}, of {words.classes[first]} and {words.classes[second]}")


if __name__ == "__main__":
    main()
