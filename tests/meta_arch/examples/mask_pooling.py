"""A method of a user's own: CLIP's patch tokens, averaged over each mask, through a linear layer that is learned."""

from types import SimpleNamespace

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from masqclip_d2.losses.masq_tuning import assign_batch_labels, masq_tuning_loss
from masqclip_d2.meta_arch import OpenVocabularySegmenter, open_vocabulary_arguments

CLASS_TOKEN_WEIGHT = 1e-3  # patches: an empty mask is embedded as the class token


class MaskPoolingEncoder(nn.Module):
    """Mean of the patch embeddings inside each mask; the interface of `meta_arch.encoding.VisualEncoder`."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual
        self.adapter = nn.Linear(visual.output_dim, visual.output_dim)
        nn.init.eye_(self.adapter.weight)
        nn.init.zeros_(self.adapter.bias)

    def forward(self, image, mask_logits):
        tokens = self.visual.embed(image)
        for block in self.visual.transformer.resblocks:
            tokens = block.attend(tokens, block.attention_inputs(tokens))
        side = self.visual.input_resolution // self.visual.patch_size
        inside = F.adaptive_avg_pool2d((mask_logits > 0).to(tokens), side).flatten(2)  # (B, Q, P)
        weight = F.pad(inside, (1, 0), value=CLASS_TOKEN_WEIGHT)  # (B, Q, 1 + P)
        pooled = weight / weight.sum(-1, keepdim=True) @ self.visual.project(tokens)  # (B, Q, E)
        return SimpleNamespace(mask_embeddings=self.adapter(pooled), refined_mask_logits=())


@META_ARCH_REGISTRY.register()
class MaskPooling(OpenVocabularySegmenter):
    """Proposer + mask pooling + text classifier."""

    @configurable
    def __init__(self, **arguments):
        super().__init__(**arguments)

    @classmethod
    def from_config(cls, cfg):
        arguments, visual = open_vocabulary_arguments(cfg)
        return {**arguments, "visual_encoder": MaskPoolingEncoder(visual)}

    def losses(self, batched_inputs, vocabulary):
        batch = self.training_batch(batched_inputs, (self.visual_encoder.visual.input_resolution,) * 2)
        embeddings = self.visual_encoder(batch.images, batch.mask_logits).mask_embeddings
        logits = self.training_class_logits(embeddings, vocabulary, "background")
        labels = assign_batch_labels(batch.mask_logits, batch.num_proposals, batch.targets, len(vocabulary))
        return {"loss_ce": masq_tuning_loss(logits, labels)}
