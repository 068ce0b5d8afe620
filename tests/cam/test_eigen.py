"""Eigen-type maps, concepts and refinement against numpy, scipy, scikit-learn and grad-cam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from pytorch_grad_cam import EigenCAM, EigenGradCAM
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from sklearn.decomposition import NMF, KernelPCA
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam.decompositions import energy, first_component, leading, oriented, peak
from hooktrace.cam.factorization import factorize
from hooktrace.cam.methods.dff import Dff
from hooktrace.cam.methods.kpcacam import KpcaCam
from hooktrace.cam.methods.refinecam import RefineCam
from hooktrace.cam.methods.segeigencam import SegEigenCam
from hooktrace.errors import BlankMapWarning, MapShapeError

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
EXACT = {"rtol": 1e-9, "atol": 1e-11}  # float64; the Gram matrix squares the condition


def net(dims: int = 2, channels: int = 7) -> nn.Sequential:
    torch.manual_seed(5)
    conv = KINDS[dims]
    return nn.Sequential(
        conv(3, 5, 3, padding=1),
        nn.ReLU(),
        conv(5, channels, 3, stride=2, padding=1),
        nn.Tanh(),
        conv(channels, channels, 3, padding=1),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.LazyLinear(4),
    ).double()


def traced(model: nn.Module, images: Tensor) -> ht.Recording:
    with torch.no_grad():
        model(images)  # the lazy layer gets its shape
    with ht.trace(model, keep=["*"]) as t:
        model(images)
    return t


def images(*sizes: int, batch: int = 2) -> Tensor:
    return torch.randn(
        batch, 3, *sizes, generator=torch.Generator().manual_seed(1), dtype=torch.double
    )


def by_numpy(points: np.ndarray) -> np.ndarray:
    """The projections on the first principal component, of the sign that the SVD gives: (N, P)."""
    found = []
    for image in points.reshape(*points.shape[:2], -1):
        centred = image.T - image.T.mean(0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        found.append(centred @ directions[0])
    return np.stack(found)


def signed(found: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """The sign of positive correlation with the activation energy."""
    strength = (activations.reshape(*activations.shape[:2], -1) ** 2).sum(1)
    agreements = [np.corrcoef(one, e)[0, 1] for one, e in zip(found, strength, strict=True)]
    return found * np.sign(agreements)[:, None]


def evidence(model: nn.Sequential, x: Tensor, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations and gradients of class 2, by running the two halves of a chain."""
    activations = model[: layer + 1](x).detach().requires_grad_()
    score = model[layer + 1 :](activations)[:, 2].sum()
    (gradients,) = torch.autograd.grad(score, activations)
    return activations.detach().numpy(), gradients.numpy()


# ------------------------------------------------------------------ the maps


@pytest.mark.parametrize("sizes", [(12,), (8, 6), (4, 5, 6)])
@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("method", ["eigencam", "eigengradcam", "segeigencam"])
def test_the_map_is_the_first_right_singular_vector_s_projection(
    method: str, channels: int, sizes: tuple[int, ...]
) -> None:
    model, x = net(len(sizes), channels), images(*sizes)
    t = traced(model, x)
    activations, gradients = evidence(model, x, 2)
    points = {
        "eigencam": activations,
        "eigengradcam": gradients * activations,
        "segeigencam": np.abs(gradients) * activations,
    }[method]
    wanted = by_numpy(points)
    if method == "segeigencam":
        wanted *= np.where(-wanted.min(1) > wanted.max(1), -1, 1)[:, None]
    else:
        wanted = signed(wanted, activations)
    found = t.cam("2", target=2, method=method).raw
    assert found.shape == (2, *activations.shape[2:])
    np.testing.assert_allclose(found.flatten(1).numpy(), wanted, **EXACT)


@pytest.mark.parametrize("shape", [(1280, 7, 7), (16, 20, 20)])
@pytest.mark.parametrize("driver", ["numpy", "gesdd", "gesvd", "eigh", "evr", "evd"])
def test_no_driver_of_any_library_gives_another_map(driver: str, shape: tuple[int, ...]) -> None:
    points = torch.randn(
        1, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.double
    ).relu()
    centred = (points.flatten(2) - points.flatten(2).mean(2, keepdim=True))[0].T.numpy()
    if driver == "numpy":
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    elif driver in ("gesdd", "gesvd"):
        direction = scipy.linalg.svd(centred, full_matrices=False, lapack_driver=driver)[2][0]
    elif driver == "eigh":
        direction = torch.linalg.eigh(torch.from_numpy(centred.T @ centred))[1][:, -1].numpy()
    else:
        direction = scipy.linalg.eigh(centred.T @ centred, driver=driver)[1][:, -1]
    wanted = oriented(torch.from_numpy(centred @ direction)[None], energy(points))
    found = oriented(first_component(points), energy(points))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_sign_correlates_with_the_energy_whatever_sign_came_in() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        points = torch.randn(3, 6, 25, generator=generator).relu()
        component, strength = first_component(points), energy(points)
        for sign in (1, -1):
            found = oriented(sign * component, strength)
            assert torch.equal(found, oriented(component, strength))
            for one, e in zip(found, strength, strict=True):
                assert torch.corrcoef(torch.stack([one, e]))[0, 1] > 0


def test_where_energy_tells_nothing_the_largest_value_is_positive() -> None:
    component = torch.tensor([[-3.0, 1.0, 1.0, 1.0]])
    for sign in (1, -1):
        assert torch.equal(oriented(sign * component, torch.ones(1, 4)), -component)
        assert torch.equal(peak(sign * component), -component)


def test_seg_eigen_cam_can_have_the_sign_of_the_energy() -> None:
    model, x = net(), images(8, 8, batch=12)
    t = traced(model, x)
    activations, gradients = evidence(model, x, 2)
    wanted = signed(by_numpy(np.abs(gradients) * activations), activations)
    found = t.cam("2", target=2, method=SegEigenCam(sign="energy")).raw
    np.testing.assert_allclose(found.flatten(1).numpy(), wanted, **EXACT)
    other = t.cam("2", target=2, method="segeigencam").raw
    assert not torch.equal(found, other)
    np.testing.assert_allclose(
        other.numpy(),
        get_2d_projection_with_sign_correction(np.abs(gradients) * activations),
        rtol=1e-5,
        atol=1e-7,  # the peer's result is float32
    )


@pytest.mark.parametrize(("name", "peer"), [("eigencam", EigenCAM), ("eigengradcam", EigenGradCAM)])
def test_the_grad_cam_library_has_the_same_map_up_to_sign(name: str, peer: type) -> None:
    model, x = net().float(), images(8, 8).float()
    found = traced(model, x).cam("2", target=2, method=name).raw.detach().flatten(1)
    with peer(model=model, target_layers=[model[2]]) as library:
        library(x, targets=[lambda out: out[2]] * 2)
        activations = library.activations_and_grads.activations[0].numpy()
        recorded = library.activations_and_grads.gradients
        gradients = recorded[0].numpy() if recorded else None
        theirs = library.get_cam_image(x, model[2], None, activations, gradients, False)
    theirs = torch.from_numpy(theirs).flatten(1)
    signs = (theirs * found).sum(1).sign()
    torch.testing.assert_close(found, signs[:, None] * theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["eigencam", "eigengradcam", "segeigencam"])
@pytest.mark.parametrize("power", [-60, -13, 13, 40])
def test_a_power_of_two_scales_the_map_and_changes_nothing_else(method: str, power: int) -> None:
    points = torch.rand(2, 6, 5, 5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first_component(points * 2.0**power), first_component(points) * 2.0**power)
    model, x = net().float(), images(8, 8).float()
    t = traced(model, x)
    once = t.cam("2", target=lambda out: out[:, 1], method=method).normalized(sign="keep")
    scaled = t.cam("2", target=lambda out: out[:, 1] * 2.0**power, method=method)
    assert torch.equal(once, scaled.normalized(sign="keep"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_single(dtype: torch.dtype) -> None:
    half = images(8, 8).to(dtype)
    t = traced(nn.Sequential(nn.Identity(), nn.Tanh()), half)
    for method in ("eigencam", "kpcacam", "dff"):
        found = t.cam("0", target=lambda out: out.sum((1, 2, 3)), method=method).raw
        assert found.dtype == torch.float32
        assert found.isfinite().all()


@pytest.mark.parametrize("method", ["eigencam", "kpcacam", "dff"])
def test_a_map_of_activations_alone_needs_no_graph(method: str) -> None:
    model, x = net(), images(8, 8)
    wanted = traced(model, x).cam("2", method=method).raw
    with torch.no_grad(), ht.trace(model, keep=["2"]) as t:
        model(x)
    assert torch.equal(t.cam("2", method=method).raw, wanted)


@pytest.mark.parametrize("method", ["eigencam", "kpcacam"])
def test_an_image_that_is_not_finite_leaves_the_others_alone(method: str) -> None:
    x = images(4, 4)
    broken = x.clone()
    broken[0, 1, 2, 3] = torch.inf
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    with pytest.warns(BlankMapWarning, match="NaN or infinity"):
        found = traced(model, broken).cam("0", method=method, target=0).raw
    assert found[0].isnan().all()
    assert torch.equal(found[1], traced(model, x).cam("0", method=method, target=0).raw[1])


# ------------------------------------------------------------------ kernels


@pytest.mark.parametrize(
    ("option", "theirs"),
    [
        (KpcaCam(), {"kernel": "sigmoid"}),
        (KpcaCam(gamma=0.3, offset=0.2), {"kernel": "sigmoid", "gamma": 0.3, "coef0": 0.2}),
        (KpcaCam("rbf", gamma=0.7), {"kernel": "rbf", "gamma": 0.7}),
        (KpcaCam("polynomial", degree=2), {"kernel": "poly", "degree": 2}),
        (KpcaCam("linear"), {"kernel": "linear"}),
    ],
    ids=str,
)
def test_kpca_cam_is_the_kernel_pca_of_scikit_learn(option: KpcaCam, theirs: dict) -> None:
    model, x = net(), images(10, 12)
    activations, _ = evidence(model, x, 2)
    flat = activations.reshape(2, 7, -1).transpose(0, 2, 1)
    peer = KernelPCA(1, eigen_solver="dense", **theirs)
    wanted = np.stack([peer.fit_transform(one - one.mean(0))[:, 0] for one in flat])
    found = traced(model, x).cam("2", method=option).raw.flatten(1)
    np.testing.assert_allclose(found.numpy(), signed(wanted, activations), rtol=1e-8, atol=1e-9)


def test_a_linear_kernel_makes_it_eigen_cam() -> None:
    t = traced(net(), images(9, 9))
    found = t.cam("2", method=[KpcaCam("linear"), "eigencam"])
    torch.testing.assert_close(found["kpcacam"].raw, found["eigencam"].raw, **EXACT)


@pytest.mark.parametrize("rank", [3, 700])
def test_a_large_matrix_has_the_eigenpair_that_scipy_finds(rank: int) -> None:
    generator = torch.Generator().manual_seed(8)
    factor = torch.randn(700, rank, generator=generator, dtype=torch.double)
    matrix = factor @ factor.T - 2 * torch.eye(700, dtype=torch.double)
    (value,), (vector,) = leading(matrix[None])
    (wanted,), vectors = scipy.linalg.eigh(matrix.numpy(), subset_by_index=[699, 699])
    assert float(value) == pytest.approx(wanted, rel=1e-12)
    assert abs(vector.numpy() @ vectors[:, 0]) == pytest.approx(1, rel=1e-9)
    assert torch.equal(leading(matrix[None])[1][0], vector)


def test_a_large_matrix_of_zeros_has_the_eigenvalue_zero() -> None:
    (value,), (vector,) = leading(torch.zeros(1, 700, 700))
    assert value == 0
    assert vector.isfinite().all()


# ------------------------------------------------------------------ concepts


def test_the_concepts_explain_as_much_as_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(6)
    matrix = torch.rand(90, 24, generator=generator, dtype=torch.double)
    left, right = factorize(matrix, 4, generator, sweeps=2000, tolerance=1e-8)
    assert left.min() >= 0
    assert right.min() >= 0
    ours = float((matrix - left @ right).norm())
    peers = [
        NMF(4, init="random", random_state=one, max_iter=4000, tol=1e-8).fit(matrix.numpy())
        for one in range(5)
    ]
    errors = [one.reconstruction_err_ for one in peers]
    assert ours <= max(errors) * 1.001  # random starts end in several minima


def test_factors_at_a_minimum_fulfil_its_conditions() -> None:
    generator = torch.Generator().manual_seed(6)
    matrix = torch.rand(40, 12, generator=generator, dtype=torch.double)
    left, right = factorize(matrix, 3, generator, sweeps=20000, tolerance=1e-12)
    slope = (left @ right - matrix) @ right.T
    assert slope.min() > -1e-6
    assert (slope * left).abs().max() < 1e-6


def test_an_exact_product_is_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    parts = torch.zeros(60, 3, dtype=torch.double)
    for one in range(3):
        parts[20 * one : 20 * one + 20, one] = torch.rand(20).double() + 3 - one
    vectors = torch.rand(3, 10, generator=generator).double()
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    left, right = factorize(parts @ vectors, 3, generator, sweeps=3000, tolerance=1e-12)
    torch.testing.assert_close(left @ right, parts @ vectors, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(right.norm(dim=1), torch.ones(3).double())
    assert left.sum(0).diff().max() <= 0


def test_nothing_has_concepts_of_nothing_and_what_is_not_finite_has_none() -> None:
    left, right = factorize(torch.zeros(6, 4), 2, torch.Generator())
    assert not left.any()
    assert not right.any()
    left, right = factorize(torch.full((6, 4), torch.inf), 2, torch.Generator())
    assert left.shape == (6, 2)
    assert right.shape == (2, 4)
    assert left.isnan().all()
    assert right.isnan().all()


@pytest.mark.parametrize("sizes", [(12,), (8, 6), (4, 4, 4)])
def test_the_concepts_of_a_batch_are_within_reach(sizes: tuple[int, ...]) -> None:
    model, x = net(len(sizes)), images(*sizes, batch=3)
    t = traced(model, x)
    found = t.cam("2", method=Dff(concepts=3), seed=4).single
    maps, vectors, chosen = (found.extra[one] for one in ("maps", "vectors", "chosen"))
    assert maps.shape == (3, 3, *found.raw.shape[1:])
    assert vectors.shape == (3, 7)
    assert chosen == tuple(maps.flatten(2).sum(2).argmax(1).tolist())
    assert torch.equal(found.raw, torch.stack([maps[n, one] for n, one in enumerate(chosen)]))
    activations, _ = evidence(model, x, 2)
    rebuilt = torch.einsum("nk...,kc->nc...", maps, vectors).numpy()
    positive = np.maximum(activations, 0)
    assert np.linalg.norm(rebuilt - positive) < 0.75 * np.linalg.norm(positive)


def test_a_seed_decides_the_concepts_and_the_global_generator_is_left_alone() -> None:
    t = traced(net(), images(8, 8))
    before = torch.get_rng_state()
    once, again, other = (t.cam("2", method="dff", seed=one).raw for one in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_concept_is_chosen_by_number_or_by_what_it_adds_to_the_score() -> None:
    model, x = net(), images(8, 8)
    t = traced(model, x)
    _, gradients = evidence(model, x, 2)
    found = t.cam("2", target=2, method=Dff(4, concept="class")).single
    maps, vectors = found.extra["maps"].numpy(), found.extra["vectors"].numpy()
    added = np.einsum("nkyx,ncyx,kc->nk", maps, gradients, vectors)
    assert found.extra["chosen"] == tuple(added.argmax(1))
    numbered = t.cam("2", target=2, method=Dff(4, concept=3)).raw
    assert np.array_equal(numbered.numpy(), maps[:, 3])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Dff(0),
        lambda: Dff(3, concept=3),
        lambda: Dff(concept="largest"),
        lambda: KpcaCam("cosine"),
        lambda: SegEigenCam(sign="none"),
        lambda: RefineCam(size="small"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="but got"):
        wrong()


# ------------------------------------------------------------------ refinement


def by_layer(model: nn.Sequential, x: Tensor, layer: int) -> Tensor:
    """HiResCAM's positive part, each image's largest value 1."""
    activations, gradients = evidence(model, x, layer)
    shown = np.maximum((activations * gradients).sum(1), 0)
    return torch.from_numpy(shown / shown.max((1, 2), keepdims=True))


@pytest.mark.parametrize("size", ["image", "largest"])
def test_refine_cam_is_the_product_of_the_layers_maps(size: str) -> None:
    model, x = net(), images(16, 16)
    ends = (16, 16) if size == "image" else (8, 8)
    layers = [2, 4] if size == "largest" else [0, 2, 4]
    wanted = torch.ones(2, *ends, dtype=torch.double)
    for layer in layers:
        one = by_layer(model, x, layer).unsqueeze(1)
        wanted *= nn.functional.interpolate(one, ends, mode="bilinear", align_corners=False)[:, 0]
    t = traced(model, x)
    found = t.cam([str(one) for one in layers], target=2, method=RefineCam("hirescam", size))
    assert list(found) == [("refinecam", "+".join(map(str, layers)), 2)]
    torch.testing.assert_close(found.raw, wanted)


def test_refine_cam_takes_a_method_with_its_options_and_layers_in_any_order() -> None:
    t = traced(net(), images(16, 16))
    base = SegEigenCam(sign="energy")
    found = t.cam(["4", "0"], target=2, method=RefineCam(base)).raw
    other = t.cam(["0", "4"], target=2, method=RefineCam(base)).raw
    torch.testing.assert_close(found, other)
    parts = [t.cam(one, target=2, method=base).resized((16, 16)) for one in ("0", "4")]
    torch.testing.assert_close(found, parts[0] * parts[1])


def test_refine_cam_refuses_a_method_of_several_layers_and_sizes_it_cannot_reach() -> None:
    t = traced(net(), images(8, 8))
    with pytest.raises(ValueError, match="one layer"):
        t.cam(["0", "2"], target=1, method=RefineCam(RefineCam("hirescam")))
    flat = traced(nn.Sequential(nn.Unflatten(1, (3, 8)), nn.Conv1d(3, 4, 3)), torch.randn(2, 24))
    with pytest.raises(MapShapeError, match="cannot all be brought"):
        flat.cam("1", target=lambda out: out.sum((1, 2)), method=RefineCam("hirescam"))


def test_what_knows_no_class_is_made_once_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    from hooktrace.cam.methods import dff, eigencam, kpcacam

    made: list[str] = []
    for module, name in (
        (eigencam, "first_component"),
        (kpcacam, "leading"),
        (dff, "factorize"),
        (eigencam, "energy"),
    ):
        original = getattr(module, name)

        def counted(*args: Any, original: Any = original, name: str = name) -> Any:
            made.append(name)
            return original(*args)

        monkeypatch.setattr(module, name, counted)
    t = traced(net(), images(8, 8))
    maps = t.cam("2", classes=[0, 1, 2], method=["eigencam", "kpcacam", "dff", KpcaCam("rbf")])
    assert sorted(made) == ["energy", "factorize", "first_component", "leading", "leading"]
    first, second = (maps["eigencam", "2", one].raw for one in (0, 1))
    assert torch.equal(first, second)
    first.zero_()
    assert second.abs().max() > 0
