"""The parts of Detectron2's projects that Mask2Former-style models use."""
