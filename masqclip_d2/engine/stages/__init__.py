"""Stages of a method: plan, run, and record them, so that an interrupted run resumes and a finished one is skipped."""
