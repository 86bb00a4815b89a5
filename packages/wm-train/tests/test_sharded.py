"""A model in parts: made whole, gone on with, and never stepped where it is whole.

One process is a group of one here. That two make the update of one, and are killed and gone on
with as if nothing had been, test_processes and test_processes_resume say.
"""

import copy
import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch.distributed.checkpoint import filesystem
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM
from transformers.distributed.configuration_utils import DistributedConfig

from wm_eval import together
from wm_train import base, full_disk, head, sharded
from wm_train.config import ModelConfig
from wm_train.errors import ConfigError

IDS = torch.arange(12)[None]


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test in a child with a group of its own.

    Other tests fork this process, which torch allows no more once such a model was trained in it.
    """

    @functools.wraps(test)
    def call(tmp_path: Path, **fixtures: Any) -> None:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store = f"file://{tmp_path}/store"
                dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
                test(tmp_path=tmp_path, **fixtures)
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return call


@pytest.fixture
def in_parts(base_dir: Path) -> Callable[..., Any]:
    """The demo's base divided as transformers divides it, which leaves one process alone."""

    def make(half: bool = False) -> Any:
        model = AutoModelForCausalLM.from_pretrained(base_dir)
        for layer in model.model.layers:
            fully_shard(layer, reshard_after_forward=True)
        ends = [model.model.norm, model.model.embed_tokens, model.lm_head]
        fully_shard(ends, reshard_after_forward=False)
        fully_shard(model)
        model.config.distributed_config = DistributedConfig(fsdp_mixed_precision=half)
        return model

    return make


@apart
def test_a_whole_model_is_the_one_that_was_divided(
    in_parts: Callable[..., Any], base_dir: Path, tmp_path: Path
) -> None:
    plain, model = AutoModelForCausalLM.from_pretrained(base_dir), in_parts()
    with sharded.whole(model) as whole, torch.no_grad():
        assert whole is not model
        assert whole.lm_head.weight is whole.model.embed_tokens.weight
        assert whole.generation_config == model.generation_config
        assert not hasattr(whole.config, "distributed_config")
        for name, weight in plain.named_parameters():
            assert torch.equal(weight, whole.get_parameter(name)), name
        assert torch.equal(plain(IDS).logits, whole(IDS).logits)
    assert model.config.distributed_config is not None
    assert (together.in_parts(model), together.in_parts(plain)) == (True, False)


@apart
def test_a_whole_model_comes_in_the_type_that_layers_compute_in(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    with sharded.whole(in_parts(half=True)) as whole:
        assert {weight.dtype for weight in whole.parameters()} == {torch.bfloat16}
    with sharded.whole(in_parts(half=True), torch.float32, "cpu") as whole:
        assert {weight.dtype for weight in whole.parameters()} == {torch.float32}


def test_what_is_not_divided_is_whole(base_dir: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(base_dir)
    with sharded.whole(plain, torch.bfloat16) as whole:
        assert whole is plain
        assert plain.dtype == torch.float32


class Made:
    """What a Trainer does with the weights that it finds."""

    def create_optimizer(self) -> Any:
        self.optimizer = SimpleNamespace(
            optimizer=torch.optim.AdamW(self.model.parameters(), lr=0.1)
        )
        return self.optimizer


class Trained(sharded.ShardedState, Made):
    def __init__(self, model: Any) -> None:
        self.model, self.args = model, SimpleNamespace(should_save=True)
        optimizer = self.create_optimizer().optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=9)

    def step(self) -> None:
        self.model(input_ids=IDS, labels=IDS).loss.backward()
        self.optimizer.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.optimizer.zero_grad()


@apart
def test_an_optimizer_is_made_of_parts_though_a_pass_left_weights_whole(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    model = in_parts()
    with torch.no_grad():
        model(input_ids=IDS)
    kinds = {type(weight) for weight in model.parameters()}
    assert kinds != {DTensor}  # the trap: if it goes, so may let_go
    trained = Trained(model)
    held = [w for g in trained.optimizer.optimizer.param_groups for w in g["params"]]
    assert all(isinstance(weight, DTensor) for weight in held)
    before = model.model.embed_tokens.weight.full_tensor().clone()
    trained.step()
    assert not torch.equal(before, model.model.embed_tokens.weight.full_tensor())


@apart
def test_a_training_in_parts_goes_on_from_what_it_saved(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    """Two steps are the same whether or not the second is made by another process."""
    first = Trained(in_parts())
    first.step()
    with sharded.whole(first.model) as whole:
        whole.save_pretrained(tmp_path, max_shard_size="2MB")  # several files; no tied head in them
    first._save_optimizer_and_scheduler(str(tmp_path))
    first.step()

    second = Trained(in_parts())
    second._load_from_checkpoint(str(tmp_path))
    second._load_optimizer_and_scheduler(str(tmp_path))
    assert second.lr_scheduler.last_epoch == 1
    second.step()
    for (name, one), two in zip(
        first.model.named_parameters(), second.model.parameters(), strict=True
    ):
        assert torch.equal(one.full_tensor(), two.full_tensor()), name


@apart
def test_a_checkpoint_without_one_of_the_weights_is_no_checkpoint(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    with sharded.whole(in_parts()) as whole:
        kept = {n: w for n, w in whole.state_dict().items() if "layers.0.mlp.up" not in n}
        whole.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(RuntimeError, match=r"layers\.0\.mlp\.up_proj"):
        sharded.load_weights(in_parts(), tmp_path)


@apart
def test_a_full_disk_is_one_though_another_process_found_it(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    """DCP wraps what went wrong in any process in something that is no Exception."""
    trained = Trained(in_parts())
    trained.step()

    def full(*asked: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    filesystem._write_item = full
    with pytest.raises(OSError, match="No space left") as caught:
        trained._save_optimizer_and_scheduler(str(tmp_path))
    assert full_disk.is_full(caught.value, tmp_path)


@apart
def test_a_divided_head_of_its_own_makes_no_logits(base_dir: Path, tmp_path: Path) -> None:
    """FSDP2 gives it a class of its own, with which it is a linear layer still."""
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    untied = copy.deepcopy(model.config)
    untied.tie_word_embeddings = False
    divided = type(model)(untied)
    fully_shard([divided.model.norm, divided.lm_head])
    assert type(divided.lm_head) is not torch.nn.Linear
    assert head._is_plain(divided.lm_head)
    assert head._is_plain(model.lm_head)
    assert not head._is_plain(torch.nn.Linear(2, 2, bias=True))
    assert not head._is_plain(model.model.norm)


@apart
def test_nothing_of_a_whole_model_stays(in_parts: Callable[..., Any], tmp_path: Path) -> None:
    with sharded.whole(in_parts()) as whole:
        weight = whole.lm_head.weight
        assert weight.device.type == "cpu"
    assert whole.lm_head.weight.device.type == "meta"  # though it is held here


@apart
def test_too_little_memory_for_a_whole_model_is_one_line(
    in_parts: Callable[..., Any], tmp_path: Path
) -> None:
    model = in_parts()

    def short(*asked: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    sharded._fill = short
    with pytest.raises(sharded.WholeModelError, match=r"0\.0 GiB beside"), sharded.whole(model):
        pass


def test_parts_take_several_processes_and_all_weights() -> None:
    with pytest.raises(ConfigError, match="over several processes, and there is one"):
        base.check(ModelConfig(base="demo", sharded=True))
    with pytest.raises(ValidationError, match=r"leave model\.lora out, or set sharded to false"):
        ModelConfig(base="demo", sharded=True, lora={"r": 4})


@pytest.mark.parametrize(("precision", "half"), [("float32", False), ("bfloat16", True)])
def test_layers_are_gathered_in_the_precision_of_the_run(precision: str, half: bool) -> None:
    config = ModelConfig(base="demo", precision=precision, sharded=True)
    told = sharded.loading(config)["distributed_config"]
    assert (told.fsdp_size, told.fsdp_mixed_precision) == (1, half)
    assert sharded.loading(config.model_copy(update={"sharded": False})) == {}
