"""Stages of a method: plan, run, resume."""
