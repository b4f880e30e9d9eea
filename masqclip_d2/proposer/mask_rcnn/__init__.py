"""Class-agnostic Mask R-CNN, built on torchvision's, as a proposer."""
