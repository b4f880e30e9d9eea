"""`python -m projects.shapes_results`."""

from projects.shapes_results.run import main

if __name__ == "__main__":
    main()
