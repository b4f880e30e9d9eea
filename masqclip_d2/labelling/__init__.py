"""Many images through several processes or machines: a plan of shards, workers on Ray Data, a record of what failed.

May import `batch`, the predictor and everything below it, no command line. Ray and pyarrow (the extra `scale`) are
imported in functions only; `worker` does not import them.
"""
