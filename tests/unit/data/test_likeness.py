from __future__ import annotations

import io
from itertools import combinations

import numpy as np
from PIL import Image

from boxless.data.likeness import MAX_BITS, Alike, alike_across, difference_hash, thumbnail


def photograph(seed: int) -> Image.Image:
    """Smooth shades, as in photographs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


def recoded(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((120, 90)).save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def found(images: list[Image.Image], groups: list[str]) -> list[tuple[int, int]]:
    thumbnails = [thumbnail(image) for image in images]
    pairs = alike_across([difference_hash(each) for each in thumbnails], thumbnails, groups)
    return [(pair.first, pair.second) for pair in pairs]


def test_hash_has_a_bit_for_each_rise_to_the_right() -> None:
    rising = np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1))
    assert difference_hash(rising) == 2**64 - 1
    assert difference_hash(rising[:, ::-1]) == 0
    rising[7] = rising[7, ::-1]
    assert difference_hash(rising) == 2**64 - 256  # the last row has the lowest byte


def test_resized_and_recoded_copies_are_found_across_groups_only() -> None:
    originals = [photograph(seed) for seed in range(12)]
    copies = [recoded(image) for image in originals]
    expected = [(index, index + 12) for index in range(12)]
    assert found(originals + copies, ["train"] * 12 + ["test"] * 12) == expected
    assert found(originals + copies, ["train"] * 24) == []


def test_different_pictures_are_not_alike() -> None:
    assert found([photograph(seed) for seed in range(200)], ["train", "test"] * 100) == []


def test_plain_images_do_not_all_match_each_other() -> None:
    generator = np.random.default_rng(0)
    plain = [Image.new("RGB", (64, 64), (shade, shade, shade)) for shade in range(0, 250, 50)]
    grainy = [Image.fromarray(generator.integers(126, 130, (64, 64), np.uint8)) for _ in range(5)]
    assert found(plain + grainy, ["train", "test"] * 5) == []


def test_equal_outlines_of_other_brightness_are_not_confirmed() -> None:
    dark = photograph(1).point(lambda value: value * 0.3)
    assert found([photograph(1), dark], ["train", "test"]) == []


def test_lookup_finds_what_comparing_all_with_all_finds() -> None:
    generator = np.random.default_rng(0)
    base = generator.integers(0, 2**63, 40, dtype=np.uint64)
    codes = [int(code) for code in base]
    for code in base:  # near copies with 0 to 12 bits turned, anywhere
        bits = generator.choice(64, generator.integers(0, 13), replace=False)
        codes.append(int(code) ^ sum(1 << int(bit) for bit in bits))
    groups = ["train"] * 40 + ["test"] * 40
    flat = [np.zeros((8, 9), np.uint8)] * 80
    expected = {
        (a, b)
        for a, b in combinations(range(80), 2)
        if groups[a] != groups[b] and (codes[a] ^ codes[b]).bit_count() <= MAX_BITS
    }
    assert 0 < len(expected) < 40
    assert {(pair.first, pair.second) for pair in alike_across(codes, flat, groups)} == expected


def test_nearest_is_reported_for_each_image_and_not_every_pair() -> None:
    flat = [np.zeros((8, 9), np.uint8)] * 5
    pairs = alike_across([0b1, 0b0, 0b11, 0b0, None], flat, ["train", "train", "train", "test", "test"])
    assert pairs == [Alike(0, 3, 1), Alike(1, 3, 0), Alike(2, 3, 2)]
    assert alike_across([], [], []) == []


def test_thumbnails_decide_when_hashes_agree() -> None:  # at most 6 levels apart in the mean
    one, near, far = (np.full((8, 9), level, np.uint8) for level in (100, 106, 107))
    assert len(alike_across([5, 5], [one, near], ["a", "b"])) == 1
    assert alike_across([5, 5], [one, far], ["a", "b"]) == []
