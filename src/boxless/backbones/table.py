"""The curated list of backbones: what to take when, with licence and size. Any other of timm or open_clip works too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``boxless list backbones``."""

    name: str  # as timm has it, with the weights' tag, or after the name of another family and a colon
    kind: str  # cnn, vit, or clip: the image tower of a model of images and texts
    parameters: float  # millions, without the classifier, of clip without the text tower
    licence: str  # of the weights, as their publisher states it
    note: str

    @property
    def prefix_tokens(self) -> bool:
        """Whether the network has a class token."""
        return self.kind != "cnn" and not self.name.startswith(("swin", "open_clip:RN"))


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
    Row("open_clip:ViT-B-16/openai", "clip", 86.2, "mit", "the CLIP of most papers; knows what words mean"),
    Row("open_clip:ViT-L-14/openai", "clip", 304.0, "mit", "the same, larger"),
    Row("open_clip:EVA02-B-16/merged2b_s8b_b131k", "clip", 86.3, "mit", "stronger at the same size"),
    Row("open_clip:EVA02-L-14/merged2b_s4b_b131k", "clip", 304.1, "mit", "the same, larger"),
    Row("open_clip:RN50/openai", "clip", 38.3, "mit", "convolutional; small"),
)
