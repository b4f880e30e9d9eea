"""`python -m masqclip_d2 VERB`: the same as the installed command `masqclip VERB`."""

from .cli.main import main

if __name__ == "__main__":
    main()
