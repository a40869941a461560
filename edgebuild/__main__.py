"""``python -m edgebuild`` is the command line."""

from edgebuild.cli.main import main

if __name__ == "__main__":
    main()
