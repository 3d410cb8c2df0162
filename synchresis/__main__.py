"""`python -m synchresis`: the same as the command."""

from synchresis.cli import main

if __name__ == "__main__":
    main()
