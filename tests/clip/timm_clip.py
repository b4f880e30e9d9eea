"""A user's own CLIP: a timm vision transformer as `VisionTower` and byte embeddings as `TextTower`, random weights."""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from masqclip_d2.clip import CLIP_REGISTRY, AttentionInputs, ClipPreprocessing, InputProjections, module_digest


class TimmBlock:
    """`VisionBlock` over one block of a timm vision transformer."""

    def __init__(self, block: Block):
        self.block = block

    def norm(self, tokens):
        return self.block.norm1(tokens)

    def query(self, normed_tokens):
        return self.attention_inputs_of(normed_tokens).query

    def attention_inputs(self, tokens):
        return self.attention_inputs_of(self.norm(tokens))

    def attention_inputs_of(self, normed):
        heads = self.block.attn.num_heads
        packed = self.block.attn.qkv(normed).chunk(3, dim=-1)
        return AttentionInputs(normed, *(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in packed))

    def finish(self, tokens, attended):
        block = self.block
        tokens = tokens + block.ls1(block.attn.proj(attended.transpose(1, 2).flatten(2)))
        return tokens + block.ls2(block.mlp(block.norm2(tokens)))

    def attend(self, tokens, inputs):
        return self.finish(tokens, F.scaled_dot_product_attention(inputs.query, inputs.key, inputs.value))

    def input_projections(self):
        qkv = self.block.attn.qkv
        return InputProjections(qkv.weight.chunk(3), qkv.bias.chunk(3))


class TimmTower(nn.Module):
    """`VisionTower` over a timm vision transformer with a class token."""

    def __init__(self, trunk: VisionTransformer, preprocessing: ClipPreprocessing):
        super().__init__()
        self.trunk = trunk
        self.preprocessing = preprocessing
        self.blocks = [TimmBlock(block) for block in trunk.blocks]
        self.input_resolution, self.patch_size = trunk.patch_embed.img_size[0], trunk.patch_embed.patch_size[0]
        self.width, self.heads, self.output_dim = trunk.embed_dim, trunk.blocks[0].attn.num_heads, trunk.num_classes

    @property
    def class_position(self):
        return self.trunk.pos_embed[0, 0]

    def embed(self, image):
        return self.trunk.norm_pre(self.trunk._pos_embed(self.trunk.patch_embed(image)))

    def mask_class_tokens(self, clip_tokens, num_masks, position=None):
        token = clip_tokens[:, :1] if position is None else self.trunk.norm_pre(self.trunk.cls_token + position)
        return token.expand(len(clip_tokens), num_masks, -1)

    def project(self, tokens):
        return self.trunk.head(self.trunk.fc_norm(self.trunk.norm(tokens)))

    def forward(self, image):
        return self.trunk(image)


class ByteTextTower(nn.Module):
    """`TextTower`: the mean of a text's byte embeddings."""

    def __init__(self, output_dim: int):
        super().__init__()
        self.output_dim = output_dim
        self.embedding = nn.EmbeddingBag(256, output_dim)

    @torch.no_grad()
    def encode(self, texts):
        return torch.cat([self.embedding(torch.tensor([list(text.encode())])) for text in texts])

    def content_digest(self):
        return module_digest(self)


class TimmClip:
    """ReLU, layer scale, patches without bias, and a norm after pooling: none of it as in OpenAI's CLIP."""

    logit_scale = 20.0
    pretrained = True

    def __init__(self):
        trunk = VisionTransformer(
            img_size=24, patch_size=8, num_classes=16, embed_dim=32, depth=3, num_heads=4, class_token=True,
            global_pool="token", init_values=0.5, act_layer="relu", fc_norm=True, final_norm=False, pre_norm=True,
        )  # fmt: skip
        nn.init.normal_(trunk.head.weight)
        preprocessing = ClipPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear")
        self.visual = TimmTower(trunk, preprocessing)
        self.text = ByteTextTower(16)


@CLIP_REGISTRY.register()
def TimmClipForTests(cfg):
    return TimmClip()
