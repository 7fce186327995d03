"""Every published network's official file, made in its form from the network's kit, comes back key for key."""

import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_file
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch_file import Parameter, save, state_dict, tensor

from compile.kit import Kit, read_kits, weights
from deployments.networks import NETWORKS
from modiste.errors import NotFound, WeightsUnavailable
from weights.convert.official import OFFICIAL, official_beside, official_state

State = dict[str, NDArray[Any]]
Form = Callable[[State], Any]

KITS = {kit.name: kit for found in read_kits(Path(__file__).parents[1] / "kits") for kit in (found, *found.parts)}
SIDE = 3
"""Longest side of a tensor here: keys are the kits', sizes are not."""
MEAN = np.linspace(-1, 1, 8, dtype=np.float32)


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_file.torch_names(monkeypatch)


def small(name: str) -> State:
    """The kit's deterministic weights at small sizes; what rules leave alone counts on."""
    kit: Kit = KITS[name]
    kit = replace(kit, shapes={key: tuple(min(side, SIDE) for side in shape) for key, shape in kit.shapes.items()})
    filled = weights(kit)
    state = {}
    for n, (key, shape) in enumerate(kit.shapes.items()):
        state[key] = filled.get(key, np.full(shape, n, np.dtype(kit.dtypes[key])))
    return state


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    return {key: value.shape for key, value in state.items()}


def prefixed(prefix: str) -> Form:
    return lambda state: state_dict({prefix + key: value for key, value in state.items()})


def under(name: str, form: Form = state_dict, **beside: Any) -> Form:
    return lambda state: {**beside, name: form(state), "epoch": 3}


def renamed(*names: tuple[str, str], **added: NDArray[Any]) -> Form:
    """Our names -> the file's."""

    def form(state: State) -> Any:
        found = {}
        for key, value in state.items():
            name = key
            for ours, theirs in names:
                name = re.sub(ours, theirs, name)
            found[name] = value
        return state_dict({**found, **added})

    return form


def without(pattern: str, form: Form = state_dict) -> Form:
    return lambda state: form({key: value for key, value in state.items() if not re.search(pattern, key)})


def two_levels(first: str, second: str, *names: tuple[str, str], **beside: Any) -> Form:
    def form(state: State) -> Any:
        levels: dict[str, State] = {first: {}, second: {}}
        for key, value in state.items():
            module, _, name = key.partition(".")
            for ours, theirs in names:
                name = re.sub(ours, theirs, name) if module == "segmentation_module" else name
            levels[first if module == "reconstruction_module" else second][name] = value
        return {name: state_dict(level) for name, level in levels.items()} | beside

    return form


COUNTERS = "num_batches_tracked$"
OPTIMISER = {"state": {0: {"step": 5, "exp_avg": MEAN}}, "param_groups": [{"lr": 1e-4}]}
ANY = np.ones((2, 2), np.float32)
OLD_ATTENTION = (
    (r"\.to_q\.", ".query."),
    (r"\.to_k\.", ".key."),
    (r"\.to_v\.", ".value."),
    (r"\.to_out\.0\.", ".proj_attn."),
)
FIRST_ORDER = ((r"^affine\.", "jacobian."), (r"^shift\.", "kp."), (r"^segmentation\.", "semantic_seg."))
POSITIONS = {"vision_model.embeddings.position_ids": np.arange(3)[None]}
EXAMPLE = {"model.vision_model.embeddings.position_ids": np.arange(3)[None]}

FORMS: tuple[tuple[str, str, Form], ...] = (
    ("arcface_iresnet", "arcface_iresnet50", state_dict),
    ("arcface_iresnet", "arcface_iresnet100", without(COUNTERS)),
    ("ir_se_arcface", "ir_se50_arcface", state_dict),
    ("beautygan", "beautygan_branch", state_dict),
    ("beautygan", "beautygan_makeup", state_dict),
    ("bisenet_r18", "bisenet_faceparse", state_dict),
    ("cloth_unet", "cloth_smp_unet_effb3", under("state_dict", prefixed("model."), hyper_parameters={"lr": 1.0})),
    ("copart", "copart_vox_10segments", two_levels(
        "reconstruction_module", "segmentation_module", optimizer_reconstruction_module=OPTIMISER, epoch=9)),
    ("copart", "copart_vox_5segments", two_levels(
        "generator", "kp_detector", *FIRST_ORDER, discriminator={"w": ANY}, optimizer_generator=OPTIMISER)),
    ("densepose", "densepose_r50_fpn_s1x", under("model", renamed(
        pixel_mean=ANY, pixel_std=ANY, **{"proposal_generator.anchor_generator.cell_anchors.0": ANY}),
        __author__="somebody")),
    ("dexined", "dexined", state_dict),
    ("e4e", "e4e_encoder_1024", under("state_dict", lambda state: state_dict(
        {**prefixed("encoder.")(state), "decoder.input.input": ANY}), latent_avg=MEAN, opts={"id": 1})),
    ("e4e", "psp_encoder_1024", under("state_dict", prefixed("encoder."), latent_avg=MEAN)),
    ("aei_ghost", "aei_ghost_unet_2blocks", state_dict),
    ("aei_taotaonice", "aei_taotaonice", state_dict),
    ("hear_taotaonice", "hear_taotaonice", state_dict),
    ("aei_mindslab", "aei_mindslab", under("state_dict", renamed(**{"D.conv.weight": ANY, "Z.fc.weight": ANY}))),
    ("hear_mindslab", "hear_mindslab", state_dict),
    ("fashion_clip", "fashion_clip_hf_gelu", renamed(**POSITIONS)),
    ("fashion_siglip", "fashion_siglip_openclip", state_dict),
    ("gpen", "gpen_bfr_64", state_dict),
    ("gpen", "gpen_bfr_512", under("g_ema", g={"w": ANY})),
    ("gpen_parsenet", "gpen_parsenet", state_dict),
    ("graphonomy", "graphonomy_cihp20", without(COUNTERS, prefixed("module."))),
    ("hrviton_tocg", "hrviton_tocg", state_dict),
    ("hrviton_gen", "hrviton_gen", renamed((r"(norm_\w)\.(conv_\w+)", r"\1.Spade.\2"))),
    ("isnet", "isnet_dis", state_dict),
    ("ldc_b4", "ldc_b4", state_dict),
    ("lightweight_openpose", "lightweight_openpose", under("state_dict", renamed(
        **{"refinement_stages.1.heatmaps.0.0.weight": ANY, "refinement_stages.2.heatmaps.0.0.weight": ANY}))),
    ("modnet", "modnet", prefixed("module.")),
    ("paint_by_example_encoder", "paint_by_example_tiny.image_encoder", renamed(
        (r"^model\.", "model.vision_model."), **EXAMPLE)),
    ("paint_by_example_encoder", "paint_by_example_full.image_encoder.transformers4_names", renamed(**EXAMPLE)),
    ("paint_by_example_unet", "paint_by_example_tiny.unet", state_dict),
    ("paint_by_example_vae", "paint_by_example_tiny.vae", renamed(*OLD_ATTENTION)),
    ("paint_by_example_vae", "paint_by_example_full.vae", state_dict),
    ("pix2pix_unet256", "pix2pix_unet256", without(COUNTERS)),
    ("posenet", "posenet_mobilenet_v1_101_s16", state_dict),
    ("psgan", "psgan", state_dict),
    ("retinaface", "retinaface_r50", under("state_dict", prefixed("module."))),
    ("retinaface", "retinaface_mnet025", state_dict),
    ("schp", "schp_lip20", under("state_dict", prefixed("module."))),
    ("stylegan2_rosinality", "stylegan2_rosinality_64", under(
        "g_ema", g={"w": ANY}, g_optim=OPTIMISER, latent_avg=MEAN)),
    ("stylegan2_rosinality", "stylegan2_rosinality_128", under("state_dict", lambda state: state_dict(
        {"encoder.input_layer.0.weight": ANY, **prefixed("decoder.")(state)}), latent_avg=MEAN)),
    ("teed", "teed", state_dict),
    ("cloth_u2net", "cloth_u2net4", prefixed("module.")),
    ("u2net", "u2netp", state_dict),
)  # fmt: skip


def zeroed(state: State, pattern: str) -> State:
    return {key: np.zeros_like(value) if re.search(pattern, key) else value for key, value in state.items()}


def same(found: Mapping[str, NDArray[Any]], expected: State) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize(("network", "kit", "form"), FORMS, ids=[f"{network}-{kit}" for network, kit, _ in FORMS])
def test_an_official_file_becomes_the_state(network: str, kit: str, form: Form, tmp_path: Path) -> None:
    state = small(kit)
    path = save(tmp_path / "net.pth", form(state), layout="legacy" if len(network) % 2 else "zip")
    # Counters that a file lacks come as zeros, those that it has as they are.
    expected = (
        state if kit not in ("arcface_iresnet100", "graphonomy_cihp20", "pix2pix_unet256") else zeroed(state, COUNTERS)
    )
    same(official_state(network, path, shapes_of(state)), expected)


def test_every_network_has_its_form_and_every_form_is_tested() -> None:
    assert set(OFFICIAL) == set(NETWORKS)
    assert {network for network, _, _ in FORMS} | {"stylegan2_ada", "unet_lapa"} == set(OFFICIAL)


@pytest.mark.parametrize("protocol", [3, 4])
def test_modules_of_nvlabs(protocol: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    persistent = torch_file.persistence(monkeypatch)
    buffers = ("resample_filter", "noise_const", "w_avg")
    state = small("stylegan2_ada_64")

    def module(prefix: str) -> Any:
        inside = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
        own = [key for key in inside if "." not in key]
        parameters = {key: Parameter(tensor(key, state[prefix + key])) for key in own if key not in buffers}
        kept = {key: tensor(key, state[prefix + key]) for key in own if key in buffers}
        names = dict.fromkeys(key.partition(".")[0] for key in inside if "." in key)
        return persistent(parameters, kept, **{name: module(f"{prefix}{name}.") for name in names})

    path = tmp_path / "ffhq.pkl"
    path.write_bytes(pickle.dumps({"G": None, "D": None, "G_ema": module(""), "augment_pipe": None}, protocol=protocol))
    same(official_state("stylegan2_ada", path, shapes_of(state)), state)


def test_noise_that_older_files_lack_is_drawn_once_for_all(tmp_path: Path) -> None:
    state = small("stylegan2_rosinality_64")
    path = save(tmp_path / "old.pt", under("g_ema", without(r"^noises\."))(state))
    shapes = {**shapes_of(state), "noises.noise_8": (1, 1, 64, 64)}
    found = official_state("stylegan2_rosinality", path, shapes)
    noise = found["noises.noise_8"]
    assert noise.dtype == np.float32
    assert abs(float(noise.std()) - 1) < 0.05
    assert not np.array_equal(found["noises.noise_0"].ravel()[0], noise.ravel()[0])
    same(official_state("stylegan2_rosinality", path, shapes), found)


def test_the_mean_latent_lies_beside_the_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "e4e.pt", {"state_dict": {"encoder.w": ANY}, "latent_avg": MEAN})
    assert list(official_beside("e4e", path)) == ["latent_avg"]
    np.testing.assert_array_equal(official_beside("e4e", path)["latent_avg"], MEAN)
    assert official_beside("u2net", path) == {}
    with pytest.raises(WeightsUnavailable, match="latent_avg"):
        official_beside("e4e", save(tmp_path / "bare.pt", {"state_dict": {"encoder.w": ANY}}))


def test_posenet_from_one_raw_file_per_variable(tmp_path: Path) -> None:
    state = small("posenet_mobilenet_v1_101_s16")
    listed: dict[str, Any] = {}
    for key, value in {**state, "offset_1.weight": np.ones((2, 2, 1, 1), np.float32)}.items():
        layer, _, kind = key.rpartition(".")
        depthwise = layer.endswith(".depthwise")
        if layer.startswith("features."):
            layer = layer.replace("features.conv", "Conv2d_").removesuffix(".conv").replace(".", "_")
        elif layer != "offset_1":
            layer += "_2"
        theirs = {"weight": "depthwise_weights" if depthwise else "weights", "bias": "biases"}[kind]
        name = f"MobilenetV1/{layer}/{theirs}"
        stored = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)) if value.ndim == 4 else value
        listed[name] = {"filename": name.replace("/", "_"), "shape": list(stored.shape)}
        (tmp_path / name.replace("/", "_")).write_bytes(stored.astype("<f4").tobytes())
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(listed))
    same(official_state("posenet", path, shapes_of(state)), state)
    (tmp_path / listed["MobilenetV1/offset_2/biases"]["filename"]).unlink()
    with pytest.raises(WeightsUnavailable, match="absent: MobilenetV1_offset_2_biases"):
        official_state("posenet", path, shapes_of(state))


def test_a_keras_file_by_the_order_of_its_layers(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    norm = {"weight": 4, "bias": 4, "running_mean": 4, "running_var": 4}
    state: State = {f"downs.0.conv1.{name}": rng.random(shape, np.float32) for name, shape in
                    {"weight": (4, 3, 3, 3), "bias": (4,)}.items()}  # fmt: skip
    state |= {f"downs.0.norm1.{name}": rng.random(size, np.float32) for name, size in norm.items()}
    state["downs.0.norm1.num_batches_tracked"] = np.array(0)
    state |= {"ups.0.up.weight": rng.random((8, 4, 2, 2), np.float32), "ups.0.up.bias": rng.random(4, np.float32)}
    theirs = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    layers = (("conv2d_19", "downs.0.conv1"), ("batch_normalization_7", "downs.0.norm1"), ("pool", ""),
              ("conv2d_transpose_3", "ups.0.up"))  # fmt: skip
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, ours in layers:
            group, names = top.create_group(name), []
            for key, value in state.items():
                layer, _, kind = key.rpartition(".")
                if layer != ours or kind == "num_batches_tracked":
                    continue
                normal = "norm" in ours
                kind = theirs.get(kind, {"weight": "gamma" if normal else "kernel", "bias": "beta" if normal else kind}
                                  .get(kind, kind))  # fmt: skip
                names.append(f"{name}/{kind}:0")
                # [out, in, height, width], or [in, out, ...] where transposed, to Keras's [height, width, ...].
                group[names[-1]] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
            group.attrs["weight_names"] = [one.encode() for one in names]
    same(official_state("unet_lapa", path, shapes_of(state)), state)
    with pytest.raises(WeightsUnavailable, match="Expected 4 layers"):
        official_state("unet_lapa", path, {**shapes_of(state), "head.weight": (11, 4, 1, 1)})
    path.write_bytes(b"no such file")
    with pytest.raises(WeightsUnavailable, match="HDF5"):
        official_state("unet_lapa", path, shapes_of(state))


def test_safetensors_are_taken_as_well(tmp_path: Path) -> None:
    state = small("paint_by_example_tiny.vae")
    save_file(dict(reversed(state.items())), tmp_path / "net.safetensors")
    same(official_state("paint_by_example_vae", tmp_path / "net.safetensors", shapes_of(state)), state)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = {key: value.astype(np.float16) for key, value in small("teed").items()}
    path = save(tmp_path / "half.pth", state_dict(state))
    same(official_state("teed", path, shapes_of(state)), {key: v.astype(np.float32) for key, v in state.items()})


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = small("teed")
    first, second, *_ = state
    shapes = {**shapes_of(state), second: (5, 5)}
    del state[first]
    path = save(tmp_path / "net.pth", state_dict({**state, "head.weight": ANY}))
    with pytest.raises(WeightsUnavailable) as refused:
        official_state("teed", path, shapes)
    detail = refused.value.detail
    assert "keys and shapes of teed in net.pth" in detail
    assert f"absent: {first};" in detail
    assert "extra: head.weight;" in detail
    assert f"of another shape: {second} {list(state[second].shape)} for [5, 5]" in detail


def test_a_segmentation_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    state = small("copart_vox_5segments")
    content = two_levels("generator", "kp_detector", *FIRST_ORDER)(state)
    del content["kp_detector"]["semantic_seg.weight"]
    with pytest.raises(WeightsUnavailable, match=r"absent: segmentation_module\.segmentation\.weight"):
        official_state("copart", save(tmp_path / "net.tar", content), shapes_of(state))


def test_two_tensors_for_one_key_are_refused(tmp_path: Path) -> None:
    state = small("paint_by_example_tiny.vae")
    double = {re.sub(r"\.to_q\.", ".query.", key): value for key, value in state.items()} | state
    with pytest.raises(WeightsUnavailable, match=r"got \S+to_q\.weight twice"):
        official_state("paint_by_example_vae", save(tmp_path / "net.bin", double), shapes_of(state))


def test_unknown_networks_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="stylegan2_ada"):
        official_state("stylegan9", tmp_path / "net.pth", {})
    with pytest.raises(WeightsUnavailable, match="there is none"):
        official_state("u2net", tmp_path / "net.pth", {})


@pytest.mark.parametrize("network", ["retinaface", "copart", "stylegan2_rosinality", "u2net"])
def test_a_poisoned_file_is_refused_and_runs_nothing(network: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, (f"__import__('pathlib').Path({str(marker)!r}).touch()",)

    path = save(tmp_path / "net.pth", {"state_dict": {"w": ANY}, "opts": Exploit()})
    with pytest.raises(WeightsUnavailable, match=r"asks for __builtin__\.eval"):
        official_state(network, path, {"w": ANY.shape})
    assert not marker.exists()
    assert pickle.loads(pickle.dumps(Exploit())) is None
    assert marker.exists()


def test_the_command_writes_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weights.__main__ import main

    state = small("stylegan2_rosinality_64")
    path = save(tmp_path / "net.pt", {"g_ema": state_dict(state), "latent_avg": MEAN})
    keys, out = tmp_path / "keys.json", tmp_path / "out.safetensors"
    keys.write_text(json.dumps({key: [list(value.shape), value.dtype.name] for key, value in state.items()}))
    arguments = ["weights", "official", "stylegan2_rosinality", str(path), str(keys), str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert f"{len(state)} tensors" in capsys.readouterr().out
    found = load_file(out)
    same({key: found[key] for key in state}, state)
    np.testing.assert_array_equal(load_file(tmp_path / "out.beside.safetensors")["latent_avg"], MEAN)
