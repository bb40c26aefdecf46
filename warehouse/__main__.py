"""`python -m warehouse` is `warehouse`."""

from warehouse.cli.main import main

if __name__ == "__main__":
    main()
