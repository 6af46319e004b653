import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from boxless.errors import ConfigError, DataError, RunError
from boxless.listener import Listener
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals
from boxless.pseudo.store import ProposalStore, image_key, network_digest

SETTINGS = ProposalSettings(top_k=3)
SOURCE = {"maps": "attention", "size": 224}
KEYS = [f"{number:032x}" for number in range(20)]


def made(places, grid=(14, 14)):
    """Proposals that differ from image to image: as many as the place in the list says, from none to three."""
    count = len(places)
    random = [torch.Generator().manual_seed(place) for place in places]
    corners = torch.stack([torch.randint(0, 7, (3, 4), generator=each) for each in random]).float()
    valid = torch.arange(3) < (torch.tensor(places) % 4)[:, None]
    levels = torch.stack([torch.rand(3, 2, 4, generator=each) for each in random]).half()
    return Proposals(
        boxes=(corners + torch.tensor([0, 0, 7, 7])) * valid[..., None],
        scores=torch.stack([torch.rand(3, generator=each) for each in random]) * valid,
        maps=torch.arange(3).expand(count, -1) * valid,
        valid=valid,
        kept_largest=torch.tensor(places) % 5 == 0,
        activations=levels * valid[..., None, None],
        grid=grid,
    )


def equal(one, other):
    names = [each.name for each in dataclasses.fields(Proposals) if each.name not in ("grid", "views")]
    return one.grid == other.grid and all(
        getattr(one, name).dtype == getattr(other, name).dtype and torch.equal(getattr(one, name), getattr(other, name))
        for name in names
    )


def store_in(folder, **others):
    return ProposalStore(folder, **{"settings": SETTINGS, "source": SOURCE, **others})


def test_what_was_written_is_read_to_the_last_digit_in_any_order(tmp_path):
    with store_in(tmp_path) as store:
        store.fill(KEYS, made, batch=6)
        assert store.pending(KEYS) == []
    order = [7, 3, 3, 19, 0]
    assert equal(store_in(tmp_path).read([KEYS[place] for place in order]), made(order))
    assert len(store_in(tmp_path)) == 20


def test_an_image_without_a_key_has_no_valid_proposal(tmp_path):
    store = store_in(tmp_path)
    keys = [KEYS[0], None, KEYS[2]]
    store.fill(keys, made)
    found = store.read(keys)
    assert not found.valid[1].any()
    assert equal(found.select(torch.tensor([0, 2])), made([0, 2]))


def test_an_interrupted_job_goes_on_where_it_was(tmp_path):
    done = []

    def stop():
        if len(done) == 2:
            raise KeyboardInterrupt

    def make(places):
        done.append(places)
        return made(places)

    with pytest.raises(KeyboardInterrupt), store_in(tmp_path) as store:
        store.fill(KEYS, make, batch=4, stop=stop)
    with store_in(tmp_path) as store:
        store.fill(KEYS, make, batch=4)
    assert [place for places in done for place in places] == list(range(20))
    assert equal(store_in(tmp_path).read(KEYS), made(range(20)))


KILLED = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_store import KEYS, made, store_in

def make(places):
    if places[0] >= 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(places)

store_in(Path({out!r})).fill(KEYS, make, batch=4)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_killed_process_loses_nothing_that_it_had_written(tmp_path):
    program = KILLED.format(folder=str(Path(__file__).parent), out=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with store_in(tmp_path) as store:
        assert store.pending(KEYS) == list(range(8, 20))
        store.fill(KEYS, made)
    assert equal(store_in(tmp_path).read(KEYS), made(range(20)))


def test_a_torn_last_line_is_made_again_wherever_it_is_torn(tmp_path):
    with store_in(tmp_path) as store:
        store.write(KEYS[:2], made([0, 1]))
        first = store.path.stat().st_size
        store.write(KEYS[2:3], made([2]))
        path = store.path
    content = path.read_bytes()
    for end in range(first, len(content)):
        path.write_bytes(content[:end])
        with store_in(tmp_path) as store:
            assert store.pending(KEYS[:4]) == [2, 3], end
            store.fill(KEYS[:4], made)
        assert equal(store_in(tmp_path).read(KEYS[:4]), made(range(4))), end


def test_a_damaged_byte_costs_its_line_and_no_more(tmp_path):
    with store_in(tmp_path) as store:
        store.write(KEYS[:3], made([1, 2, 3]))
        path = store.path
    content = path.read_bytes()
    ends = [number for number, byte in enumerate(content) if byte == ord("\n")]
    for place in range(ends[0] + 1, ends[1]):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert store_in(tmp_path).pending(KEYS[:3]) == [1], place


def test_a_line_that_is_damaged_while_the_store_is_open_is_asked_for_again(tmp_path):
    store = store_in(tmp_path)
    store.fill(KEYS, made)
    content = store.path.read_bytes()
    store.path.write_bytes(content.replace(b'"grid":[14', b'"grid":[15', 1))
    with pytest.raises(DataError, match=f"1 of 20 images have no proposals yet, the first is {KEYS[0]}"):
        store.read(KEYS)
    assert store.pending(KEYS) == [0]
    store.fill(KEYS, made)
    assert equal(store.read(KEYS), made(range(20)))


def test_processes_share_the_images_and_read_what_all_wrote(tmp_path):
    stores = [store_in(tmp_path, rank=rank, world=3) for rank in range(3)]
    shares = [store.pending(KEYS) for store in stores]
    assert sorted(place for share in shares for place in share) == list(range(20))
    assert max(map(len, shares)) - min(map(len, shares)) == 1
    for start in range(0, 6, 2):
        for store, share in zip(stores, shares, strict=True):
            places = share[start : start + 2]
            store.write([KEYS[place] for place in places], made(places))
            assert store.pending(KEYS) == share[start + 2 :]  # whatever the others did
    assert all(equal(store.read(KEYS[:18]), made(range(18))) for store in stores)
    assert len({store.path for store in stores}) == 3


def test_what_two_processes_began_another_number_finishes(tmp_path):
    for rank in range(2):
        with store_in(tmp_path, rank=rank, world=2) as store:
            store.fill(KEYS[:10], made)
    for rank in range(3):
        with store_in(tmp_path, rank=rank, world=3) as store:
            assert all(place >= 10 for place in store.pending(KEYS))
            store.fill(KEYS, made)
    assert equal(store_in(tmp_path).read(KEYS), made(range(20)))


def test_two_jobs_by_mistake_on_one_file_harm_nothing(tmp_path):
    stores = [store_in(tmp_path), store_in(tmp_path)]
    for place in range(10):
        stores[place % 2].write([KEYS[place]], made([place]))
        stores[1 - place % 2].write([KEYS[place]], made([place]))
    assert equal(store_in(tmp_path).read(KEYS[:10]), made(range(10)))


@pytest.mark.parametrize(
    "other",
    [
        {"settings": ProposalSettings(top_k=2)},
        {"settings": ProposalSettings(top_k=3, min_size=0.05)},
        {"settings": ProposalSettings(top_k=3, score="size")},
        {"source": {"maps": "spectral", "size": 224}},
        {"source": {"maps": "attention", "size": 256}},
    ],
)
def test_other_settings_are_made_anew_and_the_old_stay(tmp_path, other):
    with store_in(tmp_path) as store:
        store.fill(KEYS, made)
    assert store_in(tmp_path, **other).pending(KEYS) == list(range(20))
    assert store_in(tmp_path, source={"size": 224, "maps": "attention"}).pending(KEYS) == []


def test_the_settings_lie_beside_the_lines(tmp_path):
    with store_in(tmp_path) as store:
        store.fill(KEYS[:1], made)
    assert '"maps": "attention"' in (store.folder / "settings.json").read_text()


def test_the_same_image_twice_is_made_once(tmp_path):
    store = store_in(tmp_path)
    keys = [KEYS[1], KEYS[2], KEYS[1]]
    assert store.pending(keys) == [0, 1]
    store.write([KEYS[1], KEYS[2]], made([1, 2]))
    assert equal(store.read(keys), made([1, 2, 1]))


def test_progress_tells_what_was_done_before(tmp_path):
    told = []

    class Ear(Listener):
        def begin(self, task, total, done=0):
            told.append((total, done))

        def advance(self, steps=1, **figures):
            told.append(steps)

    with store_in(tmp_path) as store:
        store.fill(KEYS[:5], made)
        store.fill([*KEYS[:8], None], made, batch=2, listener=Ear())
    assert told == [(8, 5), 2, 1]


def test_proposals_on_maps_of_several_sizes_are_not_joined(tmp_path):
    store = store_in(tmp_path)
    store.write(KEYS[:1], made([0]))
    store.write(KEYS[1:2], made([1], grid=(14, 20)))
    with pytest.raises(DataError, match="2 sizes"):
        store.read(KEYS[:2])
    assert store.read(KEYS[1:2]).grid == (14, 20)


def test_what_is_not_there_is_said(tmp_path):
    store = store_in(tmp_path)
    store.write(KEYS[:1], made([0]))
    with pytest.raises(DataError, match=f"2 of 3 images have no proposals yet, the first is {KEYS[1]}"):
        store.read(KEYS[:3])


def test_proposals_that_do_not_fit_the_keys_are_refused(tmp_path):
    with pytest.raises(DataError, match="proposals of shape"):
        store_in(tmp_path).write(KEYS[:3], made([0, 1]))
    with pytest.raises(DataError, match="proposals of shape"):
        store_in(tmp_path, settings=ProposalSettings(top_k=2)).write(KEYS[:2], made([0, 1]))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_said_and_the_store_goes_on_when_there_is_room(tmp_path):
    store = store_in(tmp_path)
    store.folder.mkdir()
    store.path.symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left"):
        store.write(KEYS[:1], made([0]))
    store.path.unlink()
    store.write(KEYS[:1], made([0]))
    assert equal(store_in(tmp_path).read(KEYS[:1]), made([0]))


def test_ranks_and_sources_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        store_in(tmp_path, rank=2, world=2)
    with pytest.raises(ConfigError, match="source"):
        store_in(tmp_path, source={"maps": object()})


def test_an_image_is_known_by_its_content_and_its_class(tmp_path):
    first, copy, other = (tmp_path / name for name in "abc")
    first.write_bytes(b"one")
    copy.write_bytes(b"one")
    os.utime(copy, (0, 0))
    other.write_bytes(b"two")
    assert image_key(first, 3) == image_key(copy, 3)
    assert len({image_key(first, 3), image_key(first, 4), image_key(other, 3)}) == 3
    with pytest.raises(DataError, match="cannot be read"):
        image_key(tmp_path / "d", 0)


def test_a_network_is_known_by_its_weights():
    def network(seed, kind=torch.float32):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(kind)

    digests = {network_digest(network(0)), network_digest(network(1)), network_digest(network(0, torch.bfloat16))}
    assert len(digests) == 3
    assert network_digest(network(0)) in digests
