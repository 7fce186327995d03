"""Both checkpoint layouts of StyleGAN2 are the same generator."""

import json
from pathlib import Path

import numpy as np
import pytest

from compile.kit import Kit, Shapes, weights
from deployments.stylegan2_ada.from_rosinality import convert, source_of

RULES = (
    ("kernel$", "skip"),
    (r"^style\.\d+\.weight$", "normal:100"),
    (r"^style\.\d+\.bias$", "normal:5"),
    (r"modulation\.bias$", "gain"),
    (r"noise\.weight$", "normal:0.1"),
    (r"^noises\.", "normal:1"),
    (r"(modulation|conv)\.weight$|^input\.input$", "normal:1"),
)


def test_where_keys_come_from() -> None:
    assert source_of("synthesis.b4.const") == ("input.input", "drop leading 1")
    assert source_of("synthesis.b4.conv1.noise_strength") == ("conv1.noise.weight", "reshape to 0-D")
    assert source_of("synthesis.b8.conv0.noise_const") == ("noises.noise_1", "take [0,0]")
    assert source_of("synthesis.b1024.conv1.weight") == ("convs.15.conv.weight", "drop leading 1")
    assert source_of("synthesis.b16.torgb.bias") == ("to_rgbs.1.bias", "flatten")
    assert source_of("mapping.fc7.weight") == ("style.8.weight", "as is")
    assert source_of("mapping.w_avg") is None
    with pytest.raises(KeyError):
        source_of("synthesis.b8.conv2.weight")


@pytest.mark.shared
def test_every_key_comes_from_where_the_proven_conversion_says(shared: Path) -> None:
    proven = json.loads((shared / "parity" / "face" / "stylegan2_ada_from_rosinality.json").read_text())["map_1024"]
    assert len(proven) == 182
    assert {key: source_of(key) for key in proven} == {key: source and tuple(source) for key, source in proven.items()}


def test_a_converted_checkpoint_gives_the_same_picture() -> None:
    torch = pytest.importorskip("torch", reason="networks are built where torch is installed")
    from deployments.stylegan2_ada import network as ada
    from deployments.stylegan2_rosinality import network as rosinality

    theirs, ours = (
        rosinality.Generator([16, 16, 12, 8], latent=16),
        ada.Generator([16, 16, 12, 8], inside=16, latent=16),
    )
    shapes: Shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    filled = weights(Kit(name="small", shapes=shapes, dtypes=dict.fromkeys(shapes, "float32"), rules=RULES))
    kernels = {key: value.numpy() for key, value in theirs.state_dict().items() if key.endswith("kernel")}
    mean = np.linspace(-1, 1, 16, dtype=np.float32)
    wanted = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    converted = convert(filled | kernels, mean, wanted)
    assert {key: value.shape for key, value in converted.items()} == wanted
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in (filled | kernels).items()})
    # Filters are constants of either network: the converted ones must be those that it was built with.
    for key in (key for key in wanted if key.endswith("resample_filter")):
        np.testing.assert_array_equal(ours.state_dict()[key].numpy(), converted[key])
    ours.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in converted.items()})

    z = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 16), np.float32))
    with torch.inference_mode():
        w = theirs.map(z)
        pairs = [
            (theirs(theirs.spread(w), theirs.fixed_noise()), ours(ours.map(z), ours.fixed_noise())),
            (
                theirs(theirs.spread(theirs.truncate(w, torch.from_numpy(mean), 0.5)), None),
                ours(ours.map(z, 0.5), None),
            ),
            (
                theirs(theirs.mix(w, w.flip(0), 3), theirs.random_noise(5, 2)),
                ours(ours.mix(ours.spread(w), ours.spread(w.flip(0)), 3), ours.random_noise(5, 2)),
            ),
        ]
    for expected, got in pairs:
        assert expected.shape == (2, 3, 32, 32)
        assert float((expected - got).abs().max() / expected.abs().max()) < 1.1e-6
    assert float((pairs[0][0] - pairs[1][0]).abs().max()) > 0.01  # noise and truncation are seen
