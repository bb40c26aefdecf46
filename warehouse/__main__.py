"""`python -m warehouse` is `warehouse`."""

from warehouse.cli.start import main

if __name__ == "__main__":
    main()
