"""What tests of several parts share: a browser, and tiny CLIP models in folders, as open_clip reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import browser, heard, page  # noqa: F401 - fixtures, which load a browser when a test asks for one

TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
    "eva": {"image_size": 32, "timm_model_name": "tiny_eva_clip", "timm_pool": "token", "timm_proj": None},
    "siglip": {"image_size": 32, "timm_model_name": "tiny_siglip", "timm_pool": "map", "timm_proj": "none"},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "convnext": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes a folder with a tiny CLIP model of seeded weights, and gives the name of its backbone.

    Its joint space has 24 dimensions (siglip: 32); ``kind`` is one of ``TOWERS``. ``vision`` changes the image tower's
    configuration, further names that of the whole model (``quick_gelu=True``). Without ``weights`` only the
    configuration is written. The kinds ``eva`` and ``siglip`` exist within this process only.
    """
    pytest.importorskip("open_clip")
    written: dict[str, str] = {}

    def write(kind: str = "vit", *, weights: bool = True, vision: dict[str, Any] | None = None, **model: Any) -> str:
        _register()
        config = {"embed_dim": 32 if kind == "siglip" else 24, "text_cfg": TEXT} | model
        config["vision_cfg"] = TOWERS[kind] | (vision or {})
        key = json.dumps([config, weights], sort_keys=True)
        if key not in written:
            folder = tmp_path_factory.mktemp(kind)
            _write(folder, config, weights=weights)
            written[key] = f"open_clip:local-dir:{folder}"
        return written[key]

    return write


def _write(folder: Path, config: dict[str, Any], *, weights: bool) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    if not weights:
        return
    state = open_clip.create_model(f"local-dir:{folder}").state_dict()
    draws = torch.Generator().manual_seed(5)
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=draws)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif value.ndim > 1:
            state[name] = noise / value[0].numel() ** 0.5
        elif value.ndim == 1:
            state[name] = 0.1 * noise + float(name.endswith("weight"))
    save_file(state, folder / "open_clip_model.safetensors")


def _register() -> None:
    """Name tiny trunks in timm, of the kinds that EVA-CLIP and SigLIP are."""
    import timm
    from timm.models import register_model
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    common = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}

    def tiny_eva_clip(num_classes: int, global_pool: str, **_: Any) -> Any:
        return Eva(
            **common, num_classes=num_classes, global_pool=global_pool, qkv_fused=False, mlp_ratio=8 / 3,
            swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True, use_rot_pos_emb=True, ref_feat_shape=(4, 4),
        )  # fmt: skip

    def tiny_siglip(num_classes: int, global_pool: str, **_: Any) -> Any:
        return VisionTransformer(**common, num_classes=num_classes, global_pool=global_pool, class_token=False)

    for trunk in (tiny_eva_clip, tiny_siglip):
        if not timm.is_model(trunk.__name__):
            register_model(trunk)
