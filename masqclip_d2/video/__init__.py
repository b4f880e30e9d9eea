"""Videos through one model: frames of files, cameras and image sequences, segments joined over frames, a video file.

May import `batch`, the predictor and everything below it, no command line. PyAV (the extra `video`) is imported in
functions only.
"""
