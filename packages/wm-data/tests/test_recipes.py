"""The shipped recipes that need no download: their rows and splits stay, figures rest on them."""

import hashlib
import json

import pytest

import wm_data

# SHA-256 of the examples as JSON lines. A published figure names a recipe and a seed: whoever
# changes one of these changes what the figure was measured on, and gives the recipe another name.
EXAMPLES = {
    ("demo", "train"): "9e5e9e25595ce28e27da6abbc9650483f43f0873d986bd7455e017fbecfba4d5",
    ("demo", "validation"): "ffe199b393120bca53bd676ba0d30150b5701d5d40a5ebe25f8d1e47b90b1c12",
    ("demo", "test"): "8d527bf0850301fa3dd9f894a2d7906b5c43bc71f7a9c51ca08062f44f08699a",
    ("smollm2", "train"): "c83296c3f34fd3a4f73324fa39a6df9302e058b812d08c4c05d672c3bfdb1bbc",
    ("smollm2", "validation"): "948a536580f3f22bda0d7586070724280c7d5652fd2ef536dcdaaaca315dfda9",
    ("smollm2", "test"): "b9e7c57e0940e6f3c090ba702697c15fd11f6211af1925135f189080846bb08c",
    ("smollm2-sound", "train"): "4050b436e6f52588d7ad50f0c941d2ea3896779650a28601c7eb46fa828eb2b9",
    (
        "smollm2-sound",
        "validation",
    ): "948a536580f3f22bda0d7586070724280c7d5652fd2ef536dcdaaaca315dfda9",
    ("smollm2-sound", "test"): "b9e7c57e0940e6f3c090ba702697c15fd11f6211af1925135f189080846bb08c",
}


def fingerprint(examples):
    lines = (json.dumps(line, sort_keys=True) + "\n" for line in examples.to_list())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    return built("smollm2", tmp_path_factory)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return built("smollm2-sound", tmp_path_factory)


def built(name, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / name
    wm_data.build(name, out, progress=False)
    return wm_data.read(out)


@pytest.mark.parametrize(("name", "split"), EXAMPLES, ids="-".join)
def test_the_examples_are_those_of_the_published_figures(name, split, demo, smollm2, sound):
    dataset = {"demo": demo, "smollm2": smollm2, "smollm2-sound": sound}[name]
    assert fingerprint(dataset.examples(split)) == EXAMPLES[name, split]
