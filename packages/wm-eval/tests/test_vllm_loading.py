"""How a vLLM engine is started, and what is refused before: against stand-ins for vLLM's modules.

They take the names that vLLM 0.33.0's source has, and no others. Where vLLM is installed the list
is held against it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from wm_eval import WmEvalError, vllm_adapter
from wm_eval.cli import main
from wm_eval.vllm_adapter import check_config, check_weights, layers, vllm_rank
from wm_eval.vllm_loading import load_vllm
from wm_manifest import EvalReport, load

pytestmark = [
    # peft 0.21 asks transformers for an attribute under its old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
]

KNOWN = {  # of vLLM 0.33.0
    # The arguments of LLM and of EngineArgs, to which it hands the rest on, that could be ours.
    "LLM": """model tokenizer dtype quantization revision tokenizer_revision seed
        gpu_memory_utilization enforce_eager max_model_len enable_chunked_prefill enable_lora
        max_loras max_lora_rank lora_dtype lora_target_modules""",
    "SamplingParams": """n presence_penalty frequency_penalty repetition_penalty temperature
        watermarking top_p top_k min_p seed stop stop_token_ids ignore_eos max_tokens min_tokens
        logprobs prompt_logprobs prompt_logprob_token_ids prompt_logprob_start logprob_token_ids
        flat_logprobs detokenize skip_special_tokens spaces_between_special_tokens
        include_stop_str_in_output output_kind stream_interval skip_clone
        output_text_buffer_length _eos_token_id _all_stop_token_ids _watermarking_skipped
        structured_outputs logit_bias allowed_token_ids extra_args bad_words _bad_words_token_ids
        skip_reading_prefix_cache thinking_token_budget repetition_detection
        routed_experts_prompt_start trace_decode_token_ids""",
    "LoRARequest": """lora_name lora_int_id lora_path base_model_name load_inplace
        is_3d_lora_weight""",
    "generate": """prompts sampling_params use_tqdm lora_request priority tokenization_kwargs
        mm_processor_kwargs""",
}


def take(what: str, names: Iterable[str]) -> None:
    unknown = set(names) - set(KNOWN[what].split())
    if unknown:
        raise TypeError(f"vLLM 0.33.0 has no {sorted(unknown)} in {what}")


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand-ins in place of vLLM: what they were given, and two ways to make them fail."""
    seen = SimpleNamespace(started=[], asked=[], room=10_000, fault=None)
    seen.platform = SimpleNamespace(device_type="cuda")

    class SamplingParams:
        def __init__(self, **given: Any) -> None:
            take("SamplingParams", given)
            vars(self).update({"max_tokens": 16, "prompt_logprobs": None} | given)

    class LoRARequest:
        def __init__(self, lora_name: str, lora_int_id: int, lora_path: str = "") -> None:
            self.lora_path = lora_path

    class LLM:
        def __init__(self, model: str, **given: Any) -> None:
            take("LLM", given)
            seen.started.append(given)
            if seen.fault:
                raise seen.fault
            named = given.get("dtype", "auto")
            if named == "auto":
                saved = json.loads((Path(model) / "config.json").read_text())["dtype"]
                named = "bfloat16" if saved == "float32" else saved
            dtype = getattr(torch, named)
            self.model_config = SimpleNamespace(dtype=dtype, max_model_len=seen.room)

        def generate(self, prompts: Any, sampling_params: Any, **given: Any) -> list[Any]:
            take("generate", given)
            seen.asked.append(given)
            rows = [prompt["prompt_token_ids"] for prompt in prompts]
            return [
                SimpleNamespace(
                    outputs=[
                        SimpleNamespace(token_ids=[40] * p.max_tokens, finish_reason="length")
                    ],
                    prompt_logprobs=[{id: SimpleNamespace(logprob=-1.0)} for id in ids]
                    if p.prompt_logprobs is not None
                    else None,
                )
                for ids, p in zip(rows, sampling_params, strict=True)
            ]

    modules = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.platforms": {"current_platform": seen.platform},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "")  # so that it is as it was afterwards
    monkeypatch.delenv("VLLM_LOGGING_STREAM")
    return seen


@pytest.fixture
def save_model(
    tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any
) -> Callable[..., str]:
    def save(dtype: torch.dtype = torch.bfloat16) -> str:
        make_model().to(dtype).save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


@pytest.fixture
def save_adapter(tmp_path: Path, make_model: Callable[..., Any]) -> Callable[..., str]:
    """An adapter of the model with `changes`."""
    from peft import LoraConfig, get_peft_model

    def save(targets: Any = ("q_proj",), changes: Any = None, **lora: Any) -> str:
        model = make_model(**(changes or {}))
        config = LoraConfig(r=2, target_modules=targets, **lora)
        get_peft_model(model, config).save_pretrained(
            tmp_path / "adapter", save_embedding_layers=False
        )
        return str(tmp_path / "adapter")

    return save


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"hidden_size": 16}], ids=str
)
def test_an_adapter_of_another_model_is_refused(
    vllm: Any, save_model: Callable[..., str], save_adapter: Callable[..., str], changes: Any
) -> None:
    """vLLM would put on the two layers that it has, or a narrower matrix into a corner."""
    with pytest.raises(WmEvalError, match="does not fit the model"):
        load_vllm(save_model(), save_adapter(changes=changes))
    assert vllm.started == []


def test_an_adapter_is_told_by_its_layers_and_its_largest_rank(
    vllm: Any, save_model: Callable[..., str], save_adapter: Callable[..., str]
) -> None:
    targets = ["q_proj", "down_proj", "embed_tokens"]
    adapter = save_adapter(targets, rank_pattern={"down_proj": 20})
    with_it, below, _ = load_vllm(save_model(), adapter)
    assert vllm.started[0] == {
        "dtype": "auto",
        "revision": None,
        "tokenizer_revision": None,
        "max_model_len": -1,
        "enable_lora": True,
        "max_lora_rank": 32,
        "lora_target_modules": ["down_proj", "embed_tokens", "q_proj"],
    }
    assert with_it.lora.lora_path == adapter
    assert below is not None
    assert below.lora is None


@pytest.mark.parametrize("targets", [["q_proj", "lm_head"], r".*(q_proj|lm_head)"])
def test_an_adapter_on_the_head_is_refused_whatever_its_targets_are_called(
    vllm: Any, save_model: Callable[..., str], save_adapter: Callable[..., str], targets: Any
) -> None:
    with pytest.raises(WmEvalError, match=r"is on lm_head too, .* --merge"):
        load_vllm(save_model(), save_adapter(targets))
    assert vllm.started == []


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save = "),
        ({"use_dora": True}, "use_dora = True"),
        ({"lora_bias": True}, "lora_bias = True"),
        ({"bias": "lora_only"}, "bias = lora_only"),
        ({"layer_replication": [[0, 2]]}, "layer_replication = "),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa"),
        ({"peft_type": "IA3"}, "peft_type = IA3"),
        ({"peft_type": "LORA", "bias": "none", "use_dora": False, "modules_to_save": None}, None),
        ({"init_lora_weights": "gaussian", "use_rslora": True, "alpha_pattern": {"q": 4}}, None),
    ],
)
def test_what_vllm_does_not_take_is_refused_by_its_name(config: Any, named: str | None) -> None:
    if named is None:
        check_config(config, "runs/a/adapter")
    else:
        with pytest.raises(WmEvalError, match=f"runs/a/adapter has {named}.*--merge"):
            check_config(config, "runs/a/adapter")


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", True),
        ("base_model.model.model.embed_tokens.lora_embedding_A", True),
        ("base_model.model.model.embed_tokens.base_layer.weight", True),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", False),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", False),
        ("base_model.model.model.embed_tokens.weight", False),
    ],
)
def test_a_tensor_that_vllm_does_not_take_is_refused(name: str, taken: bool) -> None:
    if taken:
        check_weights([name], "runs/a/adapter")
    else:
        with pytest.raises(WmEvalError, match="more than matrices of LoRA"):
            check_weights([name], "runs/a/adapter")


@pytest.mark.parametrize("name", ["experts.3.up_proj", "experts", "experts.base_layer"])
def test_experts_are_one_layer(name: str) -> None:
    assert layers([f"model.layers.0.mlp.{name}.lora_A.weight"]) == ["experts"]


def test_a_rank_beyond_vllms_is_refused() -> None:
    with pytest.raises(WmEvalError, match="rank 600"):
        vllm_rank({"r": 8, "rank_pattern": {"q_proj": 600}})


@pytest.mark.parametrize(
    ("saved", "asked", "passed", "taken"),
    [
        (torch.float32, "auto", "float32", torch.float32),
        (torch.bfloat16, "auto", "auto", torch.bfloat16),
        (torch.float16, "auto", "auto", torch.float16),
        (torch.float32, "bfloat16", "bfloat16", torch.bfloat16),
    ],
)
def test_auto_keeps_what_was_saved(
    vllm: Any,
    save_model: Callable[..., str],
    saved: torch.dtype,
    asked: str,
    passed: str,
    taken: torch.dtype,
) -> None:
    generator, below, _ = load_vllm(save_model(saved), dtype=asked)
    assert (vllm.started[0]["dtype"], generator.dtype, below) == (passed, taken, None)


def test_a_config_without_a_dtype_needs_one(vllm: Any, save_model: Callable[..., str]) -> None:
    model = save_model()
    path = Path(model) / "config.json"
    config = json.loads(path.read_text())
    del config["dtype"]
    path.write_text(json.dumps(config))
    with pytest.raises(WmEvalError, match="names no dtype; give --dtype float32, bfloat16"):
        load_vllm(model)
    load_vllm(model, dtype="float16")
    assert [given["dtype"] for given in vllm.started] == ["float16"]


@pytest.mark.parametrize(("device", "refused"), [("cuda", True), ("cpu", False)])
def test_an_adapter_on_float32_is_refused_where_vllms_kernels_stop(
    vllm: Any,
    save_model: Callable[..., str],
    save_adapter: Callable[..., str],
    device: str,
    refused: bool,
) -> None:
    vllm.platform.device_type = device
    model, adapter = save_model(torch.float32), save_adapter()
    if refused:
        with pytest.raises(WmEvalError, match=r"float32; give --dtype bfloat16, or merge it"):
            load_vllm(model, adapter)
    else:
        load_vllm(model, adapter)
    assert len(vllm.started) == (not refused)


@pytest.mark.parametrize(("device", "cut"), [("cuda", None), ("cpu", False)])
def test_prompts_are_not_cut_in_two_where_vllm_stops_at_it(
    vllm: Any, save_model: Callable[..., str], device: str, cut: bool | None
) -> None:
    """vLLM 0.32 sets a generator back when it samples for a part, and a processor's has no way."""
    vllm.platform.device_type = device
    load_vllm(save_model())
    assert vllm.started[0].get("enable_chunked_prefill") is cut


def test_it_can_be_installed_beside_the_documented_vllm() -> None:
    pins = {"transformers": "5.20.0", "torch": "2.14.0", "huggingface-hub": "1.31.0"}  # of 0.33.0
    for line in metadata.requires("wm-eval") or ():
        needed = Requirement(line)
        if pinned := pins.pop(needed.name, None):
            assert pinned in needed.specifier, f"vLLM 0.33 has {needed.name} {pinned}, and {line}"
    assert pins == {}


def run(capsys: pytest.CaptureFixture[str], *tokens: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["--backend", "vllm", *map(str, tokens)])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_command_reports_what_vllm_took(
    vllm: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    save_model: Callable[..., str],
    save_adapter: Callable[..., str],
    dataset_dir: Path,
    tmp_path: Path,
) -> None:
    real = metadata.version
    versions = {"vllm": "0.33.0"}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))
    code, out, err = run(
        capsys, "--model", save_model(), "--adapter", save_adapter(), "--data", dataset_dir,
        "--limit", 2, "--max-new-tokens", 4, "--out", tmp_path / "e",
    )  # fmt: skip
    assert code == 0, err
    assert "watermark/red/success" in out
    report = load(EvalReport, tmp_path / "e" / "eval.json")
    assert (report.precision, report.packages["vllm"]) == ("bfloat16", "0.33.0")
    assert report.hardware.endswith(" vllm")
    assert {given["lora_request"] is None for given in vllm.asked} == {True, False}
    assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"  # stdout has the table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--temperature", "2.5"],
            "temperature is 2.5; of vLLM expected 0 (greedy) or 0.01 to 2.0",
        ),
        (["--temperature", "0.001"], "temperature is 0.001"),
        (["--base", "owner/base"], "--base owner/base goes with no --backend vllm"),
        (["--device", "cpu"], "--device cpu goes with no --backend vllm"),
        (["--revision", "v1"], "--revision v1 is of a hub id"),
        (["--adapter-revision", "v1"], "--adapter-revision v1 is of a hub id, and none was given"),
        (["--dtype", "float8"], "dtype 'float8' is not known"),
        (["--adapter", "/nowhere/a"], "adapter /nowhere/a does not exist"),
    ],
)
def test_an_option_that_cannot_be_meant_is_one_line_and_loads_nothing(
    vllm: Any,
    capsys: pytest.CaptureFixture[str],
    save_model: Callable[..., str],
    dataset_dir: Path,
    options: list[str],
    message: str,
) -> None:
    code, _, err = run(capsys, "--model", save_model(), "--data", dataset_dir, *options)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert message in err
    assert vllm.started == []


@pytest.mark.parametrize(
    ("fault", "device", "message"),
    [
        (
            RuntimeError("Engine core initialization failed.\n\nSee"),
            "cuda",
            "initialization failed",
        ),
        (ValueError("no such architecture"), "cuda", "no such architecture"),
        (None, "", "vLLM finds no GPU"),
    ],
)
def test_an_engine_that_does_not_start_is_one_line(
    vllm: Any,
    capsys: pytest.CaptureFixture[str],
    save_model: Callable[..., str],
    dataset_dir: Path,
    fault: Exception | None,
    device: str,
    message: str,
) -> None:
    vllm.fault, vllm.platform.device_type = fault, device
    code, _, err = run(capsys, "--model", save_model(), "--data", dataset_dir)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert message in err


def test_without_vllm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(WmEvalError, match=r"pip install 'vllm==0.33.\*'"):
        load_vllm("owner/model")


@pytest.mark.vllm
@pytest.mark.filterwarnings("default")  # vLLM's own
def test_the_names_are_those_of_the_vllm_that_is_installed() -> None:
    import dataclasses
    import inspect
    from typing import get_args

    import vllm
    from vllm.config.lora import MaxLoRARanks
    from vllm.lora.peft_helper import PEFTHelper
    from vllm.lora.request import LoRARequest

    known = {what: set(names.split()) for what, names in KNOWN.items()}
    assert known["LLM"] <= {field.name for field in dataclasses.fields(vllm.EngineArgs)}
    assert known["SamplingParams"] == set(vllm.SamplingParams.__struct_fields__)
    assert known["LoRARequest"] == set(LoRARequest.__struct_fields__)
    assert known["generate"] == set(inspect.signature(vllm.LLM.generate).parameters) - {"self"}
    assert set(get_args(MaxLoRARanks)) == set(vllm_adapter.RANKS)
    read = {field.name for field in dataclasses.fields(PEFTHelper)}
    assert set(vllm_adapter.REFUSED) - read == {"trainable_token_indices"}
    for begun in vllm_adapter.PLAIN:
        lora = PEFTHelper(r=2, lora_alpha=2, target_modules=["q_proj"], init_lora_weights=begun)
        assert lora._validate_features() == []
