"""Class-agnostic Mask2Former: pixel decoder, mask decoder, and the proposer."""
