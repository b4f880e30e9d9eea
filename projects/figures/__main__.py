"""`python -m projects.figures`."""

from projects.figures.make_figures import main

if __name__ == "__main__":
    main()
