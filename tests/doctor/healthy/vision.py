"""Models of torchvision, with random weights, on small images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

from .program import Tracing, evaluate, healthy, train

BATCH_NORM = (
    "The last maps of so small an image are one pixel, and batch norm over two of these divides by "
    "almost nothing."
)

models: Any = pytest.importorskip("torchvision").models


def images(size: int = 64, batch: int = 4) -> torch.Tensor:
    """Images of which enough is left in the last layers for batch norm to be meaningful."""
    return torch.rand(batch, 3, size, size)


def slim(features: nn.Module, channels: int) -> nn.Sequential:
    """The features of a large model, with a head that is small."""
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, pooled, nn.Dropout(0.5), nn.Linear(channels, 3))


@healthy()
def alexnet(trace: Tracing) -> ht.Trace:
    """AlexNet, whose ReLUs write in place."""
    with torch.device("meta"):
        features = models.alexnet().features
    features.to_empty(device="cpu")
    features.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    return train(trace, slim(features, 256), images())


@healthy()
def vgg(trace: Tracing) -> ht.Trace:
    """The convolutions of VGG-11 with batch norm."""
    with torch.device("meta"):
        features = models.vgg11_bn().features
    features.to_empty(device="cpu")
    features.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    return train(trace, slim(features, 512), images())


@healthy()
def resnet(trace: Tracing) -> ht.Trace:
    """ResNet-18, whose residual is added in place."""
    return train(trace, models.resnet18(num_classes=3), images())


@healthy(exploding_gradient=BATCH_NORM)
def resnet_on_images_that_are_too_small(trace: Tracing) -> ht.Trace:
    """In the last layers two values are left for each channel to be normalised over."""
    return train(trace, models.resnet18(num_classes=3), images(32, 2), steps=1)


@healthy()
def resnet_in_evaluation(trace: Tracing) -> ht.Trace:
    """ResNet-18 in evaluation."""
    return evaluate(trace, models.resnet18(num_classes=3), images())


@healthy()
def resnet_after_an_epoch_in_evaluation_and_back(trace: Tracing) -> ht.Trace:
    """An epoch of training, one of evaluation, one of training."""
    net = models.resnet18(num_classes=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with trace(net) as t:
        for epoch in range(2):
            net.train()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images()), torch.arange(4) % 2).backward()
            optimizer.step()
            if epoch == 0:
                net.eval()
                with torch.no_grad():
                    net(images())
    return t


@healthy()
def densenet(trace: Tracing) -> ht.Trace:
    """A small DenseNet, which concatenates and writes in place."""
    net = models.DenseNet(8, (2, 2), 16, num_classes=3)
    return train(trace, net, images())


@healthy()
def googlenet(trace: Tracing) -> ht.Trace:
    """GoogLeNet with its auxiliary heads: the output is a named tuple."""
    net = models.googlenet(weights=None, init_weights=False, aux_logits=True, num_classes=3)
    return train(trace, net, images(), steps=1)


@healthy()
def mobilenet(trace: Tracing) -> ht.Trace:
    """MobileNet v3, with hard swish in place."""
    return train(trace, models.mobilenet_v3_small(num_classes=3), images(), steps=1)


@healthy()
def mobilenet_v2(trace: Tracing) -> ht.Trace:
    """MobileNet v2."""
    return train(trace, models.mobilenet_v2(num_classes=3, width_mult=0.35), images(), steps=1)


@healthy()
def shufflenet(trace: Tracing) -> ht.Trace:
    """ShuffleNet, which chunks and shuffles views of channels."""
    return train(trace, models.shufflenet_v2_x0_5(num_classes=3), images(), steps=1)


@healthy()
def squeezenet(trace: Tracing) -> ht.Trace:
    """SqueezeNet, whose head is a convolution."""
    return train(trace, models.squeezenet1_1(num_classes=3), images())


@healthy()
def efficientnet(trace: Tracing) -> ht.Trace:
    """EfficientNet with stochastic depth and squeeze-excitation."""
    return train(trace, models.efficientnet_b0(num_classes=3), images(), steps=1)


@healthy()
def regnet(trace: Tracing) -> ht.Trace:
    """RegNet."""
    return train(trace, models.regnet_y_400mf(num_classes=3), images(), steps=1)


@healthy()
def mnasnet(trace: Tracing) -> ht.Trace:
    """MNASNet."""
    return train(trace, models.mnasnet0_5(num_classes=3), images(), steps=1)


@healthy()
def convnext(trace: Tracing) -> ht.Trace:
    """A small ConvNeXt, with layer scale and stochastic depth."""
    block = models.convnext.CNBlockConfig
    settings = [block(16, 32, 2), block(32, None, 2)]
    net = models.ConvNeXt(settings, stochastic_depth_prob=0.1, num_classes=3)
    return train(trace, net, images())


@healthy()
def vision_transformer(trace: Tracing) -> ht.Trace:
    """A small ViT: attention whose out_proj is used by its weights only."""
    net = models.VisionTransformer(32, 8, 2, 2, 16, 32, dropout=0.1, num_classes=3)
    nn.init.normal_(net.heads.head.weight)
    return train(trace, net, images(32))


@healthy()
def swin(trace: Tracing) -> ht.Trace:
    """A small Swin Transformer, with shifted windows and masks."""
    net = models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=3)
    return train(trace, net, images(32))


@healthy()
def segmentation(trace: Tracing) -> ht.Trace:
    """LR-ASPP, which returns a dict."""
    build = models.segmentation.lraspp_mobilenet_v3_large
    net = build(weights=None, weights_backbone=None, num_classes=3)
    return train(trace, net, images(), steps=1)


@healthy()
def detection(trace: Tracing) -> ht.Trace:
    """Faster R-CNN in training: targets in, a dict of four losses out."""
    net = models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=64,
        max_size=64,
        rpn_pre_nms_top_n_train=20,
        rpn_post_nms_top_n_train=20,
    )
    target = {"boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    with trace(net) as t:
        losses = net([torch.rand(3, 64, 64)], [target])
        sum(losses.values()).backward()
    return t


@healthy()
def video(trace: Tracing) -> ht.Trace:
    """A residual net over frames."""
    net = models.video.mc3_18(weights=None, num_classes=3)
    return train(trace, net, torch.rand(2, 3, 4, 16, 16), steps=1)


@healthy()
def extracted_features(trace: Tracing) -> ht.Trace:
    """A GraphModule that returns the features of inner layers."""
    from torchvision.models.feature_extraction import create_feature_extractor

    net = models.resnet18(num_classes=3).eval()
    extractor = create_feature_extractor(net, ["layer1", "layer3"])
    return evaluate(trace, extractor, images())


@healthy()
def a_frozen_backbone(trace: Tracing) -> ht.Trace:
    """Only the new head learns; the backbone stays in evaluation."""
    net = models.resnet18(num_classes=3)
    net.requires_grad_(False).eval()
    net.fc = nn.Linear(net.fc.in_features, 2)
    return train(trace, net, images())


@healthy()
def a_frozen_backbone_without_graph(trace: Tracing) -> ht.Trace:
    """The features are computed without gradients, the head learns on them."""
    backbone = models.squeezenet1_1().features.requires_grad_(False).eval()
    head = nn.Linear(512, 2)
    optimizer = torch.optim.Adam(head.parameters())
    with trace({"backbone": backbone, "head": head}) as t:
        for _ in range(2):
            with torch.no_grad():
                features = backbone(images()).mean((2, 3))
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features), torch.arange(4) % 2).backward()
            optimizer.step()
    return t


@healthy()
def a_backbone_that_is_thawed_later(trace: Tracing) -> ht.Trace:
    """One step with frozen features, one with all."""
    net = models.squeezenet1_1(num_classes=3)
    net.features.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images()), torch.arange(4) % 2).backward()
            optimizer.step()
            net.features.requires_grad_(True)
    return t
