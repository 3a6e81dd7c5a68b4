"""Every format of a generator: the same weights give the same network, and what does not fit is named."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.generator_files import (
    Network,
    Persistent,
    Sizes,
    _reconstruct_persistent_obj,
    fake_modules,
    persistent_generator,
    random_tensors,
    rosinality_state,
    tensorflow_variables,
    write_ada,
    write_rosinality,
    write_tensorflow,
)
from support.places import FIXTURES
from support.tiny_checkpoints import formats
from support.variants import variants
from torch import Tensor
from torch.nn import functional as F

from pipeline.checkpoints.loaders import tensor_table
from pipeline.checkpoints.read import LoadedGenerator, load_generator, read_generator
from pipeline.errors import UsageError
from pipeline.models.generator import broadcast_w, truncate
from pipeline.models.stylegan2 import StyleGAN2

SIZES = Sizes()
GREY = torch.ones(1, 5, 1, 1)


def rendered(loaded: LoadedGenerator, w_plus: Tensor | None = None) -> list[Tensor]:
    """W, image and features of two latents, with the file's own noise."""
    generator = loaded.generator
    z = torch.randn(2, generator.z_size, generator=torch.Generator().manual_seed(1))
    w = generator.mapping(z)
    if w_plus is None:
        w_plus = broadcast_w(w, generator.num_w_layers)
    found = generator.synthesis(w_plus, generator.stored_noise or ())
    return [w, found.images, *found.features]


def assert_same(first: LoadedGenerator, second: LoadedGenerator, tolerance: float) -> None:
    assert first.average_latent is not None and second.average_latent is not None
    np.testing.assert_array_equal(first.average_latent, second.average_latent)
    for found, wanted in zip(rendered(first), rendered(second), strict=True):
        bound = tolerance * float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=0, atol=bound)


def test_rosinality_and_tensorflow_files_of_the_same_weights_are_the_same_network(tmp_path: Path) -> None:
    tensors = random_tensors(SIZES)
    first = load_generator(write_rosinality(tmp_path / "r.pt", tensors, SIZES))
    second = load_generator(write_tensorflow(tmp_path / "t.pkl", tensors, SIZES))
    assert isinstance(first.generator, StyleGAN2) and isinstance(second.generator, StyleGAN2)
    wanted = first.generator.state_dict()
    for key, value in second.generator.state_dict().items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-6, msg=key)
    assert_same(first, second, 1e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        SIZES,
        Sizes(widths=(6, 5, 4, 3), mapping_layers=8),
        Sizes(architecture="resnet"),
        Sizes(architecture="orig"),
        Sizes(classes=3),
        Sizes(conv_clamp=0.5),
        Sizes(z_size=5),
    ],
    ids=str,
)
def test_tensorflow_and_ada_files_of_the_same_weights_agree(tmp_path: Path, sizes: Sizes) -> None:
    # Not the same bits: one demodulates scaled weights, the other unscaled ones, with an epsilon of 1e-8.
    tensors, label = random_tensors(sizes), 2 if sizes.classes else None
    first = load_generator(write_tensorflow(tmp_path / "t.pkl", tensors, sizes), label)
    second = load_generator(write_ada(tmp_path / "a.pkl", tensors, sizes), label)
    assert first.generator.architecture == second.generator.architecture == "stylegan2"
    assert_same(first, second, 1e-4)


@pytest.mark.parametrize("flat", [False, True])
def test_a_tensorflow_generator_goes_by_the_name_of_its_network(tmp_path: Path, flat: bool) -> None:
    write_tensorflow(tmp_path / "t.pkl", random_tensors(SIZES), SIZES, flat=flat)
    assert load_generator(tmp_path / "t.pkl").format == "StyleGAN2 TensorFlow pickle (Gs)"


def test_a_tensorflow_file_with_all_variables_in_one_network_is_the_same(tmp_path: Path) -> None:
    tensors = random_tensors(SIZES)
    nested = load_generator(write_tensorflow(tmp_path / "n.pkl", tensors, SIZES))
    assert_same(nested, load_generator(write_tensorflow(tmp_path / "f.pkl", tensors, SIZES, flat=True)), 0.0)


def test_the_first_stylegan2_normalises_latent_and_label_together(tmp_path: Path) -> None:
    sizes = replace(SIZES, classes=3)
    tensors = random_tensors(sizes)
    loaded = load_generator(write_tensorflow(tmp_path / "t.pkl", tensors, sizes, joint=True), 1)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    variables = tensorflow_variables(tensors, sizes, joint=True)
    embedding = torch.from_numpy(variables["mapping/LabelConcat/weight"][1]).expand(2, -1)
    x = torch.cat([z, embedding], dim=1)
    x = x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-8)
    for index in range(2):
        weight = torch.from_numpy(variables[f"mapping/Dense{index}/weight"]) * 0.01 / x.shape[1] ** 0.5
        bias = torch.from_numpy(variables[f"mapping/Dense{index}/bias"]) * 0.01
        x = F.leaky_relu(x @ weight + bias, 0.2) * 2**0.5
    torch.testing.assert_close(loaded.generator.mapping(z), x)


def test_a_tensorflow_file_that_was_grown_progressively_ends_in_its_last_block(tmp_path: Path) -> None:
    sizes = replace(SIZES, architecture="orig")
    tensors = random_tensors(sizes)
    variables = tensorflow_variables(tensors, sizes, joint=False)
    renamed = {name.replace("16x16/ToRGB/", "ToRGB_lod0/"): value for name, value in variables.items()}
    renamed |= {"synthesis/lod": np.float32(0), "synthesis/ToRGB_lod1/weight": np.zeros((1, 1, 5, 3), "f4")}
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps(Network("Gs", renamed, {})))
    plain = load_generator(write_tensorflow(tmp_path / "t.pkl", tensors, sizes))
    assert_same(load_generator(tmp_path / "g.pkl"), plain, 0.0)


@pytest.mark.parametrize("name", ["StyleGAN1 TensorFlow", "StyleGAN2 TensorFlow"])
@pytest.mark.parametrize(
    ("whole", "synthesis", "words"),
    [
        (0.0, 0.0, None),
        (0.0, 2.0, None),  # the network sets its part's before it renders
        (1.0, 0.0, "training had reached 4 of 8 px only (its lod is 1, expected 0); use a later snapshot"),
        (0.5, None, "of 8 px only"),  # the last layers are being faded in
        (None, 1.0, "training had reached 4 of 8 px only"),
        (1e30, 0.0, "of 8 px only"),
        (None, None, None),
        (float("nan"), None, "key 'lod' has NaN"),
    ],
)
def test_a_network_that_is_still_growing_is_refused(
    tmp_path: Path, name: str, whole: float | None, synthesis: float | None, words: str | None
) -> None:
    written = formats()[name]
    network = written.content()[-1]
    for part, lod in ((network, whole), (network.state["components"]["synthesis"], synthesis)):
        others = [pair for pair in part.state["variables"] if pair[0] != "lod"]
        part.state["variables"] = others if lod is None else [("lod", np.float32(lod)), *others]
    (tmp_path / "t.pkl").write_bytes(written.write(network))
    if words is None:
        assert load_generator(tmp_path / "t.pkl").generator.resolution == 8
    else:
        assert words in refusal(tmp_path / "t.pkl")


@pytest.mark.parametrize("stray", ["synthesis/8x8/Conv1/lod", "synthesis/4x4/ToRGB_lod0/weight", "my_lod"])
def test_only_the_variables_of_growing_are_left_over(tmp_path: Path, stray: str) -> None:
    variables = tensorflow_variables(random_tensors(SIZES), SIZES, joint=False) | {stray: np.ones(1, "f4")}
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        (tmp_path / "t.pkl").write_bytes(pickle.dumps(Network("Gs", variables, {})))
    assert f"unknown key '{stray}'" in refusal(tmp_path / "t.pkl")


@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 1], None], ids=str)  # None: a box of two
def test_the_resampling_filter_is_the_files(tmp_path: Path, taps: list[int] | None) -> None:
    path = write_tensorflow(tmp_path / "t.pkl", random_tensors(SIZES), SIZES, resample_kernel=taps)
    network = load_generator(path).generator
    assert isinstance(network, StyleGAN2)
    row = torch.tensor([1.0, 1.0] if taps is None else taps, dtype=torch.float32)
    torch.testing.assert_close(
        network.synthesis_network.resample_filter, 4 * row[:, None] * row / row.sum() ** 2
    )


def test_stylegan1_of_tensorflow_gives_the_expected_outputs() -> None:
    folder = FIXTURES / "stylegan1_64"
    if not (folder / "karras2019stylegan-64x64.pkl").is_file():
        pytest.skip(f"fixture folder {folder} is not present")
    loaded = load_generator(folder / "karras2019stylegan-64x64.pkl")
    port = load_generator(folder / "stylegan1.for_g_all.pt").generator
    generator, expected = loaded.generator, np.load(folder / "expected.npz")
    for key, value in port.state_dict().items():  # type: ignore[attr-defined]
        torch.testing.assert_close(generator.state_dict()[key], value, rtol=0, atol=0)  # type: ignore[attr-defined]
    average = np.load(folder / "avg_latent_stylegan1.npy")
    assert loaded.average_latent is not None
    np.testing.assert_allclose(loaded.average_latent, average[0], rtol=0, atol=1e-5 * np.abs(average).max())
    assert [noise.shape[-2:] for noise in generator.stored_noise or ()] == list(generator.noise_shapes)
    z = torch.from_numpy(np.load(folder / "latent_stylegan1.npy")).float()
    with torch.no_grad():
        w_plus = broadcast_w(generator.mapping(z), generator.num_w_layers)
        w_plus = truncate(w_plus, torch.from_numpy(loaded.average_latent), 0.7, 8)
        images = generator.synthesis(w_plus, [torch.zeros(1, 1, *s) for s in generator.noise_shapes]).images
    for found, name in ((w_plus, "w_plus"), (images, "images_float")):
        bound = 1e-4 * np.abs(expected[name]).max()
        np.testing.assert_allclose(found.numpy(), expected[name], rtol=0, atol=bound)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, average: {"g_ema": state, "latent_avg": average, "args": Namespace(size=16, ckpt=None)},
        lambda state, average: {
            "g": {k: v + 1 for k, v in state.items()},
            "g_ema": state,
            "latent_avg": average,
        },
        lambda state, average: {"g_ema": {f"module.{k}": v for k, v in state.items()}, "latent_avg": average},
        lambda state, average: {
            "g_ema": {k: v.half().float() for k, v in state.items()},
            "latent_avg": average,
        },
        lambda state, average: {
            "d": {"convs.0.0.weight": average},
            "g_ema": state,
            "latent_avg": average[None],
        },
    ],
    ids=["training's arguments", "beside the raw generator", "module prefixes", "halves", "beside others"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_rosinality_checkpoints_as_they_are_saved(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor], Tensor], dict[str, Any]], zipped: bool
) -> None:
    tensors = random_tensors(SIZES)
    content = wrap(rosinality_state(tensors, SIZES), tensors["mapping.w_avg"])
    torch.save(content, tmp_path / "r.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_generator(tmp_path / "r.pt")
    assert loaded.format == "StyleGAN2 state dict (rosinality), g_ema"
    plain = load_generator(write_rosinality(tmp_path / "plain.pt", tensors, SIZES))
    assert_same(loaded, plain, 1e-2)  # of the halves; the others agree to the bit


def test_large_and_deep_things_beside_a_generator_do_not_matter(tmp_path: Path) -> None:
    deep: torch.nn.Module = torch.nn.Linear(1, 1)
    for _ in range(12):
        deep = torch.nn.Sequential(deep)
    state = rosinality_state(random_tensors(SIZES), SIZES)
    labels = dict.fromkeys(map(str, range(20_001)), 0)
    torch.save({"encoder": deep, "labels": labels, "my generator": state, "more": labels}, tmp_path / "r.pt")
    assert load_generator(tmp_path / "r.pt").generator.resolution == 16


def test_a_bare_state_dict_without_noise_is_a_generator(tmp_path: Path) -> None:
    state = rosinality_state(random_tensors(SIZES), SIZES)
    torch.save({k: v for k, v in state.items() if not k.startswith("noises.")}, tmp_path / "r.pt")
    loaded = load_generator(tmp_path / "r.pt")
    assert loaded.generator.stored_noise is None and loaded.average_latent is None
    assert loaded.format == "StyleGAN2 state dict (rosinality)"


def test_a_persistent_module_on_its_own_is_a_generator(tmp_path: Path) -> None:
    tensors = random_tensors(SIZES)
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps(persistent_generator(tensors, SIZES)))
    assert_same(
        load_generator(tmp_path / "g.pkl"), load_generator(write_ada(tmp_path / "a.pkl", tensors, SIZES)), 0.0
    )


@pytest.mark.parametrize("place", ["", "G_ema", "G", "weights"])
def test_a_plain_state_dict_of_an_ada_network_is_the_same_network(tmp_path: Path, place: str) -> None:
    tensors = random_tensors(SIZES)
    torch.save({place: tensors, "G": None} if place == "G_ema" else {place: tensors} if place else tensors,
               tmp_path / "s.pt")  # fmt: skip
    loaded = load_generator(tmp_path / "s.pt")
    assert_same(loaded, load_generator(write_ada(tmp_path / "a.pkl", tensors, SIZES)), 1e-6)
    shown = f", {place}" if place else ""
    assert loaded.format == "StyleGAN2-ADA state dict, conv_clamp unknown (none is applied)" + shown


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_the_architecture_of_a_plain_state_dict_follows_from_its_tensors(
    tmp_path: Path, architecture: str
) -> None:
    sizes = replace(SIZES, architecture=architecture, classes=3)
    tensors = random_tensors(sizes)
    torch.save(tensors, tmp_path / "s.pt")
    loaded = load_generator(tmp_path / "s.pt", 1)
    assert_same(loaded, load_generator(write_ada(tmp_path / "a.pkl", tensors, sizes), 1), 1e-6)


@pytest.mark.parametrize("key", ["a\x1b[31m\nline", "\ud800", "\u202e", "k" * 500])
@pytest.mark.parametrize("form", ["rosinality", "ada", "ada state dict"])
def test_a_key_of_the_file_is_shown_escaped(tmp_path: Path, form: str, key: str) -> None:
    tensors = random_tensors(SIZES)
    content: Any = {name: tensor.numpy() for name, tensor in tensors.items()}
    if form == "rosinality":
        content = {name: tensor.numpy() for name, tensor in rosinality_state(tensors, SIZES).items()}
    elif form == "ada":
        content = persistent_generator(tensors, SIZES)
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps({key: content}))
    found = load_generator(tmp_path / "g.pkl").format
    assert found.isprintable() and key not in found and len(found) < 150


@pytest.mark.parametrize("form", ["ada", "tensorflow"])
def test_layers_beyond_the_most_are_unknown(tmp_path: Path, form: str) -> None:
    sizes = replace(SIZES, mapping_layers=65)
    write = write_ada if form == "ada" else write_tensorflow
    message = refusal(write(tmp_path / "g.pkl", random_tensors(sizes), sizes))
    assert "unknown key 'mapping" in message and "64" in message


def test_tensors_of_more_elements_than_any_generator_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few bytes they are views of."""
    taken: list[Any] = []
    budget, read = tensor_table.Budget, tensor_table.float_tensor
    monkeypatch.setattr(tensor_table, "Budget", lambda entries=1000: budget(entries, elements=1000))
    monkeypatch.setattr(tensor_table, "float_tensor", lambda value: taken.append(value) or read(value))
    shared = torch.zeros(1, 100)
    names = [
        "g_synthesis.blocks.4x4.const",
        "g_mapping.dense0.weight",
        *(f"g_mapping.x{i}" for i in range(50)),
    ]
    torch.save(dict.fromkeys(names, shared), tmp_path / "g.pt")
    assert "many more elements" in refusal(tmp_path / "g.pt")
    assert len(taken) == 10


def test_float16_weights_are_computed_in_float32(tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in random_tensors(SIZES).items()}
    loaded = load_generator(write_ada(tmp_path / "a.pkl", tensors, SIZES))
    assert {value.dtype for value in rendered(loaded)} == {torch.float32}


def test_a_class_is_chosen_by_its_label(tmp_path: Path) -> None:
    sizes = replace(SIZES, classes=3)
    path = write_ada(tmp_path / "c.pkl", random_tensors(sizes), sizes)
    first, second = load_generator(path, 0), load_generator(path, 2)
    assert first.generator.class_labels == 3
    assert not torch.allclose(rendered(first)[0], rendered(second)[0])
    assert read_generator(path).generator.class_labels == 3  # to look at it no label is needed


def refusal(path: Path, class_label: int | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_generator(path, class_label)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (3, None, "none is given, expected --class-label 0 to 2"),
        (3, 3, "3 is given, expected --class-label 0 to 2"),
        (3, -1, "-1 is given, expected --class-label 0 to 2"),
        (0, 1, "not conditional, but --class-label 1 is given; leave it out"),
    ],
)
def test_a_label_that_does_not_fit_is_named(
    tmp_path: Path, classes: int, label: int | None, message: str
) -> None:
    sizes = replace(SIZES, classes=classes)
    path = write_ada(tmp_path / "c.pkl", random_tensors(sizes), sizes)
    assert message in refusal(path, label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nonlinearity": "relu"}, "nonlinearity = 'relu', supported is 'lrelu'"),
        ({"normalize_latents": False}, "normalize_latents = False, supported is True"),
        ({"architecture": "resnet"}, "architecture = 'resnet', but its variables are of 'skip'"),
        ({"resample_kernel": [1, 2, 1]}, "has 3 taps, expected an even number"),
        ({"resample_kernel": [1, -1]}, "sums to 0"),
        ({"resample_kernel": "lanczos"}, "resample_kernel is 'lanczos', expected a list of numbers"),
        ({"conv_clamp": -1.0}, "conv_clamp is -1.0, expected a number > 0"),
        ({"mapping_lrmul": float("nan")}, "mapping_lrmul is nan, expected a finite number"),
    ],
    ids=str,
)
def test_a_tensorflow_network_that_computes_otherwise_is_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = write_tensorflow(tmp_path / "t.pkl", random_tensors(SIZES), SIZES, **arguments)
    assert message in refusal(path)


def edited(name: str, change: Callable[[Persistent], None]) -> Callable[[Persistent], None]:
    """An edit of the module at a dotted path."""

    def edit(root: Persistent) -> None:
        for part in name.split(".") if name else ():
            root = root.state["_modules"][part]
        change(root)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            edited("mapping.fc0", lambda m: m.state.update(activation="relu")),
            "layer 'mapping.fc0' has activation 'relu', only 'lrelu' is supported",
        ),
        (
            edited("synthesis.b8.conv0", lambda m: m.state.update(activation="swish")),
            "layer 'synthesis.b8.conv0' has activation 'swish'",
        ),
        (
            edited("synthesis.b16", lambda m: m.state.update(architecture="unet")),
            "the architecture is 'unet', expected one of skip, resnet, orig",
        ),
        (
            edited("synthesis.b8.conv0", lambda m: m.state.update(conv_clamp=7)),
            "conv_clamp differ",
        ),
        (
            edited("synthesis.b8.torgb", lambda m: m.state["_parameters"].pop("bias")),
            "missing key 'synthesis.b8.torgb.bias'",
        ),
        (
            edited("synthesis.b8.conv0", lambda m: m.state["_parameters"].update(gate=torch.ones(1))),
            "unknown key 'synthesis.b8.conv0.gate'",
        ),
        (
            edited("synthesis.b4", lambda m: m.state["_parameters"].update(const=torch.ones(6, 4, 8))),
            "its images are rectangular: they grow from 4 x 8; only square generators",
        ),
        (
            edited("synthesis.b8.torgb", lambda m: m.state["_parameters"].update(weight=GREY)),
            "key 'synthesis.b8.torgb.bias' has shape (3,), expected (1)",
        ),
        (
            edited("synthesis.b4.conv1", lambda m: m.state["_parameters"]["bias"].data.fill_(float("inf"))),
            "key 'synthesis.b4.conv1.bias' has NaN or infinite values",
        ),
        (
            edited("mapping.fc0", lambda m: m.state.update(weight_gain="much")),
            "mapping.fc0.weight_gain is 'much', expected a finite number",
        ),
        (
            edited("synthesis", lambda m: m.state["_modules"].update(L0_36_512=Persistent("SynthesisLayer"))),
            "it has the layers of StyleGAN3, which is not supported",
        ),
    ],
    ids=[
        "activation of mapping", "activation", "architecture", "clamps", "missing", "unknown", "start",
        "grey beside RGB", "infinite", "gain", "stylegan3",
    ],
)  # fmt: skip
def test_an_ada_pickle_that_does_not_fit_is_named(
    tmp_path: Path, edit: Callable[[Persistent], None], message: str
) -> None:
    root = persistent_generator(random_tensors(SIZES), SIZES)
    edit(root)
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G_ema": root}))
    assert message in refusal(tmp_path / "g.pkl")


def test_modules_that_contain_themselves_end_in_one_line(tmp_path: Path) -> None:
    root = persistent_generator(random_tensors(SIZES), SIZES)
    synthesis = root.state["_modules"]["synthesis"]
    synthesis.state["_modules"]["again"] = synthesis
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        try:
            content = pickle.dumps({"G_ema": root})
        except RecursionError:
            pytest.skip("this Python cannot pickle it")
    (tmp_path / "g.pkl").write_bytes(content)
    assert "levels" in refusal(tmp_path / "g.pkl")


class Classifier:
    """Some network that is no generator."""


def test_other_networks_are_named_by_their_class(tmp_path: Path) -> None:
    path = tmp_path / "d.pkl"
    with fake_modules(
        torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        somewhere__models={"Classifier": Classifier},
    ):
        path.write_bytes(pickle.dumps({"D": Persistent("Discriminator"), "epoch": 3}))
        message = refusal(path)
        assert "found a dict with the keys 'D' (of class 'Discriminator'), 'epoch' (2 in all)" in message
        path.write_bytes(pickle.dumps(Classifier()))
        assert "found an object of class 'somewhere.models.Classifier'" in refusal(path)
    assert "StyleGAN1" in message and "StyleGAN2" in message  # what is supported


def test_a_tensorflow_discriminator_is_no_generator(tmp_path: Path) -> None:
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        network = Network("D", {"4x4/Conv/weight": np.ones((3, 3, 2, 2), "f4")}, {})
        (tmp_path / "d.pkl").write_bytes(pickle.dumps(network))
    assert "found the TensorFlow network 'D'" in refusal(tmp_path / "d.pkl")


def test_a_tensorflow_generator_of_another_kind_is_named(tmp_path: Path) -> None:
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        networks = tuple(Network(name, {"4x4/Dense/weight": np.ones((2, 2), "f4")}, {}) for name in "GDS")
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(networks))
    assert "found the TensorFlow networks 'G', 'D', 'S'" in refusal(tmp_path / "p.pkl")


def places(box: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a written content."""
    if isinstance(box, Persistent):
        return places(box.meta)
    if isinstance(box, Network):
        return places(box.state)
    if isinstance(box, tuple):
        return [place for part in box for place in places(part)]
    keys = list(box) if isinstance(box, dict) else range(len(box)) if isinstance(box, list) else ()
    return [place for key in keys for place in ((box, key), *places(box[key]))]


GARBAGE = (
    *(None, 0, -1, 2**1500, 1.5, float("nan"), "", "a\nb", b"\0", (), [], {}, {1: 2}, set()),
    *(np.zeros(0, "f4"), np.zeros((3, 3), "i4"), np.ones((2, 3, 4, 5), "f4"), np.array(3.0)),
    *(torch.zeros(0, 0, 3, 3), torch.ones(2, 2, dtype=torch.complex64), torch.ones(1).expand(1000, 50)),
    Namespace(a=1),
)


@pytest.mark.parametrize("form", variants("tensorflow", "rosinality", "ada"))
def test_garbage_anywhere_in_a_file_is_one_line_or_no_matter(tmp_path: Path, form: str) -> None:
    sizes = Sizes(widths=(4, 3), classes=0 if form == "rosinality" else 2)
    tensors, random = random_tensors(sizes), np.random.default_rng(0)
    refused = 0
    for case in range(60):
        content: Any
        if form == "ada":
            content = {"G_ema": persistent_generator(tensors, sizes)}
        elif form == "tensorflow":
            arguments = {"nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1], "conv_clamp": 256}
            content = [Network("Gs", tensorflow_variables(tensors, sizes, joint=False), arguments)]
            content[0].state["variables"] = [list(pair) for pair in content[0].state["variables"]]
        else:
            content = {"g_ema": rosinality_state(tensors, sizes), "latent_avg": tensors["mapping.w_avg"]}
        found = places(content)
        box, key = found[random.integers(len(found))]
        box[key] = GARBAGE[random.integers(len(GARBAGE))]
        with fake_modules(
            torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
            dnnlib__tflib__network={"Network": Network},
        ):
            (tmp_path / f"{case}.pkl").write_bytes(pickle.dumps(content))
        try:
            read_generator(tmp_path / f"{case}.pkl")
        except UsageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10
