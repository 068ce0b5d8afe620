"""Targets: what they score, against formulas and grad-cam's targets; and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam.utils import model_targets as peers
from torch import nn

import hooktrace as ht
from hooktrace.cam import targets
from hooktrace.cam.targets import as_target
from hooktrace.errors import MethodError, TargetError

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.Tanh()
        self.head = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.head(self.act(self.conv(x)).mean((2, 3))))

    def wrap(self, logits: torch.Tensor) -> Any:
        return logits


def map_and_truth(
    model: nn.Module, layer: str, x: Any, target: Any, score: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return our Grad-CAM of `target`, and one by hand of the sum of `score(output)`."""
    kept: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    (gradients,) = torch.autograd.grad(score(model(x)).sum(), kept[:1])
    handle.remove()
    truth = (gradients.mean((2, 3), keepdim=True) * kept[0]).sum(1)
    with ht.trace(model, keep=[layer]) as t:
        model(x)
    return t.cam(layer, target=target).raw, truth.detach()


def close(ours: torch.Tensor, truth: torch.Tensor) -> None:
    assert truth.abs().max() > 0
    torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-5 * float(truth.abs().max()))


# ------------------------------------------------------------------ classes


@pytest.mark.parametrize("index", [0, 2, -1])
def test_a_class_score_and_its_softmax_are_those_of_grad_cam(index: int) -> None:
    theirs = [peers.ClassifierOutputTarget(index)(row) for row in LOGITS]
    soft = [peers.ClassifierOutputSoftmaxTarget(index)(row) for row in LOGITS]
    assert targets.ClassScore(index)(LOGITS).tolist() == [float(one) for one in theirs]
    assert targets.SoftmaxScore(index)(LOGITS).tolist() == [float(one) for one in soft]
    assert targets.SoftmaxScore(index).classes(LOGITS) == [index % 3] * 2


def test_softmax_takes_the_predicted_class_and_one_for_each_image() -> None:
    wanted = LOGITS.double().exp() / LOGITS.double().exp().sum(1, keepdim=True)
    chosen = targets.SoftmaxScore()(LOGITS.double())
    torch.testing.assert_close(chosen, wanted.amax(1))
    torch.testing.assert_close(
        targets.SoftmaxScore((2, 0))(LOGITS.double()), wanted[[0, 1], [2, 0]]
    )


@pytest.mark.parametrize("category", [0, 1])
def test_a_binary_score_has_the_sign_of_grad_cam(category: int) -> None:
    logits = torch.tensor([[1.5], [-0.5]])
    theirs = [float(peers.BinaryClassifierOutputTarget(category)(row)) for row in logits]
    ours = targets.BinaryScore(category)
    assert ours(logits).tolist() == ours(logits[:, 0]).tolist() == theirs
    assert ours.classes(logits) == [category] * 2


def test_a_binary_score_of_the_decided_class_is_the_size_of_the_logit() -> None:
    logits = torch.tensor([1.5, -0.5])
    assert targets.BinaryScore(None)(logits).tolist() == [1.5, 0.5]
    assert targets.BinaryScore(None).classes(logits) == [1, 0]
    assert targets.BinaryScore((0, 1))(logits).tolist() == [-1.5, -0.5]


def test_several_classes_are_summed_and_a_repeated_one_counts_twice() -> None:
    assert targets.SeveralClasses([0, 2])(LOGITS).tolist() == [1.5, -0.75]
    assert targets.SeveralClasses([1, 1])(LOGITS).tolist() == [-4.0, 6.0]


def test_raw_scores_are_numbers_as_they_are() -> None:
    assert targets.RawScore()(LOGITS[:, 0]).tolist() == [1.0, 0.25]
    assert targets.RawScore()(LOGITS[:, :1]).tolist() == [1.0, 0.25]
    assert targets.RawScore(1)(LOGITS).tolist() == [-2.0, 3.0]
    assert targets.RawScore((0, -1))(LOGITS.reshape(2, 1, 3)).tolist() == [0.5, -1.0]


def test_similarity_is_the_cosine_of_numpy() -> None:
    features = torch.tensor([0.5, -1.0, 2.0])
    rows, wanted = LOGITS.numpy(), features.numpy()
    truth = rows @ wanted / np.linalg.norm(rows, axis=1) / np.linalg.norm(wanted)
    ours = targets.Similarity(features)(LOGITS)
    np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-6)
    np.testing.assert_allclose(targets.Similarity(wanted)(LOGITS).numpy(), truth, rtol=1e-6)
    each = targets.Similarity(LOGITS)(LOGITS)
    np.testing.assert_allclose(each.numpy(), [1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "score"),
    [
        (targets.SoftmaxScore(1), lambda o: o.softmax(1)[:, 1]),
        (targets.SeveralClasses((0, 2)), lambda o: o[:, 0] + o[:, 2]),
        (targets.RawScore(2), lambda o: o[:, 2]),
        (
            targets.Similarity([1.0, 2.0, 3.0]),
            lambda o: o @ torch.tensor([1.0, 2.0, 3.0]) / o.norm(dim=1) / 14**0.5,
        ),
        (np.int64(1), lambda o: o[:, 1]),
        (torch.tensor(1), lambda o: o[:, 1]),
        (torch.tensor([2, 0]), lambda o: o[[0, 1], [2, 0]]),
        (np.array([2, 0]), lambda o: o[[0, 1], [2, 0]]),
        ([np.int32(2), torch.tensor(0)], lambda o: o[[0, 1], [2, 0]]),
        (
            [lambda row: row[1], lambda row: row[0] * row[2]],
            lambda o: torch.stack([o[0, 1], o[1, 0] * o[1, 2]]),
        ),
    ],
)
def test_the_map_of_a_target_is_a_grad_cam_by_hand_of_its_score(target: Any, score: Any) -> None:
    close(*map_and_truth(Net(), "conv", torch.randn(2, 3, 8, 8), target, score))


def test_the_label_of_a_target_is_the_title_of_its_map() -> None:
    model, x = Net(), torch.randn(1, 3, 8, 8)
    with ht.trace(model, keep=["conv"]) as t:
        model(x)
    found = t.cam("conv", target=targets.SoftmaxScore(1), method="hirescam")
    assert found.maps[next(iter(found.maps))].target == "probability of class 1"
    assert targets.SeveralClasses((3, 5)).label == "classes 3 + 5"
    assert targets.ClassScore((3, 5)).label == "classes (3, 5)"


# ------------------------------------------------------------------ outputs


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


class HfLike(dict[str, Any]):
    """As ModelOutput of transformers: a dict with attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


WRAPPERS = {
    "dict": lambda logits: {"aux": logits * 2, "out": logits},
    "tuple": lambda logits: (logits, logits * 2),
    "loss first": lambda logits: (logits.sum(), logits),
    "dataclass": lambda logits: Answer(logits.sum(), logits),
    "model output": lambda logits: HfLike(loss=logits.sum(), logits=logits),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_dicts_tuples_and_dataclasses_are_looked_through(wrapper: str) -> None:
    output = WRAPPERS[wrapper](LOGITS)
    assert targets.ClassScore(1)(output).tolist() == [-2.0, 3.0]
    assert targets.SeveralClasses((0, 2))(output).tolist() == [1.5, -0.75]


@pytest.mark.parametrize("wrapper", ["dict", "dataclass", "loss first"])
def test_each_image_s_callable_gets_its_own_output_in_the_same_container(wrapper: str) -> None:
    seen: list[Any] = []

    def score(item: Any) -> torch.Tensor:
        seen.append(item)
        row = {"dict": lambda: item["out"], "dataclass": lambda: item.logits}
        return row.get(wrapper, lambda: item[1])()[2]

    output = WRAPPERS[wrapper](LOGITS)
    assert as_target([score, score])(output).tolist() == LOGITS[:, 2].tolist()
    assert [type(one) for one in seen] == [type(output)] * 2


def test_the_targets_of_grad_cam_work_as_they_are() -> None:
    theirs = [peers.ClassifierOutputTarget(2), peers.ClassifierOutputSoftmaxTarget(0)]
    ours = as_target(theirs)(LOGITS)
    assert ours.tolist() == [float(one(row)) for one, row in zip(theirs, LOGITS, strict=True)]


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("target", "output", "message"),
    [
        (targets.ClassScore(3), LOGITS, "There is no class 3: the model returned 3 scores"),
        (targets.SoftmaxScore((1,)), LOGITS, "1 classes for a batch of 2 images"),
        (targets.SoftmaxScore(1), LOGITS[:, :, None], r"returned \(2, 3, 1\)"),
        (targets.BinaryScore(2), LOGITS[:, :1], "is 0 or 1"),
        (targets.BinaryScore(1), LOGITS, "not one number for each image"),
        (targets.SeveralClasses((0, 9)), LOGITS, "no class 9"),
        (targets.SeveralClasses(()), LOGITS, "at least one class"),
        (targets.RawScore(), LOGITS, "not one number for each image"),
        (targets.RawScore(3), LOGITS, "no output 3"),
        (targets.RawScore((0, 0)), LOGITS, "names no number"),
        (targets.Similarity([1.0, 2.0]), LOGITS, r"features= has the shape \(2,\)"),
        (targets.SegmentationMask(0, np.ones((2, 2))), torch.zeros(1, 2, 3, 3), "Resize it"),
        (targets.SegmentationMask(0, np.zeros((3, 3))), torch.zeros(1, 2, 3, 3), "everywhere"),
        (targets.SegmentationMask(2, np.ones((3, 3))), torch.zeros(1, 2, 3, 3), "no class 2"),
        (targets.ClassScore(0), {"boxes": 3}, "without a tensor"),
        (targets.DetectionBoxes([1], [[0, 0, 1, 1]]), LOGITS, "eval mode"),
        (as_target([len, len, len]), LOGITS, "3 callables for a batch of 2 images"),
        (as_target([lambda row: row] * 2), LOGITS, "a single number"),
    ],
)
def test_what_does_not_fit_is_a_target_error(target: Any, output: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        target(output)


@pytest.mark.parametrize("wanted", [True, 1.5, [], [1, None], [1, len], "cat", np.array([1.5])])
def test_what_is_no_target_is_a_type_error(wanted: Any) -> None:
    with pytest.raises(TypeError, match="target= takes a class"):
        as_target(wanted)


@pytest.mark.parametrize(
    "score", [lambda o: o, lambda o: o[0], lambda o: o[:, :2], lambda o: o.argmax(1), lambda o: 1.0]
)
def test_a_callable_with_a_wrong_shape_is_a_target_error(score: Any) -> None:
    model = Net()
    with ht.trace(model, keep=["conv"]) as t:
        model(torch.randn(2, 3, 8, 8))
    with pytest.raises(TargetError, match="target returns"):
        t.cam("conv", target=score)


@pytest.mark.parametrize("score", [lambda o: o[:, 1], lambda o: o[:, 1:2], lambda o: o[:, 1].sum()])
def test_scores_may_be_a_column_a_vector_or_one_number(score: Any) -> None:
    close(*map_and_truth(Net(), "conv", torch.randn(2, 3, 8, 8), score, score))


# ------------------------------------------------------------------ segmentation


@pytest.mark.parametrize("each", [False, True])
def test_the_map_of_a_segmentation_mask_is_that_of_the_summed_logits_under_it(each: bool) -> None:
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    ).eval()
    x = torch.rand(2, 3, 32, 48)
    mask = torch.rand(2, 32, 48) > 0.5
    mask = mask if each else mask[0]
    close(
        *map_and_truth(
            model,
            "classifier.cbr.0",
            x,
            targets.SegmentationMask(2, mask.numpy()),
            lambda o: (o["out"][:, 2] * mask).sum((1, 2)),
        )
    )


def test_a_segmentation_mask_is_that_of_grad_cam() -> None:
    logits, mask = torch.randn(1, 3, 4, 5), (torch.rand(4, 5) > 0.5).numpy()
    theirs = peers.SemanticSegmentationTarget(1, mask.astype("float32"))
    assert torch.allclose(targets.SegmentationMask(1, mask)(logits), theirs(logits[0]))


# ------------------------------------------------------------------ detection

BOXES = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 20], [0, 0, 9, 10]])
FOUND = {"boxes": BOXES, "labels": torch.tensor([1, 2, 1]), "scores": torch.tensor([0.7, 0.6, 0.2])}


def test_detection_boxes_score_the_best_match_of_the_same_label() -> None:
    ious = torchvision.ops.box_iou(torch.tensor([[0.0, 0, 8, 10], [5, 5, 20, 18]]), BOXES)
    target = targets.DetectionBoxes([1, 2], [[0, 0, 8, 10], [5, 5, 20, 18]])
    truth = 0.2 + ious[0, 2] + 0.6 + ious[1, 1]
    torch.testing.assert_close(target([FOUND]), truth[None])
    theirs = peers.FasterRCNNBoxScoreTarget(
        torch.tensor([1, 2]), torch.tensor([[0, 0, 8, 10], [5, 5, 20, 18]])
    )
    torch.testing.assert_close(target([FOUND]), theirs(FOUND))


def test_score_and_overlap_of_a_box_can_be_asked_for_alone() -> None:
    wanted: Any = ([1], [[0, 0, 8, 10]])
    iou = torchvision.ops.box_iou(torch.tensor([[0.0, 0, 8, 10]]), BOXES)[0, 2]
    assert targets.DetectionBoxes(*wanted, of="score")([FOUND]).tolist() == [FOUND["scores"][2]]
    torch.testing.assert_close(targets.DetectionBoxes(*wanted, of="iou")([FOUND]), iou[None])


def test_a_better_overlap_of_another_label_hides_no_match() -> None:
    found = {**FOUND, "labels": torch.tensor([1, 2, 3])}
    wanted = targets.DetectionBoxes([1], [[0, 0, 9, 10]], of="score")
    torch.testing.assert_close(wanted([found]), torch.tensor([0.7]))


def test_without_a_match_there_is_an_error_or_a_zero_with_a_graph() -> None:
    with pytest.raises(TargetError, match=r"highest IoU is 0\.09, the threshold 0\.50"):
        targets.DetectionBoxes([1], [[8, 5, 12, 10]])([FOUND])
    scores = FOUND["scores"].clone().requires_grad_()
    total = targets.DetectionBoxes([1], [[8, 5, 12, 10]], missing="zero")(
        [{**FOUND, "scores": scores}]
    )
    total.sum().backward()
    assert total.tolist() == [0]
    assert scores.grad is not None
    empty = {name: one[:0] for name, one in FOUND.items()}
    assert targets.DetectionBoxes([1], [[0, 0, 1, 1]], missing="zero")([empty]).tolist() == [0]
    with pytest.raises(TargetError, match="None of the 0 detections"):
        targets.DetectionBoxes([1], [[0, 0, 1, 1]])([empty])


def test_boxes_labels_and_images_have_to_fit() -> None:
    with pytest.raises(
        TargetError, match="boxes for 1 and labels for 1 images, but the batch has 2"
    ):
        targets.DetectionBoxes([1], [[0, 0, 1, 1]])([FOUND, FOUND])
    with pytest.raises(TargetError, match="2 labels for 1 boxes"):
        targets.DetectionBoxes([1, 2], [[0, 0, 1, 1]])([FOUND])
    with pytest.raises(ValueError, match="of= is one of"):
        targets.DetectionBoxes([1], [[0, 0, 1, 1]], of="area")
    with pytest.raises(ValueError, match="missing= is one of"):
        targets.DetectionBoxes([1], [[0, 0, 1, 1]], missing="nan")


def test_the_map_of_detected_boxes_is_a_grad_cam_of_their_scores() -> None:
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=64,
        max_size=96,
        box_score_thresh=0.0,
        box_detections_per_img=4,
        rpn_post_nms_top_n_test=8,
    ).eval()
    images = [torch.rand(3, 64, 80), torch.rand(3, 64, 80)]
    found = model(images)
    target = targets.DetectionBoxes(
        [one["labels"][:1] for one in found],
        [one["boxes"][:1].detach() for one in found],
        of="score",
    )
    ours, truth = map_and_truth(
        model,
        "backbone.fpn.inner_blocks.1.0",
        images,
        target,
        lambda output: torch.stack([one["scores"][0] for one in output]),
    )
    close(ours, truth)


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")  # weights are random
def test_a_detector_is_explained_by_the_end_of_its_backbone_or_a_named_level() -> None:
    torch.manual_seed(0)
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=96,
        box_score_thresh=0.0, box_detections_per_img=4, rpn_post_nms_top_n_test=8,
    ).eval()  # fmt: skip
    images = [torch.rand(3, 64, 80)]
    with torch.no_grad():
        (found,) = model(images)
    target = targets.DetectionBoxes(
        found["labels"][:1], found["boxes"][:1], of="score", missing="zero"
    )
    chosen = ht.explain(model, (images,), target=target).single
    assert chosen.layer == "backbone.body.layer4"
    assert chosen.image == (64, 96)  # 64 x 80, padded
    assert any("a head on one" in one for one in chosen.why)
    level = ht.explain(model, (images,), target=target, layer="backbone.fpn")  # returns a dict
    assert level.raw.shape == (1, 16, 24)  # the detector pads to a multiple of 32
    assert level.single.scores is not None
    torch.testing.assert_close(level.single.scores, found["scores"][:1])
    with pytest.raises(MethodError, match="one image at a time, but got 2"):
        ht.explain(
            model,
            (images * 2,),
            target=lambda output: torch.stack([one["scores"].sum() for one in output]),
            method="ablationcam",
            layer="backbone.fpn",
        )


def test_boxes_that_need_gradients_are_told_apart_without_a_warning() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    found = {"boxes": boxes * 1, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
    with pytest.raises(TargetError, match=r"highest IoU is 0\.00"):
        targets.DetectionBoxes([1], [[50, 50, 60, 60]])([found])
