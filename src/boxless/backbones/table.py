"""The curated list of backbones: what to take when, with licence and size. Any other timm name works too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``boxless list backbones``."""

    name: str  # as timm has it, with the weights' tag
    kind: str  # cnn or vit
    parameters: float  # millions, without the classifier
    licence: str  # of the weights, as their publisher states it
    note: str

    @property
    def prefix_tokens(self) -> bool:
        """Whether the network has a class token."""
        return self.kind == "vit" and not self.name.startswith("swin")


BACKBONES = (
    Row("tf_efficientnet_lite0.in1k", "cnn", 3.4, "apache-2.0", "offline default; quick on a CPU"),
    Row("resnet50.tv_in1k", "cnn", 23.5, "bsd-3-clause", "default with the hub; the field's usual network"),
    Row("resnet18.tv_in1k", "cnn", 11.2, "bsd-3-clause", "small"),
    Row("vgg16.tv_in1k", "cnn", 134.3, "bsd-3-clause", "as in older papers"),
    Row("inception_v3.tv_in1k", "cnn", 21.8, "apache-2.0", "as in older papers"),
    Row("convnext_tiny.fb_in1k", "cnn", 27.8, "apache-2.0", "strong and simple"),
    Row("mobilenetv3_large_100.ra_in1k", "cnn", 4.2, "apache-2.0", "for small devices"),
    Row("vit_small_patch16_224.dino", "vit", 21.7, "apache-2.0", "self-supervised; maps that follow objects"),
    Row("vit_small_patch14_dinov2.lvd142m", "vit", 22.1, "apache-2.0", "self-supervised; best features for its size"),
    Row("vit_small_patch14_reg4_dinov2.lvd142m", "vit", 22.1, "apache-2.0", "the same with register tokens"),
    Row("deit_small_patch16_224.fb_in1k", "vit", 21.7, "apache-2.0", "the transformer of WSOL papers"),
    Row("swin_tiny_patch4_window7_224.ms_in1k", "vit", 27.5, "mit", "windows; stages like a CNN"),
)
