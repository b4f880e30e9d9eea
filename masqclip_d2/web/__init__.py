"""The model for people and programs elsewhere: a web page (`masqclip app`) and an HTTP service (`masqclip serve`).

Both check uploads (`uploads`), have one thread that runs the networks (`worker`), keep a bounded amount of encoded
images (`encodings`), and stop gracefully (`serving`).

May import `batch`, the predictor and everything below it, no command line. FastAPI and Gradio (the extras `serve` and
`app`) are imported by the modules `service` and `page` only.
"""
