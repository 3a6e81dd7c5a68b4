"""Generators as other programs save them: under prefixes, in dicts, beside other networks, in two parts."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.generator_files import Sizes, random_tensors, rosinality_state
from support.variants import variants
from torch import Tensor

from pipeline.checkpoints.read import LoadedGenerator, load_generator
from pipeline.errors import UsageError
from pipeline.models.stylegan1 import StyleGAN1

State = dict[str, Tensor]
SIZES = Sizes()
TENSORS = random_tensors(SIZES)
AVERAGE = TENSORS["mapping.w_avg"]


def stylegan1_state() -> State:
    torch.manual_seed(0)
    network = StyleGAN1((4, 4), 8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return dict(network.state_dict())


STATES: dict[str, State] = {
    "rosinality": {name: tensor.clone() for name, tensor in rosinality_state(TENSORS, SIZES).items()},
    "ada": {name: tensor for name, tensor in TENSORS.items() if name != "mapping.w_avg"},
    "stylegan1": stylegan1_state(),
}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "c.pt")
    return folder / "c.pt"


def refusal(path: Path, key: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_generator(path, key=key)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def weights(loaded: LoadedGenerator) -> State:
    return loaded.generator.state_dict()  # type: ignore[attr-defined, no-any-return]


def assert_is(loaded: LoadedGenerator, state: State, folder: Path) -> None:
    """The network of a state dict that nothing wraps, to the bit."""
    plain = plain_of(state, folder)
    assert type(loaded.generator) is type(plain.generator)
    for name, value in weights(plain).items():
        assert torch.equal(weights(loaded)[name], value), name
    noise = (loaded.generator.stored_noise or (), plain.generator.stored_noise or ())
    assert all(torch.equal(a, b) for a, b in zip(*noise, strict=True))


def plain_of(state: State, folder: Path) -> LoadedGenerator:
    """The generator of a state dict; each of ``STATES`` is loaded once."""
    form = next((name for name, known in STATES.items() if known is state), None)
    if form not in _PLAIN:
        torch.save(state, folder / "plain.pt")
        loaded = load_generator(folder / "plain.pt")
        if form is None:
            return loaded
        _PLAIN[form] = loaded
    return _PLAIN[form]


_PLAIN: dict[str | None, LoadedGenerator] = {}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


def parted(state: State, mark: str) -> tuple[State, State]:
    """(mapping, synthesis) by the names that mark the mapping."""
    mapping = {name: tensor for name, tensor in state.items() if name.startswith(mark)}
    return mapping, {name: tensor for name, tensor in state.items() if name not in mapping}


def without(prefix: str, state: State) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


DISCRIMINATOR = {"convs.0.0.weight": torch.ones(2, 3, 1, 1), "final_linear.0.weight": torch.ones(2, 2)}
ENCODER = {"input_layer.0.weight": torch.ones(2, 3, 3, 3), "styles.0.convs.0.weight": torch.ones(2, 2, 3, 3)}

WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "DataParallel": lambda s: {"g_ema": under("module.", s)},
    "torch.compile": lambda s: {"g_ema": under("_orig_mod.", s)},
    "DDP of torch.compile": lambda s: {"g_ema": under("module._orig_mod.", s)},
    "torch.compile of DDP": lambda s: {"model": under("_orig_mod.module.", s)},
    "FSDP": lambda s: {"model": under("_fsdp_wrapped_module.", s)},
    "Lightning": lambda s: {
        "state_dict": under("generator.", s) | under("discriminator.", DISCRIMINATOR),
        "epoch": 3,
        "pytorch-lightning_version": "2.0.0",
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 1e-3},
    },
    "Lightning with an averaged copy": lambda s: {
        "state_dict": under("g_ema.", s) | under("g.", other(s)) | under("d.", DISCRIMINATOR)
    },
    "Lightning's callback": lambda s: {
        "state_dict": under("generator.", other(s)),
        "callbacks": {"EMACallback": {"ema_state_dict": under("generator.", s), "decay": 0.999}},
    },
    "Lightning of torch.compile": lambda s: {"state_dict": under("net_g._orig_mod.", s)},
    "pSp, e4e, ReStyle": lambda s: {
        "state_dict": under("decoder.", s) | under("encoder.", ENCODER),
        "opts": {"stylegan_size": 16},
        "latent_avg": AVERAGE[None].repeat(18, 1),
    },
    "BasicSR": lambda s: {"params": other(s), "params_ema": s},
    "timm": lambda s: {"state_dict": other(s), "state_dict_ema": s, "arch": "sg", "metric": 1.5},
    "netG and ema": lambda s: {"netG": other(s), "netD": DISCRIMINATOR, "ema": s},
    "netG": lambda s: {"netG": s, "netD": DISCRIMINATOR, "iter": 5},
    "model and model_ema": lambda s: {"model": other(s), "model_ema": s},
    "ema_pytorch": lambda s: {
        "initted": torch.tensor(True),
        "step": torch.tensor(7),
        **under("online_model.", other(s)),
        **under("ema_model.", s),
    },
    "AveragedModel of PyTorch": lambda s: {"n_averaged": torch.tensor(9), **under("module.", s)},
    "two averages' names": lambda s: {"ema_0.999": s, "model": other(s)},
    "DeepSpeed": lambda s: {"module": s, "global_steps": 10, "ds_config": {"train_batch_size": 4}},
    "one state under two names": lambda s: {"weights": s, "backup": s},
    "an ordered dict": lambda s: OrderedDict(s),
    "a training state": lambda s: {
        "args": Namespace(size=16, ckpt=None),
        "g": other(s),
        "d": DISCRIMINATOR,
        "g_ema": s,
        "g_optim": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.002}]},
    },
    "a list": lambda s: [s, {"lr": 0.1}],
    "numbers beside it": lambda s: {**s, "epoch": 3, "lr": 0.1, "name": "faces", "seen": torch.tensor(3)},
}


@pytest.mark.parametrize(
    ("wrapping", "form"),
    [
        pytest.param(wrapping, form, marks=() if (i - j) % len(STATES) == 0 else pytest.mark.slow)
        for i, wrapping in enumerate(WRAPPINGS)
        for j, form in enumerate(STATES)
    ],
)
def test_a_wrapped_generator_is_the_plain_one(tmp_path: Path, wrapping: str, form: str) -> None:
    state = STATES[form]
    assert_is(load_generator(saved(tmp_path, WRAPPINGS[wrapping](state))), state, tmp_path)


@pytest.mark.parametrize("form", STATES)
@pytest.mark.parametrize("prefix", ["", "generator.", "module._orig_mod.", "net.g_ema."])
def test_a_safetensors_file_is_the_same_network(tmp_path: Path, form: str, prefix: str) -> None:
    state = STATES[form]
    save_file(under(prefix, state), tmp_path / "c.safetensors", metadata={"format": "pt"})
    assert_is(load_generator(tmp_path / "c.safetensors"), state, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_safetensors_of_other_precisions_are_read_by_value(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in STATES["rosinality"].items()}
    save_file(state, tmp_path / "c.safetensors")
    assert_is(load_generator(tmp_path / "c.safetensors"), state, tmp_path)


def test_a_safetensors_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    save_file(STATES["rosinality"], tmp_path / "c.safetensors")
    whole = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "its safetensors header is truncated or damaged" in refusal(tmp_path / "c.safetensors")


def test_all_the_layers_modules_that_wrappers_renamed_are_found(tmp_path: Path) -> None:
    """DistributedDataParallel or torch.compile of single parts puts its name in the middle."""
    state = STATES["ada"]
    renamed = {name.replace("synthesis.", "synthesis.module."): tensor for name, tensor in state.items()}
    renamed = {name.replace("b8.conv0.", "b8._orig_mod.conv0."): tensor for name, tensor in renamed.items()}
    assert_is(load_generator(saved(tmp_path, {"G_ema": renamed})), state, tmp_path)


@pytest.mark.parametrize(
    ("form", "mark", "mapping_key", "synthesis_key"),
    [
        ("ada", "mapping.", "mapping", "synthesis"),
        ("ada", "mapping.", "G_mapping", "G_synthesis"),
        ("ada", "mapping.", "mapping_ema", "synthesis_ema"),
        ("stylegan1", "g_mapping.", "g_mapping", "g_synthesis"),
        ("stylegan1", "g_mapping.", "mapping", "synthesis"),
        ("rosinality", "style.", "mapping", "synthesis"),
    ],
)
@pytest.mark.parametrize("join", variants("dicts", "prefixes", "below a key", "below a wrapper", fast=2))
def test_mapping_and_synthesis_may_stand_apart(
    tmp_path: Path, form: str, mark: str, mapping_key: str, synthesis_key: str, join: str
) -> None:
    mapping, synthesis = parted(STATES[form], mark)
    if form != "rosinality":  # whose mapping has no name of its own
        mapping = without(mark, mapping)
        synthesis = without("g_synthesis." if form == "stylegan1" else "synthesis.", synthesis)
    content: dict[str, Any] = {mapping_key: mapping, synthesis_key: synthesis}
    if join == "prefixes":
        content = under(f"{mapping_key}.", mapping) | under(f"{synthesis_key}.", synthesis)
    elif join == "below a key":
        content = {"state_dict": content, "D": {"mapping": {"fc0.weight": torch.ones(2, 2)}}}
    elif join == "below a wrapper":
        content = {mapping_key: under("module.", mapping), synthesis_key: under("module.", synthesis)}
    assert_is(load_generator(saved(tmp_path, content)), STATES[form], tmp_path)


def test_the_style_of_a_separate_mapping_may_be_the_dicts_name(tmp_path: Path) -> None:
    mapping, synthesis = parted(STATES["rosinality"], "style.")
    content = {"style": without("style.", mapping), "synthesis": synthesis}
    assert_is(load_generator(saved(tmp_path, content)), STATES["rosinality"], tmp_path)


def test_a_pickled_module_is_read_by_its_tensors(tmp_path: Path) -> None:
    """As `torch.save(network)` writes it; also one that is a part of another module."""
    torch.manual_seed(0)
    network = StyleGAN1((4, 4), 8)
    torch.save(torch.nn.ModuleDict({"generator": network}), tmp_path / "m.pt")
    loaded = load_generator(tmp_path / "m.pt")
    assert_is(loaded, dict(network.state_dict()), tmp_path)
    assert loaded.format == "StyleGAN1 state dict (for_g_all), generator"


# --- several generators ---


def two_generators() -> dict[str, Any]:
    return {"cats": STATES["rosinality"], "dogs": other(STATES["rosinality"]), "latent_avg": AVERAGE}


def test_unrelated_generators_are_refused_by_name_and_a_key_picks_one(tmp_path: Path) -> None:
    path = saved(tmp_path, two_generators())
    message = refusal(path)
    assert "it holds 2 generators" in message and "--key, which may be 'cats' or 'dogs'" in message
    assert "whole and unmodified" not in message
    for key, state in (("cats", STATES["rosinality"]), ("dogs", other(STATES["rosinality"]))):
        loaded = load_generator(path, key=key)
        assert_is(loaded, state, tmp_path)
        assert loaded.key == key
        assert loaded.average_latent is None  # whose it is, is not said
    assert "no generator under the key 'birds'; --key may be 'cats' or 'dogs'" in refusal(path, "birds")


@pytest.mark.parametrize(
    ("key", "recorded"),
    [(None, None), ("g_ema", None), ("g", "state_dict.g"), ("state_dict.g", "state_dict.g")],
)
def test_a_key_is_recorded_where_it_changes_what_is_loaded(
    tmp_path: Path, key: str | None, recorded: str | None
) -> None:
    state = STATES["rosinality"]
    path = saved(tmp_path, {"state_dict": under("g.", other(state)) | under("g_ema.", state)})
    loaded = load_generator(path, key=key)
    assert loaded.key == recorded
    assert_is(loaded, state if recorded is None else other(state), tmp_path)


def test_a_generator_of_each_kind_in_one_file_is_two_generators(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": STATES["stylegan1"], "b": STATES["ada"]})
    assert "--key, which may be 'a' or 'b'" in refusal(path)
    assert_is(load_generator(path, key="b"), STATES["ada"], tmp_path)


def test_a_mapping_network_that_belongs_to_no_one_is_not_guessed(tmp_path: Path) -> None:
    mapping, synthesis = parted(STATES["ada"], "mapping.")
    content = {"G": without("synthesis.", synthesis), "D": mapping}
    assert "the generator has no mapping network" in refusal(saved(tmp_path, content))
    parts = {"synthesis": without("synthesis.", synthesis)}
    parts |= {f"mapping_{i}": without("mapping.", mapping) for i in range(2)}
    assert "mapping networks under 'mapping_0' and 'mapping_1'" in refusal(saved(tmp_path, parts))


@pytest.mark.parametrize("form", STATES)
def test_an_averaged_generator_that_is_damaged_is_not_replaced_unasked(tmp_path: Path, form: str) -> None:
    marks = ("b4.const", "blocks.4x4.const", "conv1.conv.modulation.weight")
    state = STATES[form]
    damaged = {name: tensor for name, tensor in state.items() if not name.endswith(marks)}
    path = saved(tmp_path, {"g": state, "g_ema": damaged})
    message = refusal(path)
    assert "the averaged network under 'g_ema" in message and "has a mapping network and no tensor" in message
    assert_is(load_generator(path, key="g"), state, tmp_path)


def test_an_averaged_generator_that_is_too_deep_is_not_replaced_unasked(tmp_path: Path) -> None:
    deep: torch.nn.Module = torch.nn.Linear(1, 1)
    for _ in range(12):
        deep = torch.nn.Sequential(deep)
    path = saved(tmp_path, {"g": STATES["ada"], "g_ema": deep})
    assert "the averaged network under 'g_ema' cannot be read: the network has modules in more" in refusal(
        path
    )
    assert_is(load_generator(saved(tmp_path, {"g": STATES["ada"], "encoder": deep})), STATES["ada"], tmp_path)


# --- what is left out ---


@pytest.mark.parametrize(
    ("form", "names", "sides"),
    [
        ("rosinality", ("noises.",), ()),
        ("rosinality", (), ("kernel",)),
        ("ada", (), ("noise_const", "resample_filter")),  # an average of the parameters alone
        ("stylegan1", (), ("intermediate.kernel",)),
    ],
)
def test_buffers_may_be_missing(
    tmp_path: Path, form: str, names: tuple[str, ...], sides: tuple[str, ...]
) -> None:
    whole = STATES[form]
    state = {
        k: v for k, v in whole.items() if not k.startswith(names or "!") and not k.endswith(sides or "!")
    }
    assert len(state) < len(whole)
    loaded = load_generator(saved(tmp_path, {"g_ema": state}))
    torch.save(whole, tmp_path / "whole.pt")
    for name, value in weights(load_generator(tmp_path / "whole.pt")).items():
        torch.testing.assert_close(weights(loaded)[name], value)
    if "noise" in str((names, sides)):
        assert loaded.generator.stored_noise is None


def test_one_mapping_layer_is_a_network_and_a_gap_is_not(tmp_path: Path) -> None:
    state = STATES["rosinality"]
    first = {k: v for k, v in state.items() if not k.startswith("style.2")}
    assert (
        len(weights(load_generator(saved(tmp_path, first))).keys() & {"mapping_network.layers.1.weight"}) == 0
    )
    gap = {k.replace("style.2", "style.3"): v for k, v in state.items()}
    assert "missing key 'style.2.weight'" in refusal(saved(tmp_path, gap))
    assert "no mapping network: it has no tensor 'style.1.weight'" in refusal(
        saved(tmp_path, {k: v for k, v in state.items() if not k.startswith("style.")})
    )


def test_a_stray_weight_inside_the_prefix_is_named_and_one_outside_is_not_looked_at(tmp_path: Path) -> None:
    state = STATES["rosinality"]
    stray = under("generator.", {**state, "attention.gate": torch.ones(1)})
    message = refusal(saved(tmp_path, {"state_dict": stray}))
    assert "unknown key 'attention.gate'" in message and "a changed one is not supported" in message
    assert "whole and unmodified" not in message  # no damage adds a tensor
    outside = under("generator.", state) | {"attention.gate": torch.ones(1)}
    assert_is(load_generator(saved(tmp_path, {"state_dict": outside})), state, tmp_path)


# --- average latents ---

ROWS = torch.arange(1.0, 19.0)[:, None] * AVERAGE  # [18, D], a row a layer


STORED = [
    (AVERAGE, AVERAGE),
    (AVERAGE[None], AVERAGE),
    (AVERAGE[None, None], AVERAGE),
    (AVERAGE.half(), AVERAGE.half().float()),
    (AVERAGE[None].repeat(8, 1), AVERAGE),  # one row repeated
    (AVERAGE[None, None].repeat(1, 8, 1), AVERAGE),
    (AVERAGE[None, None].repeat(8, 1, 1), AVERAGE),
    (ROWS, ROWS),
    (ROWS[None], ROWS),
]
PLACES: dict[str, Callable[[State, Tensor], Any]] = {
    "beside": lambda s, a: {"g_ema": s, "latent_avg": a},
    "inside": lambda s, a: {**s, "latent_avg": a},
    "above the prefix": lambda s, a: {"state_dict": {**under("decoder.", s), "latent_avg": a}},
    "below the prefix": lambda s, a: {"state_dict": under("decoder.", {**s, "latent_avg": a})},
    "above the dict": lambda s, a: {"state_dict": under("decoder.", s), "latent_avg": a},
    "truncation": lambda s, a: {"g_ema": under("module.", {**s, "truncation.avg_latent": a})},
    "mean": lambda s, a: {"g_ema": under("module.", s), "mean_latent": a},
}


@pytest.mark.parametrize(
    ("place", "stored", "expected"),
    [
        pytest.param(
            *(place, *values),
            id=f"{place}-{tuple(values[0].shape)}-{j}",
            marks=() if i == 0 or (i + j) % len(STORED) == 0 else pytest.mark.slow,
        )
        for i, place in enumerate(PLACES)
        for j, values in enumerate(STORED)
    ],
)
def test_the_average_latent_is_found_in_every_place_and_form(
    tmp_path: Path, place: str, stored: Tensor, expected: Tensor
) -> None:
    """The fast tests: every form in one place, and every place with one form."""
    loaded = load_generator(saved(tmp_path, PLACES[place](STATES["rosinality"], stored)))
    assert loaded.average_latent is not None and loaded.average_latent.dtype == np.float32
    np.testing.assert_array_equal(loaded.average_latent, expected.numpy())
    assert_is(loaded, STATES["rosinality"], tmp_path)


def test_datasetgans_own_truncation_module_gives_the_average(tmp_path: Path) -> None:
    """Its generator is a Sequential of g_mapping, truncation and g_synthesis."""
    average = torch.randn(8)
    loaded = load_generator(saved(tmp_path, {**STATES["stylegan1"], "truncation.avg_latent": average[None]}))
    np.testing.assert_array_equal(loaded.average_latent, average.numpy())


@pytest.mark.parametrize("average", [torch.ones(7), torch.ones(2, 8, 8), torch.ones(2, 7), torch.ones(())])
def test_an_average_latent_that_does_not_fit_is_named(tmp_path: Path, average: Tensor) -> None:
    message = refusal(saved(tmp_path, {"g_ema": STATES["rosinality"], "latent_avg": average}))
    assert "key 'latent_avg' has shape" in message and "(8,) or (layers, 8)" in message


def test_an_average_latent_of_none_is_none(tmp_path: Path) -> None:
    content = {"g_ema": STATES["rosinality"], "latent_avg": None}
    assert load_generator(saved(tmp_path, content)).average_latent is None


def test_the_average_nearest_to_the_generator_is_its_own(tmp_path: Path) -> None:
    content = {"g_ema": {**STATES["rosinality"], "latent_avg": AVERAGE}, "latent_avg": AVERAGE + 1}
    np.testing.assert_array_equal(load_generator(saved(tmp_path, content)).average_latent, AVERAGE.numpy())


# --- any wrapping at all ---

WORDS = st.sampled_from(["net", "a", "model", "my generator", "G_0", "module", "_orig_mod", "x.y", "état"])


@given(
    form=st.sampled_from(sorted(STATES)),
    prefixes=st.lists(WORDS, max_size=3),
    keys=st.lists(WORDS, max_size=3),
)
def test_any_prefix_below_any_keys_is_found(
    tmp_path_factory: pytest.TempPathFactory, form: str, prefixes: list[str], keys: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    content: Any = under("".join(f"{prefix}." for prefix in prefixes), STATES[form])
    for key in keys:
        content = {"epoch": 1, key: content}
    assert_is(load_generator(saved(folder, content)), STATES[form], folder)
